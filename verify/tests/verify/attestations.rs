//! Attestations: what cosign attests counts as an attestation and never as a signature, a signature never as an attestation, and
//! each thing that is wrong with one is named.

use std::collections::BTreeMap;

use assay_admission::{Digest, Document, MediaType};
use assay_verify::{
    Artifact, Attestation, AttestationFindings, AttestationFormat, Budget, Evidence, LimitReached, Predicate,
    RejectionReason, Signer, SigstoreError, StatementVersion, Trust, verify_attestations,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{
    sigstore_world::{Made, SIGNED, Wishes, World, pem},
    support::*,
};

pub(crate) const DSSE: &str = "application/vnd.dsse.envelope.v1+json";
const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// cosign's `--type`, and the predicate type that it writes.
const REAL: [(&str, &str); 10] = [
    ("slsaprovenance", "https://slsa.dev/provenance/v0.2"),
    ("slsaprovenance1", "https://slsa.dev/provenance/v1"),
    ("spdxjson", "https://spdx.dev/Document"),
    ("cyclonedx", "https://cyclonedx.org/bom"),
    ("vuln", "https://cosign.sigstore.dev/attestation/vuln/v1"),
    ("openvex", "https://openvex.dev/ns"),
    ("custom", "https://cosign.sigstore.dev/attestation/v1"),
    ("summary", "https://slsa.dev/verification_summary/v1"),
    ("sarif", "https://json.schemastore.org/sarif-2.1.0.json"),
    ("other", "https://acme.example/review/v1"),
];

pub(crate) fn attester() -> Trust {
    trust_key("ci", key("attester"))
}

pub(crate) fn attested(artifact: Artifact, trust: &Trust) -> AttestationFindings {
    attested_about("amd64", artifact, trust)
}

fn attested_about(architecture: &str, artifact: Artifact, trust: &Trust) -> AttestationFindings {
    let evidence = Evidence::new(vec![artifact]).unwrap();
    verify_attestations(&image(architecture), &evidence, trust, NOW, &mut Budget::default())
}

pub(crate) fn not_attested(artifact: Artifact, trust: &Trust) -> RejectionReason {
    let findings = attested(artifact, trust);
    assert_eq!(findings.attestations, []);
    assert_eq!(findings.rejections.len(), 1, "{findings:?}");
    findings.rejections[0].reason.clone()
}

/// The envelope of `payload` of the given type by `key`.
fn envelope_of(key: &TestKey, payload_type: &str, payload: &[u8]) -> Value {
    let pae = [format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).as_bytes(), payload].concat();
    json!({
        "payloadType": payload_type,
        "payload": STANDARD.encode(payload),
        "signatures": [{ "keyid": "", "sig": STANDARD.encode(key.sign_der(&pae)) }],
    })
}

fn bundle_of(envelope: &Value) -> Value {
    json!({
        "mediaType": BUNDLE,
        "verificationMaterial": { "publicKey": { "hint": "" } },
        "dsseEnvelope": envelope,
    })
}

pub(crate) fn statement(predicate_type: &str, predicate: &Value) -> Value {
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{ "name": "app", "digest": { "sha256": index().digest.hex() } }],
        "predicateType": predicate_type,
        "predicate": predicate,
    })
}

/// What both ways of wrapping prove of a statement that is really signed; they prove the same.
pub(crate) fn state(statement: &str) -> Result<Vec<Attestation>, RejectionReason> {
    let key = TestKey::new();
    let envelope = envelope_of(&key, PAYLOAD_TYPE, statement.as_bytes());
    let trust = trust_key("ci", key.public());
    let one = |artifact| {
        let findings = attested(artifact, &trust);
        match findings.rejections.as_slice() {
            [] => Ok(findings.attestations),
            [rejection] => Err(rejection.reason.clone()),
            more => panic!("{more:?}"),
        }
    };
    let bundle = one(crate::support::envelope(BUNDLE, bundle_of(&envelope).to_string()));
    let bare = one(crate::support::envelope(DSSE, envelope.to_string()));
    match (&bundle, &bare) {
        (Ok(bundle), Ok(bare)) => {
            let said = |found: &[Attestation]| -> Vec<_> {
                found
                    .iter()
                    .map(|one| (one.subject().clone(), one.predicate().clone(), one.statement().to_vec()))
                    .collect()
            };
            assert_eq!(said(bundle), said(bare));
        }
        (bundle, bare) => assert_eq!(bundle, bare),
    }
    bare
}

