//! Log entries of every kind that is understood: right ones count, and one about another digest, signature or maker does not, however
//! truly the log has it. Nor does anything about a log or a maker that only the evidence vouches for.

use std::collections::BTreeMap;

use assay_admission::UnixTime;
use assay_verify::{EntryError, RejectionReason, SigstoreError, SigstoreRoot, Trust, signing::cosign_bundle};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::{sigstore_world::*, support::*};

fn trust(world: &World) -> Trust {
    trust_of(&world.root_json())
}

fn trust_of(root: &Value) -> Trust {
    let root = SigstoreRoot::from_json(root.to_string().as_bytes()).unwrap();
    Trust { sigstore: BTreeMap::from([("acme".parse().unwrap(), root)]), ..Trust::default() }
}

fn statement(annotation: &str) -> Vec<u8> {
    let annotations = BTreeMap::from([("of".to_owned(), annotation.to_owned())]);
    cosign_bundle::pae_to_sign(&index(), &annotations).payload
}

fn reason(world: &World, bundle: &Value) -> SigstoreError {
    match refused(envelope(BUNDLE, bundle.to_string()), &trust(world)) {
        RejectionReason::Sigstore(error) => error,
        other => panic!("{other:?}"),
    }
}

fn entry_error(world: &World, bundle: &Value) -> EntryError {
    match reason(world, bundle) {
        SigstoreError::Entry { number: 1, problem } => problem,
        other => panic!("{other:?}"),
    }
}

/// The body of an entry of kind `intoto` 0.0.2, as Rekor writes it.
fn intoto_body(made: &Made) -> Value {
    let own = World::dsse_body(made);
    let own = |pointer: &str| own.pointer(pointer).unwrap().as_str().unwrap().to_owned();
    json!({
        "apiVersion": "0.0.2",
        "kind": "intoto",
        "spec": { "content": {
            "envelope": {
                "payloadType": PAYLOAD_TYPE,
                // The envelope's base64 in base64 once more.
                "signatures": [{
                    "sig": STANDARD.encode(own("/spec/signatures/0/signature")),
                    "publicKey": own("/spec/signatures/0/verifier"),
                }],
            },
            "payloadHash": { "algorithm": "sha256", "value": own("/spec/payloadHash/value") },
        } },
    })
}

/// A kind of entry: what it is about, its body, and where digest, signature and maker stand in it.
struct Kind {
    name: &'static str,
    is_envelope: bool,
    is_of_tiles: bool,
    body: fn(&Made) -> Value,
    places: [(&'static str, &'static str); 3],
}

const KINDS: [Kind; 5] = [
    Kind {
        name: "dsse 0.0.1",
        is_envelope: true,
        is_of_tiles: false,
        body: World::dsse_body,
        places: [
            ("digest", "/spec/payloadHash/value"),
            ("signature", "/spec/signatures/0/signature"),
            ("verifier", "/spec/signatures/0/verifier"),
        ],
    },
    Kind {
        name: "intoto 0.0.2",
        is_envelope: true,
        is_of_tiles: false,
        body: intoto_body,
        places: [
            ("digest", "/spec/content/payloadHash/value"),
            ("signature", "/spec/content/envelope/signatures/0/sig"),
            ("verifier", "/spec/content/envelope/signatures/0/publicKey"),
        ],
    },
    Kind {
        name: "hashedrekord 0.0.1",
        is_envelope: false,
        is_of_tiles: false,
        body: World::message_body,
        places: [
            ("digest", "/spec/data/hash/value"),
            ("signature", "/spec/signature/content"),
            ("verifier", "/spec/signature/publicKey/content"),
        ],
    },
    Kind { name: "hashedrekord 0.0.2 of a message", is_envelope: false, is_of_tiles: true, ..TILES_KIND },
    Kind { name: "hashedrekord 0.0.2 of an envelope", is_envelope: true, is_of_tiles: true, ..TILES_KIND },
];

const TILES_KIND: Kind = Kind {
    name: "hashedrekord 0.0.2",
    is_envelope: false,
    is_of_tiles: true,
    body: World::tiles_body,
    places: [
        ("digest", "/spec/hashedRekordV002/data/digest"),
        ("signature", "/spec/hashedRekordV002/signature/content"),
        ("verifier", "/spec/hashedRekordV002/signature/verifier/x509Certificate/rawBytes"),
    ],
};

