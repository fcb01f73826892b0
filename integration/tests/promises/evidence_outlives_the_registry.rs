//! What admitted an image is kept: with the registry gone and the node started anew, the image is verified again from it.

use anyhow::{Context, Result};
use assay_testkit::{PullBy, Version};

use crate::scene::{Scene, refused};

#[test]
fn admitted_image_runs_without_registry_after_a_restart() -> Result<()> {
    let mut scene = Scene::enforcing(Version::V2)?;
    let image = scene.signed("1")?;
    scene.host.containerd.pull(&image.by_tag(), PullBy::Default)?.success()?;
    scene.host.registry.stop()?;
    restart_node(&mut scene)?;
    assert_eq!(scene.host.containerd.run(&image.by_tag(), &[])?.success()?.stdout, "hello from 1\n");
    Ok(())
}

#[test]
fn kept_evidence_is_judged_under_todays_policy() -> Result<()> {
    let mut scene = Scene::enforcing(Version::V2)?;
    let image = scene.signed("1")?;
    scene.host.containerd.pull(&image.by_tag(), PullBy::Default)?.success()?;
    scene.host.registry.stop()?;
    let other = scene.cosign.generate_key("other")?;
    let policy = assay_testkit::PolicyText::enforcing().key("ci", &other.public_pem()?).rule(
        "production",
        &[&crate::scene::production(&scene.host.registry)],
        1,
        &["ci"],
    );
    scene.host.node.write_policy(&policy)?;
    restart_node(&mut scene)?;
    refused(scene.host.containerd.run(&image.by_tag(), &[])?, "assay: ")
}

#[test]
fn changed_evidence_on_disk_admits_nothing() -> Result<()> {
    let mut scene = Scene::enforcing(Version::V2)?;
    let image = scene.signed("1")?;
    scene.host.containerd.pull(&image.by_tag(), PullBy::Default)?.success()?;
    scene.host.registry.stop()?;
    scene.host.node.stop()?;
    let store = scene.host.node.root().join("var/lib/assay/agent/evidence");
    let changed = change_every_file(&store).with_context(|| format!("no evidence in {}", store.display()))?;
    assert!(changed > 0, "there is evidence on disk");
    scene.host.start_node()?;
    refused(scene.host.containerd.run(&image.by_tag(), &[])?, "assay: ")
}

/// Adds one to a byte in the middle of every file below `folder`, and counts the files.
fn change_every_file(folder: &std::path::Path) -> Result<usize> {
    let mut changed = 0;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            changed += change_every_file(&path)?;
        } else {
            let mut bytes = std::fs::read(&path)?;
            let middle = bytes.len() / 2;
            if let Some(byte) = bytes.get_mut(middle) {
                *byte = byte.wrapping_add(1);
                changed += 1;
            }
            std::fs::write(&path, bytes)?;
        }
    }
    Ok(changed)
}

fn restart_node(scene: &mut Scene) -> Result<()> {
    scene.host.node.stop()?;
    scene.host.start_node()
}
