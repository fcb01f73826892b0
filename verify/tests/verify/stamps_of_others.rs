//! RFC 3161 time-stamps in Sigstore bundles by those who may not stamp, and those whose parts do not belong together.

use std::{collections::BTreeMap, num::NonZeroUsize};

use assay_verify::{RejectionReason, SigstoreError, SigstoreRoot, TimestampError, Trust, signing::cosign_bundle};
use rcgen::ExtendedKeyUsagePurpose;
use serde_json::Value;

use crate::{sigstore_world::*, support::*};

fn trust_of(root: &Value) -> Trust {
    let root = SigstoreRoot::from_json(root.to_string().as_bytes()).unwrap();
    Trust { sigstore: BTreeMap::from([("acme".parse().unwrap(), root)]), ..Trust::default() }
}

fn signed(world: &World) -> Made {
    world.sign_statement(&cosign_bundle::pae_to_sign(&index(), &BTreeMap::new()).payload)
}

/// The bundle of `made` whose only time is this token's.
fn stamped(world: &World, made: &Made, token: Vec<u8>) -> assay_verify::Artifact {
    envelope(BUNDLE, world.bundle_with(made, vec![world.tiles_entry(made)], &[token]).to_string())
}

fn untrusted(world: &World, made: &Made, stamping: &Stamping) -> String {
    let token = world.token_of(&made.signature, 5, stamping);
    match refused(stamped(world, made, token), &trust_of(&world.root_json())) {
        RejectionReason::Sigstore(SigstoreError::Timestamp {
            number: 1,
            problem: TimestampError::Untrusted(problem),
        }) => problem,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_certificate_beside_the_authoritys_does_not_stamp_whatever_stands_in_front_of_it() {
    let world = World::new(Wishes::default());
    let made = signed(&world);
    let judge = |stamping: &Stamping| {
        let token = world.token_of(&made.signature, 5, stamping);
        findings(stamped(&world, &made, token), &trust_of(&world.root_json()))
    };
    // Another certificate of the authority's own CA, for mail: with it alone, and with the authority's put in front.
    let key = TestKey::new();
    let other = world.beside_the_tsa(&key);
    let by_other = |certificates| Stamping {
        names: Some(other.clone()),
        key: Some(TestKey(rcgen::KeyPair::try_from(key.0.serialize_der()).unwrap())),
        certificates,
        ..Stamping::default()
    };
    let stranger = "CMS signer does not match any trusted TSA certificate";
    for certificates in
        [vec![other.clone()], vec![world.tsa_leaf(), other.clone()], vec![other.clone(), world.tsa_leaf()]]
    {
        let problem = untrusted(&world, &made, &by_other(certificates));
        assert!(problem.contains(stranger), "{problem}");
    }
    // It calls itself the authority.
    let posing = Stamping { names: None, certificates: vec![world.tsa_leaf(), other.clone()], ..by_other(Vec::new()) };
    let problem = untrusted(&world, &made, &posing);
    assert!(!problem.contains(stranger), "{problem}");
    // Certificates that come along with what the authority itself stamped change nothing.
    for certificates in [vec![world.tsa_leaf()], vec![other.clone(), world.tsa_leaf()], vec![other]] {
        assert_eq!(judge(&Stamping { certificates, ..Stamping::default() }).facts.len(), 1);
    }
}

#[test]
fn a_stamp_whose_signed_digest_is_not_that_of_its_content_is_refused() {
    let world = World::new(Wishes::default());
    let made = signed(&world);
    let problem = untrusted(&world, &made, &Stamping { digest_of: Some(b"other".to_vec()), ..Stamping::default() });
    assert!(problem.contains("mismatch"), "{problem}");
    assert_eq!(
        findings(stamped(&world, &made, world.token(&made.signature, 5)), &trust_of(&world.root_json())).facts.len(),
        1
    );
}

#[test]
fn an_authority_that_may_not_stamp_or_had_expired_does_not_stamp() {
    let with = |change_tsa| {
        let world = World::new(Wishes { change_tsa, ..Wishes::default() });
        untrusted(&world, &signed(&world), &Stamping::default())
    };
    let usage = with(|tsa| tsa.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning]);
    assert!(usage.contains("RequiredEkuNotFound"), "{usage}");
    let none = with(|tsa| tsa.extended_key_usages.clear());
    assert!(none.contains("RequiredEkuNotFound"), "{none}");
    let late = with(|tsa| tsa.not_after = at(4));
    assert!(late.contains("CertExpired"), "{late}");
    let early = with(|tsa| tsa.not_before = at(6));
    assert!(early.contains("CertNotValidYet"), "{early}");
    let root = |change_tsa_root| {
        let world = World::new(Wishes { change_tsa_root, ..Wishes::default() });
        untrusted(&world, &signed(&world), &Stamping::default())
    };
    for root in [root(|root| root.not_after = at(4)), root(|root| root.not_before = at(6))] {
        assert!(root.ends_with("is not valid then"), "{root}");
    }
    let world = World::new(Wishes {
        change_tsa: |tsa| tsa.not_after = at(5),
        change_tsa_root: |root| root.not_after = at(5),
        ..Wishes::default()
    });
    let made = signed(&world);
    assert_eq!(
        findings(stamped(&world, &made, world.token(&made.signature, 5)), &trust_of(&world.root_json())).facts.len(),
        1
    );
}

#[test]
fn one_authority_under_two_names_is_one_operator() {
    let world = World::new(Wishes::default());
    let made = signed(&world);
    let mut root = world.root_json();
    let mut again = root["timestampAuthorities"][0].clone();
    again["uri"] = "https://other.example".into();
    root["timestampAuthorities"].as_array_mut().unwrap().push(again);
    let mut trust = trust_of(&root);
    let two = NonZeroUsize::new(2).unwrap();
    trust.sigstore = trust.sigstore.into_iter().map(|(name, root)| (name, root.requiring_times(two))).collect();
    let tokens = [world.token(&made.signature, 5), world.token(&made.signature, 6)];
    let bundle = world.bundle_with(&made, vec![world.tiles_entry(&made)], &tokens);
    let expected = SigstoreError::TooFew { what: "trusted times", found: 1, required: 2 };
    assert_eq!(refused(envelope(BUNDLE, bundle.to_string()), &trust), RejectionReason::Sigstore(expected));
}
