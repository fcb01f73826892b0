//! containerd leaves its image verifiers out in several ways, silently. The unpack gate then refuses what they would have.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Result, ensure};
use assay_testkit::{PolicyText, PullBy, PushedImage, Verifiers};

use crate::scene::{Scene, refused_cleanly};

/// Fails unless the unpack gate refused it, and the pull gate was never asked.
fn refused_at_unpack(scene: &Scene, image: &PushedImage, by: PullBy) -> Result<()> {
    let answer = scene.host.containerd.pull(&image.by_tag(), by)?;
    ensure!(!answer.said("image verifier"), "{answer}");
    refused_cleanly(&scene.host, answer, "NO_SIGNATURE")?;
    let shown = scene.host.node.assay(&["audit", "show"])?.success()?;
    ensure!(shown.said("deny    unpack") && !shown.said("  pull "), "{shown}");
    Ok(())
}

#[test]
fn pull_by_the_client_asks_no_verifier_and_is_refused_at_the_unpack_gate() -> Result<()> {
    let scene = Scene::with_pull_gate(PolicyText::enforcing())?;
    refused_at_unpack(&scene, &scene.unsigned("1")?, PullBy::Client)
}

#[test]
fn directory_that_is_missing_empty_or_cut_short_is_made_up_for_by_the_unpack_gate() -> Result<()> {
    let mut scene = Scene::with_pull_gate(PolicyText::enforcing())?;
    let image = scene.unsigned("1")?;
    let verifiers = scene.host.node.verifiers();
    let (missing, empty) = (scene.host.node.root().join("missing"), scene.host.node.root().join("empty"));
    fs::create_dir(&empty)?;
    for (folder, most) in [(&missing, -1), (&empty, -1), (&verifiers, 0)] {
        asks(&mut scene, folder, most)?;
        refused_at_unpack(&scene, &image, PullBy::Default)?;
    }
    // One that admits everything stands before ours, and containerd asks the first alone.
    let decoy = verifiers.join("a-decoy");
    fs::write(&decoy, "#!/bin/sh\nexit 0\n")?;
    fs::set_permissions(&decoy, Permissions::from_mode(0o755))?;
    asks(&mut scene, &verifiers, 1)?;
    refused_at_unpack(&scene, &image, PullBy::Default)?;
    // With all of them asked, ours is.
    asks(&mut scene, &verifiers, -1)?;
    let answer = scene.host.containerd.pull(&image.by_tag(), PullBy::Default)?;
    ensure!(answer.said("image verifier"), "{answer}");
    refused_cleanly(&scene.host, answer, "NO_SIGNATURE")
}

/// Starts containerd again, with another verifier directory.
fn asks(scene: &mut Scene, folder: &Path, most: i32) -> Result<()> {
    scene.host.containerd.stop()?;
    scene.host.containerd.ask_verifiers(Verifiers { folder: folder.to_owned(), most })?;
    scene.host.containerd.resume()
}