#[test]
fn every_type_that_cosign_attests_counts_in_both_formats() {
    let legacy = attested(artifact("attest-legacy"), &attester());
    assert_eq!((legacy.rejections.len(), legacy.limit), (0, None));
    assert_eq!(legacy.attestations.len(), REAL.len());
    for (at, (name, predicate_type)) in REAL.into_iter().enumerate() {
        let bundle = attested(artifact(&format!("attest-{name}")), &attester());
        assert_eq!(bundle.rejections, [], "{name}");
        assert_eq!(bundle.attestations.len(), 1, "{name}");
        let (bundle, legacy) = (&bundle.attestations[0], &legacy.attestations[at]);
        for found in [bundle, legacy] {
            assert_eq!(found.predicate_type(), predicate_type);
            assert_eq!(found.subject(), &index(), "{name}");
            assert_eq!(found.statement_version(), StatementVersion::V0_1);
            assert!(matches!(found.signer(), Signer::Key { name, .. } if name.as_str() == "ci"));
        }
        assert_eq!(bundle.format(), AttestationFormat::SigstoreBundle);
        assert_eq!(legacy.format(), AttestationFormat::Dsse);
        if name != "custom" {
            // cosign wraps a custom predicate together with the time.
            assert_eq!(bundle.predicate_json(), legacy.predicate_json(), "{name}");
            assert_eq!(bundle.predicate(), legacy.predicate(), "{name}");
        }
    }
}

#[test]
fn an_attestation_is_no_signature_in_either_format() {
    for (name, _) in REAL {
        let findings = findings(artifact(&format!("attest-{name}")), &attester());
        assert_eq!((findings.facts.len(), findings.rejections.len()), (0, 1), "{name}");
    }
    let legacy = findings(artifact("attest-legacy"), &attester());
    assert_eq!(legacy.facts, []);
    let unknown = RejectionReason::Unknown { field: "mediaType", value: DSSE.to_owned() };
    assert!(legacy.rejections.iter().all(|rejection| rejection.reason == unknown), "{legacy:?}");
    // Nor is one with a statement of the version that signatures have.
    let key = TestKey::new();
    let statement = statement("https://spdx.dev/Document", &json!({ "spdxVersion": "SPDX-2.3" })).to_string();
    let bundle = bundle_of(&envelope_of(&key, PAYLOAD_TYPE, statement.as_bytes())).to_string();
    let trust = trust_key("ci", key.public());
    let reason = refused(envelope(BUNDLE, bundle.clone()), &trust);
    let value = "https://spdx.dev/Document".to_owned();
    assert_eq!(reason, RejectionReason::Unknown { field: "predicateType", value });
    assert_eq!(attested(envelope(BUNDLE, bundle), &trust).attestations.len(), 1);
}

#[test]
fn a_signature_is_no_attestation() {
    assert_eq!(not_attested(artifact("bundle-p256"), &trust_key("ci", key("p256"))), RejectionReason::Signature);
    for name in ["legacy-p256", "notation-jws-ec256", "notation-cose-ec256"] {
        // Of these formats the type alone says that they hold nothing else.
        let findings = attested(artifact(name), &trust_key("ci", key("p256")));
        assert_eq!(findings, AttestationFindings::default(), "{name}");
    }
    let sign = statement("https://sigstore.dev/cosign/sign/v1", &json!({})).to_string();
    assert_eq!(state(&sign), Err(RejectionReason::Signature));
}

#[test]
fn an_attestation_of_another_key_proves_nothing() {
    let trust = trust_key("ci", key("p256"));
    assert_eq!(not_attested(artifact("attest-vuln"), &trust), RejectionReason::UnknownKey);
    let legacy = attested(artifact("attest-legacy"), &trust);
    assert_eq!(legacy.attestations, []);
    assert!(legacy.rejections.iter().all(|rejection| rejection.reason == RejectionReason::UnknownKey));
    assert_eq!(attested(artifact("attest-vuln"), &Trust::default()).attestations, []);
}

