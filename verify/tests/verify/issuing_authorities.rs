//! Who may issue a signing certificate, and what such a certificate may be: chains of Sigstore's authorities with one thing wrong each,
//! around a signature that is otherwise right and stands in the log.

use std::collections::BTreeMap;

use assay_verify::{Budget, Evidence, RejectionReason, SigstoreError, SigstoreRoot, Trust, signing::cosign_bundle};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
    KeyUsagePurpose, NameConstraints,
};
use serde_json::{Value, json};

use crate::{asn1, sigstore_world::*, support::*};

fn trust(world: &World) -> Trust {
    let root = SigstoreRoot::from_json(world.root_json().to_string().as_bytes()).unwrap();
    Trust { sigstore: BTreeMap::from([("acme".parse().unwrap(), root)]), ..Trust::default() }
}

fn statement() -> Vec<u8> {
    cosign_bundle::pae_to_sign(&index(), &BTreeMap::new()).payload
}

fn judged(wishes: Wishes) -> assay_verify::Findings {
    let world = World::new(wishes);
    let bundle = world.bundle(&world.sign_statement(&statement()));
    findings(envelope(BUNDLE, bundle.to_string()), &trust(&world))
}

/// What the path builder says of a chain that does not hold when the signature was made.
fn chain_problem(findings: &assay_verify::Findings) -> String {
    assert_eq!(findings.facts, []);
    match &findings.rejections[0].reason {
        RejectionReason::Sigstore(SigstoreError::Chain { time, problem, .. }) => {
            assert_eq!(time.seconds(), SIGNED);
            problem.clone()
        }
        other => panic!("{other:?}"),
    }
}

fn profile_field(wishes: Wishes) -> &'static str {
    let found = judged(wishes);
    assert_eq!(found.facts, []);
    match found.rejections[0].reason {
        RejectionReason::Sigstore(SigstoreError::Profile { field, .. }) => field,
        ref other => panic!("{other:?}"),
    }
}

/// The chain of `certificate` and these others in place of the one certificate.
fn with_chain(bundle: &mut Value, others: &[Vec<u8>]) {
    let material = bundle["verificationMaterial"].as_object_mut().unwrap();
    let leaf = material.remove("certificate").unwrap();
    let others = others.iter().map(|der| json!({ "rawBytes": STANDARD.encode(der) }));
    let chain: Vec<Value> = std::iter::once(leaf).chain(others).collect();
    material.insert("x509CertificateChain".to_owned(), json!({ "certificates": chain }));
}

#[test]
fn a_certificate_by_the_attackers_own_authority_is_refused_though_the_log_has_it() {
    let (world, attacker) = (World::new(Wishes::default()), World::new(Wishes::default()));
    // The identity, the names of the authority, the CT log's own: all as they should be. The log takes in whatever anyone brings.
    let made = attacker.sign_statement(&statement());
    let bundle = world.bundle(&made);
    let judge = |bundle: &Value| findings(envelope(BUNDLE, bundle.to_string()), &trust(&world));
    assert_eq!(chain_problem(&judge(&bundle)), "InvalidSignatureForPublicKey");
    // Nor with the authority's certificate beside it.
    let mut brought = bundle.clone();
    with_chain(&mut brought, &[attacker.intermediate()]);
    assert_eq!(chain_problem(&judge(&brought)), "InvalidSignatureForPublicKey");
    accepted(envelope(BUNDLE, attacker.bundle(&made).to_string()), &trust(&attacker));
}

#[test]
fn a_key_in_the_bundle_is_nobody_to_whom_identities_are_asked_for() {
    let (world, attacker) = (World::new(Wishes::default()), TestKey::new());
    let to_sign = cosign_bundle::pae_to_sign(&index(), &BTreeMap::new());
    let signature = attacker.sign_der(&to_sign.pae);
    let bundle: Value =
        serde_json::from_slice(&cosign_bundle::assemble(&to_sign, &signature, attacker.public().spki())).unwrap();
    assert_eq!(refused(envelope(BUNDLE, bundle.to_string()), &trust(&world)), RejectionReason::UnknownKey);
    // The key itself, rather than its hash, is no field that is known.
    let mut with_key = bundle;
    with_key["verificationMaterial"]["publicKey"]["rawBytes"] = STANDARD.encode(attacker.public().spki()).into();
    let unknown = malformed("publicKey", "has the unknown field \"rawBytes\"");
    assert_eq!(refused(envelope(BUNDLE, with_key.to_string()), &trust(&world)), unknown);
}

