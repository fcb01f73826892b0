//! Keyless signatures: what a small Sigstore of our own signs counts, and the same with one thing changed does not. Another client's
//! library judges beside ours.

use std::{collections::BTreeMap, num::NonZeroUsize};

use assay_admission::{Digest, UnixTime};
use assay_verify::{
    BlobHasher, Budget, EntryError, Evidence, IdentityPattern, LogRule, RejectionReason, RootError, SctError, Signer,
    SigstoreError, SigstoreRoot, TextPattern, TimestampError, Trust, signing::cosign_bundle, verify_attestations,
    verify_blob,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::ExtendedKeyUsagePurpose;
use serde_json::{Value, json};

use crate::{sigstore_world::*, support::*};

fn trust_of(root: SigstoreRoot) -> Trust {
    Trust { sigstore: BTreeMap::from([("acme".parse().unwrap(), root)]), ..Trust::default() }
}

fn trust(world: &World) -> Trust {
    trust_of(world.root())
}

/// `cosign sign`'s statement about the index.
fn statement() -> Vec<u8> {
    cosign_bundle::pae_to_sign(&index(), &BTreeMap::new()).payload
}

fn good() -> (World, Made, Value) {
    let world = World::new(Wishes::default());
    let made = world.sign_statement(&statement());
    let bundle = world.bundle(&made);
    (world, made, bundle)
}

/// Why `bundle` does not count, as a Sigstore reason. Another library has to refuse it too.
fn refused_sigstore(world: &World, bundle: &Value) -> SigstoreError {
    assert!(!others_accept(&world.root_json(), bundle), "another library accepts {bundle:#}");
    match refused(envelope(BUNDLE, bundle.to_string()), &trust(world)) {
        RejectionReason::Sigstore(error) => error,
        other => panic!("{other:?}"),
    }
}

fn entry_error(world: &World, bundle: &Value) -> EntryError {
    match refused_sigstore(world, bundle) {
        SigstoreError::Entry { number: 1, problem } => problem,
        other => panic!("{other:?}"),
    }
}

/// What sigstore-verify, an independent library, says about a bundle around the index or a message.
fn others_accept(root: &Value, bundle: &Value) -> bool {
    use sigstore_verify::{
        VerificationPolicy, Verifier,
        trust_root::TrustedRoot,
        types::{Bundle, Sha256Hash},
    };
    let root = TrustedRoot::from_json(&root.to_string()).unwrap();
    let Ok(bundle) = Bundle::from_json(&bundle.to_string()) else { return false };
    let digest = Sha256Hash::from_hex(&index().digest.hex()).unwrap();
    Verifier::new(&root).unwrap().verify(digest, &bundle, &VerificationPolicy::any_identity()).is_ok()
}

/// Changes one byte of the base64 at `pointer`.
fn flip(bundle: &mut Value, pointer: &str, at: usize) {
    let value = bundle.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}"));
    let mut bytes = STANDARD.decode(value.as_str().unwrap()).unwrap();
    let place = at.min(bytes.len() - 1);
    bytes[place] ^= 1;
    *value = STANDARD.encode(bytes).into();
}

const ENTRY: &str = "/verificationMaterial/tlogEntries/0";

#[test]
fn what_the_small_sigstore_signs_counts_for_its_identity() {
    let (world, _, bundle) = good();
    let found = findings(envelope(BUNDLE, bundle.to_string()), &trust(&world));
    assert_eq!(found.rejections, []);
    let expected =
        Signer::Identity { root: "acme".parse().unwrap(), identity: IDENTITY.to_owned(), issuer: ISSUER.to_owned() };
    assert_eq!(found.facts.iter().map(assay_verify::Fact::signer).collect::<Vec<_>>(), [&expected]);
    assert_eq!(found.facts[0].subject(), &index());
    assert!(others_accept(&world.root_json(), &bundle));
    let pattern = |identity: &str, issuer: &str| {
        IdentityPattern::new(TextPattern::regex(identity).unwrap(), TextPattern::exact(issuer).unwrap())
    };
    assert!(pattern("https://ci.example/acme/app/.*@refs/tags/v[0-9]", ISSUER).matches(&expected));
    assert!(!pattern("https://ci.example/acme/app", ISSUER).matches(&expected));
    assert!(!pattern(".*", "https://token.ci.example/").matches(&expected));
}

