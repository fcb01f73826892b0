//! SLSA verification summaries v1 (slsa.dev/spec/v1.0/verification_summary): what another verifier concluded.

use std::fmt;

use assay_admission::UnixTime;

use crate::json::{JsonError, Object, Value, wrong};

use super::{required, text, time};

/// Another verifier's conclusion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerificationSummary {
    /// Who concluded, a URI.
    pub verifier: String,
    /// What the conclusion is about, a URI.
    pub resource: String,
    /// The policy it rests on, a URI.
    pub policy: Option<String>,
    /// The conclusion. An attested failure is well attested and a failure.
    pub result: VerificationResult,
    /// The levels that were verified: `SLSA_BUILD_LEVEL_3`, say.
    pub levels: Vec<String>,
    /// When, as the verifier says.
    pub verified: Option<UnixTime>,
}

/// What a verifier concluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum VerificationResult {
    /// `PASSED`
    Passed,
    /// `FAILED`
    Failed,
}

pub(super) fn read(object: Object<'_>) -> Result<VerificationSummary, JsonError> {
    let result = match object.string("verificationResult")? {
        "PASSED" => VerificationResult::Passed,
        "FAILED" => VerificationResult::Failed,
        other => return Err(wrong("verificationResult", format!("is {other:?}, not PASSED or FAILED"))),
    };
    let levels = object.array("verifiedLevels")?;
    Ok(VerificationSummary {
        verifier: required(object.object("verifier")?, "id")?,
        resource: required(object, "resourceUri")?,
        policy: text(object.object("policy")?, "uri")?,
        result,
        levels: levels.iter().map(level).collect::<Result<_, _>>()?,
        verified: time(object, "timeVerified")?,
    })
}

fn level(value: &Value<'_>) -> Result<String, JsonError> {
    Ok(value.string("verifiedLevels")?.to_owned())
}

impl fmt::Display for VerificationSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let result = match self.result {
            VerificationResult::Passed => "passed",
            VerificationResult::Failed => "FAILED",
        };
        write!(f, "verification summary by {:?}: {result}, levels {:?}", self.verifier, self.levels)
    }
}
