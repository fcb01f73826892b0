//! cosign's legacy signatures with one thing wrong each, and our mathematics against the `sigstore` crate's.

use std::collections::BTreeMap;

use assay_verify::{Artifact, RejectionReason};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use sigstore::crypto::{CosignVerificationKey, Signature, SigningScheme};

use crate::support::*;

fn payload() -> Value {
    json!({
        "critical": {
            "identity": { "docker-reference": "registry.example/app" },
            "image": { "docker-manifest-digest": index().digest.to_string() },
            "type": "cosign container image signature",
        },
        "optional": { "creator": "x", "timestamp": 5, "nested": {} },
    })
}

fn signed(key: &TestKey, payload: &[u8], extra: &[(&str, &str)]) -> Artifact {
    let mut annotations: BTreeMap<String, String> =
        extra.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    annotations.insert("dev.cosignproject.cosign/signature".to_owned(), STANDARD.encode(key.sign_der(payload)));
    wrap(SIMPLE_SIGNING, payload.to_vec(), &annotations)
}

fn payload_with(change: impl FnOnce(&mut Value)) -> RejectionReason {
    let key = TestKey::new();
    let mut payload = payload();
    change(&mut payload);
    refused(signed(&key, payload.to_string().as_bytes(), &[]), &trust_key("ci", key.public()))
}

#[test]
fn the_signature_that_the_others_are_made_of_counts() {
    let key = TestKey::new();
    let found = findings(signed(&key, payload().to_string().as_bytes(), &[]), &trust_key("ci", key.public()));
    assert_eq!(found.facts[0].identity(), Some("registry.example/app"));
    let annotations: Vec<_> = found.facts[0].annotations().iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(annotations, [("creator", "x"), ("timestamp", "5")]);
}

#[test]
fn payloads_about_something_else_are_refused() {
    let other = format!("sha256:{}", "0".repeat(64));
    let reason = payload_with(|payload| payload["critical"]["image"]["docker-manifest-digest"] = other.clone().into());
    assert_eq!(reason, RejectionReason::OtherSubject { found: other });
    let reason = payload_with(|payload| payload["critical"]["image"]["docker-manifest-digest"] = "sha256:../x".into());
    assert_eq!(reason, malformed("docker-manifest-digest", "digest value has 4 characters, 64 are needed"));
}

#[test]
fn payloads_that_are_not_simple_signing_are_refused() {
    let reason = payload_with(|payload| payload["critical"]["type"] = "atomic container signature".into());
    let problem = "is \"atomic container signature\", not \"cosign container image signature\"";
    assert_eq!(reason, malformed("type", problem));
    let reason = payload_with(|payload| payload["critical"]["more"] = 1.into());
    assert_eq!(reason, malformed("critical", "has the unknown field \"more\""));
    let reason = payload_with(|payload| {
        payload["critical"].as_object_mut().unwrap().remove("identity");
    });
    assert_eq!(reason, malformed("identity", "is missing in critical"));
    let key = TestKey::new();
    let reason = refused(signed(&key, b"\xff", &[]), &trust_key("ci", key.public()));
    assert!(matches!(reason, RejectionReason::Malformed { field: "JSON", .. }), "{reason:?}");
}

#[test]
fn a_certificate_beside_the_signature_takes_the_place_of_keys() {
    let key = TestKey::new();
    let beside = |text: &str| {
        let artifact = signed(&key, payload().to_string().as_bytes(), &[("dev.sigstore.cosign/certificate", text)]);
        refused(artifact, &trust_key("ci", key.public()))
    };
    assert_eq!(beside("PEM"), malformed("dev.sigstore.cosign/certificate", "has no certificate"));
    let pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert_eq!(beside(pem), RejectionReason::Sigstore(assay_verify::SigstoreError::NoRoot));
}

#[test]
fn a_layer_without_signature_or_with_loose_base64_is_refused() {
    let key = TestKey::new();
    let trust = trust_key("ci", key.public());
    let bytes = payload().to_string().into_bytes();
    let reason = refused(envelope(SIMPLE_SIGNING, bytes.clone()), &trust);
    assert_eq!(reason, malformed("annotations", "has no dev.cosignproject.cosign/signature"));
    let loose = format!("{}\n", STANDARD.encode(key.sign_der(&bytes)));
    let annotations = BTreeMap::from([("dev.cosignproject.cosign/signature".to_owned(), loose)]);
    let reason = refused(wrap(SIMPLE_SIGNING, bytes, &annotations), &trust);
    assert!(matches!(reason, RejectionReason::Malformed { field: "annotations", .. }), "{reason:?}");
}

#[test]
fn our_verdict_on_a_signature_is_the_sigstore_crates() {
    for (name, scheme) in [
        ("p256", SigningScheme::ECDSA_P256_SHA256_ASN1),
        ("p384", SigningScheme::ECDSA_P384_SHA384_ASN1),
        ("rsa2048", SigningScheme::RSA_PKCS1_SHA256(0)),
        ("rsa3072", SigningScheme::RSA_PKCS1_SHA256(0)),
    ] {
        let theirs = CosignVerificationKey::from_pem(&vector(&format!("keys/{name}.pub.pem")), &scheme).unwrap();
        let real = artifact(&format!("legacy-{name}"));
        let manifest: Value = serde_json::from_slice(real.manifest.bytes()).unwrap();
        let text = manifest["layers"][0]["annotations"]["dev.cosignproject.cosign/signature"].as_str().unwrap();
        let signature = STANDARD.decode(text).unwrap();
        let payload = real.blobs[0].bytes();
        // The real one, then each with a bit turned: in the signature and in the payload.
        for turned in (0..=signature.len()).step_by(3) {
            let (mut signature, mut payload) = (signature.clone(), payload.to_vec());
            if turned > 0 {
                signature[turned - 1] ^= 1;
                payload[0] ^= u8::from(turned % 2 == 0);
            }
            let annotations =
                BTreeMap::from([("dev.cosignproject.cosign/signature".to_owned(), STANDARD.encode(&signature))]);
            let found = findings(wrap(SIMPLE_SIGNING, payload.clone(), &annotations), &trust_key("ci", key(name)));
            let ours = !found.facts.is_empty();
            assert_eq!(ours, theirs.verify_signature(Signature::Raw(&signature), &payload).is_ok(), "{name} {turned}");
            assert_eq!(ours, turned == 0, "{name} {turned}");
        }
    }
}
