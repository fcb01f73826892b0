//! Signatures made by cosign 3.1.1 and notation 1.3.2 (vectors/README.md).

use assay_admission::UnixTime;
use assay_verify::{DistinguishedNamePattern, Format, RejectionReason, Signer, Trust};
use serde_json::Value;

use crate::support::*;

const KEYS: [&str; 5] = ["p256", "p384", "p521", "rsa2048", "rsa3072"];
const ROOTS: [&str; 6] = ["ec256", "ec384", "ec521", "r2048", "r3072", "r4096"];

/// Replaces one character in the middle of a base64 string of a JSON document.
fn change(json: &[u8], pointer: &str) -> Vec<u8> {
    let mut value: Value = serde_json::from_slice(json).unwrap();
    let text = value.pointer_mut(pointer).unwrap();
    let old = text.as_str().unwrap();
    let at = old.len() / 2;
    let new = if &old[at..=at] == "A" { "B" } else { "A" };
    *text = format!("{}{new}{}", &old[..at], &old[at + 1..]).into();
    value.to_string().into_bytes()
}

#[test]
fn cosign_bundles_of_every_key_type_count_and_their_changed_twins_do_not() {
    for name in KEYS {
        let trust = trust_key("ci", key(name));
        let real = artifact(&format!("bundle-{name}"));
        let bytes = real.blobs[0].bytes().to_vec();
        let found = findings(real, &trust);
        assert_eq!(found.rejections, [], "{name}");
        let [fact] = found.facts.as_slice() else { panic!("{name}: {found:?}") };
        assert_eq!((fact.format(), fact.subject()), (Format::SigstoreBundle, &index()), "{name}");
        let expected = Signer::Key { name: "ci".parse().unwrap(), spki_sha256: key(name).spki_sha256() };
        assert_eq!((fact.signer(), fact.identity(), fact.holds_until()), (&expected, None, None), "{name}");

        for pointer in ["/dsseEnvelope/signatures/0/sig", "/dsseEnvelope/payload"] {
            let reason = refused(envelope(BUNDLE, change(&bytes, pointer)), &trust);
            assert_eq!(reason, RejectionReason::BadSignature { by: "key ci".to_owned() }, "{name} {pointer}");
        }
    }
}

#[test]
fn cosign_legacy_signatures_of_every_key_type_count_and_their_changed_twins_do_not() {
    for name in KEYS {
        let trust = trust_key("ci", key(name));
        let real = artifact(&format!("legacy-{name}"));
        let payload = real.blobs[0].bytes().to_vec();
        let manifest: Value = serde_json::from_slice(real.manifest.bytes()).unwrap();
        let annotations = |value: &Value| serde_json::from_value(value["layers"][0]["annotations"].clone()).unwrap();
        let found = findings(real.clone(), &trust);
        let [fact] = found.facts.as_slice() else { panic!("{name}: {found:?}") };
        assert_eq!((fact.format(), fact.subject()), (Format::CosignSimpleSigning, &index()), "{name}");
        assert_eq!(fact.identity(), Some("127.0.0.1:15055/team/app"), "{name}");

        let mut changed = payload.clone();
        let at = changed.len() - 4;
        changed[at] ^= 1;
        let twin = wrap(SIMPLE_SIGNING, changed, &annotations(&manifest));
        assert_eq!(refused(twin, &trust), RejectionReason::UnknownKey, "{name}");
        let signature = "/layers/0/annotations/dev.cosignproject.cosign~1signature";
        let manifest = serde_json::from_slice(&change(real.manifest.bytes(), signature)).unwrap();
        assert_eq!(
            refused(wrap(SIMPLE_SIGNING, payload, &annotations(&manifest)), &trust),
            RejectionReason::UnknownKey
        );
    }
}

#[test]
fn notation_jws_signatures_of_every_key_type_count_and_their_changed_twins_do_not() {
    for name in ROOTS {
        let trust = trust_root(&format!("{name}-root"));
        let real = artifact(&format!("notation-jws-{name}"));
        let bytes = real.blobs[0].bytes().to_vec();
        let found = findings(real, &trust);
        let [fact] = found.facts.as_slice() else { panic!("{name}: {found:?}") };
        assert_eq!((fact.format(), fact.subject()), (Format::NotationJws, &index()), "{name}");
        let Signer::Certificate { store, subject, .. } = fact.signer() else { panic!("{fact:?}") };
        assert_eq!((store.as_str(), subject.as_str()), ("acme", "C=DE,ST=Berlin,O=Acme,CN=Release Managers"));
        let pattern = DistinguishedNamePattern::parse("CN=Release Managers, O=Acme, ST=Berlin, C=DE").unwrap();
        assert!(pattern.matches(fact.signer()));
        assert!(fact.claimed_time() < Some(NOW) && fact.holds_until() > Some(NOW));

        for pointer in ["/signature", "/payload"] {
            let reason = refused(envelope(JWS, change(&bytes, pointer)), &trust);
            let by = "certificate \"C=DE,ST=Berlin,O=Acme,CN=Release Managers\"".to_owned();
            assert_eq!(reason, RejectionReason::BadSignature { by }, "{name} {pointer}");
        }
    }
}

