//! OpenVEX v0.2.0 (github.com/openvex/spec): which vulnerabilities matter for which product.

use std::fmt;

use assay_admission::UnixTime;

use crate::json::{JsonError, Object, Value, wrong};

use super::{required, text, time};

/// A document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenVex {
    /// The document's own name, an IRI.
    pub id: String,
    /// Who wrote it.
    pub author: String,
    /// When it was written, as its author says.
    pub written: Option<UnixTime>,
    /// Its version: a later one replaces an earlier one of the same id.
    pub version: u64,
    /// Its statements: at least one.
    pub statements: Vec<VexStatement>,
}

/// A statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VexStatement {
    /// The vulnerability's name.
    pub vulnerability: String,
    /// The products that it is about, IRIs or package URLs. None: what the attestation is about.
    pub products: Vec<String>,
    /// Whether it matters.
    pub status: VexStatus,
    /// Why it does not, where it does not.
    pub justification: Option<String>,
}

/// Whether a vulnerability matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum VexStatus {
    /// It does not.
    NotAffected,
    /// It does.
    Affected,
    /// It did.
    Fixed,
    /// Nobody knows yet.
    UnderInvestigation,
}

const JUSTIFICATIONS: [&str; 5] = [
    "component_not_present",
    "vulnerable_code_not_present",
    "vulnerable_code_not_in_execute_path",
    "vulnerable_code_cannot_be_controlled_by_adversary",
    "inline_mitigations_already_exist",
];

/// `None` if it is of a version that is not read here.
pub(super) fn read(object: Object<'_>) -> Result<Option<OpenVex>, JsonError> {
    if object.string("@context")? != "https://openvex.dev/ns/v0.2.0" {
        return Ok(None);
    }
    let statements = object.array("statements")?;
    if statements.is_empty() {
        return Err(wrong("statements", "is empty"));
    }
    Ok(Some(OpenVex {
        id: required(object, "@id")?,
        author: required(object, "author")?,
        written: time(object, "timestamp")?,
        version: object.integer("version")?,
        statements: statements.iter().map(statement).collect::<Result<_, _>>()?,
    }))
}

fn statement(value: &Value<'_>) -> Result<VexStatement, JsonError> {
    let statement = value.object("statements")?;
    let status = match statement.string("status")? {
        "not_affected" => VexStatus::NotAffected,
        "affected" => VexStatus::Affected,
        "fixed" => VexStatus::Fixed,
        "under_investigation" => VexStatus::UnderInvestigation,
        other => return Err(wrong("status", format!("is {other:?}, which is no OpenVEX status"))),
    };
    let justification = text(statement, "justification")?;
    if let Some(word) = justification.as_deref().filter(|word| !JUSTIFICATIONS.contains(word)) {
        return Err(wrong("justification", format!("is {word:?}, which is no OpenVEX justification")));
    }
    // OPENVEX-SPEC.md, "Status": not_affected says why, by a word or by a sentence.
    if status == VexStatus::NotAffected && justification.is_none() && text(statement, "impact_statement")?.is_none() {
        return Err(wrong("justification", "is missing beside the status \"not_affected\""));
    }
    Ok(VexStatement {
        vulnerability: required(statement.object("vulnerability")?, "name")?,
        products: statement.optional_array("products")?.iter().map(product).collect::<Result<_, _>>()?,
        status,
        justification,
    })
}

/// A product is named by `@id` or by one of its identifiers.
fn product(value: &Value<'_>) -> Result<String, JsonError> {
    let product = value.object("products")?;
    if let Some(id) = text(product, "@id")? {
        return Ok(id);
    }
    let identifiers = product.strings("identifiers")?;
    identifiers.into_values().next().ok_or_else(|| wrong("products", "has an entry with neither @id nor identifiers"))
}

impl fmt::Display for OpenVex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpenVEX document {:?} by {:?} with {} statements", self.id, self.author, self.statements.len())
    }
}
