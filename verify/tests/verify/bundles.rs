//! Sigstore bundles with one thing wrong each, signed by the right key unless the signature is what is wrong.

use std::collections::BTreeMap;

use assay_admission::{Digest, Document, MediaType};
use assay_verify::{Artifact, Budget, Evidence, RejectionReason, SigstoreError, Trust, signing::cosign_bundle};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::support::*;

/// A bundle around a payload of choice, really signed.
fn signed(key: &TestKey, payload: &[u8]) -> Value {
    let pae = [format!("DSSEv1 28 application/vnd.in-toto+json {} ", payload.len()).as_bytes(), payload].concat();
    let to_sign = cosign_bundle::ToSign { payload: payload.to_vec(), pae };
    let bundle = cosign_bundle::assemble(&to_sign, &key.sign_der(&to_sign.pae), key.public().spki());
    serde_json::from_slice(&bundle).unwrap()
}

fn statement() -> Value {
    let to_sign = cosign_bundle::pae_to_sign(&index(), &BTreeMap::new());
    serde_json::from_slice(&to_sign.payload).unwrap()
}

fn good(key: &TestKey) -> Value {
    signed(key, statement().to_string().as_bytes())
}

fn with(key: &TestKey, change: impl FnOnce(&mut Value)) -> (Artifact, Trust) {
    let mut bundle = good(key);
    change(&mut bundle);
    (envelope(BUNDLE, bundle.to_string()), trust_key("ci", key.public()))
}

/// The reason against a bundle whose signed statement was changed.
fn statement_with(change: impl FnOnce(&mut Value)) -> RejectionReason {
    let key = TestKey::new();
    let mut statement = statement();
    change(&mut statement);
    let bundle = signed(&key, statement.to_string().as_bytes());
    refused(envelope(BUNDLE, bundle.to_string()), &trust_key("ci", key.public()))
}

fn refused_with(change: impl FnOnce(&mut Value)) -> RejectionReason {
    let (artifact, trust) = with(&TestKey::new(), change);
    refused(artifact, &trust)
}

