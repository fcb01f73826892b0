//! Notary Project JWS envelopes with one thing wrong each, signed by the right key unless the signature is what is wrong.

use assay_admission::UnixTime;
use assay_verify::{RejectionReason, Trust};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};

use crate::{certificates::Pki, support::*};

const SCHEME: &str = "io.cncf.notary.signingScheme";
const TIME: &str = "io.cncf.notary.signingTime";
const EXPIRY: &str = "io.cncf.notary.expiry";

/// What a test may change before and after signing.
pub(crate) struct Jws {
    pub(crate) protected: Value,
    pub(crate) payload: Value,
    pub(crate) header: Value,
}

impl Jws {
    pub(crate) fn good(pki: &Pki) -> Self {
        let index = index();
        let chain: Vec<_> = pki.chain.iter().map(|certificate| STANDARD.encode(certificate.der())).collect();
        Self {
            protected: json!({
                "alg": "ES256",
                "crit": [SCHEME],
                "cty": "application/vnd.cncf.notary.payload.v1+json",
                SCHEME: "notary.x509",
                TIME: "2026-11-22T11:00:00Z",
            }),
            payload: json!({ "targetArtifact": {
                "mediaType": index.media_type.as_str(),
                "digest": index.digest.to_string(),
                "size": index.size,
            } }),
            header: json!({ "x5c": chain, "io.cncf.notary.signingAgent": "test" }),
        }
    }

    pub(crate) fn sign(&self, key: &TestKey) -> Value {
        let protected = URL_SAFE_NO_PAD.encode(self.protected.to_string());
        let payload = URL_SAFE_NO_PAD.encode(self.payload.to_string());
        let signature = key.sign_raw(format!("{protected}.{payload}").as_bytes());
        json!({
            "payload": payload,
            "protected": protected,
            "header": self.header,
            "signature": URL_SAFE_NO_PAD.encode(signature),
        })
    }
}

fn pki() -> (Pki, Trust) {
    let pki = Pki::new();
    let trust = pki.trust();
    (pki, trust)
}

/// The reason against an envelope that was changed before it was signed.
fn signed_with(change: impl FnOnce(&mut Jws)) -> RejectionReason {
    let (pki, trust) = pki();
    let mut jws = Jws::good(&pki);
    change(&mut jws);
    refused(envelope(JWS, jws.sign(&pki.leaf_key).to_string()), &trust)
}

/// The reason against an envelope that was changed after it was signed.
fn changed_with(change: impl FnOnce(&mut Value)) -> RejectionReason {
    let (pki, trust) = pki();
    let mut jws = Jws::good(&pki).sign(&pki.leaf_key);
    change(&mut jws);
    refused(envelope(JWS, jws.to_string()), &trust)
}

#[test]
fn the_envelope_that_the_others_are_made_of_counts() {
    let (pki, trust) = pki();
    let jws = Jws::good(&pki).sign(&pki.leaf_key);
    let found = findings(envelope(JWS, jws.to_string()), &trust);
    assert_eq!(found.rejections, []);
    let [fact] = found.facts.as_slice() else { panic!("{found:?}") };
    assert_eq!(fact.claimed_time(), Some(UnixTime::from_seconds(1_795_345_200)));
    assert_eq!(fact.holds_until(), pki.chain.iter().map(assay_verify::Certificate::not_after).min());
}

#[test]
fn algorithms_other_than_the_leaf_keys_own_are_refused() {
    for found in ["none", "HS256", "RS256", "ES384", "PS256", "es256"] {
        let reason = signed_with(|jws| jws.protected["alg"] = found.into());
        let expected = RejectionReason::Algorithm { found: found.to_owned(), required: "ES256".to_owned() };
        assert_eq!(reason, expected);
    }
    let absent = signed_with(|jws| {
        jws.protected.as_object_mut().unwrap().remove("alg");
    });
    assert_eq!(absent, malformed("alg", "is missing in protected"));
}

