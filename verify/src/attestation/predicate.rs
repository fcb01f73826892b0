//! What attestations say. A predicate type and JSON come in; a typed predicate comes out where the type and its version are known,
//! [`Predicate::Other`] where not. Strict in the fields that are read, tolerant of all others.

use std::fmt;

use assay_admission::UnixTime;

use crate::{
    json::{JsonError, Object, Value, wrong},
    notation::rfc3339,
};

pub use cyclonedx::{Component, CycloneDx, Discovered};
pub use sarif::{Sarif, Severity};
pub use slsa::{Provenance, Resource};
pub use spdx::{Package, Spdx};
pub use summary::{VerificationResult, VerificationSummary};
pub use vex::{OpenVex, VexStatement, VexStatus};
pub use vulnerabilities::{Report, Vulnerabilities};

mod cyclonedx;
mod sarif;
mod slsa;
mod spdx;
mod summary;
mod vex;
mod vulnerabilities;

/// A predicate. Its JSON is kept beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Predicate {
    /// How and from what the image was built.
    Provenance(Provenance),
    /// What it consists of, as SPDX 2.
    Spdx(Spdx),
    /// What it consists of and is vulnerable to, as CycloneDX 1.
    CycloneDx(CycloneDx),
    /// What a scanner found, as cosign's `vuln`.
    Vulnerabilities(Vulnerabilities),
    /// Which vulnerabilities matter, as OpenVEX.
    OpenVex(OpenVex),
    /// What an analyser found, as SARIF.
    Sarif(Sarif),
    /// What another verifier concluded, as a SLSA verification summary.
    Summary(VerificationSummary),
    /// Of a type, or a version of it, that is not read here: its type and its JSON say all.
    Other,
}

/// Reads `value` as what `predicate_type` says.
pub(super) fn read(predicate_type: &str, value: Option<&Value<'_>>) -> Result<Predicate, JsonError> {
    let Some(kind) = kind(predicate_type) else { return Ok(Predicate::Other) };
    let Some(value) = value else { return Err(wrong("predicate", format!("is missing beside {predicate_type:?}"))) };
    // SPDX's tag-value form is text, not JSON: cosign carries it as one string.
    if kind == Kind::Spdx && matches!(value, Value::String(_)) {
        return Ok(Predicate::Other);
    }
    let object = value.object("predicate")?;
    match kind {
        Kind::ProvenanceV0_2 => slsa::read_v0_2(object).map(Predicate::Provenance),
        Kind::ProvenanceV1 => slsa::read_v1(object).map(Predicate::Provenance),
        Kind::Spdx => Ok(spdx::read(object)?.map_or(Predicate::Other, Predicate::Spdx)),
        Kind::CycloneDx => Ok(cyclonedx::read(object)?.map_or(Predicate::Other, Predicate::CycloneDx)),
        Kind::Vulnerabilities => vulnerabilities::read(object).map(Predicate::Vulnerabilities),
        Kind::OpenVex => Ok(vex::read(object)?.map_or(Predicate::Other, Predicate::OpenVex)),
        Kind::Sarif => Ok(sarif::read(object)?.map_or(Predicate::Other, Predicate::Sarif)),
        Kind::Summary => summary::read(object).map(Predicate::Summary),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    ProvenanceV0_2,
    ProvenanceV1,
    Spdx,
    CycloneDx,
    Vulnerabilities,
    OpenVex,
    Sarif,
    Summary,
}

fn kind(predicate_type: &str) -> Option<Kind> {
    Some(match predicate_type {
        "https://slsa.dev/provenance/v0.2" => Kind::ProvenanceV0_2,
        "https://slsa.dev/provenance/v1" => Kind::ProvenanceV1,
        // With a version or without one: the document has its own.
        "https://spdx.dev/Document" | "https://spdx.dev/Document/v2.2" | "https://spdx.dev/Document/v2.3" => Kind::Spdx,
        "https://cyclonedx.org/bom"
        | "https://cyclonedx.org/bom/v1.2"
        | "https://cyclonedx.org/bom/v1.3"
        | "https://cyclonedx.org/bom/v1.4"
        | "https://cyclonedx.org/bom/v1.5"
        | "https://cyclonedx.org/bom/v1.6"
        | "https://cyclonedx.org/vex" => Kind::CycloneDx,
        "https://cosign.sigstore.dev/attestation/vuln/v1" => Kind::Vulnerabilities,
        "https://openvex.dev/ns" | "https://openvex.dev/ns/v0.2.0" => Kind::OpenVex,
        // No specification gives SARIF a predicate type; these are the names of its schema that people use.
        "https://json.schemastore.org/sarif-2.1.0.json"
        | "https://docs.oasis-open.org/sarif/sarif/v2.1.0"
        | "https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/schemas/sarif-schema-2.1.0.json" => Kind::Sarif,
        "https://slsa.dev/verification_summary/v1" => Kind::Summary,
        _ => return None,
    })
}

impl fmt::Display for Predicate {
    /// One line for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Provenance(provenance) => provenance.fmt(f),
            Self::Spdx(spdx) => spdx.fmt(f),
            Self::CycloneDx(bom) => bom.fmt(f),
            Self::Vulnerabilities(scan) => scan.fmt(f),
            Self::OpenVex(vex) => vex.fmt(f),
            Self::Sarif(sarif) => sarif.fmt(f),
            Self::Summary(summary) => summary.fmt(f),
            Self::Other => f.write_str("a predicate whose content is not read here"),
        }
    }
}

/// A time that may be absent.
fn time(object: Object<'_>, key: &'static str) -> Result<Option<UnixTime>, JsonError> {
    let Some(text) = object.optional_string(key)? else { return Ok(None) };
    match rfc3339::parse(text) {
        Some(time) => Ok(Some(time)),
        None => Err(wrong(key, format!("is {text:?}, which is no RFC 3339 time"))),
    }
}

/// A string that may be absent. Some tools write an empty one for an absent one.
fn text(object: Object<'_>, key: &'static str) -> Result<Option<String>, JsonError> {
    Ok(object.optional_string(key)?.filter(|text| !text.is_empty()).map(str::to_owned))
}

/// A string that must be there and say something.
fn required(object: Object<'_>, key: &'static str) -> Result<String, JsonError> {
    match object.string(key)? {
        "" => Err(wrong(key, "is empty")),
        text => Ok(text.to_owned()),
    }
}