impl Kind {
    fn sign(&self, world: &World, what: &str) -> Made {
        match (self.is_envelope, what) {
            (true, what) => world.sign_statement(&statement(what)),
            (false, "this") => world.sign_message(&vector("image/index.json")),
            (false, other) => world.sign_message(other.as_bytes()),
        }
    }

    /// The bundle of `made` with an entry of that body, which the log really has.
    fn bundle(&self, world: &World, made: &Made, body: &Value) -> Value {
        if self.is_of_tiles {
            let token = world.token(&made.signature, 5);
            world.bundle_with(made, vec![world.tiles_entry_of(body)], &[token])
        } else {
            world.bundle_with(made, vec![world.entry_of(body, SIGNED)], &[])
        }
    }
}

#[test]
fn every_kind_of_entry_is_bound_to_digest_signature_and_maker() {
    let world = World::new(Wishes::default());
    for kind in KINDS {
        let made = kind.sign(&world, "this");
        let body = (kind.body)(&made);
        let good = kind.bundle(&world, &made, &body);
        assert_eq!(findings(envelope(BUNDLE, good.to_string()), &trust(&world)).facts.len(), 1, "{}", kind.name);
        // The same content by another key, and other content.
        let (other_maker, other_content) = (kind.sign(&world, "this"), kind.sign(&world, "another"));
        for (field, place) in kind.places {
            let foreign = if field == "digest" { &other_content } else { &other_maker };
            let mut swapped = body.clone();
            let foreign = (kind.body)(foreign).pointer(place).unwrap().clone();
            assert_ne!(swapped.pointer(place), Some(&foreign), "{} {field}", kind.name);
            *swapped.pointer_mut(place).unwrap() = foreign;
            let bundle = kind.bundle(&world, &made, &swapped);
            assert_eq!(entry_error(&world, &bundle), EntryError::Other { field }, "{} {field}", kind.name);
        }
        // Whole entries about something else.
        for foreign in [&other_maker, &other_content] {
            let bundle = kind.bundle(&world, &made, &(kind.body)(foreign));
            let field = if std::ptr::eq(foreign, &other_maker) { "signature" } else { "digest" };
            assert_eq!(entry_error(&world, &bundle), EntryError::Other { field }, "{}", kind.name);
        }
    }
}

#[test]
fn an_entry_about_another_payload_type_is_refused() {
    let world = World::new(Wishes::default());
    let made = world.sign_statement(&statement("this"));
    let mut body = intoto_body(&made);
    body["spec"]["content"]["envelope"]["payloadType"] = "application/json".into();
    let bundle = world.bundle_with(&made, vec![world.entry_of(&body, SIGNED)], &[]);
    assert_eq!(entry_error(&world, &bundle), EntryError::Other { field: "digest" });
}

#[test]
fn an_entry_that_calls_its_body_another_kind_is_refused() {
    let world = World::new(Wishes::default());
    let made = world.sign_statement(&statement("this"));
    let mut entry = world.entry_of(&intoto_body(&made), SIGNED);
    entry["kindVersion"] = json!({ "kind": "dsse", "version": "0.0.1" });
    let problem = "and apiVersion are not dsse 0.0.1".to_owned();
    let bundle = world.bundle_with(&made, vec![entry], &[]);
    assert_eq!(entry_error(&world, &bundle), EntryError::Body { field: "kind", problem });
}

#[test]
fn a_checkpoint_of_tiles_counts_only_under_its_own_origin() {
    let world = World::new(Wishes::default());
    let made = world.sign_statement(&statement("this"));
    let token = [world.token(&made.signature, 5)];
    let mut entry = world.tiles_entry(&made);
    let checkpoint = &mut entry["inclusionProof"]["checkpoint"]["envelope"];
    let renamed = checkpoint.as_str().unwrap().replace(&format!("\u{2014} {TILES} "), "\u{2014} other.example ");
    assert_ne!(*checkpoint, renamed);
    // The key and the signed lines are the log's own: only the name before the signature is another's.
    *checkpoint = renamed.into();
    let bundle = world.bundle_with(&made, vec![entry], &token);
    let expected = EntryError::Checkpoint("has no signature that verifies with the key of the log".to_owned());
    assert_eq!(entry_error(&world, &bundle), expected);
    accepted(
        envelope(BUNDLE, world.bundle_with(&made, vec![world.tiles_entry(&made)], &token).to_string()),
        &trust(&world),
    );
}

