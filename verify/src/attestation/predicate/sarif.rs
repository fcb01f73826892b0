//! SARIF 2.1.0 (OASIS): what an analyser found, run by run.

use std::fmt;

use crate::json::{JsonError, Object, Value, wrong};

use super::required;

/// A report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sarif {
    /// The tool of each run.
    pub tools: Vec<String>,
    /// The results of all runs: the rule that was broken, and how bad it is where the result says so itself.
    pub results: Vec<(Option<String>, Option<Severity>)>,
}

/// `level` of a result (SARIF §3.27.10).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// Severity does not apply.
    None,
    /// Something to know.
    Note,
    /// A problem.
    Warning,
    /// A serious problem.
    Error,
}

/// `None` if it is of a version that is not read here.
pub(super) fn read(object: Object<'_>) -> Result<Option<Sarif>, JsonError> {
    if object.string("version")? != "2.1.0" {
        return Ok(None);
    }
    let mut sarif = Sarif { tools: Vec::new(), results: Vec::new() };
    for run in object.array("runs")? {
        let run = run.object("runs")?;
        sarif.tools.push(required(run.object("tool")?.object("driver")?, "name")?);
        for value in run.optional_array("results")? {
            sarif.results.push(result(value)?);
        }
    }
    Ok(Some(sarif))
}

fn result(value: &Value<'_>) -> Result<(Option<String>, Option<Severity>), JsonError> {
    let result = value.object("results")?;
    let level = match result.optional_string("level")? {
        None => None,
        Some("none") => Some(Severity::None),
        Some("note") => Some(Severity::Note),
        Some("warning") => Some(Severity::Warning),
        Some("error") => Some(Severity::Error),
        Some(other) => return Err(wrong("level", format!("is {other:?}, not none, note, warning or error"))),
    };
    Ok((result.optional_string("ruleId")?.map(str::to_owned), level))
}

impl fmt::Display for Sarif {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SARIF report of {} results by {:?}", self.results.len(), self.tools)
    }
}
