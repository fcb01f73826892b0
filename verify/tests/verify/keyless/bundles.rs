//! The bundle as a whole: what counts in each version, and whatever is changed in it does not.

use assay_admission::Digest;
use assay_verify::{
    BlobHasher, Budget, EntryError, IdentityPattern, RejectionReason, Signer, SigstoreError, SigstoreRoot, TextPattern,
    verify_blob,
};
use serde_json::{Value, json};

use super::{ENTRY, flip, good, others_accept, statement, trust, trust_of};
use crate::{sigstore_world::*, support::*};

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
