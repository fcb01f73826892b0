//! The key worker is a process of its own under a uid of its own: it can open nothing of the agent's, and the agent decides
//! without it.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use assay_testkit::{
    Cosign, Finished, Host, ImageBuilder, KEY_WORKER_UID, KeyUse, PolicyText, Program, PullBy, Registry, Token,
    TokenKey, Version, eventually, finish,
};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::scene::production;

const PROGRAMS: [Program; 4] = [Program::Agent, Program::KeyWorker, Program::Fetcher, Program::Snapshotter];

fn host() -> Result<Host> {
    let registry = Registry::start()?;
    let token = Token::create("assay")?;
    for label in ["log", "ci"] {
        token.generate(label, TokenKey::P256)?;
    }
    let policy = PolicyText::enforcing().key("ci", &token.public_key_pem("ci")?).rule(
        "production",
        &[&production(&registry)],
        1,
        &["ci"],
    );
    let uses = [KeyUse { label: "ci", purpose: "image", peers: &[0] }];
    Host::reserve(Version::V2, registry)?.with_token(token, &uses)?.up(&policy)
}

#[test]
fn workers_uid_opens_nothing_of_the_agents() -> Result<()> {
    let host = host()?;
    let agent = host.node.pid(Program::Agent)?;
    let state = host.node.root().join("var/lib/assay/agent");
    for path in [format!("/proc/{agent}/mem"), format!("/proc/{agent}/environ"), format!("/proc/{agent}/fd/0")] {
        as_worker(&["head", "-c", "0", &path])?.failure()?;
        finish(Command::new("head").args(["-c", "0", &path]), Duration::from_secs(5))?.success()?;
    }
    as_worker(&["ls", &state.to_string_lossy()])?.failure()?;
    finish(Command::new("ls").arg(&state), Duration::from_secs(5))?.success()?;
    for role in ["gate", "admin", "sign", "key", "fetch", "snapshotter"] {
        let socket = host.node.socket(role);
        as_worker(&["test", "-w", &socket.to_string_lossy()])?.failure().context(role)?;
    }
    Ok(())
}

fn as_worker(words: &[&str]) -> Result<Finished> {
    let uid = KEY_WORKER_UID.to_string();
    let mut command = Command::new("setpriv");
    finish(command.args(["--reuid", &uid, "--regid", &uid, "--clear-groups", "--"]).args(words), Duration::from_secs(5))
}

#[test]
fn worker_is_no_descendant_of_the_agent_and_each_has_its_own_uid() -> Result<()> {
    let host = host()?;
    let agent = host.node.pid(Program::Agent)?;
    let mut process = host.node.pid(Program::KeyWorker)?;
    while process.as_raw() > 1 {
        assert_ne!(process, agent);
        process = Pid::from_raw(status_number(process, "PPid:")?);
    }
    let uids: Vec<_> =
        PROGRAMS.iter().map(|program| status_number(host.node.pid(*program)?, "Uid:")).collect::<Result<_>>()?;
    for (index, uid) in uids.iter().enumerate() {
        assert!(!uids.iter().skip(index + 1).any(|other| other == uid), "{uids:?}");
    }
    Ok(())
}

fn status_number(process: Pid, field: &str) -> Result<i32> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)).context("the field is there")?;
    Ok(line.split_whitespace().next().context("the field has a value")?.parse()?)
}

#[test]
fn pin_is_in_no_environment_command_line_or_log() -> Result<()> {
    let host = host()?;
    let pin = host.token.as_ref().context("there is a token")?.pin().to_owned();
    for program in PROGRAMS {
        let pid = host.node.pid(program)?;
        for file in ["environ", "cmdline"] {
            let bytes = fs::read(format!("/proc/{pid}/{file}"))?;
            assert!(!String::from_utf8_lossy(&bytes).contains(&pin), "{}", program.name());
        }
    }
    assert!(!host.node.log().contains(&pin));
    Ok(())
}

#[test]
fn decisions_that_need_no_key_go_on_without_the_worker() -> Result<()> {
    let host = host()?;
    let token = host.token.as_ref().context("there is a token")?;
    let repository = host.repository("prod/app");
    let (first, second) = (
        ImageBuilder::busybox("first")?.push(&repository, "first")?,
        ImageBuilder::busybox("second")?.push(&repository, "second")?,
    );
    host.node.assay(&["sign", &first.by_tag(), "--key", &token.uri("ci")])?.success()?;

    host.node.signal(Program::KeyWorker, Signal::SIGSTOP)?;
    host.containerd.pull(&first.by_tag(), PullBy::Default)?.success()?;
    host.node.assay(&["--timeout", "10s", "sign", &second.by_tag(), "--key", &token.uri("ci")])?.failure()?;
    host.node.signal(Program::KeyWorker, Signal::SIGCONT)?;
    signs_again(&host, &second.by_tag(), &token.uri("ci"))?;

    host.node.kill(Program::KeyWorker)?;
    let third = ImageBuilder::busybox("third")?.push(&repository, "third")?;
    signs_again(&host, &third.by_tag(), &token.uri("ci"))?;
    host.containerd.pull(&third.by_tag(), PullBy::Default)?.success()?;
    Ok(())
}

#[test]
fn token_that_was_pulled_and_put_back_signs_again() -> Result<()> {
    let host = host()?;
    let token = host.token.as_ref().context("there is a token")?;
    let image = ImageBuilder::busybox("app")?.push(&host.repository("prod/app"), "1")?;
    let (here, away) = (token.store(), token.store().with_extension("away"));
    fs::rename(&here, &away)?;
    host.node.assay(&["--timeout", "10s", "sign", &image.by_tag(), "--key", &token.uri("ci")])?.failure()?;
    eventually("the status says so", Duration::from_secs(20), || {
        host.node.assay(&["node", "status"]).is_ok_and(|status| status.said("key worker   NOT HEALTHY"))
    })?;
    fs::rename(&away, &here)?;
    signs_again(&host, &image.by_tag(), &token.uri("ci"))?;
    let public = host.node.root().join("ci.pub");
    fs::write(&public, token.public_key_pem("ci")?)?;
    Cosign::new()?.verify(&public, &image.by_digest())?.success()?;
    Ok(())
}

fn signs_again(host: &Host, image: &str, key: &str) -> Result<()> {
    eventually("the key signs again", Duration::from_secs(30), || {
        host.node.assay(&["--timeout", "10s", "sign", image, "--key", key]).is_ok_and(|answer| answer.status.success())
    })
}