#[test]
fn an_authority_that_had_expired_is_refused_at_every_place_of_the_chain() {
    let intermediate = judged(Wishes { intermediate: (-86_400, -1), ..Wishes::default() });
    assert!(chain_problem(&intermediate).starts_with("CertExpired"), "{intermediate:?}");
    let root = judged(Wishes { change_root: |root| root.not_after = at(-1), ..Wishes::default() });
    assert!(chain_problem(&root).ends_with("is not valid then"), "{root:?}");
    let early = judged(Wishes { change_root: |root| root.not_before = at(1), ..Wishes::default() });
    assert!(chain_problem(&early).ends_with("is not valid then"), "{early:?}");
    // The last second counts at both places.
    let last = Wishes { intermediate: (-86_400, 0), change_root: |root| root.not_after = at(0), ..Wishes::default() };
    assert_eq!(judged(last).facts.len(), 1);
}

#[test]
fn a_leaf_that_could_issue_or_may_not_sign_is_refused() {
    let ca = Wishes { change_leaf: |leaf| leaf.is_ca = IsCa::Ca(BasicConstraints::Unconstrained), ..Wishes::default() };
    assert_eq!(profile_field(ca), "basicConstraints");
    let none = Wishes { change_leaf: |leaf| leaf.key_usages.clear(), ..Wishes::default() };
    assert_eq!(profile_field(none), "keyUsage");
    let other =
        Wishes { change_leaf: |leaf| leaf.key_usages = vec![KeyUsagePurpose::KeyEncipherment], ..Wishes::default() };
    assert_eq!(profile_field(other), "keyUsage");
    let tls = Wishes { usage: ExtendedKeyUsagePurpose::ServerAuth, ..Wishes::default() };
    assert_eq!(profile_field(tls), "extendedKeyUsage");
    let any = Wishes { change_leaf: |leaf| leaf.extended_key_usages.clear(), ..Wishes::default() };
    assert_eq!(profile_field(any), "extendedKeyUsage");
}

#[test]
fn an_issuer_that_is_no_ca_or_issues_for_another_trade_or_too_deep_is_refused() {
    let with = |change_intermediate| chain_problem(&judged(Wishes { change_intermediate, ..Wishes::default() }));
    assert_eq!(with(|issuer| issuer.is_ca = IsCa::ExplicitNoCa), "EndEntityUsedAsCa");
    let usage = with(|issuer| issuer.key_usages = vec![KeyUsagePurpose::DigitalSignature]);
    assert_eq!(usage, "an issuer's keyUsage has no keyCertSign");
    let trade = with(|issuer| issuer.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
    assert!(trade.starts_with("RequiredEkuNotFound"), "{trade}");
    assert_eq!(
        judged(Wishes { change_intermediate: |issuer| issuer.key_usages.clear(), ..Wishes::default() }).facts.len(),
        1
    );
    // A leaf's own issuer may be the last of its path; with another CA below it, it may not.
    let last = Wishes {
        change_intermediate: |issuer| issuer.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)),
        ..Wishes::default()
    };
    assert_eq!(judged(last.clone()).facts.len(), 1);
    let world = World::new(last);
    let (made, below) = world.sign_below(&statement());
    let mut bundle = world.bundle(&made);
    with_chain(&mut bundle, &[below]);
    let deep = findings(envelope(BUNDLE, bundle.to_string()), &trust(&world));
    assert_eq!(chain_problem(&deep), "PathLenConstraintViolated");
    let world = World::new(Wishes { has_sct: false, ..Wishes::default() });
    let (made, below) = world.sign_below(&statement());
    let mut bundle = world.bundle(&made);
    with_chain(&mut bundle, &[below]);
    let found = findings(envelope(BUNDLE, bundle.to_string()), &trust(&world));
    // The path itself holds: only the SCT is missing.
    let missing = SigstoreError::Sct(assay_verify::SctError::Missing);
    assert_eq!(found.rejections[0].reason, RejectionReason::Sigstore(missing));
}

/// The extension nameConstraints with these subtrees, permitted (0) or excluded (1).
fn constraints(issuer: &mut CertificateParams, which: u8, base: &[u8]) {
    let subtrees = asn1::seq(&[asn1::context(which, &asn1::seq(&[base.to_vec()]))]);
    let mut extension = CustomExtension::from_oid_content(&[2, 5, 29, 30], subtrees);
    extension.set_criticality(true);
    issuer.custom_extensions.push(extension);
}

