//! cosign's legacy form, keys that need a log, and attestations beside signatures.

use std::collections::BTreeMap;

use assay_admission::Digest;
use assay_verify::{
    Budget, EntryError, Evidence, RejectionReason, Signer, SigstoreError, signing::cosign_bundle, verify_attestations,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{ENTRY, flip, statement, trust};
use crate::{sigstore_world::*, support::*};

/// A legacy signature: the payload as a layer, and what cosign writes beside it.
fn legacy(world: &World, made: &Made, change: impl FnOnce(&mut BTreeMap<String, String>)) -> assay_verify::Artifact {
    let entry = world.entry(made);
    let bundle = json!({
        "SignedEntryTimestamp": entry["inclusionPromise"]["signedEntryTimestamp"],
        "Payload": {
            "body": entry["canonicalizedBody"],
            "integratedTime": SIGNED,
            "logIndex": 4711,
            "logID": hex::encode(STANDARD.decode(entry["logId"]["keyId"].as_str().unwrap()).unwrap()),
        },
    });
    let mut annotations = BTreeMap::from([
        ("dev.cosignproject.cosign/signature".to_owned(), STANDARD.encode(&made.signature)),
        ("dev.sigstore.cosign/certificate".to_owned(), pem(&made.leaf)),
        ("dev.sigstore.cosign/chain".to_owned(), String::new()),
        ("dev.sigstore.cosign/bundle".to_owned(), bundle.to_string()),
    ]);
    change(&mut annotations);
    wrap(SIMPLE_SIGNING, made.message.clone(), &annotations)
}

#[test]
fn a_legacy_keyless_signature_counts_with_its_promise_or_a_time_stamp_beside_it() {
    let world = World::new(Wishes::default());
    let payload = json!({
        "critical": {
            "identity": { "docker-reference": "r.example/a" },
            "image": { "docker-manifest-digest": index().digest.to_string() },
            "type": "cosign container image signature",
        },
        "optional": null,
    });
    let made = world.sign_message(payload.to_string().as_bytes());
    accepted(legacy(&world, &made, |_| ()), &trust(&world));
    let stamp = json!({ "SignedRFC3161Timestamp": STANDARD.encode(world.token(&made.signature, 5)) }).to_string();
    let stamped = |stamp: String| {
        legacy(&world, &made, |beside| {
            beside.insert("dev.sigstore.cosign/rfc3161timestamp".to_owned(), stamp);
        })
    };
    accepted(stamped(stamp.clone()), &trust(&world));

    let bad = json!({ "SignedRFC3161Timestamp": STANDARD.encode(world.token(b"another", 5)) }).to_string();
    let reason = refused(stamped(bad), &trust(&world));
    assert!(matches!(reason, RejectionReason::Sigstore(SigstoreError::Timestamp { .. })), "{reason:?}");
    let without = legacy(&world, &made, |beside| {
        beside.remove("dev.sigstore.cosign/bundle");
    });
    let none = SigstoreError::TooFew { what: "log entries", found: 0, required: 1 };
    assert_eq!(refused(without, &trust(&world)), RejectionReason::Sigstore(none));
    let moved = legacy(&world, &made, |beside| {
        let bundle = beside.get_mut("dev.sigstore.cosign/bundle").unwrap();
        *bundle = bundle.replace(&SIGNED.to_string(), &(SIGNED + 1).to_string());
    });
    let problem = EntryError::Promise;
    let expected = RejectionReason::Sigstore(SigstoreError::Entry { number: 1, problem });
    assert_eq!(refused(moved, &trust(&world)), expected);
    let foreign = world.sign_message(b"another payload");
    let swapped = legacy(&world, &foreign, |beside| {
        beside.insert("dev.cosignproject.cosign/signature".to_owned(), STANDARD.encode(&made.signature));
        beside.insert("dev.sigstore.cosign/certificate".to_owned(), pem(&made.leaf));
    });
    let swapped = wrap(SIMPLE_SIGNING, made.message.clone(), &annotations_of(&swapped));
    let problem = EntryError::Other { field: "digest" };
    let expected = RejectionReason::Sigstore(SigstoreError::Entry { number: 1, problem });
    assert_eq!(refused(swapped, &trust(&world)), expected);
}

fn annotations_of(artifact: &assay_verify::Artifact) -> BTreeMap<String, String> {
    let manifest: Value = serde_json::from_slice(artifact.manifest.bytes()).unwrap();
    serde_json::from_value(manifest["layers"][0]["annotations"].clone()).unwrap()
}

#[test]
fn a_key_that_needs_a_log_counts_only_with_an_entry_about_its_signature() {
    let (world, key) = (World::new(Wishes::default()), TestKey::new());
    let to_sign = cosign_bundle::pae_to_sign(&index(), &BTreeMap::new());
    let signature = key.sign_der(&to_sign.pae);
    let mut bundle: Value =
        serde_json::from_slice(&cosign_bundle::assemble(&to_sign, &signature, key.public().spki())).unwrap();
    let judged = |bundle: &Value, is_log_needed: bool| {
        let mut trust = trust_key("ci", key.public());
        trust.sigstore.insert("acme".parse().unwrap(), world.root());
        if is_log_needed {
            trust.logged_keys.insert("ci".parse().unwrap(), "acme".parse().unwrap());
        }
        findings(envelope(BUNDLE, bundle.to_string()), &trust)
    };
    let none = RejectionReason::Sigstore(SigstoreError::TooFew { what: "log entries", found: 0, required: 1 });
    assert_eq!(judged(&bundle, false).facts.len(), 1);
    assert_eq!(judged(&bundle, true).rejections[0].reason, none);
    let body = |verifier: &str| {
        json!({
            "apiVersion": "0.0.1",
            "kind": "dsse",
            "spec": {
                "payloadHash": { "algorithm": "sha256", "value": Digest::sha256(&to_sign.payload).hex() },
                "signatures": [{ "signature": STANDARD.encode(&signature), "verifier": STANDARD.encode(verifier) }],
            },
        })
    };
    bundle["verificationMaterial"]["tlogEntries"] = json!([world.entry_of(&body(&key.0.public_key_pem()), SIGNED)]);
    assert_eq!(judged(&bundle, true).rejections, []);
    assert_eq!(judged(&bundle, true).facts.len(), 1);
    let mut changed = bundle.clone();
    flip(&mut changed, &format!("{ENTRY}/inclusionPromise/signedEntryTimestamp"), 20);
    assert_eq!(judged(&changed, true).facts, []);
    // What is not asked for is not looked at.
    assert_eq!(judged(&changed, false).facts.len(), 1);
    let other = body(&TestKey::new().0.public_key_pem());
    bundle["verificationMaterial"]["tlogEntries"] = json!([world.entry_of(&other, SIGNED)]);
    let problem = EntryError::Other { field: "verifier" };
    let expected = RejectionReason::Sigstore(SigstoreError::Entry { number: 1, problem });
    assert_eq!(judged(&bundle, true).rejections[0].reason, expected);
}

#[test]
fn a_keyless_attestation_is_no_signature() {
    let world = World::new(Wishes::default());
    let mut statement: Value = serde_json::from_slice(&statement()).unwrap();
    statement["predicateType"] = "https://spdx.dev/Document".into();
    let bundle = world.bundle(&world.sign_statement(statement.to_string().as_bytes()));
    let value = "https://spdx.dev/Document".to_owned();
    let reason = refused(envelope(BUNDLE, bundle.to_string()), &trust(&world));
    assert_eq!(reason, RejectionReason::Unknown { field: "predicateType", value });
}

/// The annotations that cosign writes beside a legacy attestation.
fn beside(world: &World, made: &Made) -> BTreeMap<String, String> {
    let mut beside = annotations_of(&legacy(world, made, |_| ()));
    beside.insert("dev.cosignproject.cosign/signature".to_owned(), String::new());
    beside
}

#[test]
fn a_keyless_attestation_counts_as_one_in_a_bundle_and_in_a_bare_envelope() {
    let world = World::new(Wishes::default());
    let mut statement: Value = serde_json::from_slice(&statement()).unwrap();
    statement["predicateType"] = "https://example.org/reviewed".into();
    let made = world.sign_statement(statement.to_string().as_bytes());
    let bare = |signature: &[u8]| {
        json!({
            "payloadType": PAYLOAD_TYPE,
            "payload": STANDARD.encode(statement.to_string()),
            "signatures": [{ "keyid": "", "sig": STANDARD.encode(signature) }],
        })
        .to_string()
        .into_bytes()
    };
    let attested = |artifact: assay_verify::Artifact| {
        let evidence = Evidence::new(vec![artifact]).unwrap();
        verify_attestations(&image("amd64"), &evidence, &trust(&world), NOW, &mut Budget::default())
    };
    let layer = "application/vnd.dsse.envelope.v1+json";
    for artifact in
        [envelope(BUNDLE, world.bundle(&made).to_string()), wrap(layer, bare(&made.signature), &beside(&world, &made))]
    {
        let found = attested(artifact);
        assert_eq!(found.rejections, []);
        let by = found.attestations[0].signer();
        assert!(matches!(by, Signer::Identity { identity, .. } if identity == IDENTITY), "{by:?}");
    }
    let mut changed = made.signature.clone();
    changed[20] ^= 1;
    assert_eq!(attested(wrap(layer, bare(&changed), &beside(&world, &made))).attestations, []);
    let mut without = beside(&world, &made);
    without.remove("dev.sigstore.cosign/bundle");
    assert_eq!(attested(wrap(layer, bare(&made.signature), &without)).attestations, []);
}

#[test]
fn a_key_counts_under_the_name_that_needs_no_log_beside_one_that_does() {
    let mut trust = trust_key("bare", key("p256"));
    trust.keys.insert("logged".parse().unwrap(), key("p256"));
    trust.logged_keys.insert("logged".parse().unwrap(), "acme".parse().unwrap());
    let found = findings(artifact("bundle-p256"), &trust);
    assert_eq!(found.rejections, []);
    let names: Vec<_> = found.facts.iter().map(|fact| fact.signer().clone()).collect();
    assert!(matches!(names.as_slice(), [Signer::Key { name, .. }] if name.as_str() == "bare"), "{names:?}");
    // Without that name it does not.
    trust.keys.remove(&"bare".parse().unwrap());
    assert_eq!(refused(artifact("bundle-p256"), &trust), RejectionReason::Sigstore(SigstoreError::NoRoot));
}
