//! Tokens that go, modules that hang, peers that misbehave: the worker answers no, and goes on or starts anew.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::node::{MODULE, Node, PIN, compile_module, eventually, generate, sign, wait_for_end};
use assay_hsm::{ClientError, KeyError, KeyKind, PinRefusal, PinStatus, Scheme, TokenStatus, WorkerClient};
use nix::sys::signal::Signal;

fn token_error(client: &mut WorkerClient) -> KeyError {
    match client.status().unwrap().token {
        TokenStatus::Unavailable { error } => error,
        present @ TokenStatus::Present { .. } => panic!("{present:?}"),
    }
}

#[test]
fn status_tells_of_module_token_and_pin() {
    let node = Node::started();
    let status = node.client().status().unwrap();
    assert!(
        matches!(status.token, TokenStatus::Present { label, serial, .. } if label == "assay" && serial.len() == 16)
    );
    assert_eq!(status.pin, PinStatus::Accepted);
    assert_eq!(status.module.path, MODULE);
    assert!(status.module.description.unwrap().contains("SoftHSM"));
    assert_eq!((status.threads, status.hung), (2, 0));
}

#[test]
fn a_token_taken_out_is_absent_and_put_back_is_used_again() {
    let node = Node::started();
    let client = &mut node.client();
    let key = generate(client, "k", KeyKind::P256).unwrap();
    let uri = key.uri.to_string();
    sign(client, &uri, Scheme::EcdsaP256Sha256, b"m").unwrap();
    let absent = KeyError::TokenAbsent { token: "assay".into() };
    for _ in 0..2 {
        std::fs::rename(node.path("tokens"), node.path("drawer")).unwrap();
        std::fs::create_dir(node.path("tokens")).unwrap();
        let refused = sign(client, &uri, Scheme::EcdsaP256Sha256, b"m");
        assert!(matches!(refused, Err(ClientError::Worker(error)) if error == absent && error.is_retryable()));
        // Not "no such key" and not "no keys": nobody knows that now.
        let refused = client.public(&"pkcs11:object=nowhere".parse().unwrap());
        assert!(matches!(refused, Err(ClientError::Worker(error)) if error == absent));
        assert!(matches!(client.list(), Err(ClientError::Worker(error)) if error == absent));
        assert_eq!(token_error(client), absent);
        std::fs::remove_dir(node.path("tokens")).unwrap();
        std::fs::rename(node.path("drawer"), node.path("tokens")).unwrap();
        eventually("the token is used again", || sign(client, &uri, Scheme::EcdsaP256Sha256, b"m").is_ok());
        assert_eq!(client.public(&key.uri).unwrap(), key);
    }
}

#[test]
fn a_list_of_a_token_just_taken_out_is_not_an_empty_list() {
    let node = Node::started();
    let client = &mut node.client();
    generate(client, "k", KeyKind::P256).unwrap();
    assert_eq!(client.list().unwrap().keys.len(), 1);
    std::fs::rename(node.path("tokens"), node.path("drawer")).unwrap();
    std::fs::create_dir(node.path("tokens")).unwrap();
    assert!(matches!(client.list(), Err(ClientError::Worker(KeyError::TokenAbsent { .. }))));
}

#[test]
fn a_worker_without_token_starts_and_says_so() {
    let mut node = Node::new();
    std::fs::rename(node.path("tokens"), node.path("drawer")).unwrap();
    std::fs::create_dir(node.path("tokens")).unwrap();
    node.start();
    assert_eq!(token_error(&mut node.client()), KeyError::TokenAbsent { token: "assay".into() });
}

#[test]
fn two_tokens_of_one_label_are_refused_until_the_serial_is_set() {
    let mut node = Node::new();
    node.init_token("assay");
    node.start();
    let error = token_error(&mut node.client());
    assert_eq!(error, KeyError::AmbiguousToken { token: "assay".into(), count: 2 });
}

