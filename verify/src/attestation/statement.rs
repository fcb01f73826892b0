//! in-toto statements (in-toto attestation v0.1 and v1, statement.md): signed bytes come in; what is said about which documents of
//! the image comes out. Unknown fields are allowed by the specification and ignored.

use std::fmt;

use assay_admission::Descriptor;

use crate::{
    bundle,
    facts::RejectionReason,
    image::BoundImage,
    json::{self, JsonError, Object, Value, wrong},
    limits::{LimitReached, MAX_STATEMENT_VALUES, MAX_SUBJECTS},
};

use super::predicate::{self, Predicate};

/// The version of an in-toto statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StatementVersion {
    /// `https://in-toto.io/Statement/v0.1`
    V0_1,
    /// `https://in-toto.io/Statement/v1`
    V1,
}

impl fmt::Display for StatementVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V0_1 => "v0.1",
            Self::V1 => "v1",
        })
    }
}

/// A statement about the image.
pub(super) struct Stated {
    pub(super) version: StatementVersion,
    /// The documents of the image that it names: at least one.
    pub(super) subjects: Vec<Descriptor>,
    pub(super) predicate_type: String,
    pub(super) predicate: Predicate,
}

/// What a statement says, which proves nothing: for people who look at what is attached to an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnprovedStatement {
    /// Its version.
    pub version: StatementVersion,
    /// Its predicate type.
    pub predicate_type: String,
    /// The SHA-256 values of its subjects, in hex as they stand there.
    pub subjects: Vec<String>,
    /// Its predicate as far as the type is known, or why it cannot be read.
    pub predicate: Result<Predicate, RejectionReason>,
}

/// Decodes the statement in `payload`, whoever wrote it.
///
/// # Errors
/// [`RejectionReason`] naming the field that is not what it should be.
pub fn read_unproved(payload: &[u8]) -> Result<UnprovedStatement, RejectionReason> {
    let value = json::parse_up_to(payload, MAX_STATEMENT_VALUES)?;
    let statement = value.object("statement")?;
    let predicate_type = statement.string("predicateType")?;
    Ok(UnprovedStatement {
        version: version(statement)?,
        predicate_type: predicate_type.to_owned(),
        subjects: named(statement)?.into_iter().map(str::to_owned).collect(),
        predicate: predicate::read(predicate_type, statement.optional("predicate")?).map_err(RejectionReason::from),
    })
}

/// Reads the statement in `payload`, which is about `image` and is no signature.
pub(super) fn read(image: &BoundImage, payload: &[u8]) -> Result<Stated, RejectionReason> {
    let value = json::parse_up_to(payload, MAX_STATEMENT_VALUES)?;
    let statement = value.object("statement")?;
    let version = version(statement)?;
    let predicate_type = statement.string("predicateType")?;
    if predicate_type.is_empty() {
        return Err(wrong("predicateType", "is empty").into());
    }
    // cosign's way to sign in an attestation's clothes: whoever may attest may not sign.
    if predicate_type == bundle::PREDICATE_TYPE {
        return Err(RejectionReason::Signature);
    }
    let named = named(statement)?;
    let subjects: Vec<Descriptor> =
        image.subjects().filter(|subject| named.contains(&subject.digest.hex().as_str())).cloned().collect();
    if subjects.is_empty() {
        let found = named.first().map_or_else(|| "nothing".to_owned(), |hex| format!("sha256:{hex}"));
        return Err(RejectionReason::OtherSubject { found });
    }
    let predicate = predicate::read(predicate_type, statement.optional("predicate")?)?;
    Ok(Stated { version, subjects, predicate_type: predicate_type.to_owned(), predicate })
}

fn version(statement: Object<'_>) -> Result<StatementVersion, JsonError> {
    match statement.string("_type")? {
        "https://in-toto.io/Statement/v0.1" => Ok(StatementVersion::V0_1),
        bundle::STATEMENT_TYPE => Ok(StatementVersion::V1),
        other => Err(wrong("_type", format!("is {other:?}, which is no in-toto statement v0.1 or v1"))),
    }
}

/// The SHA-256 values of the subjects, as they stand there. Subjects with other digests only are about something else.
fn named<'v>(statement: Object<'v>) -> Result<Vec<&'v str>, JsonError> {
    let subjects = statement.array("subject")?;
    if subjects.is_empty() {
        return Err(wrong("subject", "is empty"));
    }
    if subjects.len() > MAX_SUBJECTS {
        return Err(LimitReached { what: "subjects of a statement", limit: MAX_SUBJECTS }.into());
    }
    let sha256 = |value: &'v Value<'v>| -> Result<Option<&'v str>, JsonError> {
        value.object("subject")?.object("digest")?.optional_string("sha256")
    };
    subjects.iter().filter_map(|value| sha256(value).transpose()).collect()
}
