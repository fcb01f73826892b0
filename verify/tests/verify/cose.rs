//! Notary Project COSE envelopes with one thing wrong each, signed by the right key unless the signature is what is wrong.

use assay_admission::UnixTime;
use assay_verify::{RejectionReason, Trust};
use ciborium::value::Value;

use crate::{certificates::Pki, support::*};

const SCHEME: &str = "io.cncf.notary.signingScheme";
const TIME: &str = "io.cncf.notary.signingTime";
const EXPIRY: &str = "io.cncf.notary.expiry";

type Map = Vec<(Value, Value)>;

struct Cose {
    protected: Map,
    unprotected: Map,
    payload: Value,
    tag: u64,
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn time(seconds: i64) -> Value {
    Value::Tag(1, Box::new(Value::from(seconds)))
}

fn bytes(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    ciborium::into_writer(value, &mut out).unwrap();
    out
}

impl Cose {
    fn good(pki: &Pki) -> Self {
        let chain = pki.chain.iter().map(|certificate| Value::Bytes(certificate.der().to_vec())).collect();
        Self {
            protected: vec![
                (Value::from(1), Value::from(-7)),
                (Value::from(2), Value::Array(vec![text(SCHEME)])),
                (Value::from(3), text("application/vnd.cncf.notary.payload.v1+json")),
                (text(TIME), time(1_795_345_200)),
                (text(SCHEME), text("notary.x509")),
            ],
            unprotected: vec![(Value::from(33), Value::Array(chain))],
            payload: Value::Bytes(crate::jws::Jws::good(pki).payload.to_string().into_bytes()),
            tag: 18,
        }
    }

