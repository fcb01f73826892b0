//! With the pull gate in containerd's image verifier directory an image is judged under its full name before containerd fetches
//! anything of it, with one collection for both gates.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use assay_testkit::{ImageBuilder, PolicyText, Program, PullBy, PushedImage, eventually};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::scene::{Scene, change_base64, refused, refused_cleanly};

/// What containerd gives a verifier, and a little for a busy machine.
const PATIENCE: Duration = Duration::from_secs(10 + 3);

/// The log's lines about decisions of that gate.
fn decisions(scene: &Scene, gate: &str) -> Result<Vec<String>> {
    let shown = scene.host.node.assay(&["audit", "show"])?.success()?.stdout;
    let of_gate =
        |line: &&str| ["allow ", "deny  "].iter().any(|outcome| line.contains(&format!("{outcome}  {gate} ")));
    Ok(shown.lines().filter(of_gate).map(str::to_owned).collect())
}

/// How often the fetcher was sent.
fn collections(scene: &Scene) -> Result<usize> {
    let status: Value =
        serde_json::from_str(&scene.host.node.assay(&["node", "status", "-o", "json"])?.success()?.stdout)?;
    let said = status.pointer("/fetcher/detail").and_then(Value::as_str).context("the fetcher says something")?;
    let count = said.split(", ").find_map(|part| part.strip_suffix(" collections")).context("it counts collections")?;
    Ok(count.parse()?)
}

/// Fails unless the image was refused at the pull gate, and containerd asked the registry for nothing but what the name leads to.
fn refused_unfetched(scene: &Scene, image: &PushedImage, code: &str) -> Result<()> {
    let before = scene.host.registry.requests_of("containerd/").len();
    let answer = scene.host.containerd.pull(&image.by_tag(), PullBy::Default)?;
    ensure!(answer.said("image verifier") && answer.said("rule \"production\"; record"), "{answer}");
    refused_cleanly(&scene.host, answer, code)?;
    let asked = scene.host.registry.requests_of("containerd/").split_off(before);
    ensure!(!asked.is_empty(), "containerd is not known by its user agent");
    ensure!(asked.iter().all(|request| request.contains("/manifests/")), "more was fetched: {asked:?}");
    ensure!(scene.host.containerd.content()?.is_empty() && scene.host.containerd.images()?.is_empty());
    Ok(())
}

#[test]
fn unsigned_image_is_refused_before_containerd_fetches_anything_of_it() -> Result<()> {
    let scene = Scene::with_pull_gate(PolicyText::enforcing())?;
    let image = scene.unsigned("1")?;
    refused_unfetched(&scene, &image, "NO_SIGNATURE")?;
    let judged = decisions(&scene, "pull")?;
    let [line] = judged.as_slice() else { anyhow::bail!("{judged:?}") };
    for text in ["deny    pull", "NO_SIGNATURE", &image.by_tag(), &image.digest] {
        ensure!(line.contains(text), "{text}: {line}");
    }
    ensure!(decisions(&scene, "unpack")?.is_empty(), "something was unpacked");
    // Once it is signed it is another matter.
    scene.cosign.sign(&scene.ci, &image.by_digest())?;
    scene.host.containerd.pull(&image.by_tag(), PullBy::Default)?.success()?;
    Ok(())
}

#[test]
fn signed_image_is_pulled_unpacked_and_run_with_one_collection() -> Result<()> {
    let scene = Scene::with_pull_gate(PolicyText::enforcing())?;
    let image = scene.signed("1")?;
    let before = collections(&scene)?;
    scene.host.containerd.pull(&image.by_tag(), PullBy::Default)?.success()?;
    assert_eq!(scene.host.containerd.run(&image.by_tag(), &[])?.success()?.stdout, "hello from 1\n");
    assert_eq!(collections(&scene)?, before + 1);
    let (pulled, unpacked) = (decisions(&scene, "pull")?, decisions(&scene, "unpack")?);
    ensure!(pulled.len() == 1 && pulled.iter().all(|line| line.contains("allow   pull")), "{pulled:?}");
    ensure!(!unpacked.is_empty() && unpacked.iter().all(|line| line.contains("allow   unpack")), "{unpacked:?}");
    // The gate that unpacks knows the exact name: containerd's label has lost the port.
    ensure!(unpacked.iter().any(|line| line.contains(&format!("{} (requested)", image.by_tag()))), "{unpacked:?}");
    Ok(())
}

