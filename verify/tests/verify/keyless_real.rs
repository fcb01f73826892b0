//! Keyless signatures that cosign 3.1 and 2.5, Python's sigstore and @sigstore/sign made against services of their own
//! (vectors/README.md), each with a twin in which one byte is changed.

use std::collections::BTreeMap;

use assay_admission::{Digest, UnixTime};
use assay_verify::{
    BlobDigests, BlobHasher, BlobSignature, Budget, Evidence, IdentityPattern, LogRule, RejectionReason, Signer,
    SigstoreError, SigstoreRoot, TextPattern, Trust, verify_attestations, verify_blob,
};
use serde_json::Value;

use crate::support::*;

const IDENTITY: &str = "https://ci.example/acme/app/release.yml@refs/tags/v1";
const ISSUER: &str = "https://token.ci.example";
const WORKFLOW: &str = "https://github.com/acme/app/.github/workflows/release.yml@refs/tags/v1";
const GITHUB: &str = "https://token.actions.githubusercontent.com";

fn trust(root: &str, rule: Option<LogRule>) -> Trust {
    let root = SigstoreRoot::from_json(&vector(&format!("keyless-files/{root}.json"))).unwrap();
    let root = match rule {
        Some(rule) => root.requiring_logs(rule),
        None => root,
    };
    Trust { sigstore: BTreeMap::from([("acme".parse().unwrap(), root)]), ..Trust::default() }
}

/// Just after everything was signed.
fn now() -> UnixTime {
    UnixTime::from_seconds(String::from_utf8(vector("keyless-files/made")).unwrap().parse().unwrap())
}

fn signed_by(identity: &str, issuer: &str) -> Signer {
    Signer::Identity { root: "acme".parse().unwrap(), identity: identity.to_owned(), issuer: issuer.to_owned() }
}

/// The bundle with one base64 character changed in the middle of the value at `pointer`.
fn changed(bundle: &[u8], pointer: &str) -> Vec<u8> {
    let mut value: Value = serde_json::from_slice(bundle).unwrap();
    let text = value.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}"));
    let old = text.as_str().unwrap();
    let at = old.len() / 2;
    let new = if &old[at..=at] == "A" { "B" } else { "A" };
    *text = format!("{}{new}{}", &old[..at], &old[at + 1..]).into();
    value.to_string().into_bytes()
}

/// What everything in a bundle rests on: one changed byte in any of these proves nothing any more.
fn twins(name: &str, bundle: &[u8]) -> Vec<(String, Vec<u8>)> {
    let value: Value = serde_json::from_slice(bundle).unwrap();
    let pointers = [
        "/messageSignature/signature",
        "/dsseEnvelope/payload",
        "/dsseEnvelope/signatures/0/sig",
        "/verificationMaterial/certificate/rawBytes",
        "/verificationMaterial/x509CertificateChain/certificates/0/rawBytes",
        "/verificationMaterial/tlogEntries/0/canonicalizedBody",
        "/verificationMaterial/tlogEntries/0/inclusionPromise/signedEntryTimestamp",
        "/verificationMaterial/tlogEntries/0/inclusionProof/rootHash",
        "/verificationMaterial/timestampVerificationData/rfc3161Timestamps/0/signedTimestamp",
    ];
    let twins: Vec<_> = pointers
        .into_iter()
        .filter(|pointer| value.pointer(pointer).is_some_and(|at| at.as_str().is_some_and(|text| !text.is_empty())))
        .map(|pointer| (format!("{name} {pointer}"), changed(bundle, pointer)))
        .collect();
    assert!(twins.len() >= 3, "{name}: {} twins", twins.len());
    twins
}

fn judge(blob: &BlobDigests, bundle: &[u8], trust: &Trust) -> Result<BlobSignature, RejectionReason> {
    verify_blob(blob, bundle, trust, now(), &mut Budget::default())
}

fn file() -> BlobDigests {
    let mut hasher = BlobHasher::default();
    hasher.update(&vector("keyless-files/file"));
    hasher.finish()
}

#[test]
fn messages_of_every_client_count_and_their_changed_twins_do_not() {
    let trust = trust("root", None);
    for name in ["cosign-3-message", "sigstore-js-message", "sigstore-python-message"] {
        let bundle = vector(&format!("keyless-files/{name}.json"));
        let found = judge(&file(), &bundle, &trust).unwrap_or_else(|why| panic!("{name}: {why}"));
        assert_eq!(found.signers(), [signed_by(IDENTITY, ISSUER)], "{name}");
        assert_eq!(found.predicate_type(), None, "{name}");
        // The digest is enough, as `sha256:HEX` gives it.
        let digest = BlobDigests::of_sha256(Digest::sha256(&vector("keyless-files/file"))).unwrap();
        assert_eq!(judge(&digest, &bundle, &trust).map(|found| found.signers().len()), Ok(1), "{name}");
        let other = BlobDigests::of_sha256(Digest::sha256(b"another file")).unwrap();
        assert!(matches!(judge(&other, &bundle, &trust), Err(RejectionReason::OtherSubject { .. })), "{name}");
        for (twin, bytes) in twins(name, &bundle) {
            assert!(judge(&file(), &bytes, &trust).is_err(), "{twin}");
        }
    }
}

