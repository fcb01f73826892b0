//! What was proved and what was not, as sentences for people who know cosign and notation.

use assay_admission::Descriptor;
use assay_verify::{Attestation, BoundImage, Fact, Findings, Rejection, RejectionReason, Signer, Standing};

use crate::{
    case::ImageState,
    decision::{MAX_SENTENCES, sentence},
    reading::Reading,
};

/// Sentences for an image's facts, and for its rejections, under the reading that decided; each list ordered and bounded.
pub(super) fn of(state: &ImageState<'_>, reading: Option<&Reading<'_>>) -> (Vec<String>, Vec<String>) {
    let ImageState::Bound { image, findings, attestations, .. } = state else { return (Vec::new(), Vec::new()) };
    let facts = findings.facts.iter().map(|fact| of_fact(fact, image, reading));
    let tolerated = findings.tolerated.iter().map(|tolerated| {
        format!("{}, tolerated although {}", of_fact(&tolerated.fact, image, reading), tolerated.reason)
    });
    let attested = attestations.attestations.iter().map(|attestation| of_attestation(attestation, image));
    // What is tolerated was told above; what is a signature was told as one.
    let is_tolerated =
        |rejection: &&Rejection| findings.tolerated.iter().any(|one| rejection.envelope == Some(*one.fact.envelope()));
    let rejections = findings.rejections.iter().filter(|rejection| !is_tolerated(rejection)).map(ToString::to_string);
    let unproved = attestations.rejections.iter().filter(|rejection| rejection.reason != RejectionReason::Signature);
    let left_out = image.left_out().iter().map(|(index, why)| format!("index {index} does not count: {why}"));
    let unproved = unproved.map(ToString::to_string).chain(left_out).chain(refused_beside(findings));
    (bounded(facts.chain(tolerated).chain(attested)), bounded(rejections.chain(unproved)))
}

/// What one certificate store makes of a signature that counts for another: a rule may ask for just that one.
fn refused_beside(findings: &Findings) -> impl Iterator<Item = String> {
    findings.notary.iter().filter_map(|result| match result.standing() {
        Standing::Refused(reason) if findings.facts.iter().any(|fact| fact.envelope() == result.envelope()) => {
            Some(format!("{:?} (certificates {}) does not count: {reason}", result.subject(), result.store()))
        }
        Standing::Refused(_) | Standing::Proved | Standing::Tolerated(_) => None,
    })
}

fn who(signer: &Signer) -> String {
    match signer {
        Signer::Key { name, .. } => format!("key {name}"),
        Signer::Certificate { store, subject, .. } => format!("{subject:?} (certificates {store})"),
        Signer::Identity { root, identity, issuer } => format!("{identity:?} by {issuer:?} (Sigstore root {root})"),
    }
}

fn what(subject: &Descriptor, image: &BoundImage) -> &'static str {
    if subject.digest == image.manifest().digest { "manifest" } else { "index" }
}

/// `key ci signed sha256:… (index) as Sigstore bundle`
fn of_fact(fact: &Fact, image: &BoundImage, reading: Option<&Reading<'_>>) -> String {
    let subject = fact.subject();
    let mut text =
        format!("{} signed {} ({}) as {}", who(fact.signer()), subject.digest, what(subject, image), fact.format());
    if let Some(until) = fact.holds_until() {
        text += &format!(", which holds until {until}");
    }
    let objection = reading.and_then(|reading| reading.objection(reading.rule?, image, fact));
    if let Some(objection) = objection {
        text += &format!(", but it does not count: {objection}");
    } else if reading.is_some_and(|reading| reading.is_nobody(fact.signer())) {
        text += ", but it does not count: the rule asks for other signers";
    }
    text
}

/// `key ci attested https://spdx.dev/Document about sha256:… (index)`
fn of_attestation(attestation: &Attestation, image: &BoundImage) -> String {
    let subject = attestation.subject();
    let (who, what) = (who(attestation.signer()), what(subject, image));
    format!("{who} attested {} about {} ({what})", attestation.predicate_type(), subject.digest)
}

fn bounded(texts: impl Iterator<Item = String>) -> Vec<String> {
    let mut sentences: Vec<String> = texts.map(|text| sentence(&text)).collect();
    sentences.sort_unstable();
    sentences.dedup();
    sentences.truncate(MAX_SENTENCES);
    sentences
}