#[test]
fn a_log_that_only_the_evidence_knows_proves_nothing() {
    let (world, stranger) = (World::new(Wishes::default()), World::new(Wishes::default()));
    let made = world.sign_statement(&statement("this"));
    let foreign = stranger.entry(&made);
    let id = |entry: &Value| hex::encode(STANDARD.decode(entry["logId"]["keyId"].as_str().unwrap()).unwrap());
    let bundle = |entry: Value| world.bundle_with(&made, vec![entry], &[]);
    assert_eq!(entry_error(&world, &bundle(foreign.clone())), EntryError::UnknownLog { id: id(&foreign) });
    // A key that the entry brings along is no field that is known.
    let mut with_key = foreign.clone();
    with_key["publicKey"] = json!({ "rawBytes": "AAAA" });
    let unknown = malformed("tlogEntries", "has the unknown field \"publicKey\"");
    assert_eq!(refused(envelope(BUNDLE, bundle(with_key).to_string()), &trust(&world)), unknown);
    // Nor does it help to give the log the name of one that is trusted.
    let mut renamed = foreign;
    renamed["logId"] = world.entry(&made)["logId"].clone();
    assert_eq!(
        entry_error(&world, &bundle(renamed.clone())),
        EntryError::Checkpoint("has no signature with the key hint of the log".to_owned())
    );
    renamed["inclusionProof"] = world.entry(&made)["inclusionProof"].clone();
    assert_eq!(entry_error(&world, &bundle(renamed)), EntryError::Promise);
}

#[test]
fn an_entry_from_outside_its_logs_window_is_refused_by_the_logs_name() {
    let world = World::new(Wishes::default());
    let bundle = world.bundle(&world.sign_statement(&statement("this")));
    let judged = |start: &str, end: &str| {
        let mut root = world.root_json();
        root["tlogs"][0]["publicKey"]["validFor"] = json!({ "start": start, "end": end });
        findings(envelope(BUNDLE, bundle.to_string()), &trust_of(&root))
    };
    let exactly = "2024-03-01T10:00:00Z";
    assert_eq!(judged(exactly, exactly).facts.len(), 1);
    for (start, end) in
        [("2023-01-01T00:00:00Z", "2024-03-01T09:59:59Z"), ("2024-03-01T10:00:01Z", "2025-01-01T00:00:00Z")]
    {
        let found = judged(start, end);
        let RejectionReason::Sigstore(SigstoreError::Entry { number: 1, problem }) = &found.rejections[0].reason else {
            panic!("{found:?}");
        };
        let time = UnixTime::from_seconds(SIGNED);
        assert!(matches!(problem, EntryError::Window { time: at, .. } if *at == time), "{start} {end} {problem}");
        assert_eq!(found.facts, []);
    }
}

#[test]
fn a_root_in_which_two_operators_have_one_key_is_none() {
    let world = World::new(Wishes::default());
    // The same key under another id and another name would be two operators of a threshold.
    let mut root = world.root_json();
    let mut again = root["tlogs"][0].clone();
    again["logId"]["keyId"] = STANDARD.encode([7; 32]).into();
    let same_operator = again.clone();
    again["baseUrl"] = "https://other.example".into();
    root["tlogs"].as_array_mut().unwrap().push(again);
    let refusal = SigstoreRoot::from_json(root.to_string().as_bytes()).unwrap_err();
    let (one, other) = ("https://rekor.example".to_owned(), "https://other.example".to_owned());
    assert_eq!(refusal, assay_verify::RootError::OneKey { list: "tlogs", operators: [one, other] });
    // One operator may keep its key when its log gets another id.
    let mut root = world.root_json();
    root["tlogs"].as_array_mut().unwrap().push(same_operator);
    assert!(SigstoreRoot::from_json(root.to_string().as_bytes()).is_ok());
}