#[test]
fn every_version_and_media_type_counts() {
    let world = World::new(Wishes::default());
    let made = world.sign_statement(&statement());
    for (media_type, chain) in [
        ("application/vnd.dev.sigstore.bundle.v0.3+json", false),
        ("application/vnd.dev.sigstore.bundle+json;version=0.3", false),
        ("application/vnd.dev.sigstore.bundle+json;version=0.2", true),
        ("application/vnd.dev.sigstore.bundle+json;version=0.1", true),
    ] {
        let mut bundle = world.bundle(&made);
        bundle["mediaType"] = media_type.into();
        if chain {
            let material = bundle["verificationMaterial"].as_object_mut().unwrap();
            let certificate = material.remove("certificate").unwrap();
            material.insert("x509CertificateChain".to_owned(), json!({ "certificates": [certificate] }));
        }
        accepted(envelope(media_type, bundle.to_string()), &trust(&world));
        assert!(others_accept(&world.root_json(), &bundle), "{media_type}");
        // A promise is what version 0.1 rests on, a proof what the later ones do.
        let part = if media_type.ends_with("0.1") { "inclusionPromise" } else { "inclusionProof" };
        let mut without = bundle.clone();
        without.pointer_mut(ENTRY).unwrap().as_object_mut().unwrap().remove(part);
        let problem = EntryError::Missing(if part == "inclusionPromise" { "promise" } else { "inclusion proof" });
        let expected = RejectionReason::Sigstore(SigstoreError::Entry { number: 1, problem });
        assert_eq!(refused(envelope(media_type, without.to_string()), &trust(&world)), expected);
        if chain {
            let chain = &bundle["verificationMaterial"]["x509CertificateChain"]["certificates"][0];
            let certificate = chain.clone();
            bundle["verificationMaterial"] = json!({ "certificate": certificate });
            let expected = malformed("certificate", "does not exist before version 0.3");
            assert_eq!(refused(envelope(media_type, bundle.to_string()), &trust(&world)), expected);
        }
    }
}

#[test]
fn a_log_of_tiles_needs_a_time_stamp_and_counts_with_one() {
    let world = World::new(Wishes::default());
    let made = world.sign_statement(&statement());
    let token = world.token(&made.signature, 5);
    let bundle = world.bundle_with(&made, vec![world.tiles_entry(&made)], std::slice::from_ref(&token));
    accepted(envelope(BUNDLE, bundle.to_string()), &trust(&world));
    assert!(others_accept(&world.root_json(), &bundle));

    let without = world.bundle_with(&made, vec![world.tiles_entry(&made)], &[]);
    let expected = SigstoreError::TooFew { what: "trusted times", found: 0, required: 1 };
    assert_eq!(refused_sigstore(&world, &without), expected);
    // A time beside an entry of tiles is nobody's word, nor is a promise there.
    let mut claimed = without;
    claimed["verificationMaterial"]["tlogEntries"][0]["integratedTime"] = SIGNED.to_string().into();
    assert_eq!(refused_sigstore(&world, &claimed), expected);

    for pointer in ["/canonicalizedBody", "/inclusionProof/hashes/0"] {
        let mut changed = bundle.clone();
        flip(&mut changed, &format!("{ENTRY}{pointer}"), 9);
        assert!(matches!(entry_error(&world, &changed), EntryError::Proof(_) | EntryError::Body { .. }), "{pointer}");
    }
    let mut moved = bundle.clone();
    moved["verificationMaterial"]["tlogEntries"][0]["logIndex"] = "0".into();
    assert_eq!(entry_error(&world, &moved), EntryError::Proof("does not lead to the root hash of its checkpoint"));
    // The copies beside the checkpoint count for nothing.
    let mut copies = bundle.clone();
    let proof = copies.pointer_mut(&format!("{ENTRY}/inclusionProof")).unwrap();
    (proof["treeSize"], proof["logIndex"]) = ("9".into(), "8".into());
    accepted(envelope(BUNDLE, copies.to_string()), &trust(&world));
}

#[test]
fn a_message_signature_over_the_index_counts_for_the_index() {
    let world = World::new(Wishes::default());
    let made = world.sign_message(&vector("image/index.json"));
    let bundle = world.bundle(&made);
    accepted(envelope(BUNDLE, bundle.to_string()), &trust(&world));
    assert!(others_accept(&world.root_json(), &bundle));

    let mut unnamed = bundle.clone();
    unnamed["messageSignature"].as_object_mut().unwrap().remove("messageDigest");
    accepted(envelope(BUNDLE, unnamed.to_string()), &trust(&world));

    let mut changed = bundle.clone();
    flip(&mut changed, "/messageSignature/messageDigest/digest", 0);
    let RejectionReason::OtherSubject { .. } = refused(envelope(BUNDLE, changed.to_string()), &trust(&world)) else {
        panic!("{changed:#}");
    };
    let mut changed = bundle;
    flip(&mut changed, "/messageSignature/signature", 20);
    let by = format!("the certificate of {IDENTITY:?}");
    let reason = refused(envelope(BUNDLE, changed.to_string()), &trust(&world));
    assert_eq!(reason, RejectionReason::BadSignature { by });

    let other = world.bundle(&world.sign_message(b"another file"));
    let found = format!("sha256:{}", Digest::sha256(b"another file").hex());
    let reason = refused(envelope(BUNDLE, other.to_string()), &trust(&world));
    assert_eq!(reason, RejectionReason::OtherSubject { found });
}