#[test]
fn critical_attributes_that_are_unknown_absent_or_not_named_are_refused() {
    let crit = |value: Value| signed_with(|jws| jws.protected["crit"] = value);
    let unknown = |name: &str| RejectionReason::Unsupported(format!("the critical attribute {name:?}"));
    assert_eq!(crit(json!([SCHEME, "com.example.more"])), unknown("com.example.more"));
    assert_eq!(crit(json!([SCHEME, "alg"])), unknown("alg"));
    assert_eq!(crit(json!([SCHEME, TIME])), unknown(TIME));
    // Named and not there.
    assert_eq!(crit(json!([SCHEME, EXPIRY])), unknown(EXPIRY));
    let not_named = malformed("crit", "does not name io.cncf.notary.signingScheme once");
    assert_eq!(crit(json!([])), not_named);
    assert_eq!(crit(json!([SCHEME, SCHEME])), not_named);
    assert_eq!(crit(json!(null)), malformed("crit", "is missing in protected"));
    let reason = signed_with(|jws| jws.protected[EXPIRY] = "2027-01-01T00:00:00Z".into());
    assert_eq!(reason, malformed("crit", "does not name io.cncf.notary.expiry once"));
}

#[test]
fn headers_outside_the_specification_are_refused() {
    for name in ["b64", "jwk", "jku", "x5u", "kid", "x5c"] {
        let reason = signed_with(|jws| jws.protected[name] = false.into());
        assert_eq!(reason, malformed("protected", &format!("has the unknown field {name:?}")));
    }
    for name in ["alg", "cty", "crit", SCHEME, "jwk"] {
        let reason = changed_with(|jws| jws["header"][name] = "ES256".into());
        assert_eq!(reason, malformed("header", &format!("has the unknown field {name:?}")));
    }
}

#[test]
fn the_general_form_with_several_signatures_is_refused() {
    let reason = changed_with(|jws| {
        jws["signatures"] = json!([{ "protected": jws["protected"], "signature": jws["signature"] }]);
    });
    assert_eq!(reason, malformed("JWS", "has the unknown field \"signatures\""));
}

#[test]
fn unknown_schemes_and_every_plugin_are_refused_by_name() {
    let unsupported = |text: &str| RejectionReason::Unsupported(text.to_owned());
    let reason = signed_with(|jws| jws.protected[SCHEME] = "notary.x510".into());
    assert_eq!(reason, RejectionReason::Unknown { field: "signingScheme", value: "notary.x510".to_owned() });
    let reason = signed_with(|jws| jws.protected["io.cncf.notary.verificationPlugin"] = "com.example".into());
    assert_eq!(reason, unsupported("the verification plugin \"com.example\""));
    let reason = signed_with(|jws| jws.protected["io.cncf.notary.verificationPluginMinVersion"] = "1".into());
    assert_eq!(reason, unsupported("the attribute io.cncf.notary.verificationPluginMinVersion"));
}

#[test]
fn times_that_contradict_each_other_or_the_scheme_are_refused() {
    let expiry = |text: &'static str| {
        signed_with(|jws| {
            jws.protected["crit"] = json!([SCHEME, EXPIRY]);
            jws.protected[EXPIRY] = text.into();
        })
    };
    let problem = "is 2026-11-22T11:00:00Z, not after the signing time 2026-11-22T11:00:00Z";
    assert_eq!(expiry("2026-11-22T11:00:00Z"), malformed("expiry", problem));
    let expired = UnixTime::from_seconds(1_795_346_000);
    assert_eq!(expiry("2026-11-22T11:13:20Z"), RejectionReason::Expired { expired, at: NOW });
    assert_eq!(expiry("tomorrow"), malformed(EXPIRY, "is not an RFC 3339 time"));
    let reason = signed_with(|jws| {
        jws.protected.as_object_mut().unwrap().remove(TIME);
    });
    assert_eq!(reason, malformed("signingTime", "is missing"));
    let reason = signed_with(|jws| {
        jws.protected["io.cncf.notary.authenticSigningTime"] = "2026-11-22T11:00:00Z".into();
    });
    assert_eq!(reason, malformed("authenticSigningTime", "stands in a signature of scheme notary.x509"));
}

