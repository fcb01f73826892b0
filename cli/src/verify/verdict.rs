//! A verdict as a person reads it, as JSON, and as an exit code.

use assay_admission::{DenyCode, ImageRef, Mode, Outcome, Reason, RecordId, Verdict};
use assay_policy::Decision;
use serde_json::{Value, json};

use crate::failure::Exit;

/// What is shown of an answer, recorded or not.
#[derive(Debug)]
pub(super) struct Shown<'a> {
    outcome: &'a Outcome,
    mode: Mode,
    rule: Option<&'a str>,
    because: &'a [String],
    record: Option<RecordId>,
}

impl<'a> From<&'a Verdict> for Shown<'a> {
    fn from(verdict: &'a Verdict) -> Self {
        Self {
            outcome: verdict.outcome(),
            mode: verdict.mode(),
            rule: verdict.rule(),
            because: verdict.because(),
            record: verdict.record(),
        }
    }
}

impl<'a> From<&'a Decision> for Shown<'a> {
    fn from(decision: &'a Decision) -> Self {
        Self {
            outcome: decision.outcome(),
            mode: decision.mode(),
            rule: decision.rule(),
            because: decision.because(),
            record: None,
        }
    }
}

/// The exit code: cosign's where cosign has one.
pub(super) const fn exit(outcome: &Outcome) -> Exit {
    match outcome {
        Outcome::Allow { .. } => Exit::Success,
        Outcome::Deny { first, .. } => match first.code {
            DenyCode::NoSignature => Exit::NoSignature,
            DenyCode::NotSatisfied => Exit::NotSatisfied,
            DenyCode::NotFound => Exit::NoImage,
            DenyCode::AgentUnavailable => Exit::AgentUnreachable,
            DenyCode::NoRule
            | DenyCode::Blocked
            | DenyCode::UnknownChain
            | DenyCode::ForeignRoot
            | DenyCode::AmbiguousConfig
            | DenyCode::Malformed
            | DenyCode::EvidencePending
            | DenyCode::EvidenceUnavailable
            | DenyCode::RegistryAuth
            | DenyCode::Limit
            | DenyCode::NoPolicy
            | DenyCode::LogUnavailable
            | DenyCode::Internal => Exit::Denied,
        },
    }
}

/// A few lines: the verdict, the reasons with what to do, and a sentence for each signature.
pub(super) fn text(image: &ImageRef, shown: &Shown<'_>) -> String {
    let mut lines = Vec::new();
    let by = match shown.rule {
        Some(rule) => format!("by rule {rule:?}, mode {}", shown.mode),
        None => format!("without a rule, mode {}", shown.mode),
    };
    match shown.outcome {
        Outcome::Allow { would_deny } => {
            lines.push(format!("admitted: {image}"));
            if !would_deny.is_empty() {
                lines.push("  an enforcing rule would have denied it:".to_owned());
                push_reasons(&mut lines, would_deny.iter());
            }
        }
        Outcome::Deny { first, others } => {
            lines.push(format!("denied: {image}"));
            push_reasons(&mut lines, std::iter::once(first).chain(others));
        }
    }
    lines.push(format!("  decided {by}"));
    if !shown.because.is_empty() {
        lines.push("  signatures:".to_owned());
        lines.extend(shown.because.iter().map(|sentence| format!("    - {}", sentence.replace('\n', "\n      "))));
    }
    if let Some(record) = shown.record {
        lines.push(format!("  record {record}"));
    }
    lines.join("\n")
}

fn push_reasons<'a>(lines: &mut Vec<String>, reasons: impl Iterator<Item = &'a Reason>) {
    for reason in reasons {
        let detail = if reason.detail.is_empty() { String::new() } else { format!(" ({})", reason.detail) };
        lines.push(format!("  {}: {}{detail}", reason.code, reason.code.sentence()));
        lines.push(format!("    what to do: {}", reason.code.remedy()));
    }
}

/// The same as JSON.
pub(super) fn json(image: &ImageRef, shown: &Shown<'_>) -> Value {
    let (decision, reasons): (_, Vec<&Reason>) = match shown.outcome {
        Outcome::Allow { would_deny } => ("allow", would_deny.iter().collect()),
        Outcome::Deny { first, others } => ("deny", std::iter::once(first).chain(others).collect()),
    };
    json!({
        "image": image.to_string(),
        "decision": decision,
        "mode": shown.mode.as_str(),
        "rule": shown.rule,
        "reasons": reasons.into_iter().map(reason_json).collect::<Vec<_>>(),
        "because": shown.because,
        "record": shown.record.map(RecordId::index),
    })
}

/// Code, sentence, what was seen and what to do.
fn reason_json(reason: &Reason) -> Value {
    json!({
        "code": reason.code.as_str(),
        "message": reason.code.sentence(),
        "detail": reason.detail,
        "remedy": reason.code.remedy(),
        "retryable": reason.code.is_retryable(),
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;

    fn image() -> ImageRef {
        "r.example/a:1".parse().unwrap()
    }

    fn verdict(outcome: Outcome) -> Verdict {
        let because = vec!["key ci signed sha256:… (index) as Sigstore bundle".to_owned()];
        Verdict::new(outcome, Mode::Enforce, Some("prod".into()), because, Some(RecordId::new(7))).unwrap()
    }

    fn deny(code: DenyCode) -> Outcome {
        Outcome::Deny { first: Reason::new(code, "seen"), others: vec![] }
    }

    #[test]
    fn denials_end_with_cosigns_codes_where_it_has_them() {
        assert_eq!(exit(&deny(DenyCode::NoSignature)).number(), 10);
        assert_eq!(exit(&deny(DenyCode::NotSatisfied)).number(), 12);
        assert_eq!(exit(&deny(DenyCode::AgentUnavailable)).number(), 4);
        assert_eq!(exit(&Outcome::Allow { would_deny: vec![] }).number(), 0);
        for code in DenyCode::ALL {
            assert_ne!(exit(&deny(code)).number(), 0, "{code} must not look like an admission");
        }
    }

    #[test]
    fn a_denial_says_why_and_what_to_do() {
        let text = text(&image(), &Shown::from(&verdict(deny(DenyCode::NoSignature))));
        assert_eq!(
            text,
            "denied: r.example/a:1\n  NO_SIGNATURE: no signature was found for this image (seen)\n    what to do: sign it \
             (assay sign, cosign sign or notation sign) and pull again\n  decided by rule \"prod\", mode enforce\n  \
             signatures:\n    - key ci signed sha256:… (index) as Sigstore bundle\n  record 7"
        );
    }

    #[test]
    fn an_admission_under_observe_says_what_enforcing_would_have_done() {
        let would_deny = vec![Reason::new(DenyCode::NoSignature, "")];
        let verdict = verdict(Outcome::Allow { would_deny });
        assert!(
            text(&image(), &Shown::from(&verdict)).contains("an enforcing rule would have denied it:\n  NO_SIGNATURE")
        );
        let json = json(&image(), &Shown::from(&verdict));
        assert_eq!((&json["decision"], &json["record"]), (&"allow".into(), &7.into()));
        assert_eq!(json["reasons"][0]["code"], "NO_SIGNATURE");
    }
}
