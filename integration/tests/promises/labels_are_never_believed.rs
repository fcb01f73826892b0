//! Annotations that a registry's manifest carries arrive at the snapshotter as labels. They change nothing.

use anyhow::Result;
use assay_testkit::{ImageBuilder, PullBy, Version};

use crate::scene::{Scene, layers_fetched, refused_cleanly};

#[test]
fn annotations_that_name_a_signed_image_change_nothing() -> Result<()> {
    for (version, by) in
        [(Version::V2, PullBy::Default), (Version::V2, PullBy::Client), (Version::V1_6, PullBy::Default)]
    {
        let scene = Scene::enforcing(version)?;
        let signed = scene.signed("signed")?;
        scene.host.containerd.pull(&signed.by_tag(), by)?.success()?;
        scene.host.containerd.remove_image(&signed.by_tag())?;
        let forged = ImageBuilder::busybox("forged")?
            .layer_annotation("containerd.io/snapshot/cri.image-ref", &signed.by_tag())
            .layer_annotation("containerd.io/snapshot/cri.manifest-digest", &signed.digest)
            .layer_annotation("containerd.io/snapshot/assay.verified", "true")
            .layer_annotation("containerd.io/snapshot.ref", &signed.manifest().diff_ids.join(","))
            .push(&scene.production(), "forged")?;
        refused_cleanly(&scene.host, scene.host.containerd.pull(&forged.by_tag(), by)?, "NO_SIGNATURE")?;
        if (version, by) == (Version::V2, PullBy::Default) {
            assert!(
                layers_fetched(&scene.host.registry, &forged)
                    .iter()
                    .all(|layer| signed.manifest().layers.contains(layer))
            );
        }
    }
    Ok(())
}

#[test]
fn annotations_take_nothing_from_a_signed_image() -> Result<()> {
    let scene = Scene::enforcing(Version::V2)?;
    let image = ImageBuilder::busybox("app")?
        .layer_annotation("containerd.io/snapshot/cri.image-ref", "registry.example/evil/app:1")
        .push(&scene.production(), "1")?;
    scene.cosign.sign(&scene.ci, &image.by_digest())?;
    scene.host.containerd.pull(&image.by_tag(), PullBy::Default)?.success()?;
    Ok(())
}
