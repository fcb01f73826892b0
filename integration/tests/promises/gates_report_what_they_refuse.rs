//! What a gate refuses by itself, because the agent does not answer, is on record once the agent is back.

use std::time::Duration;

use anyhow::Result;
use assay_testkit::{Program, PullBy, Version, eventually};
use nix::sys::signal::Signal;

use crate::scene::{Scene, refused_cleanly};

#[test]
fn refusals_while_the_agent_was_away_are_in_the_log_with_gate_and_reason() -> Result<()> {
    let scene = Scene::enforcing(Version::V2)?;
    let image = scene.signed("signed")?;
    scene.host.node.signal(Program::Agent, Signal::SIGSTOP)?;
    let pulled = scene.host.containerd.pull(&image.by_tag(), PullBy::Default);
    scene.host.node.signal(Program::Agent, Signal::SIGCONT)?;
    refused_cleanly(&scene.host, pulled?, "AGENT_UNAVAILABLE")?;
    eventually("the refusal is on record", Duration::from_secs(20), || {
        let Ok(shown) = scene.host.node.assay(&["audit", "show"]) else { return false };
        shown.stdout.lines().any(|line| {
            line.contains("refuse  unpack") && line.contains("by the gate itself; AGENT_UNAVAILABLE (no answer within")
        })
    })?;
    scene.host.containerd.pull(&image.by_tag(), PullBy::Default)?.success()?;
    Ok(())
}