#[test]
fn index_of_several_platforms_is_judged_for_this_one() -> Result<()> {
    let scene = Scene::with_pull_gate(PolicyText::enforcing())?;
    let builder = ImageBuilder::busybox("multi")?.architectures(&["amd64", "arm64"]);
    let image = builder.push(&scene.production(), "1")?;
    refused_unfetched(&scene, &image, "NO_SIGNATURE")?;
    scene.cosign.sign(&scene.ci, &image.by_digest())?;
    scene.host.containerd.pull(&image.by_tag(), PullBy::Default)?.success()?;
    Ok(())
}

#[test]
fn tampered_signature_is_refused_before_containerd_fetches_anything() -> Result<()> {
    let scene = Scene::with_pull_gate(PolicyText::enforcing())?;
    let image = scene.signed("1")?;
    image.change_referrers(|bundle| {
        change_base64(bundle, "\"sig\":\"").unwrap_or_else(|error| panic!("{error}"));
    })?;
    refused_unfetched(&scene, &image, "NOT_SATISFIED")
}

#[test]
fn agent_that_is_away_or_hangs_lets_nothing_be_fetched_and_it_is_said_in_time() -> Result<()> {
    let scene = Scene::with_pull_gate(PolicyText::enforcing())?;
    let image = scene.signed("1")?;
    let pull = || scene.host.containerd.pull(&image.by_tag(), PullBy::Default);
    let (socket, aside) = (scene.host.node.socket("gate"), scene.host.node.socket("aside"));
    fs::rename(&socket, &aside)?;
    refused_cleanly(&scene.host, pull()?, "AGENT_UNAVAILABLE")?;
    fs::rename(&aside, &socket)?;

    scene.host.node.signal(Program::Agent, Signal::SIGSTOP)?;
    let answer = pull();
    scene.host.node.signal(Program::Agent, Signal::SIGCONT)?;
    let answer = answer?;
    ensure!(answer.took < PATIENCE, "{answer}");
    // The gate's own words, rather than containerd's on a program that it had to kill.
    ensure!(answer.said("no answer within 9000 ms") && answer.said("start assayd"), "{answer}");
    refused_cleanly(&scene.host, answer, "AGENT_UNAVAILABLE")?;
    ensure!(scene.host.registry.requests_of("containerd/").iter().all(|request| request.contains("/manifests/")));
    eventually("the signed image is admitted again", Duration::from_secs(20), || {
        pull().is_ok_and(|answer| answer.status.success())
    })
}

#[test]
fn registry_that_answers_too_late_is_told_as_pending_in_time() -> Result<()> {
    let scene = Scene::with_pull_gate(PolicyText::enforcing())?;
    let image = scene.signed("1")?;
    scene.host.node.signal(Program::Fetcher, Signal::SIGSTOP)?;
    let answer = scene.host.containerd.pull(&image.by_tag(), PullBy::Default);
    scene.host.node.signal(Program::Fetcher, Signal::SIGCONT)?;
    let answer = answer?;
    ensure!(answer.took < PATIENCE, "{answer}");
    refused_cleanly(&scene.host, answer, "EVIDENCE_PENDING")?;
    eventually("what was collected meanwhile admits it", Duration::from_secs(20), || {
        scene.host.containerd.pull(&image.by_tag(), PullBy::Default).is_ok_and(|answer| answer.status.success())
    })
}

#[test]
fn what_observe_lets_in_is_on_record_as_the_pull_gates() -> Result<()> {
    let scene = Scene::with_pull_gate(PolicyText::observing())?;
    let image = scene.unsigned("1")?;
    scene.host.containerd.pull(&image.by_tag(), PullBy::Default)?.success()?;
    let judged = decisions(&scene, "pull")?;
    ensure!(
        judged.iter().any(|line| line.contains("allow   pull") && line.contains("enforcing would deny: NO_SIGNATURE")),
        "{judged:?}"
    );
    Ok(())
}

#[test]
fn what_was_admitted_at_the_pull_is_judged_again_under_another_policy() -> Result<()> {
    let scene = Scene::with_pull_gate(PolicyText::observing())?;
    let image = scene.unsigned("1")?;
    scene.host.containerd.pull(&image.by_tag(), PullBy::Default)?.success()?;
    scene.host.node.apply_policy(&scene.policy.in_mode("enforce"))?;
    refused(scene.host.containerd.run(&image.by_tag(), &[])?, "NO_SIGNATURE")?;
    refused(scene.host.containerd.pull(&image.by_tag(), PullBy::Default)?, "NO_SIGNATURE")
}
