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

#[test]
fn evidence_of_another_image_put_in_its_place_admits_nothing() -> Result<()> {
    let mut scene = Scene::enforcing(Version::V2)?;
    let (signed, unsigned) = (scene.signed("signed")?, scene.unsigned("unsigned")?);
    scene.host.containerd.pull(&signed.by_tag(), PullBy::Default)?.success()?;
    let subjects = scene.host.node.root().join("var/lib/assay/agent/evidence/subjects");
    let file = |digest: &str| subjects.join(format!("{}.json", digest.trim_start_matches("sha256:")));
    assay_testkit::eventually("the evidence is kept", std::time::Duration::from_secs(10), || {
        file(&signed.digest).exists()
    })?;
    scene.host.node.stop()?;
    std::fs::copy(file(&signed.digest), file(&unsigned.digest))?;
    std::os::unix::fs::chown(file(&unsigned.digest), Some(assay_testkit::AGENT_UID), Some(assay_testkit::AGENT_UID))?;
    scene.host.start_node()?;
    // It is read, and is a good signature: of something else.
    refused(scene.host.containerd.pull(&unsigned.by_tag(), PullBy::Default)?, "NOT_SATISFIED")?;
    scene.host.registry.stop()?;
    assert_eq!(scene.host.containerd.run(&signed.by_tag(), &[])?.success()?.stdout, "hello from signed\n");
    Ok(())
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
