//! What was proved and what was not, as sentences for people who know cosign and notation.

use assay_verify::{BoundImage, Fact, Signer};

use crate::{
    case::ImageState,
    decision::{MAX_SENTENCES, sentence},
    reading::Reading,
};

/// Sentences for an image's facts, and for its rejections, under the reading that decided; each list ordered and bounded.
pub(super) fn of(state: &ImageState<'_>, reading: Option<&Reading<'_>>) -> (Vec<String>, Vec<String>) {
    match state {
        ImageState::Unbound(_) | ImageState::Alike(_) => (Vec::new(), Vec::new()),
        ImageState::Bound { image, findings, .. } => (
            bounded(findings.facts.iter().map(|fact| of_fact(fact, image, reading))),
            bounded(findings.rejections.iter().map(ToString::to_string)),
        ),
    }
}

/// `key ci signed sha256:… (index) as Sigstore bundle`
fn of_fact(fact: &Fact, image: &BoundImage, reading: Option<&Reading<'_>>) -> String {
    let who = match fact.signer() {
        Signer::Key { name, .. } => format!("key {name}"),
        Signer::Certificate { store, subject, .. } => format!("{subject:?} (certificates {store})"),
        Signer::Identity { root, identity, issuer } => format!("{identity:?} by {issuer:?} (Sigstore root {root})"),
    };
    let digest = fact.subject().digest;
    let what = if digest == image.manifest().digest { "manifest" } else { "index" };
    let mut text = format!("{who} signed {digest} ({what}) as {}", fact.format());
    if let Some(until) = fact.holds_until() {
        text += &format!(", which holds until {until}");
    }
    let objection = reading.and_then(|reading| reading.objection(reading.rule?, image, fact));
    if let Some(objection) = objection {
        text += &format!(", but it does not count: {objection}");
    }
    text
}

fn bounded(texts: impl Iterator<Item = String>) -> Vec<String> {
    let mut sentences: Vec<String> = texts.map(|text| sentence(&text)).collect();
    sentences.sort_unstable();
    sentences.dedup();
    sentences.truncate(MAX_SENTENCES);
    sentences
}