#[test]
fn one_changed_byte_of_payload_or_signature_is_refused() {
    let (world, _, bundle) = good();
    let by = format!("the certificate of {IDENTITY:?}");
    for pointer in ["/dsseEnvelope/payload", "/dsseEnvelope/signatures/0/sig"] {
        let mut changed = bundle.clone();
        flip(&mut changed, pointer, 30);
        assert!(!others_accept(&world.root_json(), &changed));
        let reason = refused(envelope(BUNDLE, changed.to_string()), &trust(&world));
        assert_eq!(reason, RejectionReason::BadSignature { by: by.clone() }, "{pointer}");
    }
}

#[test]
fn one_changed_byte_of_the_certificate_is_refused_wherever_it_is() {
    let (world, made, bundle) = good();
    for at in 0..made.leaf.len() {
        let mut changed = bundle.clone();
        flip(&mut changed, "/verificationMaterial/certificate/rawBytes", at);
        let found = findings(envelope(BUNDLE, changed.to_string()), &trust(&world));
        assert_eq!(found.facts, [], "byte {at}");
    }
}

#[test]
fn one_changed_byte_of_promise_proof_or_checkpoint_is_refused() {
    let (world, _, bundle) = good();
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut changed = bundle.clone();
        change(changed.pointer_mut(ENTRY).unwrap());
        entry_error(&world, &changed)
    };
    assert_eq!(changed(&|entry| flip(entry, "/inclusionPromise/signedEntryTimestamp", 20)), EntryError::Promise);
    // The promise covers time, place and log.
    assert_eq!(changed(&|entry| entry["integratedTime"] = (SIGNED + 1).to_string().into()), EntryError::Promise);
    assert_eq!(changed(&|entry| entry["logIndex"] = "4712".into()), EntryError::Promise);
    let elsewhere = EntryError::Proof("does not lead to the root hash of its checkpoint");
    assert_eq!(changed(&|entry| flip(entry, "/inclusionProof/hashes/0", 0)), elsewhere);
    assert_eq!(changed(&|entry| entry["inclusionProof"]["logIndex"] = "0".into()), elsewhere);
    let root = EntryError::Proof("is for another root hash than its checkpoint");
    assert_eq!(changed(&|entry| flip(entry, "/inclusionProof/rootHash", 0)), root);
    let unsigned = EntryError::Checkpoint("has no signature that verifies with the key of the log".to_owned());
    let renamed = |entry: &mut Value| {
        let checkpoint = &mut entry["inclusionProof"]["checkpoint"]["envelope"];
        *checkpoint = checkpoint.as_str().unwrap().replacen("example - 42", "example - 43", 1).into();
    };
    assert_eq!(changed(&renamed), unsigned);
}

#[test]
fn a_tree_size_beside_the_checkpoint_has_to_be_its_own() {
    let (world, _, mut bundle) = good();
    bundle.pointer_mut(&format!("{ENTRY}/inclusionProof")).unwrap()["treeSize"] = "4".into();
    let problem = EntryError::Proof("is for a tree of another size than its checkpoint");
    assert_eq!(
        refused(envelope(BUNDLE, bundle.to_string()), &trust(&world)),
        RejectionReason::Sigstore(SigstoreError::Entry { number: 1, problem })
    );
}

#[test]
fn a_checkpoint_by_a_foreign_key_is_refused_with_the_right_hint_or_another() {
    let (world, _, bundle) = good();
    let foreign = TestKey::new();
    let mut changed = bundle.clone();
    let checkpoint = changed.pointer_mut(&format!("{ENTRY}/inclusionProof/checkpoint/envelope")).unwrap();
    let signed = checkpoint.as_str().unwrap().split_once("\n\n").unwrap().0.to_owned() + "\n";
    *checkpoint = note(&signed, "rekor.example", &foreign).into();
    let expected = EntryError::Checkpoint("has no signature with the key hint of the log".to_owned());
    assert_eq!(entry_error(&world, &changed), expected);

    let checkpoint = changed.pointer_mut(&format!("{ENTRY}/inclusionProof/checkpoint/envelope")).unwrap();
    let hint = STANDARD.decode(bundle.pointer(&format!("{ENTRY}/logId/keyId")).unwrap().as_str().unwrap()).unwrap();
    let line = [&hint[..4], &foreign.sign_der(signed.as_bytes())].concat();
    *checkpoint = format!("{signed}\n\u{2014} rekor.example {}\n", STANDARD.encode(line)).into();
    let expected = EntryError::Checkpoint("has no signature that verifies with the key of the log".to_owned());
    assert_eq!(entry_error(&world, &changed), expected);
}

