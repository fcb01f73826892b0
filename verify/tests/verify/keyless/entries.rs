//! Log entries, checkpoints and time-stamps: what proves when something was signed, and how much of it is needed.

use std::num::NonZeroUsize;

use assay_admission::{Digest, UnixTime};
use assay_verify::{EntryError, LogRule, RejectionReason, SigstoreError, SigstoreRoot, TimestampError};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{ENTRY, entry_error, flip, good, others_accept, refused_sigstore, statement, trust, trust_of};
use crate::{sigstore_world::*, support::*};

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
