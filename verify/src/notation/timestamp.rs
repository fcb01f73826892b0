//! RFC 3161 time-stamps over a Notary Project signature: a token comes in, the range of time in which a trusted authority saw the
//! signature comes out (trust-store-trust-policy.md, "Timestamp verification"). The envelope's own words are never used.

use std::fmt;

use assay_admission::UnixTime;

use super::{
    chain::{self, Purpose},
    revocation::{self, Trace},
};
use crate::{
    artifact::Question,
    facts::RejectionReason,
    failure::Failure,
    limits::Budget,
    trust::{Certificate, CertificateStore},
};
use token::Token;

mod info;
mod path;
mod token;

/// When a trusted authority saw the signature.
pub(super) struct Stamp {
    /// The first second that it may have been.
    pub(super) earliest: UnixTime,
    /// The last second that it may have been.
    pub(super) latest: UnixTime,
    /// The authority's subject.
    authority: String,
    /// Until when the authority's certificates are known not to be revoked, if that ends.
    pub(super) holds_until: Option<UnixTime>,
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { earliest, latest, authority, .. } = self;
        write!(f, "{authority:?} saw it between {earliest} and {latest}")
    }
}

/// Verifies `token`, which must be about `signature`, against the roots of type `tsa` in `store`.
pub(super) fn verify(
    question: &Question<'_>,
    store: &CertificateStore,
    token: &[u8],
    signature: &[u8],
    trace: &mut Trace,
    budget: &mut Budget,
) -> Result<Stamp, Failure> {
    let rejected = |problem: String| Failure::from(RejectionReason::Timestamp { problem });
    let token = Token::read(token).map_err(rejected)?;
    token.info.covers(signature).map_err(rejected)?;
    let chain = path::build(token.signer.clone(), &token.others, store.timestamping(), budget)?;
    // Whose chain does not keep the profile stamps nothing: RFC 3161 §2.3.
    let key = chain::verify(&chain, Purpose::TimeStamping, budget).map_err(about_timestamp)?;
    chain::check_time(&chain, token.info.time).map_err(Failure::Rejected).map_err(about_timestamp)?;
    budget.spend_key_operation().map_err(Failure::Exhausted)?;
    token.check_signed_by(&key).map_err(rejected)?;
    if token.info.earliest > question.at {
        return Err(rejected(format!("it is from {}, and it is {}", token.info.earliest, question.at)));
    }
    let asked = revocation::Asked {
        evidence: question.revocation,
        at: question.at,
        greatest_age: store.revocation_age(),
        signing_time: None,
    };
    // Required whatever the store's level says about revocation of the signer's own chain.
    let holds_until = revocation::verify(&chain, &asked, trace, budget).map_err(about_timestamp)?;
    Ok(Stamp {
        earliest: token.info.earliest,
        latest: token.info.latest,
        authority: token.signer.subject(),
        holds_until,
    })
}

/// Reads a token and, behind another first byte, a TSTInfo; builds the way of the token's own certificates.
#[cfg(fuzzing)]
pub(super) fn fuzz(bytes: &[u8]) {
    let _ = info::Info::read(bytes);
    let Ok(token) = Token::read(bytes) else { return };
    let _ = token.info.covers(b"signature");
    assert!(token.info.earliest <= token.info.time && token.info.time <= token.info.latest);
    let budget = &mut Budget::default();
    if let Ok(chain) = path::build(token.signer.clone(), &token.others, &token.others, budget) {
        let _ = chain::verify(&chain, Purpose::TimeStamping, budget).map(|key| token.check_signed_by(&key));
    }
}

/// When the authority whose own certificate stands first in `chain`, and whose root stands last, saw `signature`: `genTime`, by which
/// Sigstore's clients go. Whether the authority may be believed at that time is not judged here.
pub(crate) fn by_authority(
    token: &[u8],
    signature: &[u8],
    chain: &[Certificate],
    budget: &mut Budget,
) -> Result<UnixTime, Failure> {
    let rejected = |problem: String| Failure::from(RejectionReason::Timestamp { problem });
    let token = Token::read_beside(token, chain).map_err(rejected)?;
    if chain.first() != Some(&token.signer) {
        return Err(rejected(format!("{:?} signed it, which is another authority", token.signer.subject())));
    }
    token.info.covers(signature).map_err(rejected)?;
    let key = chain::verify(chain, Purpose::TimeStamping, budget)?;
    chain::check_time(chain, token.info.time).map_err(Failure::Rejected)?;
    budget.spend_key_operation().map_err(Failure::Exhausted)?;
    token.check_signed_by(&key).map_err(rejected)?;
    Ok(token.info.time)
}

/// A rejection of one of the authority's certificates, told as one of the time-stamp.
fn about_timestamp(failure: Failure) -> Failure {
    match failure {
        Failure::Rejected(reason @ RejectionReason::Limit(_)) => Failure::Rejected(reason),
        Failure::Rejected(reason) => RejectionReason::Timestamp { problem: reason.to_string() }.into(),
        Failure::Exhausted(limit) => Failure::Exhausted(limit),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use serde_json::Value;

    use super::*;

    /// A token that @sigstore/mock made (vectors/README.md), the signature that it stamps, and the authority's chain. The token is in an
    /// answer, behind its status of five bytes.
    fn stamped() -> (Vec<u8>, Vec<u8>, Vec<Certificate>) {
        let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let bytes = |value: &Value| STANDARD.decode(value.as_str().unwrap()).unwrap();
        let bundle = read(include_str!("../../vectors/keyless-files/github-private.json"));
        let root = read(include_str!("../../vectors/keyless-files/private.json"));
        let stamps = &bundle["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"];
        let answer = bytes(&stamps[0]["signedTimestamp"]);
        let parts = crate::der::tlv_parts(crate::der::only_part(&answer).unwrap().contents, 2).unwrap();
        let chain = root["timestampAuthorities"][0]["certChain"]["certificates"].as_array().unwrap();
        let chain = chain.iter().map(|one| Certificate::from_der(bytes(&one["rawBytes"])).unwrap()).collect();
        (parts[1].whole.to_vec(), bytes(&bundle["dsseEnvelope"]["signatures"][0]["sig"]), chain)
    }

    fn problem(token: &[u8], signature: &[u8], chain: &[Certificate]) -> String {
        match by_authority(token, signature, chain, &mut Budget::default()) {
            Err(Failure::Rejected(reason)) => reason.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_token_of_the_authority_counts_for_the_signature_that_it_stamps_and_for_no_other() {
        let (token, signature, chain) = stamped();
        assert!(by_authority(&token, &signature, &chain, &mut Budget::default()).is_ok());
        let mut other = signature.clone();
        other[9] ^= 1;
        assert!(problem(&token, &other, &chain).ends_with("it stamps something else"));
    }

    #[test]
    fn a_token_whose_signature_was_changed_does_not_count() {
        let (mut token, signature, chain) = stamped();
        *token.last_mut().unwrap() ^= 1;
        assert!(problem(&token, &signature, &chain).contains("does not verify"));
    }

    #[test]
    fn a_token_of_another_authority_does_not_count() {
        let (token, signature, chain) = stamped();
        // The root alone, as if it were the one that stamps; the token brings no certificate of its own.
        let problem = problem(&token, &signature, &chain[1..]);
        assert!(problem.ends_with("it does not hold the certificate that its signer names by hash"), "{problem}");
    }
}
