//! Who may ask, and what happens to those who ask badly.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use assay_hsm::{ClientError, KeyError, WorkerClient};

use crate::node::{Node, eventually, set_mode};

#[test]
fn another_uid_is_refused_even_if_it_reaches_the_socket() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let node = Node::started();
    set_mode(node.directory.path(), 0o755);
    set_mode(&node.socket(), 0o666);
    let peer = Command::new("python3")
        .args(["-c", "import socket,sys; s=socket.socket(socket.AF_UNIX); s.settimeout(5); s.connect(sys.argv[1]); print(s.recv(4096)[4:].decode())"])
        .arg(node.socket())
        .uid(4711)
        .output()
        .unwrap();
    let answer = String::from_utf8(peer.stdout).unwrap();
    assert_eq!(answer.trim(), r#"{"v":1,"answer":{"failed":{"code":"not-allowed","uid":4711}}}"#);
    assert!(node.log().contains("uid=4711"));
    // The twin: the agent's uid, on the same socket.
    node.client().status().unwrap();
}

#[test]
fn root_is_refused_unless_it_is_the_agent() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let mut node = Node::new();
    let config = node.path("etc/assay/keyd.toml");
    let text = std::fs::read_to_string(&config).unwrap().replace("agent-uid = 0", "agent-uid = 4711");
    std::fs::write(&config, text).unwrap();
    node.start();
    let refused = node.client().status();
    assert!(matches!(refused, Err(ClientError::Worker(KeyError::NotAllowed { uid: 0 }))), "{refused:?}");
}

#[test]
fn broken_frames_get_an_error_or_a_closed_connection_and_the_worker_serves_on() {
    let node = Node::started();
    let exchange = |bytes: &[u8], then_close: bool| {
        let mut stream = UnixStream::connect(node.socket()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream.write_all(bytes).unwrap();
        if then_close {
            stream.shutdown(std::net::Shutdown::Write).unwrap();
        }
        let mut answer = Vec::new();
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk) {
            Ok(count) => answer.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
            Err(error) => panic!("{error}"),
        }
        String::from_utf8_lossy(&answer).into_owned()
    };
    let framed = |body: &str| [&u32::try_from(body.len()).unwrap().to_be_bytes(), body.as_bytes()].concat();
    assert!(exchange(&framed("{"), false).contains(r#""code":"malformed""#));
    assert!(exchange(&framed(""), false).contains(r#""code":"malformed""#));
    assert!(exchange(&framed(&"[".repeat(10_000)), false).contains(r#""code":"malformed""#));
    assert!(
        exchange(&framed(r#"{"v":9,"request":{"op":"status"}}"#), false).contains(r#""code":"unsupported-version""#)
    );
    assert!(exchange(&u32::MAX.to_be_bytes(), false).contains(r#""code":"too-large""#));
    assert!(exchange(&(256 * 1024_u32 + 1).to_be_bytes(), false).contains(r#""code":"too-large""#));
    assert_eq!(exchange(&[0, 0, 0, 9, b'{'], true), "");
    assert_eq!(exchange(&[0, 0], true), "");
    // Half a frame and then nothing: closed within the limit for a frame.
    let started = Instant::now();
    assert_eq!(exchange(&[0, 0, 0, 9, b'{'], false), "");
    assert!(started.elapsed() < Duration::from_secs(4));
    node.client().status().unwrap();
}

#[test]
fn connections_are_bounded_and_come_back() {
    let node = Node::started();
    let mut clients: Vec<WorkerClient> = Vec::new();
    eventually("eight connections are open", || {
        let mut client = node.client();
        if client.status().is_ok() {
            clients.push(client);
        }
        clients.len() == 8
    });
    let refused = node.client().status();
    assert!(matches!(refused, Err(ClientError::Worker(KeyError::Busy { limit: 8, .. }))), "{refused:?}");
    clients.pop();
    eventually("a place is free again", || node.client().status().is_ok());
}

#[test]
fn a_client_talks_to_nobody_but_root_and_the_workers_uid() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let mut node = Node::new();
    node.start_as(4711);
    let connect = |uids: &[u32]| WorkerClient::connect(&node.socket(), uids, Duration::from_secs(20));
    connect(&[4711]).unwrap().status().unwrap();
    for uids in [[4710].as_slice(), &[]] {
        let refused = connect(uids);
        assert!(matches!(refused, Err(ClientError::WrongPeer { uid: 4711, .. })), "{refused:?}");
    }
}
