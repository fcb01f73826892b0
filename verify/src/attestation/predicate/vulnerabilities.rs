//! cosign's `vuln` v1 (cosign specs, COSIGN_VULN_ATTESTATION_SPEC): which scanner looked, when, with which database.

use std::fmt;

use assay_admission::UnixTime;

use crate::json::{JsonError, Object, Value};

use super::{
    sarif::{self, Sarif},
    text, time,
};

/// A scan for vulnerabilities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vulnerabilities {
    /// Which scanner, a URI.
    pub scanner: Option<String>,
    /// The scanner's version.
    pub scanner_version: Option<String>,
    /// Which database, a URI.
    pub database: Option<String>,
    /// The database's version.
    pub database_version: Option<String>,
    /// When the scan started, as the scanner says.
    pub started: Option<UnixTime>,
    /// When the scan ended, as the scanner says.
    pub finished: Option<UnixTime>,
    /// What it found.
    pub report: Report,
}

/// A scanner's report, which has the scanner's own format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// SARIF 2.1.0.
    Sarif(Sarif),
    /// Another format, which is not read here.
    Other,
}

pub(super) fn read(object: Object<'_>) -> Result<Vulnerabilities, JsonError> {
    let scanner = object.object("scanner")?;
    let database = scanner.optional_object("db")?;
    let metadata = object.object("metadata")?;
    Ok(Vulnerabilities {
        scanner: text(scanner, "uri")?,
        scanner_version: text(scanner, "version")?,
        database: database.map(|found| text(found, "uri")).transpose()?.flatten(),
        database_version: database.map(|found| text(found, "version")).transpose()?.flatten(),
        started: time(metadata, "scanStartedOn")?,
        finished: time(metadata, "scanFinishedOn")?,
        report: report(scanner)?,
    })
}

/// Scanners that write SARIF write `version` and `runs`; other reports have neither or something else there.
fn report(scanner: Object<'_>) -> Result<Report, JsonError> {
    let Some(value @ Value::Object(members)) = scanner.optional("result")? else { return Ok(Report::Other) };
    let names_runs = members.iter().any(|(key, value)| key == "runs" && matches!(value, Value::Array(_)));
    let is_sarif = names_runs && members.iter().any(|(key, _)| key == "version");
    if !is_sarif {
        return Ok(Report::Other);
    }
    Ok(sarif::read(value.object("result")?)?.map_or(Report::Other, Report::Sarif))
}

impl fmt::Display for Vulnerabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vulnerability scan by {:?}", self.scanner.as_deref().unwrap_or("(a scanner without a name)"))?;
        self.finished.iter().try_for_each(|time| write!(f, ", finished at {time}"))?;
        match &self.report {
            Report::Sarif(sarif) => write!(f, ", {sarif}"),
            Report::Other => Ok(()),
        }
    }
}
