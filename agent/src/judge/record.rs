//! Decisions as records of the log, and records as verdicts. Only a [`Recorded`] makes a verdict that a log holds.

use assay_admission::{AdmissionRequest, Gate, Mode, Outcome, Reason, RecordId, Subject, UnixTime, Verdict};
use assay_audit::{DecisionRecord, ImageRecord, Record, Recorded, RecordedOutcome, RecordedSubject};
use assay_policy::Decision;

use crate::active::Loaded;

/// The record of what policy decided.
pub(super) fn decided(request: &AdmissionRequest, decision: &Decision, loaded: &Loaded, at: UnixTime) -> Record {
    let (outcome, reasons, would_deny) = outcome_parts(decision.outcome());
    Record::from(DecisionRecord {
        // Those that nobody examined are in the reasons, by their number.
        images: decision
            .images()
            .iter()
            .filter(|image| match request.subject() {
                Subject::Chain { images, .. } => images.iter().any(|claim| claim.manifest == image.manifest),
                Subject::Image { .. } => true,
            })
            .map(|image| ImageRecord {
                manifest: image.manifest,
                config: image.config,
                name: image.name.as_ref().map(ToString::to_string),
                rule: image.rule.clone(),
                mode: image.mode,
                admitted: image.admitted,
                reasons: image.reasons.clone(),
                facts: image.facts.clone(),
            })
            .collect(),
        outcome,
        mode: decision.mode(),
        rule: decision.rule().map(ToOwned::to_owned),
        reasons,
        would_deny,
        ..blank(request, Some(loaded), at)
    })
}

/// The record of an answer given again from memory.
pub(super) fn repeated(
    request: &AdmissionRequest,
    verdict: &Verdict,
    first: RecordId,
    loaded: &Loaded,
    at: UnixTime,
) -> Record {
    let (outcome, reasons, would_deny) = outcome_parts(verdict.outcome());
    Record::from(DecisionRecord {
        outcome,
        mode: verdict.mode(),
        rule: verdict.rule().map(ToOwned::to_owned),
        reasons,
        would_deny,
        cached_from: Some(first),
        ..blank(request, Some(loaded), at)
    })
}

/// The record of a refusal that no policy decided.
pub(super) fn refused(
    request: &AdmissionRequest,
    reason: &Reason,
    loaded: Option<&std::sync::Arc<Loaded>>,
    at: UnixTime,
) -> Record {
    Record::from(DecisionRecord { reasons: vec![reason.clone()], ..blank(request, loaded.map(AsRef::as_ref), at) })
}

/// The record of a refusal of a request that could not be read.
pub(super) fn unread(reason: &Reason, at: UnixTime) -> Record {
    Record::from(DecisionRecord {
        time: at,
        gate: Gate::Ask,
        namespace: String::new(),
        subject: RecordedSubject::Name(String::new()),
        names: Vec::new(),
        images: Vec::new(),
        outcome: RecordedOutcome::Deny,
        mode: Mode::Enforce,
        rule: None,
        reasons: vec![reason.clone()],
        would_deny: Vec::new(),
        policy_version: 0,
        policy_sha256: String::new(),
        cached_from: None,
        trimmed: Vec::new(),
    })
}

/// The verdict that a recorded decision is.
pub(super) fn verdict(decision: &Decision, recorded: &Recorded) -> Verdict {
    Verdict::new(
        decision.outcome().clone(),
        decision.mode(),
        decision.rule().map(ToOwned::to_owned),
        decision.because().to_vec(),
        Some(recorded.id()),
    )
    .expect("only an allow without a record is no verdict, and there is a record")
}

/// The verdict that a recorded refusal is.
pub(super) fn refusal(reason: Reason, recorded: &Recorded) -> Verdict {
    let outcome = Outcome::Deny { first: reason, others: Vec::new() };
    Verdict::new(outcome, Mode::Enforce, None, Vec::new(), Some(recorded.id())).expect("a refusal is always a verdict")
}

fn blank(request: &AdmissionRequest, loaded: Option<&Loaded>, at: UnixTime) -> DecisionRecord {
    let (subject, names) = match request.subject() {
        Subject::Chain { chain, images, .. } => {
            let mut names: Vec<String> =
                images.iter().flat_map(|image| &image.names).map(ToString::to_string).collect();
            names.sort_unstable();
            names.dedup();
            (RecordedSubject::Chain(*chain), names)
        }
        Subject::Image { name, top } => {
            // What the name led to belongs to the question, also where nothing came of it.
            let digest = top.filter(|_| name.reference.digest().is_none()).map(|top| format!("@{top}"));
            let subject = format!("{}{}", name.reference, digest.unwrap_or_default());
            (RecordedSubject::Name(subject), vec![name.to_string()])
        }
    };
    DecisionRecord {
        time: at,
        gate: request.gate(),
        namespace: request.namespace().to_string(),
        subject,
        names,
        images: Vec::new(),
        outcome: RecordedOutcome::Deny,
        mode: Mode::Enforce,
        rule: None,
        reasons: Vec::new(),
        would_deny: Vec::new(),
        policy_version: loaded.map_or(0, |loaded| loaded.policy.version()),
        policy_sha256: loaded.map(|loaded| loaded.policy.sha256().to_owned()).unwrap_or_default(),
        cached_from: None,
        trimmed: Vec::new(),
    }
}

fn outcome_parts(outcome: &Outcome) -> (RecordedOutcome, Vec<Reason>, Vec<Reason>) {
    match outcome {
        Outcome::Allow { would_deny } => (RecordedOutcome::Allow, Vec::new(), would_deny.clone()),
        Outcome::Deny { first, others } => {
            (RecordedOutcome::Deny, std::iter::once(first).chain(others).cloned().collect(), Vec::new())
        }
    }
}
