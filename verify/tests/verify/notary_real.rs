//! What notation 1.3.2 signed with a time-stamp of `openssl ts`, judged by its own trust policy with answers of `openssl ocsp` and
//! lists of `openssl ca` (vectors/make_notary.py). notation accepted it, and refused it once the leaf was revoked.

use assay_admission::UnixTime;
use assay_verify::{
    Anchors, Certificate, CertificateStore, Check, Demand, Findings, RejectionReason, RevocationEvidence,
    RevocationList, TrustPolicyDocument,
};
use serde_json::Value;

use crate::{
    notary::{judged, outcome, reason},
    support::*,
};

const LIST: &str = "http://127.0.0.1:15058/ca.crl";

fn made() -> UnixTime {
    UnixTime::from_seconds(String::from_utf8(vector("notary/made")).unwrap().parse().unwrap())
}

fn anchors(kind: &str, name: &str) -> Vec<Certificate> {
    Certificate::all_from_pem(&vector(&format!("notary/x509/{kind}/acme/{name}.pem"))).unwrap()
}

/// The store that the trust policy describes.
fn store() -> CertificateStore {
    let document = TrustPolicyDocument::parse(&vector("notary/trustpolicy.json")).unwrap();
    let statement = document.statement_for("127.0.0.1:15055/team/app").unwrap();
    let Demand::Signature { level, timestamps, stores, identities } = statement.demand() else { panic!() };
    assert_eq!(stores.iter().map(ToString::to_string).collect::<Vec<_>>(), ["ca:acme", "tsa:acme"]);
    let anchors = Anchors { ca: anchors("ca", "root"), tsa: anchors("tsa", "tsa-root"), signing_authority: Vec::new() };
    let store = CertificateStore::of(anchors, level.clone()).unwrap();
    store.with_timestamps(*timestamps).with_identities(identities.clone())
}

fn list(name: &str) -> RevocationList {
    RevocationList { url: LIST.to_owned(), der: vector(&format!("notary/{name}.crl")) }
}

fn answer(name: &str) -> Vec<u8> {
    vector(&format!("notary/{name}.ocsp"))
}

fn judge(name: &str, lists: Vec<RevocationList>, answers: Vec<Vec<u8>>) -> Findings {
    judged(artifact(name), store(), &RevocationEvidence::new(lists, answers).unwrap(), made())
}

fn flipped(mut bytes: Vec<u8>) -> Vec<u8> {
    *bytes.last_mut().unwrap() ^= 1;
    bytes
}

#[test]
fn what_notation_accepts_at_level_strict_counts_by_answer_or_list() {
    for name in ["notary-jws", "notary-cose"] {
        for (lists, answers) in [
            (vec![list("good")], vec![answer("good")]),
            (Vec::new(), vec![answer("good")]),
            (vec![list("good")], Vec::new()),
        ] {
            let found = judge(name, lists, answers);
            assert_eq!(found.rejections, [], "{name}");
            assert_eq!(found.facts.len(), 1, "{name}");
            assert!(found.facts[0].holds_until() > Some(made()), "{name}");
            assert_eq!(Check::ALL.map(|check| outcome(&found, check)), ["holds"; 5], "{name}");
        }
    }
}

#[test]
fn what_notation_refuses_as_revoked_is_refused_by_answer_or_list() {
    let subject = "C=DE,ST=Berlin,O=Acme,CN=Release Managers".to_owned();
    let since = UnixTime::from_seconds(1_767_225_600);
    let revoked = |source_kind| RejectionReason::Revoked { subject: subject.clone(), since, source_kind };
    for name in ["notary-jws", "notary-cose"] {
        let by_answer = judge(name, vec![list("good")], vec![answer("revoked")]);
        assert_eq!(reason(&by_answer), revoked("an OCSP answer"), "{name}");
        let by_list = judge(name, vec![list("revoked")], vec![answer("good")]);
        assert_eq!(reason(&by_list), revoked("a revocation list"), "{name}");
    }
}

#[test]
fn without_evidence_or_with_one_byte_of_it_changed_the_status_is_unknown() {
    let problem = |lists, answers| match reason(&judge("notary-jws", lists, answers)) {
        RejectionReason::RevocationUnknown { problem, .. } => problem,
        other => panic!("{other:?}"),
    };
    let no_list = format!("there is no list from {LIST}");
    let none = problem(Vec::new(), Vec::new());
    assert_eq!(none, format!("there is no OCSP answer about it; {no_list}"));
    let changed = RevocationList { der: flipped(list("good").der), ..list("good") };
    let forged = problem(vec![changed], Vec::new());
    assert!(forged.ends_with("its issuer did not sign it"), "{forged}");
    // The last bytes of an answer are its responder's certificate.
    let forged = problem(Vec::new(), vec![flipped(answer("good"))]);
    let responder = "the OCSP answer: its responder \"C=DE,ST=Berlin,O=Acme,CN=Responder\": its issuer did not sign it";
    assert_eq!(forged, format!("{responder}; {no_list}"));
}

#[test]
fn a_stamp_of_openssl_with_one_byte_changed_or_taken_away_does_not_count() {
    let evidence = RevocationEvidence::new(Vec::new(), vec![answer("good")]).unwrap();
    let judge = |change: &dyn Fn(&mut Value)| {
        let mut jws: Value = serde_json::from_slice(artifact("notary-jws").blobs[0].bytes()).unwrap();
        change(&mut jws["header"]);
        reason(&judged(envelope(JWS, jws.to_string()), store(), &evidence, made()))
    };
    let stamp = "io.cncf.notary.timestampSignature";
    let changed = judge(&|header| {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        let token = STANDARD.decode(header[stamp].as_str().unwrap()).unwrap();
        header[stamp] = STANDARD.encode(flipped(token)).into();
    });
    let problem = "its signature does not verify with its certificate and SHA-2".to_owned();
    assert_eq!(changed, RejectionReason::Timestamp { problem });
    let taken = judge(&|header| {
        header.as_object_mut().unwrap().remove(stamp);
    });
    assert_eq!(taken, RejectionReason::MissingTimestamp);
}