#[test]
fn an_entry_about_another_digest_signature_or_certificate_is_refused() {
    let (world, made, _) = good();
    let other = world.sign_statement(&statement());
    for (pointer, field) in [
        ("/spec/payloadHash/value", "digest"),
        ("/spec/signatures/0/signature", "signature"),
        ("/spec/signatures/0/verifier", "verifier"),
    ] {
        let mut body = world.body(&made);
        let foreign = match field {
            "digest" => Digest::sha256(b"another payload").hex(),
            _ => world.body(&other).pointer(pointer).unwrap().as_str().unwrap().to_owned(),
        };
        *body.pointer_mut(pointer).unwrap() = foreign.into();
        // Everything else holds: the log really has this entry.
        let bundle = world.bundle_with(&made, vec![world.entry_of(&body, SIGNED)], &[]);
        assert_eq!(entry_error(&world, &bundle), EntryError::Other { field });
    }
    // So is a valid entry of a message for an envelope.
    let message = world.sign_message(b"a message");
    let bundle = world.bundle_with(&made, vec![world.entry(&message)], &[]);
    let expected = EntryError::Kind { kind: "hashedrekord".to_owned(), version: "0.0.1".to_owned() };
    assert_eq!(entry_error(&world, &bundle), expected);
}

#[test]
fn a_time_that_no_log_has_signed_proves_nothing() {
    let (world, made, bundle) = good();
    let mut unsigned = bundle;
    unsigned.pointer_mut(ENTRY).unwrap().as_object_mut().unwrap().remove("inclusionPromise");
    let expected = SigstoreError::TooFew { what: "trusted times", found: 0, required: 1 };
    assert_eq!(refused_sigstore(&world, &unsigned), expected);
    // With a time-stamp beside it the entry need promise nothing.
    let token = world.token(&made.signature, 5);
    unsigned["verificationMaterial"]["timestampVerificationData"] =
        json!({ "rfc3161Timestamps": [{ "signedTimestamp": STANDARD.encode(token) }] });
    accepted(envelope(BUNDLE, unsigned.to_string()), &trust(&world));
}

#[test]
fn a_time_outside_the_certificate_is_refused_and_its_last_second_is_not() {
    let world = World::new(Wishes::default());
    let made = world.sign_statement(&statement());
    let at = |seconds| world.bundle_with(&made, vec![world.entry_of(&world.body(&made), SIGNED + seconds)], &[]);
    for inside in [-60, 540] {
        accepted(envelope(BUNDLE, at(inside).to_string()), &trust(&world));
    }
    for outside in [-61, 541] {
        let SigstoreError::Chain { time, .. } = refused_sigstore(&world, &at(outside)) else { panic!("{outside}") };
        assert_eq!(time.seconds(), SIGNED + outside);
    }
    // A second time that is wrong is not outvoted.
    let late = world.token(&made.signature, 541);
    let both = world.bundle_with(&made, vec![world.entry(&made)], &[late]);
    assert!(matches!(refused_sigstore(&world, &both), SigstoreError::Chain { .. }));
}

#[test]
fn an_intermediate_that_had_expired_is_refused() {
    let world = World::new(Wishes { intermediate: (-86_400, -1), ..Wishes::default() });
    let bundle = world.bundle(&world.sign_statement(&statement()));
    let reason = refused(envelope(BUNDLE, bundle.to_string()), &trust(&world));
    assert!(matches!(reason, RejectionReason::Sigstore(SigstoreError::Chain { .. })), "{reason:?}");
}

#[test]
fn a_chain_counts_with_its_intermediate_and_is_refused_with_an_anchor() {
    let (world, _, mut bundle) = good();
    let root = world.root_json();
    let of_root = |at: usize| root["certificateAuthorities"][0]["certChain"]["certificates"][at].clone();
    let leaf = bundle["verificationMaterial"].as_object_mut().unwrap().remove("certificate").unwrap();
    let mut with = |others: &[Value]| {
        let chain = [std::slice::from_ref(&leaf), others].concat();
        bundle["verificationMaterial"]["x509CertificateChain"] = json!({ "certificates": chain });
        envelope(BUNDLE, bundle.to_string())
    };
    accepted(with(&[of_root(0)]), &trust(&world));
    let problem = "has a self-issued certificate, and anchors come from the root of trust alone".to_owned();
    let expected = RejectionReason::Sigstore(SigstoreError::Profile { field: "certificates", problem });
    assert_eq!(refused(with(&[of_root(0), of_root(1)]), &trust(&world)), expected);
}

