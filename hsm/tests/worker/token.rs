//! The token and its PIN: found, lost, found again, and never guessed at.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use assay_hsm::{ClientError, KeyError, KeyKind, PinRefusal, PinStatus, Scheme, TokenStatus, WorkerClient};
use nix::sys::signal::Signal;

use crate::node::{MODULE, Node, PIN, eventually, generate, set_mode, sign};

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
fn a_key_of_a_token_just_taken_out_is_not_a_missing_key() {
    let node = Node::started();
    let client = &mut node.client();
    let key = generate(client, "k", KeyKind::P256).unwrap();
    let unknown = "pkcs11:object=nowhere".parse().unwrap();
    let missing = client.public(&unknown);
    assert!(matches!(missing, Err(ClientError::Worker(KeyError::KeyNotFound { .. }))), "{missing:?}");
    std::fs::rename(node.path("tokens"), node.path("drawer")).unwrap();
    std::fs::create_dir(node.path("tokens")).unwrap();
    let absent = client.public(&key.uri);
    assert!(matches!(absent, Err(ClientError::Worker(KeyError::TokenAbsent { .. }))), "{absent:?}");
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
        let mut node = Node::new();
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
}

#[test]
fn a_module_without_its_own_configuration_is_told_where_its_variables_are_set() {
    let mut node = Node::new();
    std::fs::remove_file(node.path("softhsm2.conf")).unwrap();
    node.start();
    let error = token_error(&mut node.client());
    assert!(matches!(&error, KeyError::ModuleFailed { call, .. } if call == "C_Initialize"), "{error:?}");
    for part in ["[environment] in keyd.toml", "--token-env"] {
        assert!(error.to_string().contains(part), "{error}");
    }
}

/// Runs the worker on a terminal of its own, by `script`, types `line`, and gives back what stood on that terminal.
fn prompted(node: &Node, line: &str, until: impl Fn(&Node) -> bool) -> String {
    let seen = node.path("seen");
    let worker = format!("exec {} --root {}", env!("CARGO_BIN_EXE_assay-keyd"), node.directory.path().display());
    let mut terminal = std::process::Command::new("script");
    terminal.args(["--quiet", "--return", "--flush", "--command", &worker]).arg(&seen);
    for name in ["SOFTHSM2_CONF", "NOTIFY_SOCKET", "JOURNAL_STREAM", "LISTEN_FDS", "LISTEN_PID"] {
        terminal.env_remove(name);
    }
    let mut terminal =
        terminal.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::null()).spawn().unwrap();
    let on_terminal = || String::from_utf8_lossy(&std::fs::read(&seen).unwrap_or_default()).into_owned();
    eventually("the PIN is asked for", || on_terminal().contains("PIN of the token: "));
    let mut keyboard = terminal.stdin.take().unwrap();
    std::io::Write::write_all(&mut keyboard, line.as_bytes()).unwrap();
    eventually("it goes on", || until(node) || terminal.try_wait().unwrap().is_some());
    // The interrupt key, as a person would end it.
    let _ = std::io::Write::write_all(&mut keyboard, b"\x03");
    eventually("it ends", || terminal.try_wait().unwrap().is_some());
    on_terminal()
}

#[test]
fn a_pin_typed_on_the_terminal_opens_the_token_and_is_not_shown() {
    let serves = |node: &Node| std::os::unix::net::UnixStream::connect(node.socket()).is_ok();
    let prompting = || {
        let node = Node::new();
        let config = node.path("etc/assay/keyd.toml");
        let text = std::fs::read_to_string(&config).unwrap();
        std::fs::write(&config, text.replace("pin-file = \"/etc/assay/pin\"", "pin-prompt = true")).unwrap();
        node
    };
    let node = prompting();
    let opened =
        |node: &Node| serves(node) && matches!(node.client().status().unwrap().token, TokenStatus::Present { .. });
    let seen = prompted(&node, &format!("{PIN}\n"), opened);
    assert!(seen.contains("ready") && !seen.contains(PIN), "{seen}");
    // One letter changed: asked once, and refused by the token.
    let node = prompting();
    let wrong = PIN.replace("test", "tesT");
    let refused = |node: &Node| {
        serves(node)
            && matches!(
                node.client().status().unwrap().token,
                TokenStatus::Unavailable { error: KeyError::PinRefused { why: PinRefusal::Wrong } }
            )
    };
    let seen = prompted(&node, &format!("{wrong}\n"), refused);
    assert!(!seen.contains(&wrong) && seen.matches("PIN of the token: ").count() == 1, "{seen}");
    // Nothing typed is no PIN.
    let seen = prompted(&prompting(), "\n", serves);
    assert!(seen.contains("PIN from the terminal is empty"), "{seen}");
}
