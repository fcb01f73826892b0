//! A Prepare that waits for a verdict stops nobody for long: containerd lists, removes and collects garbage meanwhile.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use assay_testkit::{Program, PullBy, Version};
use nix::sys::signal::Signal;

use crate::scene::{Scene, refused};

/// The gate's own limit, and what a process start costs on a busy machine.
const LIMIT: Duration = Duration::from_secs(6);

#[test]
fn waiting_prepare_lets_list_remove_and_garbage_collection_pass() -> Result<()> {
    for version in [Version::V2, Version::V1_6] {
        let scene = Scene::enforcing(version)?;
        let (old, new) = (scene.signed("old")?, scene.signed("new")?);
        scene.host.containerd.pull(&old.by_tag(), PullBy::Default)?.success()?;
        scene.host.node.signal(Program::Fetcher, Signal::SIGSTOP)?;
        let answer = std::thread::scope(|scope| -> Result<_> {
            let waiting = scope.spawn(|| scene.host.containerd.pull(&new.by_tag(), PullBy::Default));
            std::thread::sleep(Duration::from_millis(300));
            let listed = timed(|| scene.host.containerd.snapshots())?;
            ensure!(listed < Duration::from_secs(2), "listing took {listed:?}");
            let collected = timed(|| scene.host.containerd.remove_image(&old.by_tag()))?;
            ensure!(collected < LIMIT, "garbage collection took {collected:?}");
            let listed = timed(|| scene.host.containerd.snapshots())?;
            ensure!(listed < LIMIT, "listing after garbage collection took {listed:?}");
            waiting.join().ok().context("the pulling thread panicked")?
        })?;
        refused(answer, "EVIDENCE_PENDING")?;
        // The layer that both images share went on living for the pull that waited.
        let _ = scene.host.containerd.remove_image(&new.by_tag());
        scene.host.containerd.collect_garbage()?;
        assert!(scene.host.containerd.snapshots()?.is_empty());
        scene.host.node.signal(Program::Fetcher, Signal::SIGCONT)?;
    }
    Ok(())
}

fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<Duration> {
    let started = Instant::now();
    work()?;
    Ok(started.elapsed())
}
