//! Shortens a record that does not fit into an entry: facts go first, then images and reasons, then long texts.
//! The decision itself, its rule, policy, gate and subject always stay, and the record says what was left out.

use assay_admission::Reason;

use super::{
    BroughtEvidence, DecisionRecord, KeyUseOutcome, PolicyOutcome, Record, RecordError, RecordedSubject,
    TrustRootOutcome,
};

/// How much of a record is kept in one attempt.
struct Keep {
    images: usize,
    listed: usize,
    facts: usize,
    text: usize,
}

/// From gentle to severe. A text costs at most six bytes for each of its own in JSON, so the last always fits.
const ATTEMPTS: [Keep; 5] = [
    Keep { images: 64, listed: 64, facts: 0, text: 1024 },
    Keep { images: 16, listed: 16, facts: 0, text: 512 },
    Keep { images: 4, listed: 8, facts: 0, text: 256 },
    Keep { images: 1, listed: 4, facts: 0, text: 256 },
    Keep { images: 0, listed: 2, facts: 0, text: 128 },
];

type Encode = fn(&Record) -> Result<Vec<u8>, RecordError>;

/// The longest form of `record` that has at most `limit` bytes.
pub(super) fn shorten(record: &Record, encode: Encode, limit: usize) -> Result<Vec<u8>, RecordError> {
    let mut length = 0;
    for keep in &ATTEMPTS {
        let bytes = encode(&cut(record.clone(), keep))?;
        length = bytes.len();
        if length <= limit {
            return Ok(bytes);
        }
    }
    Err(RecordError::TooLong(length))
}

fn cut(record: Record, keep: &Keep) -> Record {
    match record {
        Record::Decision(decision) => Record::Decision(Box::new(cut_decision(*decision, keep))),
        Record::Refusal(mut refusal) => {
            for text in [&mut refusal.namespace, &mut refusal.about, &mut refusal.reason.detail] {
                cut_text(text, keep.text);
            }
            Record::Refusal(refusal)
        }
        Record::KeyUse(mut used) => {
            for text in [&mut used.key, &mut used.spki_sha256, &mut used.purpose] {
                cut_text(text, keep.text);
            }
            match &mut used.outcome {
                KeyUseOutcome::Done => {}
                KeyUseOutcome::Refused(why) | KeyUseOutcome::Failed(why) => cut_text(why, keep.text),
            }
            Record::KeyUse(used)
        }
        Record::Policy(mut policy) => {
            cut_text(&mut policy.sha256, keep.text);
            match &mut policy.outcome {
                PolicyOutcome::Applied => {}
                PolicyOutcome::Refused(why) => cut_text(why, keep.text),
            }
            Record::Policy(policy)
        }
        Record::TrustRoot(mut root) => {
            cut_text(&mut root.name, keep.text);
            cut_text(&mut root.source, keep.text);
            match &mut root.outcome {
                TrustRootOutcome::Updated { sha256, .. } => cut_text(sha256, keep.text),
                TrustRootOutcome::Refused(why) => cut_text(why, keep.text),
            }
            Record::TrustRoot(root)
        }
        Record::Evidence(mut brought) => {
            match &mut brought.what {
                BroughtEvidence::RevocationList(url) => cut_text(url, keep.text),
                BroughtEvidence::OcspAnswer => {}
            }
            Record::Evidence(brought)
        }
        Record::Start(mut start) => {
            cut_text(&mut start.program_version, keep.text);
            Record::Start(start)
        }
    }
}

fn cut_decision(mut decision: DecisionRecord, keep: &Keep) -> DecisionRecord {
    let mut trimmed = vec![format!("texts to {} bytes", keep.text)];
    let facts: usize = decision.images.iter().map(|image| image.facts.len()).sum();
    if facts > 0 {
        trimmed.push(format!("facts: {facts} left out"));
    }
    cut_list(&mut decision.images, keep.images, "images", &mut trimmed);
    cut_list(&mut decision.names, keep.listed, "names", &mut trimmed);
    cut_list(&mut decision.reasons, keep.listed, "reasons", &mut trimmed);
    cut_list(&mut decision.would_deny, keep.listed, "would_deny", &mut trimmed);
    for image in &mut decision.images {
        image.facts.truncate(keep.facts);
        image.reasons.truncate(keep.listed);
        cut_reasons(&mut image.reasons, keep.text);
        for text in [&mut image.name, &mut image.rule].into_iter().flatten() {
            cut_text(text, keep.text);
        }
    }
    cut_reasons(&mut decision.reasons, keep.text);
    cut_reasons(&mut decision.would_deny, keep.text);
    decision.names.iter_mut().chain(&mut decision.rule).for_each(|text| cut_text(text, keep.text));
    cut_text(&mut decision.namespace, keep.text);
    cut_text(&mut decision.policy_sha256, keep.text);
    match &mut decision.subject {
        RecordedSubject::Chain(_) => {}
        RecordedSubject::Name(name) => cut_text(name, keep.text),
    }
    decision.trimmed = trimmed;
    decision
}

fn cut_list<T>(list: &mut Vec<T>, keep: usize, what: &str, trimmed: &mut Vec<String>) {
    if list.len() > keep {
        trimmed.push(format!("{what}: {} of {} left out", list.len() - keep, list.len()));
        list.truncate(keep);
    }
}

fn cut_reasons(reasons: &mut [Reason], most: usize) {
    reasons.iter_mut().for_each(|reason| cut_text(&mut reason.detail, most));
}

/// Cuts at a character's end and marks the cut.
fn cut_text(text: &mut String, most: usize) {
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most));
        text.push('…');
    }
}