#[test]
fn a_certificate_for_another_use_is_refused() {
    let world = World::new(Wishes { usage: ExtendedKeyUsagePurpose::ServerAuth, ..Wishes::default() });
    let bundle = world.bundle(&world.sign_statement(&statement()));
    assert!(matches!(refused_sigstore(&world, &bundle), SigstoreError::Chain { .. }));
}

#[test]
fn a_certificate_without_exactly_one_identity_and_one_issuer_is_refused() {
    let with = |wishes: Wishes| {
        let world = World::new(wishes);
        let bundle = world.bundle(&world.sign_statement(&statement()));
        match refused(envelope(BUNDLE, bundle.to_string()), &trust(&world)) {
            RejectionReason::Sigstore(SigstoreError::Profile { field, .. }) => field,
            other => panic!("{other:?}"),
        }
    };
    let two = vec![uri(IDENTITY), uri("https://ci.example/other")];
    assert_eq!(with(Wishes { names: two, ..Wishes::default() }), "subjectAltName");
    assert_eq!(with(Wishes { names: Vec::new(), ..Wishes::default() }), "subjectAltName");
    assert_eq!(with(Wishes { names: vec![uri("https://a\n")], ..Wishes::default() }), "subjectAltName");
    assert_eq!(with(Wishes { issuer_8: Some("https://other.example"), ..Wishes::default() }), "issuer");
    assert_eq!(with(Wishes { issuer_8: None, issuer_1: None, ..Wishes::default() }), "issuer");
    for (issuer_8, issuer_1) in [(Some(ISSUER), None), (None, Some(ISSUER))] {
        let world = World::new(Wishes { issuer_8, issuer_1, ..Wishes::default() });
        let bundle = world.bundle(&world.sign_statement(&statement()));
        accepted(envelope(BUNDLE, bundle.to_string()), &trust(&world));
    }
}

#[test]
fn a_certificate_that_no_ct_log_has_seen_is_refused() {
    let world = World::new(Wishes { has_sct: false, ..Wishes::default() });
    let bundle = world.bundle(&world.sign_statement(&statement()));
    assert_eq!(refused_sigstore(&world, &bundle), SigstoreError::Sct(SctError::Missing));
    // A root without such logs cannot ask for it.
    let mut root = world.root_json();
    root["ctlogs"] = json!([]);
    let root = SigstoreRoot::from_json(root.to_string().as_bytes()).unwrap();
    accepted(envelope(BUNDLE, bundle.to_string()), &trust_of(root));
}

#[test]
fn an_sct_of_another_log_or_by_another_key_is_refused() {
    let (world, _, bundle) = good();
    let judged = |root: Value| {
        assert!(!others_accept(&root, &bundle));
        let root = SigstoreRoot::from_json(root.to_string().as_bytes()).unwrap();
        match refused(envelope(BUNDLE, bundle.to_string()), &trust_of(root)) {
            RejectionReason::Sigstore(SigstoreError::Sct(error)) => error,
            other => panic!("{other:?}"),
        }
    };
    let mut unknown = world.root_json();
    flip(&mut unknown, "/ctlogs/0/logId/keyId", 0);
    assert!(matches!(judged(unknown), SctError::UnknownLog { .. }));
    let mut other = world.root_json();
    other["ctlogs"][0]["publicKey"]["rawBytes"] = STANDARD.encode(TestKey::new().public().spki()).into();
    assert!(matches!(judged(other), SctError::Signature { .. }));
    let mut ended = world.root_json();
    ended["ctlogs"][0]["publicKey"]["validFor"]["end"] = "2024-03-01T09:59:59Z".into();
    assert!(matches!(judged(ended), SctError::Window { .. }));
}

#[test]
fn windows_of_the_root_include_both_ends() {
    let (world, _, bundle) = good();
    let lists = ["/tlogs/0/publicKey", "/ctlogs/0/publicKey", "/certificateAuthorities/0"];
    for pointer in lists {
        let judged = |start: &str, end: &str| {
            let mut root = world.root_json();
            root.pointer_mut(pointer).unwrap()["validFor"] = json!({ "start": start, "end": end });
            let root = SigstoreRoot::from_json(root.to_string().as_bytes()).unwrap();
            findings(envelope(BUNDLE, bundle.to_string()), &trust_of(root)).facts.len()
        };
        let exactly = "2024-03-01T10:00:00Z";
        assert_eq!(judged(exactly, exactly), 1, "{pointer}");
        assert_eq!(judged("2023-01-01T00:00:00Z", "2024-03-01T09:59:59Z"), 0, "{pointer}");
        assert_eq!(judged("2024-03-01T10:00:01Z", "2025-01-01T00:00:00Z"), 0, "{pointer}");
    }
}

