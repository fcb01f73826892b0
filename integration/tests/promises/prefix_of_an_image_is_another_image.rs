//! An unsigned image whose layers are the lower ones of a signed image is pulled without a question, and does not run.

use anyhow::{Result, ensure};
use assay_testkit::{ImageBuilder, PullBy, Version};

use crate::scene::Scene;

#[test]
fn container_of_the_lower_layers_of_a_signed_image_is_refused() -> Result<()> {
    for version in [Version::V2, Version::V1_6] {
        let scene = Scene::enforcing(version)?;
        let below = ImageBuilder::busybox("app")?;
        let signed = below.clone().layers(1, 1_000).push(&scene.production(), "signed")?;
        scene.cosign.sign(&scene.ci, &signed.by_digest())?;
        scene.host.containerd.pull(&signed.by_tag(), PullBy::Default)?.success()?;
        scene.host.containerd.run(&signed.by_tag(), &[])?.success()?;

        let prefix = below.command(&["/bin/sh", "-c", "echo evil"]).push(&scene.production(), "prefix")?;
        let pulled = scene.host.containerd.pull(&prefix.by_tag(), PullBy::Default)?;
        let ran = scene.host.containerd.run(&prefix.by_tag(), &[])?.failure()?;
        ensure!(!ran.said("evil"), "it ran: {ran}");
        ensure!(!pulled.status.success() || ran.said("NO_SIGNATURE"), "another reason: {ran}");
        scene.host.containerd.run(&signed.by_tag(), &[])?.success()?;
    }
    Ok(())
}
