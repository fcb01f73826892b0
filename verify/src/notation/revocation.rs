//! Whether certificates of a chain were revoked, by OCSP answers and revocation lists that others brought. Nothing is fetched and
//! nothing in an answer is believed before its signature. What is missing or old leaves the status unknown, and unknown is refused.

use assay_admission::UnixTime;

use super::judge::earliest;
use crate::{
    evidence::RevocationEvidence,
    facts::RejectionReason,
    failure::Failure,
    limits::Budget,
    trust::{Certificate, PublicKey},
};
use sources::Sources;
pub(super) use trace::Trace;
pub use trace::{RevocationSource, SeenAnswer, SeenAt};

mod list;
mod ocsp;
mod sources;
mod trace;

/// What is asked about a chain.
pub(super) struct Asked<'a> {
    pub(super) evidence: &'a RevocationEvidence,
    pub(super) at: UnixTime,
    /// The greatest age of an answer in seconds, if the caller has one.
    pub(super) greatest_age: Option<u32>,
    /// When a signing authority signed. What became invalid later does not matter to it; for everyone else revoked is revoked.
    pub(super) signing_time: Option<UnixTime>,
}

/// What one answer says about one certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    /// Not revoked, known to be so until then.
    Good(UnixTime),
    Revoked(UnixTime),
}

/// A certificate with the one that issued it.
#[derive(Clone, Copy)]
struct Pair<'c> {
    certificate: &'c Certificate,
    issuer: &'c Certificate,
    issuer_key: &'c PublicKey,
}

/// The last second until which no certificate of `chain` but its root is revoked; `None` if none of them can be.
pub(super) fn verify(
    chain: &[Certificate],
    asked: &Asked<'_>,
    trace: &mut Trace,
    budget: &mut Budget,
) -> Result<Option<UnixTime>, Failure> {
    let mut until = None;
    for [certificate, issuer] in chain.array_windows() {
        let key = super::chain::key_of(&issuer.parsed()).map_err(|problem| unknown(certificate, problem))?;
        let pair = Pair { certificate, issuer, issuer_key: &key };
        until = earliest(until, verify_one(pair, asked, trace, budget)?);
    }
    Ok(until)
}

/// OCSP first, then every distribution point. An answer that says "revoked" is never outweighed by another that does not.
fn verify_one(
    pair: Pair<'_>,
    asked: &Asked<'_>,
    trace: &mut Trace,
    budget: &mut Budget,
) -> Result<Option<UnixTime>, Failure> {
    let sources = Sources::of(pair.certificate).map_err(|problem| unknown(pair.certificate, problem))?;
    if sources.is_empty() {
        // trust-store-trust-policy.md, "Certificate Revocation Evaluation": what names no source counts as valid.
        return Ok(None);
    }
    let mut problems = Vec::new();
    let mut good = None;
    match ocsp::status(pair, asked, trace, budget)? {
        Ok(Status::Revoked(since)) => return Err(revoked(pair.certificate, since, "an OCSP answer")),
        Ok(Status::Good(until)) if sources.has_ocsp => good = Some(until),
        Ok(Status::Good(_)) => {}
        Err(problem) if sources.has_ocsp => problems.push(problem),
        Err(_) => {}
    }
    let mut listed = Some(None);
    for point in &sources.points {
        match list::status(pair, point, asked, trace, budget)? {
            Ok(Status::Revoked(since)) => return Err(revoked(pair.certificate, since, "a revocation list")),
            Ok(Status::Good(until)) => listed = listed.map(|until_now| earliest(until_now, Some(until))),
            Err(problem) => {
                listed = None;
                problems.push(problem);
            }
        }
    }
    match (good, listed) {
        (Some(until), _) | (None, Some(Some(until))) => Ok(Some(until)),
        (None, Some(None) | None) => {
            trace.lacks_all(pair, &sources);
            Err(unknown(pair.certificate, problems.join("; ")))
        }
    }
}

/// Reads a list about `certificate`, as if `issuer` had signed it.
#[cfg(fuzzing)]
pub(super) fn fuzz_list(certificate: &Certificate, issuer: &Certificate, asked: &Asked<'_>, der: &[u8]) {
    let (Ok(key), Ok(sources)) = (super::chain::key_of(&issuer.parsed()), Sources::of(certificate)) else { return };
    let pair = Pair { certificate, issuer, issuer_key: &key };
    let _ = list::check_signature(der, pair);
    for point in &sources.points {
        let url = point.urls.first().cloned().unwrap_or_default();
        let evidence = crate::evidence::RevocationList { url, der: der.to_vec() };
        let _ = list::read_signed(&evidence, pair, point, asked, &mut Trace::default());
    }
}

/// Reads an OCSP answer about `certificate`, as if its responder had signed it.
#[cfg(fuzzing)]
pub(super) fn fuzz_answer(certificate: &Certificate, issuer: &Certificate, asked: &Asked<'_>, der: &[u8]) {
    let Ok(key) = super::chain::key_of(&issuer.parsed()) else { return };
    ocsp::fuzz(Pair { certificate, issuer, issuer_key: &key }, asked, der);
}

/// Whether what was made at `made` and is superseded at `next` says anything at the time asked, and until when.
fn freshness(what: &str, made: UnixTime, next: Option<UnixTime>, asked: &Asked<'_>) -> Result<UnixTime, String> {
    let at = asked.at;
    if made > at {
        return Err(format!("{what} is from {made}, and it is {at}"));
    }
    let oldest = asked.greatest_age.map(|age| UnixTime::from_seconds(made.seconds().saturating_add(age.into())));
    let until = earliest(next, oldest).ok_or_else(|| format!("{what} does not say until when it holds"))?;
    if at > until {
        return Err(match (next, asked.greatest_age) {
            (Some(next), _) if at > next => format!("{what} was to be replaced at {next}, and it is {at}"),
            (_, age) => format!("{what} is from {made}, older than {} seconds", age.unwrap_or_default()),
        });
    }
    Ok(until)
}

/// An older statement than one that was seen before says nothing: whoever brings it may hold back what came after.
fn is_newest(what: &str, made: UnixTime, newest: Option<UnixTime>) -> Result<(), String> {
    match newest {
        Some(newest) if made < newest => {
            Err(format!("{what} is from {made}, older than one from {newest} that was seen before"))
        }
        Some(_) | None => Ok(()),
    }
}

/// A signing authority's signature from before a key went bad stays good.
fn is_excused(asked: &Asked<'_>, invalid_since: Option<UnixTime>) -> bool {
    matches!((asked.signing_time, invalid_since), (Some(signed), Some(invalid)) if signed < invalid)
}

fn unknown(certificate: &Certificate, problem: String) -> Failure {
    RejectionReason::RevocationUnknown { subject: certificate.subject(), problem }.into()
}

fn revoked(certificate: &Certificate, since: UnixTime, source_kind: &'static str) -> Failure {
    RejectionReason::Revoked { subject: certificate.subject(), since, source_kind }.into()
}