#[test]
fn a_time_stamp_counts_only_from_the_roots_authority_for_this_signature() {
    let world = World::new(Wishes::default());
    let made = world.sign_statement(&statement());
    let with = |token: Vec<u8>| world.bundle_with(&made, vec![world.entry(&made)], &[token]);
    let good = world.token(&made.signature, 5);
    accepted(envelope(BUNDLE, with(good.clone()).to_string()), &trust(&world));
    let problem = |token| match refused_sigstore(&world, &with(token)) {
        SigstoreError::Timestamp { number: 1, problem } => problem,
        other => panic!("{other:?}"),
    };
    assert!(matches!(problem(world.token(b"another signature", 5)), TimestampError::Untrusted(_)));
    assert!(matches!(problem(World::new(Wishes::default()).token(&made.signature, 5)), TimestampError::Untrusted(_)));
    // What is signed: imprint and time, the digest over both, and at the end the signature itself.
    let find = |part: &[u8]| good.windows(part.len()).position(|window| window == part).unwrap();
    let imprint = Digest::sha256(&made.signature);
    let signed = [
        (find(imprint.value()), 32),
        (find(b"20240301100005Z"), 15),
        (find(DIGEST_ATTRIBUTE), 46),
        (good.len() - 64, 64),
    ];
    for at in signed.into_iter().flat_map(|(start, length)| start..start + length) {
        let mut changed = good.clone();
        changed[at] ^= 1;
        let found = findings(envelope(BUNDLE, with(changed).to_string()), &trust(&world));
        assert_eq!(found.facts, [], "byte {at} of {}", good.len());
    }
}

/// The head of the attribute `messageDigest` in a time-stamp: its type, then a set with 32 bytes.
const DIGEST_ATTRIBUTE: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x09\x04";

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
fn broken_text_of_bundle_or_root_ends_in_a_reason_and_never_in_a_panic() {
    let (world, _, bundle) = good();
    let (bundle, root, trust) = (bundle.to_string(), world.root_json().to_string(), trust(&world));
    let before = findings(envelope(BUNDLE, bundle.clone()), &trust).facts;
    for at in (0..bundle.len()).step_by(7) {
        let mut changed = bundle.clone().into_bytes();
        changed[at] = changed[at].wrapping_add(1);
        // Nothing signs the name in front of a checkpoint's signature; whatever is changed, nobody else has signed anything else.
        for fact in findings(envelope(BUNDLE, changed), &trust).facts {
            assert_eq!((fact.signer(), fact.subject()), (before[0].signer(), before[0].subject()), "byte {at}");
        }
        assert_eq!(findings(envelope(BUNDLE, &bundle.as_bytes()[..at]), &trust).facts, []);
    }
    for at in (0..root.len()).step_by(7) {
        let mut changed = root.clone().into_bytes();
        changed[at] = changed[at].wrapping_add(1);
        if let Ok(root) = SigstoreRoot::from_json(&changed) {
            let _ = findings(envelope(BUNDLE, bundle.clone()), &trust_of(root));
        }
    }
}

#[test]
fn a_token_with_two_signers_is_refused() {
    let world = World::new(Wishes::default());
    let made = world.sign_statement(&statement());
    let token = world.token_with(&made.signature, 5, 2);
    let bundle = world.bundle_with(&made, vec![world.entry(&made)], &[token]);
    let problem = TimestampError::Malformed("it does not have exactly one SignerInfo".to_owned());
    let expected = RejectionReason::Sigstore(SigstoreError::Timestamp { number: 1, problem });
    assert_eq!(refused(envelope(BUNDLE, bundle.to_string()), &trust(&world)), expected);
}

