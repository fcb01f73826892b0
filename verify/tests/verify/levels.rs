//! Signing authorities, trusted identities, and what each verification level makes of a check that fails.

use assay_admission::UnixTime;
use assay_verify::{
    Action, Anchors, CertificateStore, Check, Findings, Level, RejectionReason, RevocationEvidence, Standing,
    TrustedIdentities, VerificationLevel,
};
use serde_json::json;

use crate::{
    jws::Jws,
    notary::{Chain, Recipe, judged, november, outcome, reason, without_revocation},
    support::*,
};

const SCHEME: &str = "io.cncf.notary.signingScheme";
const TIME: &str = "io.cncf.notary.signingTime";
const AUTHENTIC: &str = "io.cncf.notary.authenticSigningTime";
const EXPIRY: &str = "io.cncf.notary.expiry";
const LEAF: &str = "C=DE,ST=Berlin,O=Acme,CN=leaf";

fn none() -> RevocationEvidence {
    RevocationEvidence::default()
}

/// An envelope of a signing authority, from 2026-11-10T12:00:00Z.
fn by_authority(chain: &Chain) -> Jws {
    let mut jws = chain.jws();
    let protected = jws.protected.as_object_mut().unwrap();
    protected.remove(TIME);
    protected.insert(SCHEME.to_owned(), "notary.x509.signingAuthority".into());
    protected.insert(AUTHENTIC.to_owned(), "2026-11-10T12:00:00Z".into());
    protected.insert("crit".to_owned(), json!([SCHEME, AUTHENTIC]));
    jws
}

fn authority_store(chain: &Chain) -> CertificateStore {
    let anchors = Anchors { signing_authority: vec![chain.root()], ..Anchors::default() };
    CertificateStore::of(anchors, Level::Strict.into()).unwrap()
}

fn authority_with(change: impl FnOnce(&mut Jws)) -> Findings {
    let chain = Recipe::new().make();
    let mut jws = by_authority(&chain);
    change(&mut jws);
    judged(chain.sign(&jws), authority_store(&chain), &none(), NOW)
}

#[test]
fn a_signing_authority_counts_for_stores_of_its_type_alone() {
    let chain = Recipe::new().make();
    let authority = || chain.sign(&by_authority(&chain));
    let found = judged(authority(), authority_store(&chain), &none(), NOW);
    assert_eq!(found.facts[0].claimed_time(), Some(UnixTime::from_seconds(1_794_312_000)));
    let untrusted = RejectionReason::UntrustedChain { subject: LEAF.to_owned() };
    assert_eq!(reason(&judged(authority(), chain.store(Level::Strict), &none(), NOW)), untrusted);
    let own = chain.sign(&chain.jws());
    assert_eq!(reason(&judged(own.clone(), authority_store(&chain), &none(), NOW)), untrusted);
    assert_eq!(judged(own, chain.store(Level::Strict), &none(), NOW).facts.len(), 1);
}

#[test]
fn a_signing_authoritys_certificates_must_be_valid_when_it_signed_and_need_not_be_now() {
    let expired = Recipe::new().until_november(15).make();
    let found = judged(expired.sign(&by_authority(&expired)), authority_store(&expired), &none(), NOW);
    assert_eq!((found.facts.len(), found.facts[0].holds_until()), (1, None));
    let earlier = Recipe::new().until_november(9).make();
    let found = judged(earlier.sign(&by_authority(&earlier)), authority_store(&earlier), &none(), NOW);
    let at = UnixTime::from_seconds(1_794_312_000);
    assert!(matches!(reason(&found), RejectionReason::CertificateTime { at: when, .. } if when == at), "{found:?}");
    assert_eq!(outcome(&found, Check::Revocation), "not made");
    let future = authority_with(|jws| jws.protected[AUTHENTIC] = "2026-11-22T12:00:01Z".into());
    let problem = "is 2026-11-22T12:00:01Z, and it is 2026-11-22T12:00:00Z";
    assert_eq!(reason(&future), malformed("authenticSigningTime", problem));
    let now = authority_with(|jws| jws.protected[AUTHENTIC] = "2026-11-22T12:00:00Z".into());
    assert_eq!(now.facts.len(), 1, "{now:?}");
}

#[test]
fn a_signing_authoritys_time_is_critical_and_stands_alone() {
    let found = authority_with(|jws| jws.protected["crit"] = json!([SCHEME]));
    assert_eq!(reason(&found), malformed("crit", &format!("does not name {AUTHENTIC} once")));
    let found = authority_with(|jws| jws.protected[TIME] = "2026-11-10T12:00:00Z".into());
    let problem = "stands in a signature of scheme notary.x509.signingAuthority";
    assert_eq!(reason(&found), malformed("signingTime", problem));
    let found = authority_with(|jws| {
        jws.protected.as_object_mut().unwrap().remove(AUTHENTIC);
        jws.protected["crit"] = json!([SCHEME]);
    });
    assert_eq!(reason(&found), malformed("authenticSigningTime", "is missing"));
    let chain = Recipe::new().make();
    let mut jws = chain.jws();
    jws.protected["crit"] = json!([SCHEME, AUTHENTIC]);
    let found = judged(chain.sign(&jws), chain.store(Level::Strict), &none(), NOW);
    assert_eq!(reason(&found), RejectionReason::Unsupported(format!("the critical attribute {AUTHENTIC:?}")));
}

