//! A refusal that a gate made by itself: without the agent, or before it was asked. Told to the agent so that it is on record;
//! it stands whatever comes of that.

use std::time::Duration;

use crate::{Gate, Reason};

/// Longest text of a refusal, in bytes.
const MAX_TEXT: usize = 1 << 10;

/// What a gate refused by itself. Its texts are bounded and have no control characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GateRefusal {
    gate: Gate,
    namespace: String,
    about: String,
    reason: Reason,
    ago: Duration,
    left_out: u64,
}

impl GateRefusal {
    /// A refusal by `gate` of something called `about`, such as a snapshot's key, `ago` before now; before it, `left_out`
    /// refusals could not be told. `namespace` is empty if it is not known.
    #[must_use]
    pub fn new(gate: Gate, namespace: &str, about: &str, reason: &Reason, ago: Duration, left_out: u64) -> Self {
        let reason = Reason::new(reason.code, bounded(&reason.detail));
        Self { gate, namespace: bounded(namespace), about: bounded(about), reason, ago, left_out }
    }

    /// The gate that refused.
    #[must_use]
    pub const fn gate(&self) -> Gate {
        self.gate
    }

    /// The containerd namespace; empty if it is not known.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// What was refused, as the gate knows it.
    #[must_use]
    pub fn about(&self) -> &str {
        &self.about
    }

    /// Why.
    #[must_use]
    pub const fn reason(&self) -> &Reason {
        &self.reason
    }

    /// How long ago.
    #[must_use]
    pub const fn ago(&self) -> Duration {
        self.ago
    }

    /// How many refusals before it could not be told.
    #[must_use]
    pub const fn left_out(&self) -> u64 {
        self.left_out
    }
}

fn bounded(text: &str) -> String {
    let mut kept = String::new();
    for character in text.chars() {
        if kept.len() + character.len_utf8() > MAX_TEXT {
            break;
        }
        kept.push(if character.is_control() { ' ' } else { character });
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DenyCode;

    #[test]
    fn texts_are_cut_and_have_no_control_characters() {
        let long = "é\n".repeat(MAX_TEXT);
        let reason = Reason::new(DenyCode::Limit, long.clone());
        let refusal = GateRefusal::new(Gate::Unpack, &long, &long, &reason, Duration::ZERO, 0);
        for text in [refusal.namespace(), refusal.about(), &refusal.reason().detail] {
            assert_eq!(text, "é ".repeat(MAX_TEXT / 3) + if MAX_TEXT % 3 == 2 { "é" } else { "" });
        }
    }
}