#[test]
fn name_constraints_that_do_not_allow_the_identity_or_are_not_understood_refuse_it() {
    type Change = fn(&mut CertificateParams);
    // The identity is a URI at ci.example. Constraints on URIs are not evaluated, so whatever they say refuses.
    let violating: [(&str, Change); 5] = [
        ("permitted, another host", |issuer| constraints(issuer, 0, &asn1::tlv(0x86, b"other.example"))),
        ("permitted, the very host", |issuer| constraints(issuer, 0, &asn1::tlv(0x86, b"ci.example"))),
        ("excluded, another host", |issuer| constraints(issuer, 1, &asn1::tlv(0x86, b"other.example"))),
        ("excluded, the very host", |issuer| constraints(issuer, 1, &asn1::tlv(0x86, b"ci.example"))),
        ("permitted directory names", |issuer| constraints(issuer, 0, &asn1::context(4, &asn1::seq(&[])))),
    ];
    let at_every_place = |change| {
        [
            judged(Wishes { change_intermediate: change, ..Wishes::default() }),
            judged(Wishes { change_root: change, ..Wishes::default() }),
        ]
    };
    for (name, change) in violating {
        for found in at_every_place(change) {
            assert_eq!(chain_problem(&found), "NameConstraintViolation", "{name}");
        }
    }
    for unreadable in at_every_place(|issuer| {
        let mut empty = CustomExtension::from_oid_content(&[2, 5, 29, 30], vec![5, 0]);
        empty.set_criticality(true);
        issuer.custom_extensions.push(empty);
    }) {
        assert_eq!(chain_problem(&unreadable), "BadDer");
    }
    // An e-mail identity under constraints on e-mail addresses, which are not evaluated either.
    let mail = rcgen::SanType::Rfc822Name(rcgen::string::Ia5String::try_from("ci@acme.example").unwrap());
    let constrained = Wishes {
        names: vec![mail],
        change_intermediate: |issuer| {
            let permitted_subtrees = vec![GeneralSubtree::Rfc822Name("acme.example".to_owned())];
            issuer.name_constraints = Some(NameConstraints { permitted_subtrees, excluded_subtrees: Vec::new() });
        },
        ..Wishes::default()
    };
    assert_eq!(chain_problem(&judged(constrained)), "NameConstraintViolation");
}

#[test]
fn chains_that_lead_everywhere_end_within_the_budget() {
    let world = World::new(Wishes::default());
    let made = world.sign_statement(&statement());
    // Whoever issued the leaf is called "intermediate": any of these may be next, each leads to the others, and each to the root.
    let maze: Vec<Vec<u8>> = [
        ("intermediate", "x"),
        ("intermediate", "x"),
        ("x", "intermediate"),
        ("x", "intermediate"),
        ("x", "root"),
        ("intermediate", "root"),
        ("intermediate", "root"),
    ]
    .into_iter()
    .map(|(name, issuer)| World::forged_ca(name, issuer))
    .collect();
    let mut bundle = world.bundle(&made);
    with_chain(&mut bundle, &maze);
    // The real issuer is in the root of trust: the maze takes nothing from it.
    accepted(envelope(BUNDLE, bundle.to_string()), &trust(&world));
    let stranger = World::new(Wishes::default());
    let mut lost = world.bundle(&stranger.sign_statement(&statement()));
    with_chain(&mut lost, &maze);
    chain_problem(&findings(envelope(BUNDLE, lost.to_string()), &trust(&world)));
    // The work is paid for at its worst, so that many of them are a limit, and the same one each time.
    let judge = || {
        let many = (0..64).map(|spaces| envelope(BUNDLE, format!("{lost}{}", " ".repeat(spaces)))).collect();
        let evidence = Evidence::new(many).unwrap();
        assay_verify::verify(&image("amd64"), &evidence, &trust(&world), NOW, &mut Budget::default())
    };
    let found = judge();
    assert_eq!(found.limit.map(|limit| (limit.what, limit.limit)), Some(("public-key operations", 1024)));
    assert_eq!(found, judge());
    let paid = found.rejections.len();
    assert!((5..=12).contains(&paid), "{paid} were looked at");
}
