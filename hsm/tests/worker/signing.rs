//! Every kind of key is made in a real token, and what it signs is good elsewhere too.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use crate::node::{Node, generate, sign};
use assay_hsm::{
    ClientError, GenerateRequest, KeyError, KeyKind, Scheme, VerifyRequest, WorkerClient, ecdsa_raw_to_der,
};
use aws_lc_rs::signature::{self, ParsedPublicKey, VerificationAlgorithm};

fn check(
    client: &mut WorkerClient,
    kind: KeyKind,
    scheme: Scheme,
    algorithm: &'static dyn VerificationAlgorithm,
    der: bool,
) {
    let label = format!("{scheme}");
    let key = generate(client, &label, kind).unwrap();
    assert_eq!(key.kind, kind);
    let uri = format!("pkcs11:token=assay;object={label};type=private");
    let message = b"the message, 27 bytes long!".to_vec();
    let raw = sign(client, &uri, scheme, &message).unwrap();
    let elsewhere = if der { ecdsa_raw_to_der(&raw).unwrap() } else { raw.clone() };

    let verify = |message: &[u8], signature: &[u8]| {
        signature::UnparsedPublicKey::new(algorithm, &key.spki).verify(message, signature)
    };
    verify(&message, &elsewhere).unwrap();
    let mut changed = message.clone();
    changed[0] ^= 1;
    assert!(verify(&changed, &elsewhere).is_err());
    let mut broken = elsewhere.clone();
    *broken.last_mut().unwrap() ^= 1;
    assert!(verify(&message, &broken).is_err());

    let mut request = VerifyRequest { uri: key.uri.clone(), scheme, message, signature: raw };
    client.verify(&request).unwrap();
    request.message[0] ^= 1;
    let refused = client.verify(&request);
    assert!(matches!(refused, Err(ClientError::Worker(KeyError::SignatureInvalid { .. }))), "{refused:?}");
}

#[test]
fn ecdsa_p256_signatures_verify_elsewhere() {
    let node = Node::started();
    check(&mut node.client(), KeyKind::P256, Scheme::EcdsaP256Sha256, &signature::ECDSA_P256_SHA256_ASN1, true);
}

#[test]
fn ecdsa_p384_signatures_verify_elsewhere() {
    let node = Node::started();
    check(&mut node.client(), KeyKind::P384, Scheme::EcdsaP384Sha384, &signature::ECDSA_P384_SHA384_ASN1, true);
}

#[test]
fn ed25519_signatures_verify_elsewhere() {
    let node = Node::started();
    check(&mut node.client(), KeyKind::Ed25519, Scheme::Ed25519, &signature::ED25519, false);
}

#[test]
fn rsa_signatures_verify_elsewhere() {
    let node = Node::started();
    let client = &mut node.client();
    let rsa = KeyKind::Rsa { bits: 2048 };
    check(client, rsa, Scheme::RsaPssSha256, &signature::RSA_PSS_2048_8192_SHA256, false);
    check(client, rsa, Scheme::RsaPssSha384, &signature::RSA_PSS_2048_8192_SHA384, false);
    check(client, rsa, Scheme::RsaPkcs1Sha256, &signature::RSA_PKCS1_2048_8192_SHA256, false);
}

#[test]
fn rsa_3072_keys_can_be_made() {
    let node = Node::started();
    let key = generate(&mut node.client(), "big", KeyKind::Rsa { bits: 3072 }).unwrap();
    ParsedPublicKey::new(&signature::RSA_PSS_2048_8192_SHA256, &key.spki).unwrap();
    assert_eq!(key.kind, KeyKind::Rsa { bits: 3072 });
}

