//! Modules that hang, crash, lie or do less than SoftHSM does: SoftHSM behind a layer that has these faults.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use assay_hsm::{ClientError, KeyError, KeyKind, PinRefusal, Scheme, VerifyRequest, WorkerClient, ecdsa_raw_to_der};
use aws_lc_rs::signature::{self, UnparsedPublicKey};
use nix::sys::signal::Signal;

use crate::node::{Node, eventually, generate, sign, wait_for_end};

const P256: Scheme = Scheme::EcdsaP256Sha256;

/// A node with the odd module, whose worker does not run yet.
fn odd_node() -> Node {
    let node = Node::new();
    let module = node.compile_odd_module();
    node.write_config(module.to_str().unwrap(), "deadline-ms = 400");
    node
}

fn ask_for(node: &Node, fault: &str) {
    std::fs::write(node.path(fault), "").unwrap();
}

fn logins(node: &Node) -> usize {
    std::fs::read(node.path("logins")).map_or(0, |log| log.len())
}

fn is_deadline<T>(result: &Result<T, ClientError>) -> bool {
    matches!(result, Err(ClientError::Worker(KeyError::Deadline { limit_ms: 400 })))
}

#[test]
fn a_call_that_hangs_costs_its_deadline_and_its_thread_until_it_comes_back() {
    let mut node = odd_node();
    node.start();
    let client = &mut node.client();
    let key = generate(client, "k", KeyKind::P256).unwrap();
    let uri = key.uri.to_string();
    ask_for(&node, "hang-once");
    let started = Instant::now();
    let hung = sign(client, &uri, P256, b"m");
    assert!(is_deadline(&hung), "{hung:?}");
    assert!(started.elapsed() < Duration::from_millis(1_500));
    // The other thread serves on.
    let raw = sign(client, &uri, P256, b"m").unwrap();
    UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_ASN1, &key.spki)
        .verify(b"m", &ecdsa_raw_to_der(&raw).unwrap())
        .unwrap();
    assert_eq!(client.status().unwrap().hung, 1);
    eventually("the thread comes back", || client.status().unwrap().hung == 0);
}

#[test]
fn a_module_that_hangs_for_good_ends_the_process_so_that_it_is_started_anew() {
    let mut node = odd_node();
    node.start();
    let client = &mut node.client();
    let uri = generate(client, "k", KeyKind::P256).unwrap().uri.to_string();
    ask_for(&node, "hang");
    for _ in 0..2 {
        let hung = sign(client, &uri, P256, b"m");
        assert!(is_deadline(&hung), "{hung:?}");
    }
    wait_for_end(node.worker());
    let status = node.worker().wait().unwrap();
    assert!(!status.success(), "{status:?}");
    std::fs::remove_file(node.path("hang")).unwrap();
    node.start();
    sign(&mut node.client(), &uri, P256, b"m").unwrap();
}

#[test]
fn a_module_that_hangs_at_start_does_not_keep_status_waiting() {
    let mut node = odd_node();
    ask_for(&node, "hang-at-start");
    node.start();
    let started = Instant::now();
    let status = node.client().status();
    assert!(started.elapsed() < Duration::from_secs(2), "{status:?}");
    wait_for_end(node.worker());
    assert!(!node.worker().wait().unwrap().success());
    assert!(node.log().contains("did not answer in time"));
}

#[test]
fn a_module_that_crashes_is_a_transport_error_for_the_client() {
    let mut node = odd_node();
    node.start();
    let client = &mut node.client();
    let uri = generate(client, "k", KeyKind::P256).unwrap().uri.to_string();
    ask_for(&node, "crash");
    let lost = sign(client, &uri, P256, b"m");
    assert!(matches!(lost, Err(ClientError::Transport { .. })), "{lost:?}");
    wait_for_end(node.worker());
    assert!(
        std::fs::read_dir(node.directory.path()).unwrap().all(|entry| !entry
            .unwrap()
            .file_name()
            .to_string_lossy()
            .starts_with("core"))
    );
}

#[test]
fn a_wrong_pin_costs_one_try_however_often_it_is_asked() {
    let mut node = odd_node();
    node.write_pin(b"wrong\n", 0o400);
    node.start();
    let client = &mut node.client();
    let refused = KeyError::PinRefused { why: PinRefusal::Wrong };
    for _ in 0..5 {
        assert!(matches!(client.list(), Err(ClientError::Worker(error)) if error == refused));
        // Longer than other failures are believed.
        std::thread::sleep(Duration::from_millis(250));
    }
    assert_eq!(logins(&node), 1);
    node.signal(Signal::SIGHUP);
    eventually("the reloaded PIN is tried once", || client.list().is_err() && logins(&node) == 2);
    assert!(matches!(client.list(), Err(ClientError::Worker(error)) if error == refused));
    assert_eq!(logins(&node), 2);
}

#[test]
fn the_last_try_of_a_token_is_not_the_workers_to_spend() {
    let mut node = odd_node();
    ask_for(&node, "last-try");
    node.start();
    let client = &mut node.client();
    let refused = KeyError::PinRefused { why: PinRefusal::LastTry };
    assert!(matches!(client.list(), Err(ClientError::Worker(error)) if error == refused));
    assert_eq!(logins(&node), 0);
    std::fs::remove_file(node.path("last-try")).unwrap();
    node.signal(Signal::SIGHUP);
    eventually("the PIN is tried after a reload", || client.list().is_ok());
}

#[test]
fn a_new_key_that_the_token_would_give_away_is_destroyed() {
    let mut node = odd_node();
    node.start();
    let client = &mut node.client();
    ask_for(&node, "extractable");
    let refused = generate(client, "k", KeyKind::P256);
    let unprotected = KeyError::KeyUnprotected { property: "unextractable".into() };
    assert!(matches!(refused, Err(ClientError::Worker(error)) if error == unprotected));
    std::fs::remove_file(node.path("extractable")).unwrap();
    assert_eq!(client.list().unwrap().keys, []);
    // Nothing of it is left: the label is free.
    generate(client, "k", KeyKind::P256).unwrap();
}

#[test]
fn a_module_that_does_not_hash_gets_the_hash() {
    let mut node = odd_node();
    node.start();
    ask_for(&node, "no-hashing");
    let client = &mut node.client();
    let key = generate(client, "k", KeyKind::Rsa { bits: 2048 }).unwrap();
    let check = |client: &mut WorkerClient, scheme, algorithm: &'static dyn signature::VerificationAlgorithm| {
        let signature = sign(client, &key.uri.to_string(), scheme, b"message").unwrap();
        UnparsedPublicKey::new(algorithm, &key.spki).verify(b"message", &signature).unwrap();
        let mut request = VerifyRequest { uri: key.uri.clone(), scheme, message: b"message".to_vec(), signature };
        client.verify(&request).unwrap();
        request.message.push(0);
        let refused = client.verify(&request);
        assert!(matches!(refused, Err(ClientError::Worker(KeyError::SignatureInvalid { .. }))), "{refused:?}");
    };
    check(client, Scheme::RsaPssSha256, &signature::RSA_PSS_2048_8192_SHA256);
    check(client, Scheme::RsaPssSha384, &signature::RSA_PSS_2048_8192_SHA384);
    check(client, Scheme::RsaPkcs1Sha256, &signature::RSA_PKCS1_2048_8192_SHA256);
}
