//! The process: started, killed, ended in good order, or only checked.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use assay_hsm::{ClientError, KeyKind, Scheme, TokenStatus, WorkerClient};
use nix::sys::signal::Signal;

use crate::node::{MODULE, Node, generate, sign, wait_for_end};

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

#[test]
fn a_worker_of_another_uid_keeps_its_memory_from_that_uid() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let mut node = Node::new();
    node.start_as(4711);
    let mut client = WorkerClient::connect(&node.socket(), &[4711], Duration::from_secs(20)).unwrap();
    assert!(matches!(client.status().unwrap().token, TokenStatus::Present { .. }));
    // What is not dumpable belongs to root in /proc, whatever uid it runs as.
    let mem = std::fs::metadata(format!("/proc/{}/mem", node.pid())).unwrap();
    assert_eq!(mem.uid(), 0);
    let read = |file: &str| {
        Command::new("cat")
            .arg(format!("/proc/{}/{file}", node.pid()))
            .uid(4711)
            .stderr(Stdio::null())
            .output()
            .unwrap()
    };
    assert!(read("status").status.success());
    for file in ["mem", "environ", "maps"] {
        assert!(!read(file).status.success(), "{file}");
    }
}
