//! The answer to a case, with what it rests on. Made by `decide` alone; what is shown, recorded and cached comes from here.

use assay_admission::{CandidateName, Digest, Mode, Outcome, Reason, UnixTime};

/// Sentences kept for one decision, and their length: enough for a person, and bounded where registries feed it.
pub(crate) const MAX_SENTENCES: usize = 32;
const MAX_SENTENCE: usize = 400;
/// Reasons kept for one decision.
pub(crate) const MAX_REASONS: usize = 16;

/// What the policy says of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub(crate) outcome: Outcome,
    pub(crate) mode: Mode,
    pub(crate) rule: Option<String>,
    pub(crate) because: Vec<String>,
    pub(crate) holds_until: Option<UnixTime>,
    pub(crate) images: Vec<ImageDecision>,
}

/// What the policy says of one image of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageDecision {
    /// Its platform manifest.
    pub manifest: Digest,
    /// Its config.
    pub config: Digest,
    /// The name that decided, if it has any.
    pub name: Option<CandidateName>,
    /// The rule that decided, if one holds the name.
    pub rule: Option<String>,
    /// The mode that decided: the rule's, or the policy's own where there is no rule.
    pub mode: Mode,
    /// Whether the image itself is admitted. A chain may still be refused for the sake of another image.
    pub admitted: bool,
    /// Why it is refused or, under `observe` and `warn`, would have been.
    pub reasons: Vec<Reason>,
    /// A sentence for each signature that proves something.
    pub facts: Vec<String>,
}

impl Decision {
    /// Allow or deny.
    #[must_use]
    pub const fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// Whether the case is allowed.
    #[must_use]
    pub const fn is_allow(&self) -> bool {
        matches!(self.outcome, Outcome::Allow { .. })
    }

    /// The mode of the rule that decided, the strictest of those that had to admit.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// The name of the rule that decided, if one did.
    #[must_use]
    pub fn rule(&self) -> Option<&str> {
        self.rule.as_deref()
    }

    /// A sentence for each signature: what it proves, or why it counts for nothing. At most 32.
    #[must_use]
    pub fn because(&self) -> &[String] {
        &self.because
    }

    /// The last second for which an allow holds, if what it rests on ends: certificates and signatures expire.
    #[must_use]
    pub const fn holds_until(&self) -> Option<UnixTime> {
        self.holds_until
    }

    /// Each image of the case, ordered by config and manifest; those that were not examined last.
    #[must_use]
    pub fn images(&self) -> &[ImageDecision] {
        &self.images
    }
}

/// A sentence that is safe to show and store: it may quote what a registry served.
pub(crate) fn sentence(text: &str) -> String {
    let mut safe: String =
        text.chars().take(MAX_SENTENCE).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(MAX_SENTENCE).is_some() {
        safe.push('…');
    }
    safe
}