#[test]
fn an_attestation_of_another_image_is_refused_and_says_of_which() {
    let other = Digest::sha256(b"another image");
    for digests in [json!({ "sha256": other.hex() }), json!({ "sha256": other.hex(), "sha512": "0" })] {
        let mut other_subject = statement("https://acme.example/review/v1", &json!({}));
        other_subject["subject"][0]["digest"] = digests;
        let found = other.to_string();
        assert_eq!(state(&other_subject.to_string()), Err(RejectionReason::OtherSubject { found }));
    }
    // The digest of this image under another name is not its digest.
    let mut other_algorithm = statement("https://acme.example/review/v1", &json!({}));
    other_algorithm["subject"][0]["digest"] = json!({ "sha512": index().digest.hex() });
    let found = "nothing".to_owned();
    assert_eq!(state(&other_algorithm.to_string()), Err(RejectionReason::OtherSubject { found }));
    let mut upper = statement("https://acme.example/review/v1", &json!({}));
    upper["subject"][0]["digest"] = json!({ "sha256": index().digest.hex().to_uppercase() });
    assert!(matches!(state(&upper.to_string()), Err(RejectionReason::OtherSubject { .. })));
}

#[test]
fn an_attestation_of_one_platform_says_nothing_of_another() {
    let key = TestKey::new();
    let mut about_amd64 = statement("https://acme.example/review/v1", &json!({}));
    about_amd64["subject"][0]["digest"]["sha256"] = image("amd64").manifest().digest.hex().into();
    let envelope = envelope_of(&key, PAYLOAD_TYPE, about_amd64.to_string().as_bytes());
    let artifact = crate::support::envelope(DSSE, envelope.to_string());
    let trust = trust_key("ci", key.public());
    let found = attested(artifact.clone(), &trust);
    assert_eq!(found.attestations[0].subject(), image("amd64").manifest());
    let found = attested_about("arm64", artifact, &trust);
    assert_eq!(found.attestations, []);
    assert!(matches!(found.rejections[0].reason, RejectionReason::OtherSubject { .. }));
}

#[test]
fn a_statement_with_several_subjects_is_about_each_that_the_image_has() {
    let mut many = statement("https://acme.example/review/v1", &json!({}));
    let manifest = image("amd64").manifest().digest.hex();
    let subjects = many["subject"].as_array_mut().unwrap();
    subjects
        .insert(0, json!({ "name": "other", "digest": { "gitCommit": "b6589fc6ab0dc82cf12099d1c2d40ab994e8410c" } }));
    subjects.push(json!({ "name": "child", "digest": { "sha256": manifest } }));
    let found = state(&many.to_string()).unwrap();
    let about: Vec<_> = found.iter().map(|attestation| attestation.subject().clone()).collect();
    assert_eq!(about, [image("amd64").manifest().clone(), index()]);
}

#[test]
fn statements_that_are_none_are_refused_by_name() {
    let with = |change: &dyn Fn(&mut Value)| {
        let mut statement = statement("https://acme.example/review/v1", &json!({ "reviewed": true }));
        change(&mut statement);
        state(&statement.to_string())
    };
    assert_eq!(with(&|_| {}).map(|found| found.len()), Ok(1));
    assert_eq!(
        with(&|statement| statement["_type"] = "https://in-toto.io/Statement/v2".into()),
        Err(malformed("_type", "is \"https://in-toto.io/Statement/v2\", which is no in-toto statement v0.1 or v1"))
    );
    assert_eq!(with(&|statement| statement["subject"] = json!([])), Err(malformed("subject", "is empty")));
    assert_eq!(with(&|statement| statement["predicateType"] = "".into()), Err(malformed("predicateType", "is empty")));
    assert_eq!(
        with(&|statement| drop(statement.as_object_mut().unwrap().remove("predicateType"))),
        Err(malformed("predicateType", "is missing in statement"))
    );
    let many: Vec<Value> = (0..1025).map(|at| json!({ "name": at.to_string(), "digest": { "sha256": "0" } })).collect();
    let limit = LimitReached { what: "subjects of a statement", limit: 1024 };
    assert_eq!(with(&|statement| statement["subject"] = many.clone().into()), Err(RejectionReason::Limit(limit)));
    let limit = LimitReached { what: "values in a JSON document", limit: 250_000 };
    let large: Vec<Value> = vec![Value::Null; 250_000];
    assert_eq!(with(&|statement| statement["predicate"] = large.clone().into()), Err(RejectionReason::Limit(limit)));
    // A signed text that is no JSON, or JSON that two readers understand differently.
    let twice = format!(
        r#"{{"_type":"https://in-toto.io/Statement/v1","subject":[{{"digest":{{"sha256":"{}"}}}}],"predicateType":"a:b","PredicateType":"a:c"}}"#,
        index().digest.hex()
    );
    for text in ["no json", twice.as_str()] {
        assert!(matches!(state(text), Err(RejectionReason::Malformed { field: "JSON", .. })), "{text}");
    }
}

