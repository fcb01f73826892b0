//! Every example of `policy-examples/` says the truth: each of its cases, with real signatures, gets its verdict.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{fs, path::PathBuf};

use crate::scene::{Authority, Given, Image, Key, attest, decide, labelled, policy, requested, sign_keyless, told};
use assay_admission::{CandidateName, Gate};
use assay_verify::{Artifact, RevocationEvidence};
use toml::Table;

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../policy-examples").join(name)
}

/// Runs the cases of one folder at every gate that can ask about an image by its chain or its name.
fn check(name: &str) {
    let policy = policy(&fs::read_to_string(folder(name).join("policy.toml")).unwrap());
    let cases: Table = fs::read_to_string(folder(name).join("cases.toml")).unwrap().parse().unwrap();
    let cases = cases.get("cases").unwrap().as_array().unwrap();
    assert!(cases.len() >= 3, "{name} has too few cases to be an example");
    for case in cases.iter().map(|case| case.as_table().unwrap()) {
        let text = |field: &str| case.get(field).and_then(|value| value.as_str());
        let image = Image::new(text("image").unwrap_or("an image"), "layers");
        let names: Vec<CandidateName> = case.get("names").unwrap().as_array().unwrap().iter().map(name_of).collect();
        let signatures = case.get("signatures").unwrap().as_array().unwrap();
        let artifacts: Vec<Artifact> =
            signatures.iter().map(|signature| signature_of(signature.as_table().unwrap(), &image)).collect();
        let given = Given { revocation: revocation_of(text("list")), ..Given::new(&image, &names, &artifacts) };
        for (gate, chain) in [(Gate::Unpack, Some(image.chain)), (Gate::Ask, None)] {
            let decision = decide(&policy, gate, chain, std::slice::from_ref(&given));
            let about = text("about").unwrap();
            assert_eq!(Some(told(&decision).as_str()), text("verdict"), "{name}: {about}: {decision:#?}");
        }
    }
}

fn name_of(value: &toml::Value) -> CandidateName {
    match value {
        toml::Value::Table(table) => labelled(table.get("label").unwrap().as_str().unwrap()),
        other => requested(other.as_str().unwrap()),
    }
}

fn revocation_of(list: Option<&str>) -> RevocationEvidence {
    match list {
        None => RevocationEvidence::default(),
        Some("fresh") => Authority::acme().list(1, false),
        Some("old") => Authority::acme().list(8, false),
        Some("revokes") => Authority::acme().list(1, true),
        Some(other) => panic!("list = {other:?}"),
    }
}

fn signature_of(signature: &Table, image: &Image) -> Artifact {
    let text = |field: &str| signature.get(field).and_then(|value| value.as_str());
    let subject = match text("on") {
        None | Some("index") => &image.index,
        Some("manifest") => &image.manifest,
        Some(other) => panic!("on = {other:?}"),
    };
    if signature.contains_key("identity") {
        return sign_keyless(subject, true);
    }
    if let Some(predicate_type) = text("attested") {
        return attest(&Key::named(text("by").unwrap()), subject, predicate_type);
    }
    match (text("by"), text("certificate")) {
        (Some(key), None) => Key::named(key).sign(subject, text("for").unwrap_or_default()),
        (None, Some(name)) => Authority::acme().sign(name, subject, None),
        both => panic!("by or certificate: {both:?}"),
    }
}

#[test]
fn first_steps() {
    check("first-steps");
}

#[test]
fn observe_first() {
    check("observe-first");
}

#[test]
fn two_of_three() {
    check("two-of-three");
}

#[test]
fn notary_certificates() {
    check("notary-certificates");
}

#[test]
fn revocable_certificates() {
    check("revocable-certificates");
}

#[test]
fn keyless() {
    check("keyless");
}

#[test]
fn mixed_registries() {
    check("mixed-registries");
}

#[test]
fn blocked() {
    check("blocked");
}

#[test]
fn every_folder_is_an_example_that_is_run() {
    let mut folders: Vec<String> = fs::read_dir(folder(""))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    folders.sort();
    let run = [
        "blocked",
        "first-steps",
        "keyless",
        "mixed-registries",
        "notary-certificates",
        "observe-first",
        "revocable-certificates",
        "two-of-three",
    ];
    assert_eq!(folders, run);
}