    fn sign(&self, key: &TestKey) -> Vec<u8> {
        let protected = Value::Bytes(bytes(&Value::Map(self.protected.clone())));
        let payload = if self.payload.is_null() { Value::Bytes(Vec::new()) } else { self.payload.clone() };
        let signed = Value::Array(vec![text("Signature1"), protected.clone(), Value::Bytes(Vec::new()), payload]);
        let signature = Value::Bytes(key.sign_raw(&bytes(&signed)));
        let sign1 =
            Value::Array(vec![protected, Value::Map(self.unprotected.clone()), self.payload.clone(), signature]);
        bytes(&Value::Tag(self.tag, Box::new(sign1)))
    }
}

fn pki() -> (Pki, Trust) {
    let pki = Pki::new();
    let trust = pki.trust();
    (pki, trust)
}

fn signed_with(change: impl FnOnce(&mut Cose)) -> RejectionReason {
    let (pki, trust) = pki();
    let mut cose = Cose::good(&pki);
    change(&mut cose);
    refused(envelope(COSE, cose.sign(&pki.leaf_key)), &trust)
}

#[test]
fn the_envelope_that_the_others_are_made_of_counts() {
    let (pki, trust) = pki();
    accepted(envelope(COSE, Cose::good(&pki).sign(&pki.leaf_key)), &trust);
}

#[test]
fn an_algorithm_that_is_not_protected_is_refused() {
    let moved = signed_with(|cose| {
        let algorithm = cose.protected.remove(0);
        cose.unprotected.push(algorithm);
    });
    assert_eq!(moved, malformed("alg", "is missing in the protected header"));
    let both = signed_with(|cose| cose.unprotected.push((Value::from(1), Value::from(-7))));
    assert_eq!(both, malformed("unprotected header", "has alg, crit or content type, which must be protected"));
}

#[test]
fn algorithms_other_than_the_leaf_keys_own_are_refused() {
    for (number, found) in [(-35, "ES384"), (-37, "PS256"), (-8, "-8"), (5, "5")] {
        let reason = signed_with(|cose| cose.protected[0].1 = Value::from(number));
        let expected = RejectionReason::Algorithm { found: found.to_owned(), required: "ES256".to_owned() };
        assert_eq!(reason, expected);
    }
}

#[test]
fn a_label_twice_in_one_map_is_refused() {
    for protected in [true, false] {
        let reason = signed_with(|cose| {
            let map = if protected { &mut cose.protected } else { &mut cose.unprotected };
            map.push(map[0].clone());
        });
        assert_eq!(reason, malformed("COSE", "duplicate map key"), "{protected}");
    }
    let reason = signed_with(|cose| cose.protected.push((text(SCHEME), text("notary.x509"))));
    assert_eq!(reason, malformed("COSE", "duplicate map key"));
}

#[test]
fn bytes_behind_the_envelope_are_refused() {
    let (pki, trust) = pki();
    let mut bytes = Cose::good(&pki).sign(&pki.leaf_key);
    bytes.push(0);
    assert_eq!(refused(envelope(COSE, bytes), &trust), malformed("COSE", "extraneous data in CBOR input"));
}

#[test]
fn a_nil_payload_is_refused() {
    assert_eq!(signed_with(|cose| cose.payload = Value::Null), malformed("payload", "is nil"));
}

#[test]
fn another_tag_or_none_is_refused() {
    for tag in [17, 98, 61] {
        let RejectionReason::Malformed { field: "COSE", problem } = signed_with(|cose| cose.tag = tag) else {
            panic!()
        };
        assert_eq!(problem, "got tag, expected other tag", "{tag}");
    }
    let (pki, trust) = pki();
    let untagged = Cose::good(&pki).sign(&pki.leaf_key)[1..].to_vec();
    assert_eq!(refused(envelope(COSE, untagged), &trust), malformed("COSE", "got array, expected tag"));
}

#[test]
fn critical_attributes_that_are_unknown_or_not_named_are_refused() {
    let critical = |value: Vec<Value>| signed_with(|cose| cose.protected[1].1 = Value::Array(value));
    let unknown = |name: &str| RejectionReason::Unsupported(format!("the critical attribute {name:?}"));
    assert_eq!(critical(vec![text(SCHEME), text("com.example.more")]), unknown("com.example.more"));
    assert_eq!(critical(vec![text(SCHEME), Value::from(3)]), unknown("label 3"));
    assert_eq!(critical(vec![text(SCHEME), text(EXPIRY)]), unknown(EXPIRY));
    let once = malformed("crit", "does not name io.cncf.notary.signingScheme once");
    assert_eq!(critical(vec![text(SCHEME), text(SCHEME)]), once);
    assert_eq!(signed_with(|cose| drop(cose.protected.remove(1))), once);
    let reason = signed_with(|cose| cose.protected.push((text(EXPIRY), time(1_900_000_000))));
    assert_eq!(reason, malformed("crit", "does not name io.cncf.notary.expiry once"));
}

#[test]
fn labels_outside_the_specification_are_refused() {
    let reason = signed_with(|cose| cose.protected.push((text("com.example"), text("x"))));
    assert_eq!(reason, malformed("protected header", "has the unknown label Text(\"com.example\")"));
    let reason = signed_with(|cose| cose.unprotected.push((Value::from(34), text("x"))));
    assert_eq!(reason, malformed("unprotected header", "has the unknown label Int(34)"));
    // A protected header cannot stand in the unprotected map too.
    let reason = signed_with(|cose| cose.unprotected.push((text(SCHEME), text("notary.x509"))));
    assert_eq!(reason, malformed("unprotected header", &format!("has the unknown label Text({SCHEME:?})")));
    let reason = signed_with(|cose| cose.unprotected.push((Value::from(4), Value::Bytes(vec![1]))));
    assert_eq!(reason, malformed("header", "the unprotected one has a key id, an IV or a countersignature"));
}

#[test]
fn times_in_another_form_or_that_have_passed_are_refused() {
    let reason = signed_with(|cose| cose.protected[3].1 = text("2026-11-22T11:00:00Z"));
    assert_eq!(reason, malformed(TIME, "is not an integer of seconds with tag 1"));
    let reason = signed_with(|cose| cose.protected[3].1 = Value::Tag(1, Box::new(Value::Float(1.5))));
    assert_eq!(reason, malformed(TIME, "is not an integer of seconds with tag 1"));
    let reason = signed_with(|cose| {
        cose.protected[1].1 = Value::Array(vec![text(SCHEME), text(EXPIRY)]);
        cose.protected.push((text(EXPIRY), time(1_795_346_000)));
    });
    let expired = UnixTime::from_seconds(1_795_346_000);
    assert_eq!(reason, RejectionReason::Expired { expired, at: NOW });
}

#[test]
fn a_chain_that_is_missing_or_no_array_is_refused() {
    assert_eq!(signed_with(|cose| cose.unprotected.clear()), malformed("x5chain", "is missing"));
    let reason = signed_with(|cose| cose.unprotected[0].1 = Value::Bytes(vec![0x30]));
    assert_eq!(reason, malformed("x5chain", "is not an array"));
    let reason = signed_with(|cose| cose.unprotected[0].1 = Value::Array(Vec::new()));
    assert_eq!(reason, malformed("x5c", "is empty"));
}
