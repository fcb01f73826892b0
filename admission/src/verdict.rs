//! The answer to a request, as a gate enforces it and a person reads it.

use std::fmt;

use crate::Reason;

/// How strictly a rule is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mode {
    /// Admit and record; what would have been refused is in the log.
    Observe,
    /// Admit, record, and tell the person.
    Warn,
    /// Refuse what does not satisfy the rule.
    Enforce,
}

impl Mode {
    /// `observe`, `warn` or `enforce`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Warn => "warn",
            Self::Enforce => "enforce",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The position of a record in the node's log, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordId(u64);

impl RecordId {
    /// The record at `index` in the log.
    #[must_use]
    pub const fn new(index: u64) -> Self {
        Self(index)
    }

    /// The index in the log.
    #[must_use]
    pub const fn index(self) -> u64 {
        self.0
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Whether the image may go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It may. Under `observe` and `warn`, `would_deny` says why an enforcing rule would have refused it.
    Allow {
        /// Empty if the image satisfied its rule.
        would_deny: Vec<Reason>,
    },
    /// It may not, for these reasons: at least one.
    Deny {
        /// The first reason is the one that decided.
        first: Reason,
        /// Further reasons.
        others: Vec<Reason>,
    },
}

/// A recorded answer. Made from a record of the log by the agent, and parsed from its wire form by gates and people's tools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    outcome: Outcome,
    mode: Mode,
    rule: Option<String>,
    because: Vec<String>,
    record: Option<RecordId>,
}

impl Verdict {
    /// An answer with the rule that decided, sentences that explain it, and the record that holds it. A refusal made
    /// where no record could be written has none; an allow must have one.
    ///
    /// # Errors
    /// Gives the arguments' outcome back if it is an allow without a record.
    pub fn new(
        outcome: Outcome,
        mode: Mode,
        rule: Option<String>,
        because: Vec<String>,
        record: Option<RecordId>,
    ) -> Result<Self, Outcome> {
        match (&outcome, record) {
            (Outcome::Allow { .. }, None) => Err(outcome),
            (Outcome::Allow { .. }, Some(_)) | (Outcome::Deny { .. }, _) => {
                Ok(Self { outcome, mode, rule, because, record })
            }
        }
    }

    /// A refusal that stands in no log: made by a gate without an agent, or by an agent that cannot record.
    #[must_use]
    pub const fn unrecorded_refusal(reason: Reason) -> Self {
        Self {
            outcome: Outcome::Deny { first: reason, others: Vec::new() },
            mode: Mode::Enforce,
            rule: None,
            because: Vec::new(),
            record: None,
        }
    }

    /// Allow or deny.
    #[must_use]
    pub const fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// Whether the image may go on.
    #[must_use]
    pub const fn is_allow(&self) -> bool {
        matches!(self.outcome, Outcome::Allow { .. })
    }

    /// The mode of the rule that decided.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// The name of the rule that decided, if one matched.
    #[must_use]
    pub fn rule(&self) -> Option<&str> {
        self.rule.as_deref()
    }

    /// Sentences, one for each signature: why it counts or not.
    #[must_use]
    pub fn because(&self) -> &[String] {
        &self.because
    }

    /// Where the log has it.
    #[must_use]
    pub const fn record(&self) -> Option<RecordId> {
        self.record
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allow_without_a_record_does_not_exist() {
        let allow = Outcome::Allow { would_deny: Vec::new() };
        assert_eq!(Verdict::new(allow.clone(), Mode::Enforce, None, Vec::new(), None), Err(allow.clone()));
        assert!(
            Verdict::new(allow, Mode::Enforce, None, Vec::new(), Some(RecordId::new(0))).is_ok_and(|v| v.is_allow())
        );
    }
}
