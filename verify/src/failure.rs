//! How looking at one signature can end without a fact: it is rejected, or the budget of the whole image is spent.

use crate::{facts::RejectionReason, json::JsonError, limits::LimitReached};

/// Why a signature gave no fact.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// This signature counts for nothing; the others are looked at.
    Rejected(RejectionReason),
    /// Work for the image ends here.
    Exhausted(LimitReached),
}

impl From<RejectionReason> for Failure {
    fn from(reason: RejectionReason) -> Self {
        Self::Rejected(reason)
    }
}

impl From<JsonError> for Failure {
    fn from(error: JsonError) -> Self {
        Self::Rejected(error.into())
    }
}

impl From<JsonError> for RejectionReason {
    fn from(error: JsonError) -> Self {
        match error {
            JsonError::Syntax(problem) => Self::Malformed { field: "JSON", problem },
            JsonError::Field { field, problem } => Self::Malformed { field, problem },
            JsonError::Limit(limit) => Self::Limit(limit),
        }
    }
}

/// The rejection of a field.
pub(crate) fn malformed(field: &'static str, problem: impl Into<String>) -> RejectionReason {
    RejectionReason::Malformed { field, problem: problem.into() }
}
