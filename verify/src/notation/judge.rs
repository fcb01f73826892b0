//! What one certificate store makes of a signature whose integrity holds: the checks of the specification, in its order, each
//! with the action of the store's level (trust-store-trust-policy.md, "Signature Verification").

use assay_admission::{Digest, UnixTime};

use super::{
    chain,
    headers::{Attributes, Scheme},
    level::{Action, Check, VerificationLevel},
    result::{CheckOutcome, CheckResult, NotaryResult},
    revocation::{self, Trace},
    timestamp,
};
use crate::{
    artifact::Question,
    facts::{RejectionReason, Signer},
    failure::{Failure, malformed},
    limits::{Budget, LimitReached},
    trust::{Certificate, CertificateStore, SignerName, TimestampRule, TrustedIdentities},
};

/// A signature that its leaf's key made, over a chain that keeps the certificate profile.
pub(super) struct Signed<'e> {
    pub(super) envelope: Digest,
    pub(super) attributes: Attributes,
    pub(super) chain: &'e [Certificate],
    pub(super) signature: &'e [u8],
    /// The time-stamp token, if the envelope has one.
    pub(super) timestamp: Option<&'e [u8]>,
}

/// The end of a judgement.
pub(super) struct Judged {
    pub(super) result: NotaryResult,
    /// The last second at which all that was found still holds, if it ends.
    pub(super) holds_until: Option<UnixTime>,
}

/// Whether `store` can have a say at all: it has a certificate of the chain, or its level only tells that it has none.
pub(super) fn concerns(store: &CertificateStore, scheme: Scheme, chain: &[Certificate]) -> bool {
    match store.level().action(Check::Authenticity) {
        Action::Enforce => anchor(store, scheme, chain).is_some(),
        Action::Log => true,
        // The level that looks at nothing proves nothing.
        Action::Skip => false,
    }
}

pub(super) fn judge(
    question: &Question<'_>,
    signed: &Signed<'_>,
    (name, store): (&SignerName, &CertificateStore),
    signer: &Signer,
    budget: &mut Budget,
) -> Result<Judged, LimitReached> {
    let mut checks = Checks { level: store.level(), results: Vec::new(), has_ended: false, until: None };
    checks.make(Check::Integrity, || Ok(Found::lasting("the signature is its certificate's")))?;
    checks.make(Check::Authenticity, || authenticity(store, signed, signer))?;
    checks.make(Check::Expiry, || expiry(signed.attributes.expiry, question.at))?;
    let mut trace = Trace::default();
    checks.make(Check::AuthenticTimestamp, || authentic_timestamp(question, store, signed, &mut trace, budget))?;
    checks.make(Check::Revocation, || unrevoked(question, store, signed, &mut trace, budget))?;
    // At a level that does not enforce it, a stranger's chain comes this far too: what it names is nobody's to ask.
    if anchor(store, signed.attributes.scheme, signed.chain).is_none() {
        trace = Trace::default();
    }
    let subject = signed.chain.first().map(Certificate::subject).unwrap_or_default();
    let result = NotaryResult {
        envelope: signed.envelope,
        store: name.clone(),
        subject,
        checks: checks.results,
        revocation: trace,
    };
    Ok(Judged { result, holds_until: checks.until })
}

/// What a check that holds found, and until when that holds.
struct Found {
    text: String,
    until: Option<UnixTime>,
}

impl Found {
    fn lasting(text: impl Into<String>) -> Self {
        Self { text: text.into(), until: None }
    }
}

struct Checks<'s> {
    level: &'s VerificationLevel,
    results: Vec<CheckResult>,
    /// An enforced check failed.
    has_ended: bool,
    until: Option<UnixTime>,
}

impl Checks<'_> {
    fn make(&mut self, check: Check, find: impl FnOnce() -> Result<Found, Failure>) -> Result<(), LimitReached> {
        let action = self.level.action(check);
        let outcome = if self.has_ended || action == Action::Skip {
            CheckOutcome::NotMade
        } else {
            match find() {
                Ok(found) => {
                    self.until = earliest(self.until, found.until);
                    CheckOutcome::Passed(found.text)
                }
                Err(Failure::Rejected(reason)) => {
                    self.has_ended = action == Action::Enforce;
                    CheckOutcome::Failed(reason)
                }
                Err(Failure::Exhausted(limit)) => return Err(limit),
            }
        };
        self.results.push(CheckResult { check, action, outcome });
        Ok(())
    }
}

