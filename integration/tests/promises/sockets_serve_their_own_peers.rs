//! Each socket serves the uids of its role and nobody else, whatever its mode says; and a gate takes no answer from a socket
//! that someone else serves or that a link leads to.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use assay_testkit::{AGENT_UID, FETCHER_UID, KEY_WORKER_UID, PullBy, Version, eventually};

use crate::peer::{FakeAgent, HTTP2, STRANGER, as_user, first_answer};
use crate::scene::{Scene, refused_cleanly};

/// Every socket of a node and the one uid that it serves in this test.
const ROLES: [(&str, u32); 6] =
    [("gate", 0), ("admin", 0), ("sign", 0), ("snapshotter", 0), ("fetch", AGENT_UID), ("key", AGENT_UID)];
const UIDS: [u32; 5] = [0, AGENT_UID, KEY_WORKER_UID, FETCHER_UID, STRANGER];

/// The key worker's own protocol: four bytes of length and a request.
const STATUS: &[u8] = b"\x00\x00\x00\x21{\"v\":1,\"request\":{\"op\":\"status\"}}";

#[test]
fn every_socket_serves_the_uid_of_its_role_and_no_other() -> Result<()> {
    let scene = Scene::enforcing_with_signed_log(Version::V2)?;
    for (role, served) in ROLES {
        let socket = scene.host.node.socket(role);
        // The mode alone keeps strangers out; it is laid open so that the peer's credentials are all that is left.
        let closed = as_user(STRANGER, STRANGER, || first_answer(&socket, HTTP2));
        let error = closed.err().with_context(|| format!("a stranger could connect to {role}.sock"))?;
        let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        assert_eq!(kind, Some(std::io::ErrorKind::PermissionDenied), "{role}");
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o666))?;
        for uid in UIDS {
            let answer = as_user(uid, uid, || first_answer(&socket, if role == "key" { STATUS } else { HTTP2 }))?;
            let is_served = !answer.is_empty() && !String::from_utf8_lossy(&answer).contains("not-allowed");
            assert_eq!(is_served, uid == served, "{role}.sock, uid {uid}: {}", String::from_utf8_lossy(&answer));
        }
    }
    Ok(())
}

#[test]
fn agent_of_another_uid_is_not_believed() -> Result<()> {
    let scene = Scene::enforcing(Version::V2)?;
    let image = scene.unsigned("1")?;
    let (socket, aside) = (scene.host.node.socket("gate"), scene.host.node.socket("aside"));
    fs::rename(&socket, &aside)?;
    for uid in [STRANGER, KEY_WORKER_UID, FETCHER_UID] {
        let fake = FakeAgent::start(uid)?;
        fake.take_the_place_of(&socket)?;
        let answer = scene.host.containerd.pull(&image.by_tag(), PullBy::Default)?;
        ensure!(answer.said(&format!("served by uid {uid}")), "{answer}");
        refused_cleanly(&scene.host, answer, "AGENT_UNAVAILABLE")?;
    }
    // The uid is all that kept them out: what root serves in the agent's place is the agent.
    let roots = FakeAgent::start(0)?;
    roots.take_the_place_of(&socket)?;
    eventually("the very same answer counts from uid 0", Duration::from_secs(20), || {
        scene.host.containerd.pull(&image.by_tag(), PullBy::Default).is_ok_and(|answer| answer.status.success())
    })
}

#[test]
fn socket_behind_a_link_is_not_used() -> Result<()> {
    let scene = Scene::enforcing(Version::V2)?;
    let image = scene.signed("1")?;
    let (socket, aside) = (scene.host.node.socket("gate"), scene.host.node.socket("aside"));
    fs::rename(&socket, &aside)?;
    // Even one that leads to the agent itself.
    symlink(&aside, &socket)?;
    refused_for_a_link(&scene, &image.by_tag())?;
    fs::remove_file(&socket)?;
    fs::rename(&aside, &socket)?;
    scene.host.containerd.pull(&image.by_tag(), PullBy::Default)?.success()?;
    Ok(())
}

fn refused_for_a_link(scene: &Scene, reference: &str) -> Result<()> {
    let answer = scene.host.containerd.pull(reference, PullBy::Default)?;
    ensure!(answer.said("is a symbolic link"), "{answer}");
    refused_cleanly(&scene.host, answer, "AGENT_UNAVAILABLE")
}

#[test]
fn fetcher_and_key_worker_of_another_uid_are_not_used() -> Result<()> {
    let scene = Scene::enforcing_with_signed_log(Version::V2)?;
    let image = scene.signed("1")?;
    for role in ["fetch", "key"] {
        let socket = scene.host.node.socket(role);
        let fake = FakeAgent::start(STRANGER)?;
        fake.take_the_place_of(&socket)?;
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o666))?;
        break_connections(&scene, role)?;
        said_in_status(&scene, &socket)?;
    }
    let answer = scene.host.containerd.pull(&image.by_tag(), PullBy::Default)?;
    refused_cleanly(&scene.host, answer, "EVIDENCE_UNAVAILABLE")
}

/// The agent keeps a connection that it has; a new one it makes by path.
fn break_connections(scene: &Scene, role: &str) -> Result<()> {
    let program = if role == "key" { assay_testkit::Program::KeyWorker } else { assay_testkit::Program::Fetcher };
    scene.host.node.kill(program)
}

fn said_in_status(scene: &Scene, socket: &Path) -> Result<()> {
    let mut last = None;
    let wanted = format!("uid {STRANGER}");
    let seen = eventually("the status names the foreign uid", Duration::from_secs(20), || {
        last = scene.host.node.assay(&["node", "status"]).ok();
        last.as_ref().is_some_and(|status| status.said(&wanted))
    });
    seen.with_context(|| format!("{}: {}", socket.display(), last.map(|status| status.to_string()).unwrap_or_default()))
}