#[test]
fn notation_cose_signatures_of_every_key_type_count_and_their_changed_twins_do_not() {
    for name in ROOTS {
        let trust = trust_root(&format!("{name}-root"));
        let real = artifact(&format!("notation-cose-{name}"));
        let bytes = real.blobs[0].bytes().to_vec();
        let found = findings(real, &trust);
        let [fact] = found.facts.as_slice() else { panic!("{name}: {found:?}") };
        assert_eq!((fact.format(), fact.subject()), (Format::NotationCose, &index()), "{name}");

        let payload = bytes.windows(14).position(|window| window == b"targetArtifact").unwrap();
        for at in [payload, bytes.len() - 1] {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let by = "certificate \"C=DE,ST=Berlin,O=Acme,CN=Release Managers\"".to_owned();
            assert_eq!(refused(envelope(COSE, changed), &trust), RejectionReason::BadSignature { by }, "{name} {at}");
        }
    }
}

#[test]
fn a_key_that_did_not_sign_and_an_empty_trust_prove_nothing() {
    let other = trust_key("other", key("rsa2048"));
    for trust in [&other, &Trust::default()] {
        assert_eq!(refused(artifact("bundle-p256"), trust), RejectionReason::UnknownKey);
        assert_eq!(refused(artifact("legacy-p256"), trust), RejectionReason::UnknownKey);
        let subject = "C=DE,ST=Berlin,O=Acme,CN=Release Managers".to_owned();
        assert_eq!(refused(artifact("notation-jws-ec256"), trust), RejectionReason::UntrustedChain { subject });
    }
    let subject = "C=DE,ST=Berlin,O=Acme,CN=Release Managers".to_owned();
    let trust = trust_root("ec384-root");
    assert_eq!(refused(artifact("notation-cose-ec256"), &trust), RejectionReason::UntrustedChain { subject });
}

#[test]
fn annotations_are_returned_where_they_are_signed() {
    let annotations = |name: &str, trust: &Trust| findings(artifact(name), trust).facts[0].annotations().clone();
    let stage = [("stage".to_owned(), "release".to_owned())].into();
    assert_eq!(annotations("bundle-rsa3072", &trust_key("ci", key("rsa3072"))), stage);
    assert_eq!(annotations("legacy-p256", &trust_key("ci", key("p256"))), stage);
    assert_eq!(annotations("notation-jws-metadata", &trust_root("ec256-root")), stage);
    assert_eq!(annotations("notation-cose-metadata", &trust_root("ec256-root")), stage);
}

#[test]
fn a_signature_holds_until_the_second_before_it_expires() {
    let trust = trust_root("ec256-root");
    for name in ["notation-jws-expiry", "notation-cose-expiry"] {
        let signed = findings(artifact(name), &trust).facts[0].claimed_time().unwrap();
        let expired = UnixTime::from_seconds(signed.seconds() + 24 * 3600);
        let last = UnixTime::from_seconds(expired.seconds() - 1);
        let found = findings_at(vec![artifact(name)], &trust, last);
        assert_eq!(found.facts.iter().map(|fact| fact.holds_until()).collect::<Vec<_>>(), [Some(last)], "{name}");
        let reason = refused_at(artifact(name), &trust, expired);
        assert_eq!(reason, RejectionReason::Expired { expired, at: expired }, "{name}");
    }
}

#[test]
fn a_self_signed_leaf_counts_only_if_it_is_the_anchor_itself() {
    accepted(artifact("notation-jws-selfsigned"), &trust_root("selfsigned"));
    let subject = "C=US,ST=WA,L=Seattle,O=Notary,CN=selfsigned".to_owned();
    let reason = refused(artifact("notation-jws-selfsigned"), &trust_root("r2048-root"));
    assert_eq!(reason, RejectionReason::UntrustedChain { subject });
}

#[test]
fn signatures_on_the_platform_manifest_count_for_that_manifest_and_no_other() {
    for (name, trust) in
        [("bundle-p256-manifest", trust_key("ci", key("p256"))), ("notation-jws-manifest", trust_root("ec256-root"))]
    {
        let found = findings(artifact(name), &trust);
        assert_eq!(found.facts[0].subject(), image("amd64").manifest(), "{name}");
        // Only the amd64 child is signed, and arm64 is judged.
        let evidence = assay_verify::Evidence::new(vec![artifact(name)]).unwrap();
        let found = assay_verify::verify(&image("arm64"), &evidence, &trust, NOW, &mut assay_verify::Budget::default());
        assert_eq!(found.facts, [], "{name}");
        let found_for = artifact(name).subject.to_string();
        assert_eq!(found.rejections[0].reason, RejectionReason::OtherSubject { found: found_for }, "{name}");
    }
}

#[test]
fn an_attestation_by_the_right_key_is_no_signature() {
    let reason = refused(artifact("attestation-p256"), &trust_key("ci", key("p256")));
    // cosign attests with Statement v0.1: refused before its predicate is looked at.
    let problem = "is \"https://in-toto.io/Statement/v0.1\", not \"https://in-toto.io/Statement/v1\"";
    assert_eq!(reason, malformed("_type", problem));
}

/// cosign 3.1.1 signs with Ed25519ph here and then cannot verify it; the specification of these formats has plain Ed25519.
#[test]
fn an_ed25519_signature_over_a_hash_is_refused() {
    let trust = trust_key("ci", key("ed25519"));
    let reason = refused(artifact("bundle-ed25519"), &trust);
    assert_eq!(reason, RejectionReason::BadSignature { by: "key ci".to_owned() });
    assert_eq!(refused(artifact("legacy-ed25519"), &trust), RejectionReason::UnknownKey);
}