#[test]
fn envelopes_that_are_not_exactly_as_they_should_be_are_refused() {
    let key = TestKey::new();
    let text = statement("https://acme.example/review/v1", &json!({})).to_string();
    let trust = trust_key("ci", key.public());
    let refusal = |change: &dyn Fn(&mut Value)| {
        let mut envelope = envelope_of(&key, PAYLOAD_TYPE, text.as_bytes());
        change(&mut envelope);
        not_attested(crate::support::envelope(DSSE, envelope.to_string()), &trust)
    };
    let two = |envelope: &mut Value| {
        let one = envelope["signatures"][0].clone();
        envelope["signatures"].as_array_mut().unwrap().push(one);
    };
    assert_eq!(refusal(&two), malformed("signatures", "has 2 entries, and one is read"));
    assert_eq!(
        refusal(&|envelope| envelope["signatures"] = json!([])),
        malformed("signatures", "has 0 entries, and one is read")
    );
    let other = "application/json".to_owned();
    assert_eq!(
        refusal(&|envelope| envelope["payloadType"] = other.clone().into()),
        RejectionReason::Unknown { field: "payloadType", value: other.clone() }
    );
    assert_eq!(
        refusal(&|envelope| envelope["extra"] = 1.into()),
        malformed("envelope", "has the unknown field \"extra\"")
    );
    assert_eq!(
        refusal(&|envelope| envelope["signatures"][0]["cert"] = "".into()),
        malformed("signatures", "has the unknown field \"cert\"")
    );
    assert_eq!(refusal(&|envelope| envelope["payload"] = STANDARD.encode("{}").into()), RejectionReason::UnknownKey);
    // The type is signed together with the payload: what was signed as another type is no statement.
    let mut foreign = envelope_of(&key, "application/vnd.example+json", text.as_bytes());
    foreign["payloadType"] = PAYLOAD_TYPE.into();
    let artifact = crate::support::envelope(DSSE, foreign.to_string());
    assert_eq!(not_attested(artifact, &trust), RejectionReason::UnknownKey);
}