#[test]
fn a_scheme_that_does_not_fit_the_key_is_refused() {
    let node = Node::started();
    let client = &mut node.client();
    generate(client, "small", KeyKind::P256).unwrap();
    for scheme in [Scheme::EcdsaP384Sha384, Scheme::RsaPssSha256, Scheme::Ed25519] {
        match sign(client, "pkcs11:object=small", scheme, b"m") {
            Err(ClientError::Worker(KeyError::SchemeMismatch { kind: KeyKind::P256, scheme: named, .. })) => {
                assert_eq!(named, scheme);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn keys_are_listed_and_their_public_half_is_the_same_each_time() {
    let node = Node::started();
    let client = &mut node.client();
    assert_eq!(client.list().unwrap().keys, []);
    let first = generate(client, "first", KeyKind::P256).unwrap();
    let second = generate(client, "second key/ü", KeyKind::Ed25519).unwrap();
    let list = client.list().unwrap();
    assert_eq!(list.keys, [first.clone(), second.clone()]);
    assert_eq!(list.skipped, 0);
    assert_eq!(client.public(&"pkcs11:object=first;type=public".parse().unwrap()).unwrap(), first);
    assert_eq!(client.public(&second.uri).unwrap(), second);
}

#[test]
fn an_unknown_key_and_a_foreign_token_are_told_apart() {
    let node = Node::started();
    let client = &mut node.client();
    generate(client, "here", KeyKind::P256).unwrap();
    let refused = |client: &mut WorkerClient, uri: &str| match sign(client, uri, Scheme::EcdsaP256Sha256, b"m") {
        Err(ClientError::Worker(error)) => error,
        other => panic!("{other:?}"),
    };
    let error = refused(client, "pkcs11:object=there");
    assert_eq!(error, KeyError::KeyNotFound { uri: "pkcs11:object=there".parse().unwrap() });
    // The label of one key and the id of none.
    let error = refused(client, "pkcs11:object=here;id=%00");
    assert!(matches!(error, KeyError::KeyNotFound { .. }));
    let error = refused(client, "pkcs11:token=other;object=here");
    assert_eq!(error, KeyError::TokenNotServed { token: "other".into(), served: "assay".into() });
    let error = refused(client, "pkcs11:serial=0;object=here");
    assert_eq!(error, KeyError::TokenNotServed { token: "0".into(), served: "assay".into() });
}

#[test]
fn two_keys_of_one_label_are_ambiguous_until_named_by_id() {
    let node = Node::started();
    let client = &mut node.client();
    for id in ["01", "02"] {
        node.pkcs11_tool(&["--keypairgen", "--key-type", "EC:prime256v1", "--label", "twin", "--id", id]);
    }
    let refused = sign(client, "pkcs11:object=twin", Scheme::EcdsaP256Sha256, b"m");
    let uri = "pkcs11:object=twin".parse().unwrap();
    assert!(
        matches!(refused, Err(ClientError::Worker(KeyError::AmbiguousKey { uri: named, count: 2 })) if named == uri)
    );
    let public = client.public(&uri);
    assert!(matches!(public, Err(ClientError::Worker(KeyError::AmbiguousKey { count: 2, .. }))));
    sign(client, "pkcs11:object=twin;id=%02", Scheme::EcdsaP256Sha256, b"m").unwrap();
}

#[test]
fn a_label_or_id_that_is_taken_is_refused() {
    let node = Node::started();
    let client = &mut node.client();
    let first = generate(client, "taken", KeyKind::P256).unwrap();
    let refused = generate(client, "taken", KeyKind::Ed25519);
    let same = KeyError::KeyExists { what: "label".into(), value: "taken".into() };
    assert!(matches!(refused, Err(ClientError::Worker(error)) if error == same));
    let id = first.uri.id().unwrap().to_vec();
    assert_eq!(id.len(), 16);
    let request = GenerateRequest { token: None, label: "other".into(), kind: KeyKind::P256, id: Some(id.clone()) };
    let refused = client.generate(&request);
    assert!(matches!(refused, Err(ClientError::Worker(KeyError::KeyExists { what, .. })) if what == "id"));
    assert_eq!(client.list().unwrap().keys, [first]);
}

#[test]
fn a_weak_or_unnameable_key_is_not_made() {
    let node = Node::started();
    let client = &mut node.client();
    let refused = generate(client, "weak", KeyKind::Rsa { bits: 1024 });
    assert!(matches!(refused, Err(ClientError::Worker(KeyError::MechanismUnsupported { .. }))));
    for label in ["", "a\nb"] {
        let refused = generate(client, label, KeyKind::P256);
        assert!(matches!(refused, Err(ClientError::Worker(KeyError::Malformed { .. }))));
    }
    assert_eq!(client.list().unwrap().keys, []);
}

#[test]
fn many_clients_at_once_all_get_good_signatures() {
    let node = Node::started();
    let key = generate(&mut node.client(), "busy", KeyKind::P256).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let mut client = node.client();
                for round in 0..50 {
                    let message = format!("message {round}");
                    let uri = key.uri.to_string();
                    let raw = sign(&mut client, &uri, Scheme::EcdsaP256Sha256, message.as_bytes()).unwrap();
                    signature::UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_ASN1, &key.spki)
                        .verify(message.as_bytes(), &ecdsa_raw_to_der(&raw).unwrap())
                        .unwrap();
                }
            });
        }
    });
}

#[test]
fn a_key_removed_by_other_means_is_not_found_any_more() {
    let node = Node::started();
    let client = &mut node.client();
    let key = generate(client, "gone", KeyKind::P256).unwrap();
    let uri = key.uri.to_string();
    sign(client, &uri, Scheme::EcdsaP256Sha256, b"m").unwrap();
    for half in ["privkey", "pubkey"] {
        node.pkcs11_tool(&["--delete-object", "--type", half, "--label", "gone"]);
    }
    let refused = sign(client, &uri, Scheme::EcdsaP256Sha256, b"m");
    let missing = KeyError::KeyNotFound { uri: key.uri };
    assert!(matches!(&refused, Err(ClientError::Worker(error)) if *error == missing), "{refused:?}");
}
