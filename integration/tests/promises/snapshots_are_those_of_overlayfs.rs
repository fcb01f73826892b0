//! Assay's snapshotter behaves as containerd's own overlayfs: the same scenario against both, the same outcome.

use anyhow::{Context, Result};
use assay_testkit::{
    Containerd, Finished, Host, ImageBuilder, Layer, PolicyText, PullBy, PushedImage, Registry, Snapshotter, Version,
};

/// A stock containerd and one with Assay, before the same registry.
struct Pair {
    stock: Containerd,
    assay: Host,
}

impl Pair {
    fn start(version: Version) -> Result<Self> {
        let registry = Registry::start()?;
        let stock = Containerd::start(version, Snapshotter::Stock)?;
        // Nothing is refused here: what is compared is storage.
        let policy = PolicyText::observing();
        Ok(Self { stock, assay: Host::reserve(version, registry)?.up(&policy)? })
    }

    fn push(&self, builder: ImageBuilder) -> Result<PushedImage> {
        builder.push(&self.assay.repository("test/app"), "1")
    }

    /// Does the same with both and compares what it gives.
    fn same<T: PartialEq + std::fmt::Debug>(&self, act: impl Fn(&Containerd, &str) -> Result<T>) -> Result<T> {
        let stock = act(&self.stock, Snapshotter::Stock.name())?;
        let ours = act(&self.assay.containerd, "assay")?;
        assert_eq!(ours, stock, "Assay's snapshotter on the left, overlayfs on the right");
        Ok(ours)
    }
}

const VERSIONS: [Version; 2] = [Version::V2, Version::V1_6];

/// Every name below the root with its type, mode, owner, size, link count and target, and a digest of all contents.
const LISTING: &str = "cd /; find . -xdev ! -path './proc*' ! -path './sys*' ! -path './dev*' | while read f; do stat -c '%n %F %a %u %g %h %N' \"$f\"; done; \
    find . -xdev -type f ! -path './proc*' ! -path './sys*' ! -path './dev*' -exec sha256sum {} +";

fn unpacked_root(containerd: &Containerd, image: &PushedImage) -> Result<Vec<String>> {
    containerd.pull(&image.by_tag(), PullBy::Default)?.success()?;
    let shown = containerd.run(&image.by_tag(), &["/bin/sh", "-c", LISTING])?.success()?;
    let mut lines: Vec<_> = shown.stdout.lines().map(str::to_owned).collect();
    lines.sort();
    Ok(lines)
}

#[test]
fn root_file_systems_are_equal_with_whiteouts_opaque_folders_and_links() -> Result<()> {
    for version in VERSIONS {
        let pair = Pair::start(version)?;
        let lower = Layer::new()
            .folder("data")
            .file("data/keep", b"keep")
            .file("data/gone", b"gone")
            .folder("old")
            .file("old/a", b"a")
            .file("twin", b"twin")
            .hardlink("twin2", "twin");
        let upper = Layer::new()
            .whiteout("data", "gone")
            .folder("old")
            .opaque("old")
            .file("old/b", b"b")
            .symlink("data/link", "keep")
            .program("run-me", b"#!/bin/sh\n")
            .whiteout("", "twin");
        let image = pair.push(ImageBuilder::busybox("links")?.layer(lower).layer(upper))?;
        let lines = pair.same(|containerd, _| unpacked_root(containerd, &image))?;
        assert!(
            lines.iter().any(|line| line.contains("./old/b ")) && !lines.iter().any(|line| line.contains("./old/a "))
        );
    }
    Ok(())
}

#[test]
fn image_of_126_layers_runs() -> Result<()> {
    for version in VERSIONS {
        let pair = Pair::start(version)?;
        let image = pair.push(ImageBuilder::busybox("deep")?.layers(124, 10))?;
        let lines = pair.same(|containerd, _| unpacked_root(containerd, &image))?;
        assert_eq!(lines.iter().filter(|line| line.starts_with("./layer-")).count(), 124);
    }
    Ok(())
}

#[test]
fn tree_kinds_and_usage_of_snapshots_are_equal() -> Result<()> {
    for version in VERSIONS {
        let pair = Pair::start(version)?;
        let image = pair.push(ImageBuilder::busybox("tree")?.layers(3, 5000))?;
        pair.same(|containerd, snapshotter| {
            containerd.pull(&image.by_tag(), PullBy::Default)?.success()?;
            let list = containerd.ctr(&["snapshots", "--snapshotter", snapshotter, "ls"])?.success()?;
            Ok(lines(&list.stdout))
        })?;
        pair.same(|containerd, snapshotter| {
            let usage = containerd.ctr(&["snapshots", "--snapshotter", snapshotter, "usage", "-b"])?.success()?;
            Ok(lines(&usage.stdout))
        })?;
    }
    Ok(())
}

