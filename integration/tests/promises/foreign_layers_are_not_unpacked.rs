//! An admitted configuration copied onto an attacker's layers is refused before a layer of it is extracted.

use anyhow::Result;
use assay_testkit::{ImageBuilder, PullBy, Version};

use crate::scene::{Scene, layers_fetched, refused, refused_cleanly};

#[test]
fn copied_config_with_foreign_layers_is_refused() -> Result<()> {
    for (version, by) in
        [(Version::V2, PullBy::Default), (Version::V2, PullBy::Client), (Version::V1_6, PullBy::Default)]
    {
        let scene = Scene::enforcing(version)?;
        let signed = scene.signed("signed")?;
        let foreign = foreign_layers(&scene, &signed)?;
        refused_cleanly(&scene.host, scene.host.containerd.pull(&foreign.by_tag(), by)?, "NO_SIGNATURE")?;
        if by == PullBy::Default && version == Version::V2 {
            assert!(layers_fetched(&scene.host.registry, &foreign).is_empty());
        }
    }
    Ok(())
}

#[test]
fn copied_config_is_refused_beside_the_signed_image_too() -> Result<()> {
    for by in [PullBy::Default, PullBy::Client] {
        let scene = Scene::enforcing(Version::V2)?;
        let signed = scene.signed("signed")?;
        // The content of the signed image is there, and none of it is unpacked yet.
        scene.host.containerd.ctr(&["content", "fetch", "--plain-http", &signed.by_tag()])?.success()?;
        let foreign = foreign_layers(&scene, &signed)?;
        refused(scene.host.containerd.pull(&foreign.by_tag(), by)?, "assay: ")?;
        assert!(scene.host.containerd.snapshots()?.is_empty());
    }
    Ok(())
}

#[test]
fn rewritten_config_that_names_the_signed_images_layers_is_refused() -> Result<()> {
    // A byte more is another config; five MiB more is one that is not read.
    for (surplus, by) in [(1, PullBy::Default), (1, PullBy::Client), (5 << 20, PullBy::Default)] {
        let scene = Scene::enforcing(Version::V2)?;
        let signed = scene.signed("signed")?;
        scene.host.containerd.ctr(&["content", "fetch", "--plain-http", &signed.by_tag()])?.success()?;
        let mut config = signed.manifest().config.clone();
        config.resize(config.len() + surplus, b'\n');
        let foreign = ImageBuilder::busybox("foreign")?.foreign_config(&config).push(&scene.production(), "foreign")?;
        refused(scene.host.containerd.pull(&foreign.by_tag(), by)?, "assay: ")?;
    }
    Ok(())
}

#[test]
fn foreign_layers_pulled_while_observing_do_not_run_and_do_not_stop_what_is_signed() -> Result<()> {
    for version in [Version::V2, Version::V1_6] {
        let scene = Scene::observing(version)?;
        let containerd = &scene.host.containerd;
        let signed = scene.signed("signed")?;
        let mut config = signed.manifest().config.clone();
        config.push(b'\n');
        // Extracted, since the policy only observes, and never given the chain's name: the diff id of its upper layer is another.
        let foreign = ImageBuilder::busybox("foreign")?.foreign_config(&config).push(&scene.production(), "foreign")?;
        let pulled = containerd.pull(&foreign.by_tag(), PullBy::Default)?.failure()?;
        assert!(pulled.said("wrong diff id"), "{pulled}");
        let (unpacked, layers) = (containerd.snapshots()?.len(), signed.manifest().diff_ids.len());
        assert!(unpacked < layers, "{unpacked} of {layers} layers");
        containerd.pull(&signed.by_tag(), PullBy::Default)?.success()?;
        scene.host.node.apply_policy(&scene.policy.in_mode("enforce"))?;
        // The foreign image is there and claims the very layers.
        containerd.ctr(&["content", "fetch", "--plain-http", &foreign.by_tag()])?.success()?;
        containerd.run(&signed.by_tag(), &[])?.success()?;
        // What is not unpacked is not extracted beside it.
        containerd.remove_image(&signed.by_tag())?;
        containerd.collect_garbage()?;
        refused(containerd.pull(&signed.by_tag(), PullBy::Default)?, "AMBIGUOUS_CONFIG")?;
    }
    Ok(())
}

fn foreign_layers(scene: &Scene, signed: &assay_testkit::PushedImage) -> Result<assay_testkit::PushedImage> {
    // As many layers as the configuration names: containerd itself refuses another number.
    ImageBuilder::busybox("foreign")?.foreign_config(&signed.manifest().config).push(&scene.production(), "foreign")
}
