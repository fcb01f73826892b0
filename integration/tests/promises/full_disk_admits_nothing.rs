//! Full disks: under the snapshotter, removing goes on and garbage collection alone makes room again; under the log, nothing
//! is admitted until it can be recorded.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};
use assay_testkit::{
    AGENT_UID, Finished, Host, ImageBuilder, PolicyText, PullBy, PushedImage, Registry, Version, eventually,
};
use nix::mount::{MsFlags, mount};

use crate::scene::{Scene, refused};

const SNAPSHOTS_MIB: usize = 32;

#[test]
fn full_snapshotter_removes_and_recovers_by_garbage_collection_alone() -> Result<()> {
    for version in [Version::V2, Version::V1_6] {
        let host = Host::reserve(version, Registry::start()?)?;
        small_disk(&host.node.root().join("var/lib/assay/snapshotter"), &format!("{SNAPSHOTS_MIB}m"), 0)?;
        let host = host.up(&PolicyText::observing())?;
        let containerd = &host.containerd;
        let pull = |image: &PushedImage| containerd.pull(&image.by_tag(), PullBy::Default);

        let mut pulled = Vec::new();
        let (too_much, answer) = loop {
            // More than a disk of this size can hold, and the test would go on for ever.
            if pulled.len() > SNAPSHOTS_MIB {
                bail!("the disk was never full");
            }
            let name = format!("big-{}", pulled.len());
            // Layers of this image alone: those of other images would be shared.
            let layer = |number: u8| {
                let content: Vec<u8> = noise(&format!("{name}-{number}"), 1 << 20);
                assay_testkit::Layer::new().file(&format!("file-{number}"), &content)
            };
            let builder = (0..4).fold(ImageBuilder::busybox(&name)?, |builder, number| builder.layer(layer(number)));
            let image = builder.push(&host.repository("test/app"), &name)?;
            match pull(&image)? {
                answer if answer.status.success() => pulled.push(image),
                answer => break (image, answer),
            }
        };
        no_space(&answer)?;
        // To the last byte, as a container might.
        let filler = host.node.root().join("var/lib/assay/snapshotter/filler");
        fill(&filler)?;
        containerd.snapshots()?;
        pull(&too_much)?.failure()?;

        // Nothing but containerd's own means from here on: the filler stays.
        for image in &pulled {
            containerd.remove_image(&image.by_tag())?;
        }
        containerd.collect_garbage()?;
        pull(&too_much)?.success()?;
        assert!(containerd.run(&too_much.by_tag(), &[])?.success()?.said("hello from big-"));
        containerd.remove_image(&too_much.by_tag())?;
        assert!(containerd.snapshots()?.is_empty());
    }
    Ok(())
}

/// Fails unless the command was refused for want of space.
fn no_space(answer: &Finished) -> Result<()> {
    if answer.status.success() || !answer.said("no space left") {
        bail!("not refused for want of space: {answer}");
    }
    Ok(())
}

#[test]
fn full_log_admits_nothing_until_there_is_room() -> Result<()> {
    let mut scene = Scene::enforcing(Version::V2)?;
    scene.host.node.stop()?;
    let folder = scene.host.node.root().join("var/lib/assay/agent/log");
    fs::remove_dir_all(&folder)?;
    small_disk(&folder, "512k", AGENT_UID)?;
    scene.host.start_node()?;

    let images: Vec<_> = (0..4).map(|number| scene.signed(&format!("{number}"))).collect::<Result<_>>()?;
    let unsigned = scene.unsigned("unsigned")?;
    let filler = folder.join("filler");
    // Refusals take what room is left in the log's own last page.
    eventually("the log is full", Duration::from_secs(30), || {
        let _ = fill(&filler);
        scene.host.node.assay(&["verify", &unsigned.by_tag()]).is_ok_and(|answer| answer.said("LOG_UNAVAILABLE"))
    })?;
    for image in &images {
        refused(scene.host.containerd.pull(&image.by_tag(), PullBy::Default)?, "LOG_UNAVAILABLE")?;
    }
    assert!(scene.host.containerd.snapshots()?.is_empty());
    fs::remove_file(&filler)?;
    for image in &images {
        scene.host.containerd.pull(&image.by_tag(), PullBy::Default)?.success()?;
    }
    scene.host.node.assay(&["audit", "show", "-o", "json"])?.success()?;
    Ok(())
}

/// A file system of its own of that size at `folder`, the property of `uid`. Who owns the node takes it away.
pub(crate) fn small_disk(folder: &Path, size: &str, uid: u32) -> Result<()> {
    let missing: Vec<PathBuf> = folder.ancestors().take_while(|part| !part.exists()).map(Path::to_owned).collect();
    for part in missing.iter().rev() {
        fs::create_dir(part)?;
        // As `assay node up` makes them: the way there is open, the end is not.
        fs::set_permissions(part, Permissions::from_mode(0o755))?;
    }
    let options = format!("size={size},mode=0700,uid={uid},gid={uid}");
    mount(Some("tmpfs"), folder, Some("tmpfs"), MsFlags::empty(), Some(options.as_str()))?;
    chown(folder, Some(uid), Some(uid))?;
    Ok(())
}

/// Writes until not one more byte fits.
pub(crate) fn fill(path: &Path) -> Result<()> {
    let mut file: File = OpenOptions::new().create(true).append(true).open(path)?;
    for size in [1 << 16, 4096, 1] {
        while file.write_all(&vec![7; size]).is_ok() {}
    }
    Ok(())
}

/// Bytes that do not compress away and differ from seed to seed.
fn noise(seed: &str, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 71);
    let mut link = assay_testkit::sha256(seed.as_bytes());
    while bytes.len() < length {
        bytes.extend_from_slice(link.as_bytes());
        link = assay_testkit::sha256(link.as_bytes());
    }
    bytes.truncate(length);
    bytes
}