#[test]
fn only_trusted_identities_count() {
    let chain = Recipe::new().make();
    let with = |subjects: &[&str]| {
        let subjects = subjects.iter().map(|subject| subject.parse().unwrap()).collect();
        let store = chain.store(Level::Strict).with_identities(TrustedIdentities::Subjects(subjects));
        judged(chain.sign(&chain.jws()), store, &none(), NOW)
    };
    assert_eq!(with(&["C=DE,ST=Hamburg,O=Acme", "C=DE,ST=Berlin,O=Acme"]).facts.len(), 1);
    let refused = RejectionReason::UntrustedIdentity { subject: LEAF.to_owned() };
    assert_eq!(reason(&with(&["C=DE,ST=Berlin,O=Acme,CN=other"])), refused);
    assert_eq!(reason(&with(&["C=DE,ST=Berlin,O=Acma"])), refused);
    assert_eq!(reason(&with(&[])), refused);
}

/// An expired signature, whose other checks hold.
fn expired(level: impl Into<VerificationLevel>) -> Findings {
    let chain = Recipe::new().make();
    let mut jws = chain.jws();
    jws.protected["crit"] = json!([SCHEME, EXPIRY]);
    jws.protected[EXPIRY] = "2026-11-22T11:30:00Z".into();
    judged(chain.sign(&jws), chain.store(level), &none(), NOW)
}

#[test]
fn a_check_that_fails_is_enforced_told_or_left_out_as_the_level_says() {
    let refusal = RejectionReason::Expired { expired: UnixTime::from_seconds(1_795_347_000), at: NOW };
    let strict = expired(Level::Strict);
    assert_eq!(strict.notary[0].standing(), Standing::Refused(refusal.clone()));
    let ends = |found: &Findings| Check::ALL.map(|check| outcome(found, check));
    let text = refusal.to_string();
    assert_eq!(ends(&strict), ["holds", "holds", text.as_str(), "not made", "not made"]);
    for level in [Level::Permissive, Level::Audit] {
        let found = expired(level);
        // Tolerated is not proved: nobody who counts facts counts it.
        assert_eq!(reason(&found), refusal);
        assert_eq!(found.notary[0].standing(), Standing::Tolerated(refusal.clone()));
        assert_eq!(ends(&found), ["holds", "holds", text.as_str(), "holds", "holds"]);
    }
    let custom = VerificationLevel::new(Level::Audit, [(Check::Expiry, Action::Enforce)].into()).unwrap();
    assert_eq!(expired(custom).notary[0].standing(), Standing::Refused(refusal));
    let skip = expired(Level::Skip);
    assert_eq!((skip.facts.len(), skip.notary.len()), (0, 0));
}

#[test]
fn audit_tolerates_an_unknown_chain_and_never_a_broken_signature() {
    let (chain, other) = (Recipe::new().make(), Recipe::new().make());
    let signed = chain.sign(&chain.jws());
    let untrusted = RejectionReason::UntrustedChain { subject: LEAF.to_owned() };
    let audit = judged(signed.clone(), other.store(Level::Audit), &none(), NOW);
    assert_eq!(audit.notary[0].standing(), Standing::Tolerated(untrusted.clone()));
    assert_eq!(reason(&audit), untrusted);
    let strict = judged(signed, other.store(Level::Strict), &none(), NOW);
    assert_eq!((reason(&strict), strict.notary.len()), (untrusted, 0));

    let forged = Chain { certificates: chain.certificates.clone(), keys: other.keys };
    let audit = judged(forged.sign(&chain.jws()), chain.store(Level::Audit), &none(), NOW);
    assert!(matches!(reason(&audit), RejectionReason::BadSignature { .. }));
    assert_eq!(audit.notary, []);
}

#[test]
fn the_stores_of_a_policy_ask_for_everything_but_revocation() {
    let chain = Recipe::new().with_list().make();
    let plain = CertificateStore::new(vec![chain.root()]).unwrap();
    assert_eq!(plain.level(), &without_revocation());
    assert_eq!(judged(chain.sign(&chain.jws()), plain, &none(), NOW).facts.len(), 1);
    let found = judged(chain.sign(&chain.jws()), chain.store(Level::Strict), &none(), november(22));
    assert!(matches!(reason(&found), RejectionReason::RevocationUnknown { .. }), "{found:?}");
}