#[test]
fn thresholds_count_operators_and_not_entries() {
    let world = World::new(Wishes::default());
    let made = world.sign_statement(&statement());
    let two = NonZeroUsize::new(2).unwrap();
    let logs = trust_of(world.root().requiring_logs(LogRule::Operators(two)));
    let twice = world.bundle_with(&made, vec![world.entry(&made), world.entry(&made)], &[]);
    let expected = |what| RejectionReason::Sigstore(SigstoreError::TooFew { what, found: 1, required: 2 });
    assert_eq!(refused(envelope(BUNDLE, twice.to_string()), &logs), expected("log entries"));
    let both = world.bundle_with(&made, vec![world.entry(&made), world.tiles_entry(&made)], &[]);
    accepted(envelope(BUNDLE, both.to_string()), &logs);
    // One operator with two logs is one operator.
    let mut root = world.root_json();
    root["mediaType"] = "application/vnd.dev.sigstore.trustedroot.v0.2+json".into();
    for log in root["tlogs"].as_array_mut().unwrap() {
        log["operator"] = "acme".into();
    }
    let root = SigstoreRoot::from_json(root.to_string().as_bytes()).unwrap();
    let one = trust_of(root.requiring_logs(LogRule::Operators(two)));
    assert_eq!(refused(envelope(BUNDLE, both.to_string()), &one), expected("log entries"));

    let times = trust_of(world.root().requiring_times(two));
    assert_eq!(refused(envelope(BUNDLE, both.to_string()), &times), expected("trusted times"));
    let token = world.token(&made.signature, 5);
    let stamped = world.bundle_with(&made, vec![world.entry(&made)], &[token]);
    accepted(envelope(BUNDLE, stamped.to_string()), &times);
}

#[test]
fn a_bundle_without_log_entry_is_refused_unless_the_owner_asks_for_none() {
    let world = World::new(Wishes::default());
    let made = world.sign_statement(&statement());
    let token = world.token(&made.signature, 5);
    let bundle = world.bundle_with(&made, vec![], &[token]);
    let expected = SigstoreError::TooFew { what: "log entries", found: 0, required: 1 };
    assert_eq!(refused_sigstore(&world, &bundle), expected);
    let without = trust_of(world.root().requiring_logs(LogRule::InsecureNone));
    accepted(envelope(BUNDLE, bundle.to_string()), &without);
}

#[test]
fn an_entry_made_after_its_logs_end_is_refused() {
    let world = World::new(Wishes::default());
    let made = world.sign_statement(&statement());
    let token = world.token(&made.signature, 5);
    let bundle = world.bundle_with(&made, vec![world.tiles_entry(&made)], &[token]);
    let ending = |end: &str| {
        let mut root = world.root_json();
        root["tlogs"][1]["publicKey"]["validFor"]["end"] = end.into();
        trust_of(SigstoreRoot::from_json(root.to_string().as_bytes()).unwrap())
    };
    accepted(envelope(BUNDLE, bundle.to_string()), &ending("2024-03-01T10:00:05Z"));
    let reason = refused(envelope(BUNDLE, bundle.to_string()), &ending("2024-03-01T10:00:04Z"));
    let RejectionReason::Sigstore(SigstoreError::Entry { problem: EntryError::Window { .. }, .. }) = reason else {
        panic!("{reason:?}");
    };
}

#[test]
fn a_signature_from_the_future_is_refused() {
    let (world, _, bundle) = good();
    let at = |seconds| UnixTime::from_seconds(SIGNED + seconds);
    let reason = refused_at(envelope(BUNDLE, bundle.to_string()), &trust(&world), at(-1));
    // The certificate's SCT and the log's promise are both of that second.
    assert_eq!(reason, RejectionReason::Sigstore(SigstoreError::Future { time: at(0), at: at(-1) }));
    let found = findings_at(vec![envelope(BUNDLE, bundle.to_string())], &trust(&world), at(0));
    assert_eq!(found.facts.len(), 1);
}

