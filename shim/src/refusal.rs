//! A gate's no: the agent's verdict or the gate's own reason comes in, one bounded line for a person goes out.
//! What a gate refused by itself keeps its reason, so that it can be reported; what the agent refused is in its log.

use std::fmt;

use assay_admission::{DenyCode, Reason, Verdict};

/// Longest refusal. containerd shows it to the user as it is, and wraps it several times.
const MAX_REFUSAL_BYTES: usize = 2 << 10;

/// Why nothing may be made; its text is for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    text: String,
    own: Option<Reason>,
}

impl Refusal {
    /// A refusal made by the gate itself.
    pub(crate) fn own(code: DenyCode, detail: impl Into<String>) -> Self {
        let reason = Reason::new(code, detail);
        Self { text: bounded(format!("assay: {reason}")), own: Some(reason) }
    }

    /// The agent's refusal, for a person: reasons, rule, record, and a line for each signature that was looked at.
    pub(crate) fn of_agent(verdict: &Verdict, first: &Reason, others: &[Reason]) -> Self {
        let mut text = format!("assay: {first}");
        for reason in others {
            text.push_str(&format!("; also {reason}"));
        }
        let rule = verdict.rule().map(|rule| format!("rule {rule:?}"));
        let record = verdict.record().map(|record| format!("record {record}"));
        let origin: Vec<String> = rule.into_iter().chain(record).collect();
        if !origin.is_empty() {
            text.push_str(&format!(" [{}]", origin.join("; ")));
        }
        for line in verdict.because() {
            text.push_str(&format!("; {line}"));
        }
        Self { text: bounded(text), own: None }
    }

    /// The reason, if the gate refused by itself.
    pub(crate) const fn own_reason(&self) -> Option<&Reason> {
        self.own.as_ref()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A name from outside, short enough for a message.
pub(crate) fn shown(name: &str) -> String {
    format!("{:?}", name.chars().take(200).collect::<String>())
}

/// Without control characters, and cut to what fits.
pub(crate) fn bounded(text: String) -> String {
    let mut text: String = text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect();
    if text.len() > MAX_REFUSAL_BYTES {
        text.truncate(text.floor_char_boundary(MAX_REFUSAL_BYTES - '…'.len_utf8()));
        text.push('…');
    }
    text
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use assay_admission::{Mode, Outcome, RecordId};

    use super::*;

    #[test]
    fn a_refusal_is_one_bounded_line_without_control_characters() {
        let first = Reason::new(DenyCode::NoSignature, "a\nb\u{1b}[31m");
        let outcome = Outcome::Deny { first: first.clone(), others: Vec::new() };
        let because = vec!["é".repeat(4000)];
        let verdict = Verdict::new(outcome, Mode::Enforce, None, because, Some(RecordId::new(3))).unwrap();
        let refusal = Refusal::of_agent(&verdict, &first, &[]);
        assert_eq!(refusal.own_reason(), None);
        let text = refusal.to_string();
        assert!(text.starts_with("assay: NO_SIGNATURE: no signature was found for this image (a b [31m); "));
        assert!(text.contains(" [record 3]; é"));
        assert!(text.len() <= MAX_REFUSAL_BYTES && text.ends_with('…'));
        assert!(!text.chars().any(char::is_control));
    }
}
