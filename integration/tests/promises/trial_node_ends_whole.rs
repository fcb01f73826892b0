//! `assay node up` leaves nothing behind, in whatever way it ends.

use std::time::Duration;

use anyhow::{Context, Result};
use assay_testkit::{Host, PolicyText, Program, Version, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpgid};

const PROGRAMS: [Program; 3] = [Program::Agent, Program::Fetcher, Program::Snapshotter];

#[test]
fn killed_node_up_takes_its_programs_with_it() -> Result<()> {
    let host = Host::start(Version::V2, &PolicyText::enforcing())?;
    let pids = PROGRAMS.iter().map(|program| host.node.pid(*program)).collect::<Result<Vec<_>>>()?;
    kill(parent(*pids.first().context("three programs")?)?, Signal::SIGKILL)?;
    eventually("the programs end", Duration::from_secs(10), || pids.iter().all(|pid| getpgid(Some(*pid)).is_err()))
}

#[test]
fn node_up_started_with_blocked_signals_still_stops_in_order() -> Result<()> {
    // What a test runner, a shell's trap or a service manager blocks is inherited by what it starts.
    nix::sys::signal::SigSet::all().thread_block()?;
    let mut host = Host::start(Version::V2, &PolicyText::enforcing())?;
    let pids = PROGRAMS.iter().map(|program| host.node.pid(*program)).collect::<Result<Vec<_>>>()?;
    host.node.stop()?;
    eventually("the programs end", Duration::from_secs(1), || pids.iter().all(|pid| getpgid(Some(*pid)).is_err()))
}

fn parent(pid: Pid) -> Result<Pid> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:")).context("a process has a parent")?;
    Ok(Pid::from_raw(line.trim().parse()?))
}