/// What somebody without a key attested, in a bundle and as an envelope with what cosign writes beside it.
fn keyless(world: &World, made: &Made, payload: &[u8], integrated: i64) -> [Artifact; 2] {
    let envelope = json!({
        "payloadType": PAYLOAD_TYPE,
        "payload": STANDARD.encode(payload),
        "signatures": [{ "keyid": "", "sig": STANDARD.encode(&made.signature) }],
    });
    let entry = world.entry(made);
    let log = STANDARD.decode(entry["logId"]["keyId"].as_str().unwrap()).unwrap();
    let promise = json!({
        "SignedEntryTimestamp": entry["inclusionPromise"]["signedEntryTimestamp"],
        "Payload": { "body": entry["canonicalizedBody"], "integratedTime": integrated, "logIndex": 4711, "logID": hex(&log) },
    });
    let annotations = BTreeMap::from([
        ("dev.cosignproject.cosign/signature".to_owned(), String::new()),
        ("dev.sigstore.cosign/certificate".to_owned(), pem(&made.leaf)),
        ("dev.sigstore.cosign/bundle".to_owned(), promise.to_string()),
    ]);
    let mut bundle = world.bundle(made);
    bundle["verificationMaterial"]["tlogEntries"][0]["integratedTime"] = integrated.to_string().into();
    [crate::support::envelope(BUNDLE, bundle.to_string()), wrap(DSSE, envelope.to_string().into_bytes(), &annotations)]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_keyless_attestation_counts_in_both_formats_and_its_changed_twins_do_not() {
    let world = World::new(Wishes::default());
    let payload = statement("https://acme.example/review/v1", &json!({ "reviewed": true })).to_string().into_bytes();
    let made = world.sign_statement(&payload);
    let trust = Trust { sigstore: BTreeMap::from([("acme".parse().unwrap(), world.root())]), ..Trust::default() };
    for artifact in keyless(&world, &made, &payload, SIGNED) {
        let found = attested(artifact.clone(), &trust);
        assert_eq!(found.rejections, []);
        assert!(matches!(found.attestations[0].signer(), Signer::Identity { .. }), "{found:?}");
        assert_eq!(findings(artifact, &trust).facts, [], "it is no signature");
    }
    // The time of the entry is what the log signed.
    for artifact in keyless(&world, &made, &payload, SIGNED + 1) {
        let reason = not_attested(artifact, &trust);
        assert!(matches!(reason, RejectionReason::Sigstore(SigstoreError::Entry { .. })), "{reason:?}");
    }
    // Another statement under the same signature, and the same statement by another world.
    let other = statement("https://acme.example/review/v1", &json!({ "reviewed": false })).to_string().into_bytes();
    let [_, swapped] = keyless(&world, &made, &other, SIGNED);
    assert_eq!(attested(swapped, &trust).attestations, []);
    let stranger = World::new(Wishes::default());
    for artifact in keyless(&stranger, &stranger.sign_statement(&payload), &payload, SIGNED) {
        assert_eq!(attested(artifact, &trust).attestations, []);
    }
}

#[test]
fn what_stands_beside_an_envelope_takes_nothing_from_it_but_a_certificate_that_is_none() {
    let key = TestKey::new();
    let text = statement("https://acme.example/review/v1", &json!({})).to_string();
    let envelope = envelope_of(&key, PAYLOAD_TYPE, text.as_bytes()).to_string().into_bytes();
    let annotations = |value: &str| BTreeMap::from([("dev.sigstore.cosign/certificate".to_owned(), value.to_owned())]);
    let trust = trust_key("ci", key.public());
    assert_eq!(attested(wrap(DSSE, envelope.clone(), &annotations("")), &trust).attestations.len(), 1);
    let reason = not_attested(wrap(DSSE, envelope, &annotations("none")), &trust);
    assert_eq!(reason, malformed("dev.sigstore.cosign/certificate", "has no certificate"));
}

#[test]
fn layers_of_unknown_types_and_missing_ones_are_named() {
    let unknown = not_attested(envelope("application/spdx+json", "{}"), &attester());
    let value = "application/spdx+json".to_owned();
    assert_eq!(unknown, RejectionReason::Unknown { field: "mediaType", value });
    let mut without = artifact("attest-vuln");
    let missing = *without.blobs.pop().unwrap().digest();
    assert_eq!(not_attested(without, &attester()), RejectionReason::MissingBlob(missing));
    let other = Artifact { subject: Digest::sha256(b"x"), ..artifact("attest-vuln") };
    let found = Digest::sha256(b"x").to_string();
    assert_eq!(not_attested(other, &attester()), RejectionReason::OtherSubject { found });
}

#[test]
fn more_attestations_than_are_looked_at_are_a_limit_and_not_a_verdict() {
    let mut budget = Budget::default();
    (0..64).for_each(|_| budget.spend_signature().unwrap());
    let evidence = Evidence::new(vec![artifact("attest-vuln")]).unwrap();
    let findings = verify_attestations(&image("amd64"), &evidence, &attester(), NOW, &mut budget);
    assert_eq!(findings.attestations, []);
    assert_eq!(findings.limit, Some(LimitReached { what: "signatures", limit: 64 }));
}

#[test]
fn one_byte_anywhere_in_what_is_signed_changes_everything() {
    for (name, _) in REAL {
        let real = artifact(&format!("attest-{name}"));
        let mut bundle: Value = serde_json::from_slice(real.blobs[0].bytes()).unwrap();
        let payload = STANDARD.decode(bundle["dsseEnvelope"]["payload"].as_str().unwrap()).unwrap();
        for at in [0, payload.len() / 3, payload.len() / 2, payload.len() - 1] {
            let mut changed = payload.clone();
            changed[at] ^= 1;
            bundle["dsseEnvelope"]["payload"] = STANDARD.encode(changed).into();
            let reason = not_attested(envelope(BUNDLE, bundle.to_string()), &attester());
            assert_eq!(reason, RejectionReason::BadSignature { by: "key ci".to_owned() }, "{name} at {at}");
        }
    }
}

#[test]
fn the_predicate_is_handed_on_as_it_was_signed() {
    let predicate = json!({ "float": 1.5, "deep": [{ "a": null }], "big": u64::MAX });
    let text = statement("https://acme.example/review/v1", &predicate).to_string();
    let found = state(&text).unwrap();
    assert_eq!(found[0].predicate(), &Predicate::Other);
    assert_eq!(found[0].predicate_json(), predicate);
    assert_eq!(found[0].statement(), text.as_bytes());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_mutated_attestation_proves_nothing_new(
        which in 0..REAL.len(),
        at in any::<prop::sample::Index>(),
        mask in 1_u8..,
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let real = artifact(&format!("attest-{}", REAL[which].0));
        let expected = attested(real.clone(), &attester()).attestations;
        let mut bytes = real.blobs[0].bytes().to_vec();
        let length = bytes.len();
        match cut {
            Some(cut) => bytes.truncate(cut.index(length)),
            None => bytes[at.index(length)] ^= mask,
        }
        for found in attested(envelope(BUNDLE, bytes), &attester()).attestations {
            prop_assert_eq!(found.statement(), expected[0].statement());
            prop_assert_eq!(found.signer(), expected[0].signer());
            prop_assert_eq!(found.subject(), expected[0].subject());
        }
    }

    #[test]
    fn arbitrary_envelopes_and_statements_do_not_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        at in any::<prop::sample::Index>(),
        which in 0..REAL.len(),
        mask in 1_u8..,
    ) {
        prop_assert_eq!(attested(envelope(DSSE, bytes.clone()), &attester()).attestations, []);
        prop_assert_eq!(attested(envelope(BUNDLE, bytes), &attester()).attestations, []);
        // A hostile signer: the payload of a real attestation, changed and really signed.
        let real = artifact(&format!("attest-{}", REAL[which].0));
        let bundle: Value = serde_json::from_slice(real.blobs[0].bytes()).unwrap();
        let mut payload = STANDARD.decode(bundle["dsseEnvelope"]["payload"].as_str().unwrap()).unwrap();
        let at = at.index(payload.len());
        payload[at] ^= mask;
        let key = TestKey::new();
        let envelope = envelope_of(&key, PAYLOAD_TYPE, &payload).to_string();
        let found = attested(crate::support::envelope(DSSE, envelope), &trust_key("ci", key.public()));
        prop_assert_eq!(found.attestations.len() + found.rejections.len(), 1);
        for attestation in found.attestations {
            prop_assert!(!attestation.predicate().to_string().is_empty());
            prop_assert_eq!(attestation.statement(), payload.as_slice());
        }
    }

    #[test]
    fn a_mutated_manifest_of_attestations_proves_nothing_new(at in any::<prop::sample::Index>(), mask in 1_u8..) {
        let real = artifact("attest-legacy");
        let expected = attested(real.clone(), &attester()).attestations;
        let mut bytes = real.manifest.bytes().to_vec();
        let length = bytes.len();
        bytes[at.index(length)] ^= mask;
        let manifest = Document::new(MediaType::new(MediaType::OCI_MANIFEST).unwrap(), bytes).unwrap();
        for found in attested(Artifact { manifest, ..real }, &attester()).attestations {
            prop_assert!(expected.iter().any(|one| one.statement() == found.statement()));
        }
    }
}