pub(super) fn earliest(one: Option<UnixTime>, other: Option<UnixTime>) -> Option<UnixTime> {
    one.into_iter().chain(other).min()
}

/// A certificate of the chain that stands, byte for byte, in the store of the type that the scheme asks for.
fn anchor<'c>(store: &CertificateStore, scheme: Scheme, chain: &'c [Certificate]) -> Option<&'c Certificate> {
    let anchors = match scheme {
        Scheme::X509 => store.anchors(),
        Scheme::SigningAuthority => store.signing_authorities(),
    };
    chain.iter().find(|link| anchors.iter().any(|anchor| anchor.der() == link.der()))
}

fn authenticity(store: &CertificateStore, signed: &Signed<'_>, signer: &Signer) -> Result<Found, Failure> {
    let subject = signed.chain.first().map(Certificate::subject).unwrap_or_default();
    let anchor = anchor(store, signed.attributes.scheme, signed.chain)
        .ok_or_else(|| RejectionReason::UntrustedChain { subject: subject.clone() })?;
    let is_trusted = match store.identities() {
        TrustedIdentities::Any => true,
        TrustedIdentities::Subjects(subjects) => subjects.iter().any(|pattern| pattern.matches(signer)),
    };
    if !is_trusted {
        return Err(RejectionReason::UntrustedIdentity { subject }.into());
    }
    Ok(Found::lasting(format!("{subject:?} is anchored by {:?}", anchor.subject())))
}

fn expiry(expiry: Option<UnixTime>, at: UnixTime) -> Result<Found, Failure> {
    match expiry {
        None => Ok(Found::lasting("it does not expire")),
        Some(expired) if at >= expired => Err(RejectionReason::Expired { expired, at }.into()),
        Some(expires) => Ok(Found {
            text: format!("it expires at {expires}"),
            until: Some(UnixTime::from_seconds(expires.seconds().saturating_sub(1))),
        }),
    }
}

fn authentic_timestamp(
    question: &Question<'_>,
    store: &CertificateStore,
    signed: &Signed<'_>,
    trace: &mut Trace,
    budget: &mut Budget,
) -> Result<Found, Failure> {
    let (at, signing_time) = (question.at, signed.attributes.signing_time);
    match signed.attributes.scheme {
        Scheme::SigningAuthority if signing_time > at => {
            Err(malformed("authenticSigningTime", format!("is {signing_time}, and it is {at}")).into())
        }
        Scheme::SigningAuthority => {
            chain::check_time(signed.chain, signing_time)?;
            Ok(Found::lasting(format!("the signing authority says that it signed at {signing_time}")))
        }
        Scheme::X509 if needs_timestamp(store, signed.chain, at) => {
            let token = signed.timestamp.ok_or(RejectionReason::MissingTimestamp)?;
            let stamp = timestamp::verify(question, store, token, signed.signature, trace, budget)?;
            // Whatever instant of the range it was, every certificate was valid.
            chain::check_time(signed.chain, stamp.earliest)?;
            chain::check_time(signed.chain, stamp.latest)?;
            Ok(Found { text: stamp.to_string(), until: stamp.holds_until })
        }
        Scheme::X509 => {
            chain::check_time(signed.chain, at)?;
            let until = signed.chain.iter().map(Certificate::not_after).min();
            Ok(Found { text: "its certificates are valid now".to_owned(), until })
        }
    }
}

fn needs_timestamp(store: &CertificateStore, chain: &[Certificate], at: UnixTime) -> bool {
    !store.timestamping().is_empty()
        && match store.timestamps() {
            TimestampRule::Always => true,
            TimestampRule::AfterCertificateExpiry => chain.iter().any(|certificate| at > certificate.not_after()),
        }
}

fn unrevoked(
    question: &Question<'_>,
    store: &CertificateStore,
    signed: &Signed<'_>,
    trace: &mut Trace,
    budget: &mut Budget,
) -> Result<Found, Failure> {
    let signing_time = match signed.attributes.scheme {
        Scheme::X509 => None,
        Scheme::SigningAuthority => Some(signed.attributes.signing_time),
    };
    let asked = revocation::Asked {
        evidence: question.revocation,
        at: question.at,
        greatest_age: store.revocation_age(),
        signing_time,
    };
    let until = revocation::verify(signed.chain, &asked, trace, budget)?;
    Ok(Found { text: "no certificate of the chain is revoked".to_owned(), until })
}
