//! An unsigned image is refused before a layer is downloaded, whatever way it comes in, and nothing of it is left.

use std::fs;

use anyhow::Result;
use assay_testkit::{PullBy, Version};

use crate::scene::{Scene, layers_fetched, refused, refused_cleanly};

#[test]
fn unsigned_image_is_refused_before_any_layer_is_downloaded() -> Result<()> {
    let scene = Scene::enforcing(Version::V2)?;
    let image = scene.unsigned("1")?;
    let answer = scene.host.containerd.pull(&image.by_tag(), PullBy::Default)?;
    assert!(answer.said("sign it"), "the answer says what to do: {answer}");
    refused_cleanly(&scene.host, answer, "NO_SIGNATURE")?;
    assert!(layers_fetched(&scene.host.registry, &image).is_empty());
    assert!(scene.host.containerd.images()?.is_empty());
    Ok(())
}

#[test]
fn the_same_image_is_admitted_once_it_is_signed() -> Result<()> {
    let scene = Scene::enforcing(Version::V2)?;
    let image = scene.unsigned("1")?;
    refused_cleanly(&scene.host, scene.host.containerd.pull(&image.by_tag(), PullBy::Default)?, "NO_SIGNATURE")?;
    scene.cosign.sign(&scene.ci, &image.by_digest())?;
    scene.host.containerd.pull(&image.by_tag(), PullBy::Default)?.success()?;
    assert_eq!(scene.host.containerd.run(&image.by_tag(), &[])?.success()?.stdout, "hello from 1\n");
    Ok(())
}

#[test]
fn unsigned_image_pulled_by_the_client_is_refused_at_pull_and_at_run() -> Result<()> {
    for version in [Version::V2, Version::V1_6] {
        let scene = Scene::enforcing(version)?;
        let image = scene.unsigned("1")?;
        let containerd = &scene.host.containerd;
        refused_cleanly(&scene.host, containerd.pull(&image.by_tag(), PullBy::Client)?, "NO_SIGNATURE")?;
        // The client leaves the image record, and run unpacks on its own.
        refused(containerd.run(&image.by_tag(), &[])?, "NO_SIGNATURE")?;
        assert!(containerd.snapshots()?.is_empty());
    }
    Ok(())
}

#[test]
fn imported_image_is_refused() -> Result<()> {
    for version in [Version::V2, Version::V1_6] {
        let scene = Scene::enforcing(version)?;
        let image = scene.unsigned("1")?;
        let archive = scene.host.node.root().join("image.tar");
        fs::write(&archive, image.archive("registry.example/other/app:1")?)?;
        let containerd = &scene.host.containerd;
        let words = ["images", "import", "--snapshotter", "assay", &archive.to_string_lossy()];
        refused_cleanly(&scene.host, containerd.ctr(&words)?, "NO_RULE")?;
    }
    Ok(())
}

#[test]
fn image_outside_every_rule_is_refused() -> Result<()> {
    let scene = Scene::enforcing(Version::V2)?;
    let image = assay_testkit::ImageBuilder::busybox("x")?.push(&scene.host.repository("lab/app"), "1")?;
    scene.cosign.sign(&scene.ci, &image.by_digest())?;
    refused_cleanly(&scene.host, scene.host.containerd.pull(&image.by_tag(), PullBy::Default)?, "NO_RULE")
}

#[test]
fn only_the_platform_that_is_pulled_is_asked_for_and_an_unsigned_index_is_refused() -> Result<()> {
    let scene = Scene::enforcing(Version::V2)?;
    let builder = assay_testkit::ImageBuilder::busybox("multi")?.architectures(&["amd64", "arm64"]);
    let image = builder.push(&scene.production(), "1")?;
    refused_cleanly(&scene.host, scene.host.containerd.pull(&image.by_tag(), PullBy::Default)?, "NO_SIGNATURE")?;
    scene.cosign.sign(&scene.ci, &image.by_digest())?;
    scene.host.containerd.pull(&image.by_tag(), PullBy::Default)?.success()?;
    Ok(())
}
