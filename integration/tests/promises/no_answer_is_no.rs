//! Whatever is missing, hung or killed between containerd and the verdict: the answer is no, soon, and yes again after.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use assay_testkit::{Finished, Program, PullBy, Version, eventually};
use nix::sys::signal::Signal;

use crate::scene::{Scene, refused_cleanly};

/// The gate waits three seconds; the rest is containerd and a busy machine.
const SOON: Duration = Duration::from_secs(10);
const RECOVERY: Duration = Duration::from_secs(20);

fn pull(scene: &Scene, reference: &str) -> Result<Finished> {
    scene.host.containerd.pull(reference, PullBy::Default)
}

fn admitted_again(scene: &Scene, reference: &str) -> Result<()> {
    eventually("the signed image is admitted again", RECOVERY, || {
        pull(scene, reference).is_ok_and(|answer| answer.status.success())
    })
}

#[test]
fn hung_agent_admits_nothing() -> Result<()> {
    let scene = Scene::enforcing(Version::V2)?;
    let image = scene.signed("1")?;
    scene.host.node.signal(Program::Agent, Signal::SIGSTOP)?;
    let started = Instant::now();
    let answer = pull(&scene, &image.by_tag())?;
    ensure!(answer.said("AGENT_UNAVAILABLE"), "{answer}");
    refused_cleanly(&scene.host, answer, "again")?;
    ensure!(started.elapsed() < SOON, "it took {:?}", started.elapsed());
    scene.host.node.signal(Program::Agent, Signal::SIGCONT)?;
    admitted_again(&scene, &image.by_tag())
}

#[test]
fn unreachable_agent_admits_nothing() -> Result<()> {
    for version in [Version::V2, Version::V1_6] {
        let scene = Scene::enforcing(version)?;
        let image = scene.signed("1")?;
        let (socket, aside) = (scene.host.node.socket("gate"), scene.host.node.socket("aside"));
        fs::rename(&socket, &aside)?;
        refused_cleanly(&scene.host, pull(&scene, &image.by_tag())?, "AGENT_UNAVAILABLE")?;
        fs::rename(&aside, &socket)?;
        admitted_again(&scene, &image.by_tag())?;
    }
    Ok(())
}

#[test]
fn agent_killed_in_mid_call_admits_nothing() -> Result<()> {
    let scene = Scene::enforcing(Version::V2)?;
    let (signed, unsigned) = (scene.signed("signed")?, scene.unsigned("unsigned")?);
    // The fetcher holds the agent in the middle of its work.
    scene.host.node.signal(Program::Fetcher, Signal::SIGSTOP)?;
    let answer = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| pull(&scene, &unsigned.by_tag()));
        std::thread::sleep(Duration::from_millis(700));
        scene.host.node.kill(Program::Agent)?;
        waiting.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the pulling thread panicked")))
    })?;
    refused_cleanly(&scene.host, answer, "")?;
    scene.host.node.signal(Program::Fetcher, Signal::SIGCONT)?;
    admitted_again(&scene, &signed.by_tag())?;
    eventually("the unsigned image is refused for what it is", RECOVERY, || {
        pull(&scene, &unsigned.by_tag()).is_ok_and(|answer| !answer.status.success() && answer.said("NO_SIGNATURE"))
    })
}

#[test]
fn hung_fetcher_admits_nothing() -> Result<()> {
    let scene = Scene::enforcing(Version::V2)?;
    let image = scene.signed("1")?;
    scene.host.node.signal(Program::Fetcher, Signal::SIGSTOP)?;
    let started = Instant::now();
    refused_cleanly(&scene.host, pull(&scene, &image.by_tag())?, "EVIDENCE_PENDING")?;
    ensure!(started.elapsed() < SOON, "it took {:?}", started.elapsed());
    scene.host.node.signal(Program::Fetcher, Signal::SIGCONT)?;
    admitted_again(&scene, &image.by_tag())
}

#[test]
fn registry_that_went_away_admits_nothing() -> Result<()> {
    for version in [Version::V2, Version::V1_6] {
        let mut scene = Scene::enforcing(version)?;
        let image = scene.signed("1")?;
        // All content is there and nothing is unpacked.
        scene.host.containerd.ctr(&["content", "fetch", "--plain-http", &image.by_tag()])?.success()?;
        scene.host.registry.stop()?;
        refused_cleanly(&scene.host, scene.host.containerd.run(&image.by_tag(), &[])?, "EVIDENCE_UNAVAILABLE")?;
        scene.host.registry.resume()?;
        eventually("the image runs once the registry is back", RECOVERY, || {
            scene.host.containerd.run(&image.by_tag(), &[]).is_ok_and(|answer| answer.said("hello from 1"))
        })?;
    }
    Ok(())
}

#[test]
fn killed_snapshotter_admits_nothing() -> Result<()> {
    let scene = Scene::enforcing(Version::V2)?;
    let (signed, unsigned) = (scene.signed("signed")?, scene.unsigned("unsigned")?);
    scene.host.node.kill(Program::Snapshotter)?;
    pull(&scene, &unsigned.by_tag())?.failure()?;
    admitted_again(&scene, &signed.by_tag())?;
    eventually("the unsigned image is refused for what it is", RECOVERY, || {
        pull(&scene, &unsigned.by_tag()).is_ok_and(|answer| !answer.status.success() && answer.said("NO_SIGNATURE"))
    })
}