#[test]
fn payloads_that_name_another_artifact_are_refused() {
    let index = index();
    let found = |reason| match reason {
        RejectionReason::OtherSubject { found } => found,
        other => panic!("{other:?}"),
    };
    let size = signed_with(|jws| jws.payload["targetArtifact"]["size"] = 1.into());
    assert_eq!(found(size), format!("{} ({}, 1 bytes)", index.digest, index.media_type));
    let manifest = "application/vnd.oci.image.manifest.v1+json";
    let media_type = signed_with(|jws| jws.payload["targetArtifact"]["mediaType"] = manifest.into());
    assert_eq!(found(media_type), format!("{} ({manifest}, {} bytes)", index.digest, index.size));
    let hash = format!("sha256:{}", "0".repeat(64));
    let digest = signed_with(|jws| jws.payload["targetArtifact"]["digest"] = hash.clone().into());
    assert_eq!(found(digest), format!("{hash} ({}, {} bytes)", index.media_type, index.size));
    let float = signed_with(|jws| jws.payload["targetArtifact"]["size"] = 491.0.into());
    assert_eq!(float, malformed("size", "is not a plain integer"));
}

#[test]
fn payloads_of_another_type_or_with_more_in_them_are_refused() {
    let reason = signed_with(|jws| jws.protected["cty"] = "application/json".into());
    assert_eq!(reason, RejectionReason::Unknown { field: "content type", value: "application/json".to_owned() });
    let reason = signed_with(|jws| jws.payload["more"] = 1.into());
    assert_eq!(reason, malformed("payload", "has the unknown field \"more\""));
    let reason = signed_with(|jws| jws.payload["targetArtifact"]["urls"] = json!([]));
    assert_eq!(reason, malformed("targetArtifact", "has the unknown field \"urls\""));
}

#[test]
fn an_artifact_of_another_type_or_with_two_layers_is_refused() {
    let (pki, trust) = pki();
    let good = envelope(JWS, Jws::good(&pki).sign(&pki.leaf_key).to_string());
    accepted(good.clone(), &trust);
    let with = |change: &dyn Fn(&mut Value)| {
        let mut manifest: Value = serde_json::from_slice(good.manifest.bytes()).unwrap();
        change(&mut manifest);
        let manifest = document("application/vnd.oci.image.manifest.v1+json", manifest.to_string().into_bytes());
        findings(assay_verify::Artifact { manifest, ..good.clone() }, &trust)
    };
    let found = with(&|manifest| manifest["artifactType"] = "text/plain".into());
    let unknown = RejectionReason::Unknown { field: "artifactType", value: "text/plain".to_owned() };
    assert_eq!((found.facts.len(), &found.rejections[0].reason), (0, &unknown));
    let found = with(&|manifest| {
        let layers = manifest["layers"].as_array_mut().unwrap();
        layers.push(layers[0].clone());
    });
    assert_eq!(found.facts, []);
    let two = malformed("layers", "has 2 entries, and this format has one");
    assert_eq!(found.rejections.iter().map(|rejection| &rejection.reason).collect::<Vec<_>>(), [&two, &two]);
}

#[test]
fn a_time_stamp_that_nobody_asks_for_proves_nothing_and_must_be_bytes() {
    let (pki, trust) = pki();
    let mut jws = Jws::good(&pki);
    jws.header["io.cncf.notary.timestampSignature"] = "AAAA".into();
    accepted(envelope(JWS, jws.sign(&pki.leaf_key).to_string()), &trust);
    jws.header["io.cncf.notary.timestampSignature"] = "AAA-".into();
    let RejectionReason::Malformed { field, .. } = refused(envelope(JWS, jws.sign(&pki.leaf_key).to_string()), &trust)
    else {
        panic!()
    };
    assert_eq!(field, "io.cncf.notary.timestampSignature");
}
