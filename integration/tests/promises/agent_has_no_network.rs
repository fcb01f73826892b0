//! Agent, key worker and snapshotter have no socket but Unix sockets, after they pulled, judged and signed.

use std::collections::BTreeSet;
use std::fs;
use std::net::{TcpListener, UdpSocket};

use anyhow::{Context, Result};
use assay_testkit::{Host, ImageBuilder, KeyUse, PolicyText, Program, PullBy, Registry, Token, TokenKey, Version};
use nix::unistd::Pid;

use crate::scene::production;

#[test]
fn agent_key_worker_and_snapshotter_open_nothing_but_unix_sockets() -> Result<()> {
    let (registry, token) = (Registry::start()?, Token::create("assay")?);
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
    let host = Host::reserve(Version::V2, registry)?.with_token(token, &uses)?.up(&policy)?;
    let image = ImageBuilder::busybox("app")?.push(&host.repository("prod/app"), "1")?;
    let token = host.token.as_ref().context("there is a token")?;
    host.node.assay(&["sign", &image.by_tag(), "--key", &token.uri("ci")])?.success()?;
    host.containerd.pull(&image.by_tag(), PullBy::Default)?.success()?;
    host.node.assay(&["verify", &image.by_tag()])?.success()?;

    for program in [Program::Agent, Program::KeyWorker, Program::Snapshotter] {
        let pid = host.node.pid(program)?;
        assert!(!sockets_of(pid)?.is_empty(), "{} has the socket that it serves", program.name());
        let others = other_sockets(pid)?;
        assert!(others.is_empty(), "{} has sockets of another family: {others:?}", program.name());
    }
    // The same look finds a socket of another family where there is one: here.
    let (_tcp, _udp) = (TcpListener::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
    let others = other_sockets(Pid::this())?;
    assert!(others.len() >= 2, "{others:?}");
    Ok(())
}

/// A process's sockets that are not Unix sockets.
fn other_sockets(process: Pid) -> Result<BTreeSet<String>> {
    // Looked at on both sides: a connection may end or begin between two looks.
    let (before, own, after) = (unix_sockets()?, sockets_of(process)?, unix_sockets()?);
    Ok(own.into_iter().filter(|inode| !before.contains(inode) && !after.contains(inode)).collect())
}

/// The inode numbers of a process's sockets.
fn sockets_of(process: Pid) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(format!("/proc/{process}/fd"))? {
        // One that was closed meanwhile leads nowhere.
        let Ok(target) = fs::read_link(entry?.path()) else { continue };
        let inode = target.to_str().and_then(|text| text.strip_prefix("socket:[")?.strip_suffix(']'));
        found.extend(inode.map(str::to_owned));
    }
    Ok(found)
}

/// The inode numbers of all Unix sockets of this machine (proc_net(5): the seventh column).
fn unix_sockets() -> Result<BTreeSet<String>> {
    let table = fs::read_to_string("/proc/net/unix")?;
    Ok(table.lines().skip(1).filter_map(|line| line.split_whitespace().nth(6)).map(str::to_owned).collect())
}