#[test]
fn a_module_that_is_missing_or_that_others_can_change_is_not_loaded() {
    let mut node = Node::new();
    node.write_config("/nonexistent/module.so", "");
    node.start();
    let error = token_error(&mut node.client());
    assert!(matches!(error, KeyError::ModuleUnavailable { path, .. } if path == "/nonexistent/module.so"));

    let mut node = Node::new();
    let module = node.path("softhsm.so");
    std::fs::copy(MODULE, &module).unwrap();
    set_mode(&module, 0o777);
    node.write_config(module.to_str().unwrap(), "");
    node.start();
    let error = token_error(&mut node.client());
    assert!(matches!(error, KeyError::ModuleUnavailable { why, .. } if why.contains("written by others")));
    set_mode(&module, 0o755);
    eventually("the module is loaded once it is private", || {
        matches!(node.client().status().unwrap().token, TokenStatus::Present { .. })
    });
}

#[test]
fn a_wrong_pin_is_tried_once_and_again_only_after_a_reload() {
    let mut node = Node::new();
    node.write_pin(b"wrong\n", 0o400);
    node.start();
    let client = &mut node.client();
    let refused = KeyError::PinRefused { why: PinRefusal::Wrong };
    assert_eq!(token_error(client), refused);
    // The right PIN in the file changes nothing by itself: a second try would be visible as success.
    node.write_pin(format!("{PIN}\n").as_bytes(), 0o400);
    std::thread::sleep(Duration::from_millis(300));
    for _ in 0..5 {
        assert!(matches!(client.list(), Err(ClientError::Worker(error)) if error == refused));
    }
    assert_eq!(client.status().unwrap().pin, PinStatus::Refused);
    assert_eq!(node.log().matches("PIN refused").count() - node.log().matches("list: PIN refused").count(), 1);
    node.signal(Signal::SIGHUP);
    eventually("the new PIN is taken", || client.list().is_ok());
    assert_eq!(client.status().unwrap().pin, PinStatus::Accepted);
}

#[test]
fn a_pin_that_is_empty_or_readable_by_others_keeps_the_worker_from_starting() {
    for (content, mode, reason) in [
        (b"\n".as_slice(), 0o400, "is empty"),
        (b"1234\n", 0o644, "chmod 0400"),
        (b"1234\n5678\n", 0o400, "more than one line"),
    ] {
        let node = Node::new();
        node.write_pin(content, mode);
        let ended = node.run_to_end();
        let told = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(1));
        assert!(told.contains(reason) && !told.contains("1234"), "{told}");
    }
}

#[test]
fn the_pin_is_in_no_argument_variable_log_or_dump() {
    let node = Node::started();
    let client = &mut node.client();
    generate(client, "k", KeyKind::P256).unwrap();
    assert_eq!(client.status().unwrap().pin, PinStatus::Accepted);
    for part in ["environ", "cmdline"] {
        let content = std::fs::read(format!("/proc/{}/{part}", node.pid())).unwrap();
        assert!(!String::from_utf8_lossy(&content).contains(PIN), "{part}");
    }
    assert!(!node.log().contains(PIN));
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", node.pid())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"));
    // Not dumpable: to others of the worker's uid its memory belongs to root.
    let answer = std::fs::metadata(format!("/proc/{}/mem", node.pid())).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&answer), 0);
}

#[test]
fn another_uid_is_refused_even_if_it_reaches_the_socket() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let node = Node::started();
    set_mode(node.directory.path(), 0o755);
    set_mode(&node.socket(), 0o666);
    let peer = Command::new("python3")
        .args(["-c", "import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); print(s.recv(4096)[4:].decode())"])
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
fn a_killed_worker_is_an_error_and_a_new_one_serves() {
    let mut node = Node::started();
    let mut client = node.client();
    let key = generate(&mut client, "k", KeyKind::P256).unwrap();
    node.signal(Signal::SIGKILL);
    wait_for_end(node.worker());
    let lost = sign(&mut client, &key.uri.to_string(), Scheme::EcdsaP256Sha256, b"m");
    assert!(matches!(lost, Err(ClientError::Transport { .. })), "{lost:?}");
    let lost = sign(&mut client, &key.uri.to_string(), Scheme::EcdsaP256Sha256, b"m");
    assert!(matches!(lost, Err(ClientError::Unusable)));
    assert!(matches!(
        WorkerClient::connect(&node.socket(), &[], Duration::from_secs(1)),
        Err(ClientError::Connect { .. })
    ));
    node.start();
    assert_eq!(node.client().public(&key.uri).unwrap(), key);
}