#[test]
fn another_root_or_none_trusts_nobody() {
    let (_, _, bundle) = good();
    let stranger = World::new(Wishes::default());
    let reason = refused(envelope(BUNDLE, bundle.to_string()), &trust(&stranger));
    let RejectionReason::Sigstore(SigstoreError::Entry { problem: EntryError::UnknownLog { .. }, .. }) = reason else {
        panic!("{reason:?}");
    };
    let none = RejectionReason::Sigstore(SigstoreError::NoRoot);
    assert_eq!(refused(envelope(BUNDLE, bundle.to_string()), &Trust::default()), none);
    // A root beside the right one takes nothing away.
    let (world, _, bundle) = good();
    let mut both = trust(&world);
    both.sigstore.insert("another".parse().unwrap(), stranger.root());
    accepted(envelope(BUNDLE, bundle.to_string()), &both);
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
fn a_bundle_with_two_makers_or_two_contents_is_refused() {
    let (world, _, bundle) = good();
    let mut two = bundle.clone();
    two["verificationMaterial"]["publicKey"] = json!({ "hint": "AAAA" });
    let expected = malformed("verificationMaterial", "has more than one of publicKey, certificate and chain");
    assert_eq!(refused(envelope(BUNDLE, two.to_string()), &trust(&world)), expected);
    let mut two = bundle;
    two["messageSignature"] = json!({ "signature": "AAAA" });
    let expected = malformed("messageSignature", "stands beside a dsseEnvelope");
    assert_eq!(refused(envelope(BUNDLE, two.to_string()), &trust(&world)), expected);
}

#[test]
fn a_root_says_what_is_wrong_with_it() {
    let world = World::new(Wishes::default());
    let with = |change: &dyn Fn(&mut Value)| {
        let mut root = world.root_json();
        change(&mut root);
        SigstoreRoot::from_json(root.to_string().as_bytes())
    };
    assert!(with(&|_| ()).is_ok());
    for version in ["+json;version=0.2", ".v0.1+json", ".v0.2+json"] {
        let media_type = format!("application/vnd.dev.sigstore.trustedroot{version}");
        assert!(with(&|root| root["mediaType"] = media_type.clone().into()).is_ok(), "{version}");
    }
    let other = "application/vnd.dev.sigstore.trustedroot+json;version=0.3";
    assert_eq!(with(&|root| root["mediaType"] = other.into()), Err(RootError::MediaType(other.to_owned())));
    let twice = with(&|root| root["tlogs"][1] = root["tlogs"][0].clone());
    assert!(matches!(twice, Err(RootError::Twice { list: "tlogs", .. })), "{twice:?}");
    let malformed = |result: Result<SigstoreRoot, RootError>| match result {
        Err(RootError::Malformed { field, .. }) => field,
        other => panic!("{other:?}"),
    };
    assert_eq!(malformed(with(&|root| root["tlog"] = json!([]))), "trusted root");
    assert_eq!(malformed(with(&|root| flip(root, "/tlogs/0/publicKey/rawBytes", 0))), "rawBytes");
    assert_eq!(
        malformed(with(&|root| flip(root, "/certificateAuthorities/0/certChain/certificates/0/rawBytes", 0))),
        "rawBytes"
    );
    let window = json!({ "end": "2024-01-01T00:00:00Z" });
    assert_eq!(malformed(with(&|root| root["tlogs"][0]["publicKey"]["validFor"] = window.clone())), "start");
    let window = json!({ "start": "2025-01-01T00:00:00Z", "end": "2024-01-01T00:00:00Z" });
    assert_eq!(malformed(with(&|root| root["tlogs"][0]["publicKey"]["validFor"] = window.clone())), "validFor");
    let details = with(&|root| root["tlogs"][0]["publicKey"]["keyDetails"] = "PKIX_ED25519".into());
    assert_eq!(malformed(details), "keyDetails");
    let empty = with(&|root| (root["tlogs"], root["certificateAuthorities"]) = (json!([]), json!([])));
    assert_eq!(empty, Err(RootError::Empty));
    // What is not known yet is not trusted, and said.
    let root = with(&|root| root["tlogs"][0]["publicKey"]["keyDetails"] = "PKIX_ML_DSA_65".into()).unwrap();
    assert_eq!(
        root.ignored(),
        ["tlogs: the log \"https://rekor.example\" has the unknown keyDetails \"PKIX_ML_DSA_65\""]
    );
}

/// The digests of a file.
fn blob(bytes: &[u8]) -> assay_verify::BlobDigests {
    let mut hasher = BlobHasher::default();
    bytes.chunks(3).for_each(|piece| hasher.update(piece));
    hasher.finish()
}

#[test]
fn a_file_is_verified_by_its_message_signature_or_as_a_subject() {
    let world = World::new(Wishes::default());
    let file = b"a file of some length";
    let judge = |bundle: &Value, file: &[u8]| {
        verify_blob(&blob(file), bundle.to_string().as_bytes(), &trust(&world), NOW, &mut Budget::default())
    };
    let message = world.bundle(&world.sign_message(file));
    assert_eq!(judge(&message, file).unwrap().predicate_type(), None);
    let found = format!("sha256:{}", Digest::sha256(file).hex());
    assert_eq!(judge(&message, b"b file of some length"), Err(RejectionReason::OtherSubject { found: found.clone() }));

    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{ "name": "other", "digest": { "sha256": "00" } }, { "digest": { "sha256": Digest::sha256(file).hex() } }],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {},
    });
    let stated = world.bundle(&world.sign_statement(statement.to_string().as_bytes()));
    assert_eq!(judge(&stated, file).unwrap().predicate_type(), Some("https://slsa.dev/provenance/v1"));
    let reason = judge(&stated, b"b file of some length").unwrap_err();
    assert_eq!(reason, RejectionReason::OtherSubject { found: "sha256:00".to_owned() });
    let signed = judge(&stated, file).unwrap();
    assert!(matches!(signed.signers(), [Signer::Identity { identity, .. }] if identity == IDENTITY), "{signed:?}");
}
