//! The two stages that anyone's bytes run through: what evidence proves, and what the policy makes of it. Kept as values, so
//! that it can be shown what becomes of an image for which one of them fails.

use assay_admission::UnixTime;
use assay_policy::{Case, Decision, Policy};
use assay_verify::{BoundImage, Budget, Evidence, Findings, Trust};

/// Verification and decision.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stages {
    /// Evidence to facts.
    pub(crate) verify: fn(&BoundImage, &Evidence, &Trust, UnixTime, &mut Budget) -> Findings,
    /// Facts to decision.
    pub(crate) decide: fn(&Policy, &Case<'_>) -> Decision,
}

impl Stages {
    /// The stages as they are.
    pub(crate) const REAL: Self = Self { verify: assay_verify::verify, decide: Policy::decide };
}