#[test]
fn sigterm_ends_the_worker_in_good_order() {
    let mut node = Node::started();
    node.client().status().unwrap();
    node.signal(Signal::SIGTERM);
    wait_for_end(node.worker());
    assert_eq!(node.worker().wait().unwrap().code(), Some(0));
    assert!(!node.socket().exists());
    assert!(node.log().contains("stopped"));
}

#[test]
fn an_inherited_socket_is_served() {
    let node = Node::new();
    let path = node.path("inherited.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    // The shell puts it where systemd would, and becomes the worker; python because sh cannot bind.
    let script = "import os,sys; os.dup2(int(sys.argv[1]),3); os.set_inheritable(3,True); \
                  os.environ['LISTEN_FDS']='1'; os.environ['LISTEN_PID']=str(os.getpid()); os.execv(sys.argv[2],sys.argv[2:])";
    let fd = std::os::fd::AsRawFd::as_raw_fd(&listener);
    nix::fcntl::fcntl(&listener, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).unwrap();
    let mut child = Command::new("python3")
        .args(["-c", script, &fd.to_string(), env!("CARGO_BIN_EXE_assay-keyd"), "--root"])
        .arg(node.directory.path())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let own = nix::unistd::geteuid().as_raw();
    let mut client = WorkerClient::connect(&path, &[own], Duration::from_secs(20)).unwrap();
    assert!(matches!(client.status().unwrap().token, TokenStatus::Present { .. }));
    assert!(!node.socket().exists());
    child.kill().unwrap();
    child.wait().unwrap();
}

/// A module that answers everything before a token's information, then sleeps.
const HANGING: &str = "
#include <unistd.h>
#include <string.h>
typedef unsigned long U;
static U init(void *a) { (void)a; for (;;) pause(); }
static struct { unsigned char major, minor; void *functions[68]; } list;
U C_GetFunctionList(void **out) { memset(&list, 0, sizeof list); list.major = 2; list.minor = 40;
  list.functions[0] = init; *out = &list; return 0; }
";

#[test]
fn a_module_that_hangs_costs_the_deadline_and_then_the_process() {
    let mut node = Node::new();
    let module = compile_module(HANGING, node.directory.path());
    node.write_config(module.to_str().unwrap(), "deadline-ms = 400");
    node.start();
    let started = Instant::now();
    // One thread hangs in opening; this one waits for it and hangs too.
    let answer = node.client().list();
    match answer {
        Err(ClientError::Worker(KeyError::Deadline { limit_ms: 400 }) | ClientError::Transport { .. }) => {}
        other => panic!("{other:?}"),
    }
    assert!(started.elapsed() < Duration::from_secs(3));
    wait_for_end(node.worker());
    let status = node.worker().wait().unwrap();
    assert!(status.code() == Some(70) || status.signal() == Some(6), "{status:?}");
    assert!(node.log().contains("did not answer in time"));
}

#[test]
fn check_reads_configuration_and_pin_without_starting() {
    let node = Node::new();
    let good = node.command().arg("--check").output().unwrap();
    assert!(good.status.success(), "{good:?}");
    assert!(!node.socket().exists());
    node.write_config(MODULE, "sesions = 2");
    let bad = node.command().arg("--check").output().unwrap();
    let told = String::from_utf8(bad.stderr).unwrap();
    assert_eq!(bad.status.code(), Some(1));
    assert!(told.contains("keyd.toml") && told.contains("line 5, column 1") && told.contains("sesions"), "{told}");
}

fn set_mode(path: &std::path::Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}