#[test]
fn the_bundle_that_the_others_are_made_of_counts() {
    let (artifact, trust) = with(&TestKey::new(), |_| {});
    accepted(artifact, &trust);
    let (artifact, trust) = with(&TestKey::new(), |bundle| {
        bundle["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.3".into();
    });
    accepted(artifact, &trust);
}

#[test]
fn a_changed_payload_type_is_refused() {
    let reason = refused_with(|bundle| bundle["dsseEnvelope"]["payloadType"] = "application/json".into());
    assert_eq!(reason, RejectionReason::Unknown { field: "payloadType", value: "application/json".to_owned() });
}

#[test]
fn a_second_signature_or_none_is_refused() {
    let expected = malformed("signatures", "does not have exactly one entry");
    let twice = refused_with(|bundle| {
        let signatures = bundle["dsseEnvelope"]["signatures"].as_array_mut().unwrap();
        signatures.push(signatures[0].clone());
    });
    assert_eq!(twice, expected);
    assert_eq!(refused_with(|bundle| bundle["dsseEnvelope"]["signatures"] = json!([])), expected);
}

#[test]
fn the_attackers_key_in_the_bundle_is_not_believed() {
    let (attacker, owner) = (TestKey::new(), TestKey::new());
    let trust = trust_key("ci", owner.public());
    let mut bundle = good(&attacker);
    assert_eq!(refused(envelope(BUNDLE, bundle.to_string()), &trust), RejectionReason::UnknownKey);
    // Neither if the hint names the right key.
    bundle["verificationMaterial"]["publicKey"]["hint"] =
        STANDARD.encode(Digest::sha256(owner.public().spki()).value()).into();
    let reason = refused(envelope(BUNDLE, bundle.to_string()), &trust);
    assert_eq!(reason, RejectionReason::BadSignature { by: "key ci".to_owned() });
    // And a wrong hint takes nothing from a right signature.
    let (artifact, trust) = with(&owner, |bundle| bundle["verificationMaterial"]["publicKey"]["hint"] = "AAAA".into());
    accepted(artifact, &trust);
}

#[test]
fn a_keyless_bundle_proves_nothing_without_a_root() {
    let certificate = json!({ "rawBytes": "AAAA" });
    for material in
        [json!({ "certificate": certificate }), json!({ "x509CertificateChain": { "certificates": [certificate] } })]
    {
        let reason = refused_with(|bundle| bundle["verificationMaterial"] = material.clone());
        assert_eq!(reason, RejectionReason::Sigstore(SigstoreError::NoRoot), "{material}");
    }
    let none = json!({ "x509CertificateChain": { "certificates": [] } });
    let reason = refused_with(|bundle| bundle["verificationMaterial"] = none);
    let problem = "is empty".to_owned();
    assert_eq!(reason, RejectionReason::Sigstore(SigstoreError::Profile { field: "certificates", problem }));
}

#[test]
fn a_message_signature_by_a_key_counts_for_what_it_is_over() {
    let key = TestKey::new();
    let bundle = |signature: Vec<u8>| {
        json!({
            "mediaType": BUNDLE,
            "verificationMaterial": { "publicKey": { "hint": "" } },
            "messageSignature": { "signature": STANDARD.encode(signature) },
        })
    };
    let trust = trust_key("ci", key.public());
    let index = vector("image/index.json");
    accepted(envelope(BUNDLE, bundle(key.sign_der(&index)).to_string()), &trust);
    let mut other = index;
    other[0] ^= 1;
    let reason = refused(envelope(BUNDLE, bundle(key.sign_der(&other)).to_string()), &trust);
    assert_eq!(reason, RejectionReason::UnknownKey);
}

#[test]
fn another_version_is_unknown() {
    let old = "application/vnd.dev.sigstore.bundle+json;version=0.4";
    let expected = RejectionReason::Unknown { field: "mediaType", value: old.to_owned() };
    assert_eq!(refused_with(|bundle| bundle["mediaType"] = old.into()), expected);
    let (artifact, trust) = with(&TestKey::new(), |_| {});
    let bytes = artifact.blobs[0].bytes().to_vec();
    assert_eq!(refused(envelope(old, bytes), &trust), expected);
}

#[test]
fn an_attestation_is_no_signature() {
    let reason = statement_with(|statement| statement["predicateType"] = "https://spdx.dev/Document".into());
    let value = "https://spdx.dev/Document".to_owned();
    assert_eq!(reason, RejectionReason::Unknown { field: "predicateType", value });
    let longer = "https://sigstore.dev/cosign/sign/v1/".to_owned();
    let reason = statement_with(|statement| statement["predicateType"] = longer.clone().into());
    assert_eq!(reason, RejectionReason::Unknown { field: "predicateType", value: longer });
}

#[test]
fn a_signed_statement_about_something_else_or_nothing_is_refused() {
    let hex = "0".repeat(64);
    let reason = statement_with(|statement| statement["subject"][0]["digest"]["sha256"] = hex.clone().into());
    assert_eq!(reason, RejectionReason::OtherSubject { found: format!("sha256:{hex}") });
    let reason = statement_with(|statement| statement["subject"] = json!([]));
    assert_eq!(reason, RejectionReason::OtherSubject { found: "nothing".to_owned() });
    let reason = statement_with(|statement| {
        let upper = index().digest.hex().to_ascii_uppercase();
        statement["subject"][0]["digest"]["sha256"] = upper.into();
    });
    let found = format!("sha256:{}", index().digest.hex().to_ascii_uppercase());
    assert_eq!(reason, RejectionReason::OtherSubject { found });
}

#[test]
fn signed_bytes_that_are_no_json_are_refused() {
    let key = TestKey::new();
    let bundle = signed(&key, b"not JSON");
    let reason = refused(envelope(BUNDLE, bundle.to_string()), &trust_key("ci", key.public()));
    assert_eq!(reason, malformed("JSON", "expected ident at line 1 column 2"));
}

#[test]
fn two_names_of_one_key_are_two_facts_with_one_key() {
    let key = TestKey::new();
    let mut trust = trust_key("a", key.public());
    trust.keys.insert("b".parse().unwrap(), key.public());
    let found = findings(envelope(BUNDLE, good(&key).to_string()), &trust);
    let keys: Vec<_> = found
        .facts
        .iter()
        .map(|fact| match fact.signer() {
            assay_verify::Signer::Key { name, spki_sha256 } => (name.as_str().to_owned(), spki_sha256.clone()),
            assay_verify::Signer::Certificate { .. } | assay_verify::Signer::Identity { .. } => panic!("{fact:?}"),
        })
        .collect();
    let hash = key.public().spki_sha256();
    assert_eq!(keys, [("a".to_owned(), hash.clone()), ("b".to_owned(), hash)]);
}

fn with_manifest(change: impl FnOnce(&mut Value)) -> RejectionReason {
    let (artifact, trust) = with(&TestKey::new(), |_| {});
    let mut manifest: Value = serde_json::from_slice(artifact.manifest.bytes()).unwrap();
    change(&mut manifest);
    let manifest = document(MediaType::OCI_MANIFEST, manifest.to_string().into_bytes());
    refused(Artifact { manifest, ..artifact }, &trust)
}

#[test]
fn a_signature_manifest_that_is_about_something_else_is_refused() {
    let found = |reason| match reason {
        RejectionReason::OtherSubject { found } => found,
        other => panic!("{other:?}"),
    };
    let index = index();
    let reason = with_manifest(|manifest| manifest["subject"]["size"] = 1.into());
    assert_eq!(found(reason), format!("{} ({}, 1 bytes)", index.digest, index.media_type));
    let amd64 = image("amd64").manifest().digest;
    let reason = with_manifest(|manifest| manifest["subject"]["digest"] = amd64.to_string().into());
    assert_eq!(found(reason), format!("{amd64} ({}, {} bytes)", index.media_type, index.size));
}

#[test]
fn a_layer_whose_bytes_are_missing_or_have_another_size_is_refused() {
    let digest = Digest::sha256(b"x");
    let reason = with_manifest(|manifest| manifest["layers"][0]["digest"] = digest.to_string().into());
    assert_eq!(reason, RejectionReason::MissingBlob(digest));
    let mut size = 0;
    let reason = with_manifest(|manifest| {
        size = manifest["layers"][0]["size"].as_u64().unwrap();
        manifest["layers"][0]["size"] = (size + 1).into();
    });
    assert_eq!(reason, malformed("size", &format!("is {}, and the layer has {size} bytes", size + 1)));
}

#[test]
fn unknown_layers_and_ambiguous_manifests_are_refused() {
    let reason = with_manifest(|manifest| manifest["layers"][0]["mediaType"] = "text/plain".into());
    assert_eq!(reason, RejectionReason::Unknown { field: "mediaType", value: "text/plain".to_owned() });
    let reason = with_manifest(|manifest| manifest["manifests"] = json!([]));
    let both = "stands in a manifest; a document is a manifest or an index, not both";
    assert_eq!(reason, malformed("manifests", both));
    let reason = with_manifest(|manifest| manifest["LAYERS"] = json!([]));
    let Malformed { field, problem } = reason else { panic!() };
    assert_eq!(field, "JSON");
    assert!(problem.starts_with("the key \"layers\" stands twice in one object (case ignored)"), "{problem}");
    let reason = with_manifest(|manifest| manifest["layers"] = json!([]));
    assert_eq!(reason, malformed("layers", "is empty"));
}

use RejectionReason::Malformed;

#[test]
fn junk_beside_a_good_signature_takes_nothing_from_it_until_the_budget_is_spent() {
    let key = TestKey::new();
    let trust = trust_key("ci", key.public());
    let junk = |number: usize| envelope(BUNDLE, format!("{number}"));
    let good = envelope(BUNDLE, good(&key).to_string());
    let mut artifacts: Vec<_> = (0..20).map(junk).collect();
    artifacts.push(good.clone());
    let found = findings_at(artifacts, &trust, NOW);
    assert_eq!((found.facts.len(), found.rejections.len(), found.limit), (1, 20, None));

    // One artifact with as many layers as are looked at, one more in another.
    let flood: Vec<Document> = (0..64).map(|number| document(BUNDLE, format!("{number}").into_bytes())).collect();
    let mut manifest: Value = serde_json::from_slice(good.manifest.bytes()).unwrap();
    let layer = |blob: &Document| json!({ "mediaType": BUNDLE, "digest": blob.digest().to_string(), "size": blob.bytes().len() });
    manifest["layers"] = flood.iter().map(layer).collect();
    let manifest = document(MediaType::OCI_MANIFEST, manifest.to_string().into_bytes());
    let flood = Artifact { manifest, blobs: flood, ..good.clone() };
    let evidence = Evidence::new(vec![flood, good]).unwrap();
    let found = assay_verify::verify(&image("amd64"), &evidence, &trust, NOW, &mut Budget::default());
    assert_eq!(found.limit.map(|limit| (limit.what, limit.limit)), Some(("signatures", 64)));
}

#[test]
fn trying_too_many_keys_ends_in_a_limit() {
    let key = TestKey::new();
    let mut budget = Budget::default();
    while budget.spend_key_operation().is_ok() {}
    let evidence = Evidence::new(vec![envelope(BUNDLE, good(&key).to_string())]).unwrap();
    let found = assay_verify::verify(&image("amd64"), &evidence, &trust_key("ci", key.public()), NOW, &mut budget);
    assert_eq!(found.facts, []);
    assert_eq!(found.limit.map(|limit| limit.what), Some("public-key operations"));
}

#[test]
fn our_verdict_on_a_bundle_is_the_sigstore_verify_crates() {
    use sigstore_verify::{
        crypto::VerificationKey,
        types::{Bundle, DerPublicKey, SignatureBytes, SignatureContent},
    };
    for name in ["p256", "p384", "rsa2048", "rsa3072"] {
        let theirs = VerificationKey::from_spki(&DerPublicKey::from_bytes(key(name).spki())).unwrap();
        let text = String::from_utf8(artifact(&format!("bundle-{name}")).blobs[0].bytes().to_vec()).unwrap();
        let SignatureContent::DsseEnvelope(dsse) = Bundle::from_json(&text).unwrap().content else { panic!("{name}") };
        assert!(theirs.verify(dsse.pae(), &dsse.signature.sig).is_ok(), "{name}");
        let signature = dsse.signature.sig.as_bytes();
        for turned in (0..signature.len()).step_by(5) {
            let mut changed = signature.to_vec();
            changed[turned] ^= 1;
            let mut bundle: Value = serde_json::from_str(&text).unwrap();
            bundle["dsseEnvelope"]["signatures"][0]["sig"] = STANDARD.encode(&changed).into();
            let ours = !findings(envelope(BUNDLE, bundle.to_string()), &trust_key("ci", key(name))).facts.is_empty();
            let theirs = theirs.verify(dsse.pae(), &SignatureBytes::from_bytes(&changed)).is_ok();
            assert_eq!((ours, theirs), (false, false), "{name} {turned}");
        }
    }
}

#[test]
fn a_plain_ed25519_signature_counts_and_its_changed_twin_does_not() {
    use aws_lc_rs::signature::Ed25519KeyPair;

    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let public = assay_verify::PublicKey::from_pem(&pair.public_key_pem()).unwrap();
    let to_sign = cosign_bundle::pae_to_sign(&index(), &BTreeMap::new());
    let key = Ed25519KeyPair::from_pkcs8(&pair.serialize_der()).unwrap();
    let mut signature = key.sign(&to_sign.pae).as_ref().to_vec();
    let trust = trust_key("ci", public.clone());
    accepted(envelope(BUNDLE, cosign_bundle::assemble(&to_sign, &signature, public.spki())), &trust);
    signature[63] ^= 1;
    let reason = refused(envelope(BUNDLE, cosign_bundle::assemble(&to_sign, &signature, public.spki())), &trust);
    assert_eq!(reason, RejectionReason::BadSignature { by: "key ci".to_owned() });
}
