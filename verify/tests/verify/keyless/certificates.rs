//! Certificates and the root that they lead to: identity, use, time, certificate transparency.

use assay_verify::{EntryError, RejectionReason, RootError, SctError, SigstoreError, SigstoreRoot, Trust};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose};
use serde_json::{Value, json};

use super::{flip, good, others_accept, refused_sigstore, statement, trust, trust_of};
use crate::{sigstore_world::*, support::*};

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
    let problem = "is not codeSigning".to_owned();
    let expected = SigstoreError::Profile { field: "extendedKeyUsage", problem };
    assert_eq!(refused_sigstore(&world, &bundle), expected);
}

#[test]
fn an_authority_may_name_no_use_and_not_another_one() {
    let with = |change_intermediate: fn(&mut CertificateParams)| {
        let world = World::new(Wishes { change_intermediate, ..Wishes::default() });
        let bundle = world.bundle(&world.sign_statement(&statement()));
        (world, bundle)
    };
    let (world, bundle) = with(|authority| authority.extended_key_usages.clear());
    accepted(envelope(BUNDLE, bundle.to_string()), &trust(&world));
    // sigstore-verify looks at the leaf's use alone, and accepts this one.
    let (world, bundle) = with(|authority| authority.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
    let reason = refused(envelope(BUNDLE, bundle.to_string()), &trust(&world));
    assert!(matches!(reason, RejectionReason::Sigstore(SigstoreError::Chain { .. })), "{reason:?}");
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
