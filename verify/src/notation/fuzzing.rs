//! The Notary Project's parsers one by one, for fuzzing alone: each as if the signature before it were good.

use assay_admission::UnixTime;

use super::{Envelope, certificates, chain, chain::Purpose, cose, headers, jws, revocation, signed_subject, timestamp};
use crate::{
    der::tlv_parts,
    evidence::RevocationEvidence,
    image::BoundImage,
    limits::{Budget, MAX_CHAIN},
    trust::Certificate,
};

/// 2026-11-22T12:00:00Z, when the vectors are an hour old.
const AT: UnixTime = UnixTime::from_seconds(1_795_348_800);

pub(crate) fn fuzz_envelope(image: &BoundImage, bytes: &[u8]) {
    let (json, cbor) = (jws::read(bytes).ok(), cose::read(bytes).ok());
    assert!(json.is_none() || cbor.is_none(), "both encodings at once");
    let Some(envelope): Option<Envelope> = json.or(cbor) else { return };
    if let Ok(attributes) = headers::check(&envelope.headers) {
        assert!(attributes.expiry.is_none_or(|expiry| expiry > attributes.signing_time));
    }
    let _ = signed_subject(image, &envelope.payload);
    if let Ok(chain) = certificates(&envelope.chain) {
        judge(&chain);
    }
    if let Some(token) = &envelope.timestamp {
        timestamp::fuzz(token);
    }
}

pub(crate) fn fuzz_chain(bytes: &[u8]) {
    let Some(parts) = tlv_parts(bytes, MAX_CHAIN) else { return };
    let chain: Option<Vec<Certificate>> =
        parts.iter().map(|part| Certificate::from_der(part.whole.to_vec()).ok()).collect();
    judge(&chain.unwrap_or_default());
}

fn judge(chain: &[Certificate]) {
    for certificate in chain {
        let _ = (certificate.subject(), certificate.name().attributes());
    }
    let _ = chain::check_time(chain, AT);
    for purpose in [Purpose::CodeSigning, Purpose::TimeStamping] {
        let budget = &mut Budget::default();
        if chain::verify(chain, purpose, budget).is_ok() {
            assert!(!chain.is_empty(), "an empty chain");
            let none = RevocationEvidence::default();
            let asked = revocation::Asked { evidence: &none, at: AT, greatest_age: None, signing_time: None };
            let _ = revocation::verify(chain, &asked, &mut revocation::Trace::default(), budget);
        }
    }
}

pub(crate) fn fuzz_token(bytes: &[u8]) {
    timestamp::fuzz(bytes);
}

pub(crate) fn fuzz_revocation(leaf: &Certificate, issuer: &Certificate, none: &RevocationEvidence, bytes: &[u8]) {
    for signing_time in [None, Some(AT)] {
        let asked = revocation::Asked { evidence: none, at: AT, greatest_age: Some(u32::MAX), signing_time };
        revocation::fuzz_list(leaf, issuer, &asked, bytes);
    }
}

pub(crate) fn fuzz_ocsp(leaf: &Certificate, issuer: &Certificate, none: &RevocationEvidence, bytes: &[u8]) {
    for signing_time in [None, Some(AT)] {
        let asked = revocation::Asked { evidence: none, at: AT, greatest_age: Some(u32::MAX), signing_time };
        revocation::fuzz_answer(leaf, issuer, &asked, bytes);
    }
}
