//! CycloneDX 1.0 to 1.7 in JSON (cyclonedx.org/docs): components, vulnerabilities and, where they are analysed, VEX.

use std::fmt;

use assay_admission::UnixTime;

use crate::json::{JsonError, Object, Value, wrong};

use super::{required, text, time};

/// A bill of materials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CycloneDx {
    /// `1.5`, say.
    pub version: String,
    /// The document's serial number.
    pub serial: Option<String>,
    /// When it was made, as its maker says.
    pub created: Option<UnixTime>,
    /// The components, those within others behind them.
    pub components: Vec<Component>,
    /// The vulnerabilities that it lists.
    pub vulnerabilities: Vec<Discovered>,
}

/// A component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    /// `library`, `application` and so on.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: Option<String>,
    /// Its package URL.
    pub purl: Option<String>,
}

/// A vulnerability.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovered {
    /// `CVE-2026-0001`, say.
    pub id: Option<String>,
    /// How bad each source says it is: `critical`, `high`, `medium`, `low`, `info`, `none`, `unknown`.
    pub severities: Vec<String>,
    /// What the document's maker found out about it (`analysis.state`): with it the document is a VEX.
    pub state: Option<String>,
    /// Why it does not matter, where it does not (`analysis.justification`).
    pub justification: Option<String>,
}

const SEVERITIES: [&str; 7] = ["critical", "high", "medium", "low", "info", "none", "unknown"];
const STATES: [&str; 6] =
    ["resolved", "resolved_with_pedigree", "exploitable", "in_triage", "false_positive", "not_affected"];

/// `None` if it is of a version that is not read here.
pub(super) fn read(object: Object<'_>) -> Result<Option<CycloneDx>, JsonError> {
    let format = object.string("bomFormat")?;
    if format != "CycloneDX" {
        return Err(wrong("bomFormat", format!("is {format:?}, not \"CycloneDX\"")));
    }
    let version = required(object, "specVersion")?;
    if !matches!(version.as_str(), "1.0" | "1.1" | "1.2" | "1.3" | "1.4" | "1.5" | "1.6" | "1.7") {
        return Ok(None);
    }
    let metadata = object.optional_object("metadata")?;
    let vulnerabilities = object.optional_array("vulnerabilities")?;
    Ok(Some(CycloneDx {
        version,
        serial: text(object, "serialNumber")?,
        created: metadata.map(|found| time(found, "timestamp")).transpose()?.flatten(),
        components: components(object)?,
        vulnerabilities: vulnerabilities.iter().map(vulnerability).collect::<Result<_, _>>()?,
    }))
}

/// All components, without recursion: how deep they may stand is bounded by the depth of JSON, how many by its values.
fn components(object: Object<'_>) -> Result<Vec<Component>, JsonError> {
    let mut found = Vec::new();
    let mut lists = vec![object.optional_array("components")?];
    while let Some(list) = lists.pop() {
        for value in list {
            let component = value.object("components")?;
            found.push(Component {
                kind: required(component, "type")?,
                name: required(component, "name")?,
                version: text(component, "version")?,
                purl: text(component, "purl")?,
            });
            lists.push(component.optional_array("components")?);
        }
    }
    Ok(found)
}

fn vulnerability(value: &Value<'_>) -> Result<Discovered, JsonError> {
    let vulnerability = value.object("vulnerabilities")?;
    let ratings = vulnerability.optional_array("ratings")?;
    let severity = |value: &Value<'_>| known(value.object("ratings")?, "severity", &SEVERITIES);
    let severities = ratings.iter().filter_map(|value| severity(value).transpose()).collect::<Result<_, _>>()?;
    let analysis = vulnerability.optional_object("analysis")?;
    Ok(Discovered {
        id: text(vulnerability, "id")?,
        severities,
        state: analysis.map(|found| known(found, "state", &STATES)).transpose()?.flatten(),
        justification: analysis.map(|found| text(found, "justification")).transpose()?.flatten(),
    })
}

/// One of a closed list of words, if it is there.
fn known(object: Object<'_>, key: &'static str, words: &[&str]) -> Result<Option<String>, JsonError> {
    match object.optional_string(key)? {
        Some(word) if !words.contains(&word) => {
            Err(wrong(key, format!("is {word:?}, not one of {}", words.join(", "))))
        }
        word => Ok(word.map(str::to_owned)),
    }
}

impl fmt::Display for CycloneDx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CycloneDX {} BOM of {} components", self.version, self.components.len())?;
        if !self.vulnerabilities.is_empty() {
            let analysed = self.vulnerabilities.iter().filter(|found| found.state.is_some()).count();
            write!(f, ", {} vulnerabilities, {analysed} of them analysed", self.vulnerabilities.len())?;
        }
        Ok(())
    }
}