#[test]
fn statements_of_every_client_count_for_their_subjects_and_their_changed_twins_do_not() {
    let trust = trust("root", None);
    let image = BlobDigests::of_sha256(index().digest).unwrap();
    for (name, subject) in [("sigstore-js-statement", &image), ("sigstore-python-statement", &file())] {
        let bundle = vector(&format!("keyless-files/{name}.json"));
        let found = judge(subject, &bundle, &trust).unwrap_or_else(|why| panic!("{name}: {why}"));
        assert_eq!(found.signers(), [signed_by(IDENTITY, ISSUER)], "{name}");
        assert_eq!(found.predicate_type(), Some("https://slsa.dev/provenance/v1"), "{name}");
        for (twin, bytes) in twins(name, &bundle) {
            assert!(judge(subject, &bytes, &trust).is_err(), "{twin}");
        }
        let other = BlobDigests::of_sha256(Digest::sha256(b"another file")).unwrap();
        assert!(matches!(judge(&other, &bundle, &trust), Err(RejectionReason::OtherSubject { .. })), "{name}");
    }
}

/// GitHub's attestations for private repositories: an authority without a transparency log, a time-stamp, and no Rekor.
#[test]
fn a_github_attestation_counts_by_its_time_stamp_where_no_log_is_asked_for() {
    let trust = |rule| trust("private", rule);
    let bundle = vector("keyless-files/github-private.json");
    let image = BlobDigests::of_sha256(index().digest).unwrap();
    let without = trust(Some(LogRule::InsecureNone));
    let found = judge(&image, &bundle, &without).unwrap();
    let signer = signed_by(WORKFLOW, GITHUB);
    assert_eq!(found.signers(), std::slice::from_ref(&signer));
    assert_eq!(found.predicate_type(), Some("https://slsa.dev/provenance/v1"));
    let exact = |text: &str| TextPattern::exact(text).unwrap();
    let any_tag =
        TextPattern::regex(r"https://github\.com/acme/app/\.github/workflows/release\.yml@refs/tags/.*").unwrap();
    assert!(IdentityPattern::new(any_tag, exact(GITHUB)).matches(&signer));
    assert!(!IdentityPattern::new(exact("https://github.com/acme/other"), exact(GITHUB)).matches(&signer));
    let reason = judge(&image, &bundle, &trust(None)).unwrap_err();
    let expected = SigstoreError::TooFew { what: "log entries", found: 0, required: 1 };
    assert_eq!(reason, RejectionReason::Sigstore(expected));
    for (twin, bytes) in twins("github-private", &bundle) {
        assert!(judge(&image, &bytes, &without).is_err(), "{twin}");
    }
    // As an attestation of the image too, and never as a signature.
    let findings = attestations(envelope(BUNDLE, bundle.clone()), &without);
    assert_eq!(findings.rejections, []);
    assert_eq!(findings.attestations.iter().map(assay_verify::Attestation::signer).collect::<Vec<_>>(), [&signer]);
    assert!(findings_at(vec![envelope(BUNDLE, bundle)], &without, now()).facts.is_empty());
}

fn attestations(artifact: assay_verify::Artifact, trust: &Trust) -> assay_verify::AttestationFindings {
    let evidence = Evidence::new(vec![artifact]).unwrap();
    verify_attestations(&image("amd64"), &evidence, trust, now(), &mut Budget::default())
}

#[test]
fn images_that_cosign_signed_keyless_count_in_both_formats() {
    let trust = trust("root", None);
    for name in ["keyless-cosign-3", "keyless-cosign-2"] {
        let found = findings_at(vec![artifact(name)], &trust, now());
        assert_eq!(found.rejections, [], "{name}");
        let [fact] = found.facts.as_slice() else { panic!("{name}: {found:?}") };
        assert_eq!((fact.signer(), fact.subject()), (&signed_by(IDENTITY, ISSUER), &index()), "{name}");
    }
    let bundle = artifact("keyless-cosign-3").blobs[0].bytes().to_vec();
    for (twin, bytes) in twins("keyless-cosign-3", &bundle) {
        assert!(findings_at(vec![envelope(BUNDLE, bytes)], &trust, now()).facts.is_empty(), "{twin}");
    }
    let found = attestations(artifact("keyless-cosign-2-attest"), &trust);
    assert_eq!((found.attestations.len(), found.rejections.as_slice()), (1, &[][..]));
}

/// One changed byte in anything that cosign 2 keeps beside a signature.
#[test]
fn annotations_of_a_legacy_keyless_signature_are_all_needed_as_they_are() {
    let trust = trust("root", None);
    let real = artifact("keyless-cosign-2");
    let payload = real.blobs[0].bytes().to_vec();
    let manifest: Value = serde_json::from_slice(real.manifest.bytes()).unwrap();
    let annotations: BTreeMap<String, String> =
        serde_json::from_value(manifest["layers"][0]["annotations"].clone()).unwrap();
    let judged = |annotations: &BTreeMap<String, String>| {
        findings_at(vec![wrap(SIMPLE_SIGNING, payload.clone(), annotations)], &trust, now()).facts.len()
    };
    assert_eq!(judged(&annotations), 1);
    for key in ["dev.cosignproject.cosign/signature", "dev.sigstore.cosign/certificate", "dev.sigstore.cosign/bundle"] {
        let mut twin = annotations.clone();
        let text = twin.get_mut(key).unwrap_or_else(|| panic!("{key}"));
        let at = text.len() / 2;
        let new = if &text[at..=at] == "A" { "B" } else { "A" };
        text.replace_range(at..=at, new);
        assert_eq!(judged(&twin), 0, "{key}");
        twin.remove(key);
        assert_eq!(judged(&twin), 0, "{key} is gone");
    }
}