#[test]
fn life_of_a_snapshot_is_the_same_down_to_its_errors() -> Result<()> {
    for version in VERSIONS {
        let pair = Pair::start(version)?;
        let image = pair.push(ImageBuilder::busybox("life")?)?;
        pair.same(|containerd, _| Ok(containerd.pull(&image.by_tag(), PullBy::Default)?.status.success()))?;
        // What the pull left to be collected is gone before the first step.
        pair.same(|containerd, _| containerd.collect_garbage())?;
        let top = pair.same(|containerd, _| {
            let mut keys = containerd.snapshots()?;
            keys.sort();
            Ok(keys)
        })?;
        let top = top.last().map(String::as_str).unwrap_or_default();
        let steps: [&[&str]; 16] = [
            &["prepare", "work", top],
            &["prepare", "work", top],
            &["prepare", "orphan", "no-such-parent"],
            &["view", "look", top],
            // Without this label nothing keeps a view that ctr made from the garbage collection.
            &["label", "look", "containerd.io/gc.root=test"],
            &["info", "work"],
            &["commit", "kept", "work"],
            &["commit", "kept", "work"],
            &["commit", "other", "look"],
            &["prepare", "child", "kept"],
            &["rm", "look"],
            &["rm", "kept"],
            &["rm", "child"],
            &["rm", "kept"],
            &["rm", "no-such-key"],
            &["ls"],
        ];
        for step in steps {
            pair.same(|containerd, snapshotter| {
                let mut words = vec!["snapshots", "--snapshotter", snapshotter];
                words.extend(step);
                let answer = containerd.ctr(&words)?;
                Ok((answer.status.success(), without_times(&answer.stdout), kind_of_error(&answer)?))
            })?;
        }
    }
    Ok(())
}

#[test]
fn images_pulled_at_the_same_time_are_all_there() -> Result<()> {
    for version in VERSIONS {
        let pair = Pair::start(version)?;
        let images: Vec<_> = (0..6)
            .map(|number| {
                let builder = ImageBuilder::busybox(&format!("parallel-{number}"))?.layers(4, 20_000);
                builder.push(&pair.assay.repository("test/app"), &format!("p{number}"))
            })
            .collect::<Result<_>>()?;
        let containerd = &pair.assay.containerd;
        std::thread::scope(|scope| {
            let pulls: Vec<_> = images
                .iter()
                .map(|image| scope.spawn(|| containerd.pull(&image.by_tag(), PullBy::Default)?.success()))
                .collect();
            pulls
                .into_iter()
                .try_for_each(|pull| pull.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a pull panicked"))).map(drop))
        })?;
        for (number, image) in images.iter().enumerate() {
            assert_eq!(
                containerd.run(&image.by_tag(), &[])?.success()?.stdout,
                format!("hello from parallel-{number}\n")
            );
        }
    }
    Ok(())
}

#[test]
fn nothing_is_left_of_a_removed_image() -> Result<()> {
    for version in VERSIONS {
        let pair = Pair::start(version)?;
        let image = pair.push(ImageBuilder::busybox("gone")?.layers(5, 100))?;
        let containerd = &pair.assay.containerd;
        containerd.pull(&image.by_tag(), PullBy::Default)?.success()?;
        containerd.run(&image.by_tag(), &[])?.success()?;
        containerd.remove_image(&image.by_tag())?;
        assert!(containerd.snapshots()?.is_empty());
        let folder = pair.assay.node.root().join("var/lib/assay/snapshotter/snapshots");
        assert_eq!(std::fs::read_dir(folder)?.count(), 0, "folders are left");
    }
    Ok(())
}

fn lines(text: &str) -> Vec<String> {
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// What went wrong, in none but the words that both have in common.
fn kind_of_error(answer: &Finished) -> Result<Option<&'static str>> {
    if answer.status.success() {
        return Ok(None);
    }
    let kinds = ["already exists", "does not exist", "not found", "is not active", "cannot remove snapshot with child"];
    let kind = kinds.into_iter().find(|kind| answer.said(kind));
    kind.map(Some).with_context(|| format!("an error of another kind: {answer}"))
}

/// Sorted lines with single spaces; the sequence numbers in the keys that containerd hands down are its own affair.
fn sorted(text: &str) -> Vec<String> {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let without_number = |word: &str| word.split('/').filter(|part| !is_number(part)).collect::<Vec<_>>().join("/");
    let one_space = |line: &str| line.split_whitespace().map(without_number).collect::<Vec<_>>().join(" ");
    let mut lines: Vec<_> = text.lines().map(one_space).collect();
    lines.sort();
    lines
}

/// The lines without those that hold a time.
fn without_times(text: &str) -> Vec<String> {
    let timed = ["\"Created\"", "\"Updated\"", "containerd.io/gc.root"];
    sorted(text).into_iter().filter(|line| !timed.iter().any(|word| line.contains(word))).collect()
}
