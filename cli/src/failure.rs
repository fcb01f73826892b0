//! How a verb ends: exit codes as cosign users know them, and failures that name what, where, why and what to do.
//! Knows nothing of the verbs.

use std::{fmt, process::ExitCode};

use serde_json::{Value, json};

/// What `assay help exit-codes` says.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
   0  done; for `verify`: the image is admitted
   1  something failed that no other code names; for `node status`: no policy is in force, everything is denied
   2  wrong usage
   3  denied by the policy for a reason that codes 10 to 13 do not name
   4  the agent cannot be reached or does not answer
   5  the log is damaged (audit verify)
  10  verify: the image has no signature
  11  verify: there is no such image or tag in the registry
  12  verify: there are signatures, and they do not match or do not satisfy the rule
  13  verify: an identity was asked for, and no signature has a certificate

With `-o json` a failure is also JSON, on standard output: {\"error\":{\"code\",\"message\",\"remedy\"}}.
A denial is the verdict itself, with \"decision\":\"deny\" and its reasons.";

/// The process's exit code. The numbers from 10 are cosign's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done, or admitted.
    Success,
    /// Anything that has no code of its own.
    Failed,
    /// Wrong usage.
    Usage,
    /// Denied for a reason without a code of its own.
    Denied,
    /// No agent.
    AgentUnreachable,
    /// The log was changed or cut.
    LogDamaged,
    /// No signature.
    NoSignature,
    /// No such image.
    NoImage,
    /// Signatures that do not suffice.
    NotSatisfied,
    /// Signatures without a certificate, where an identity was asked for.
    NoCertificate,
}

impl Exit {
    /// The number.
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Denied => 3,
            Self::AgentUnreachable => 4,
            Self::LogDamaged => 5,
            Self::NoSignature => 10,
            Self::NoImage => 11,
            Self::NotSatisfied => 12,
            Self::NoCertificate => 13,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.number())
    }
}

/// Why a verb failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// How the process ends.
    pub(crate) exit: Exit,
    /// A stable word for scripts: `AGENT_UNREACHABLE`.
    pub(crate) code: &'static str,
    /// What failed, where and why: a sentence without a full stop.
    pub(crate) message: String,
    /// What a person can do. May be empty.
    pub(crate) remedy: String,
    /// Single faults for scripts, each with its place. Empty if the message says it all.
    pub(crate) problems: Vec<Value>,
}

impl Failure {
    /// A failure with exit code 1.
    pub(crate) fn new(code: &'static str, message: impl fmt::Display, remedy: impl fmt::Display) -> Self {
        Self {
            exit: Exit::Failed,
            code,
            message: message.to_string(),
            remedy: remedy.to_string(),
            problems: Vec::new(),
        }
    }

    /// The same failure with another exit code.
    pub(crate) fn exits(self, exit: Exit) -> Self {
        Self { exit, ..self }
    }

    /// The same failure of a node below `root`: what can be done names the files there.
    pub(crate) fn below(self, root: &std::path::Path) -> Self {
        Self { remedy: below(&self.remedy, root), ..self }
    }

    /// A file or folder that cannot be read or written.
    pub(crate) fn io(doing: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        let remedy = match error.kind() {
            std::io::ErrorKind::NotFound => "check the path",
            std::io::ErrorKind::IsADirectory => "give the file itself, not the folder that it is in",
            std::io::ErrorKind::PermissionDenied => "run it as a user who may (often root), or change the mode",
            std::io::ErrorKind::StorageFull => "free space on that file system",
            _ => "",
        };
        Self::new("IO", format!("failed to {doing} {}: {error}", path.display()), remedy)
    }

    /// `{"error":{…}}`
    pub(crate) fn json(&self) -> Value {
        let mut error = json!({ "code": self.code, "message": self.message, "remedy": self.remedy });
        if let Some(object) = error.as_object_mut().filter(|_| !self.problems.is_empty()) {
            object.insert("problems".to_owned(), self.problems.clone().into());
        }
        json!({ "error": error })
    }
}

/// Places Assay's own folders below `root` wherever `text` names them.
fn below(text: &str, root: &std::path::Path) -> String {
    let mut placed = String::new();
    let mut rest = text;
    while let Some(at) = OWN_FOLDERS.iter().filter_map(|folder| rest.find(folder)).min() {
        let (before, from) = rest.split_at(at);
        placed.push_str(before);
        // In the middle of a longer path it is below a root already.
        let is_path = before.chars().next_back().is_some_and(|last| last.is_alphanumeric() || "/._-".contains(last));
        let (slash, more) = from.split_at(1);
        if !is_path && let Some(root) = root.to_str() {
            placed.push_str(root.trim_end_matches('/'));
        }
        placed.push_str(slash);
        rest = more;
    }
    placed + rest
}

const OWN_FOLDERS: [&str; 3] = ["/etc/assay", "/run/assay", "/var/lib/assay"];

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        if !self.remedy.is_empty() {
            write!(f, "\n  what to do: {}", self.remedy)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_the_documented_ones_and_all_differ() {
        let all = [
            (Exit::Success, 0),
            (Exit::Failed, 1),
            (Exit::Usage, 2),
            (Exit::Denied, 3),
            (Exit::AgentUnreachable, 4),
            (Exit::LogDamaged, 5),
            (Exit::NoSignature, 10),
            (Exit::NoImage, 11),
            (Exit::NotSatisfied, 12),
            (Exit::NoCertificate, 13),
        ];
        for (exit, number) in all {
            assert_eq!(exit.number(), number);
            assert!(EXIT_CODES.contains(&format!("\n  {number:>2}  ")), "{number} is not documented");
        }
    }

    #[test]
    fn remedies_name_the_files_of_the_node_in_question() {
        let placed = |remedy: &str, root: &str| Failure::new("X", "y", remedy).below(std::path::Path::new(root)).remedy;
        assert_eq!(
            placed("edit /etc/assay/a and `/var/lib/assay`", "/n"),
            "edit /n/etc/assay/a and `/n/var/lib/assay`"
        );
        for (remedy, root) in [("edit /etc/assay/a", "/"), ("edit /n/etc/assay/a, /etc/assayer", "/n"), ("", "/n")] {
            let expected = remedy.replace(", /etc/assayer", ", /n/etc/assayer");
            assert_eq!(placed(remedy, root), expected);
        }
    }

    #[test]
    fn a_failure_says_what_to_do_in_text_and_in_json() {
        let failure = Failure::new("X", "it broke", "mend it").exits(Exit::Denied);
        assert_eq!(failure.to_string(), "error: it broke\n  what to do: mend it");
        assert_eq!(failure.json(), json!({"error":{"code":"X","message":"it broke","remedy":"mend it"}}));
        assert_eq!(Failure::new("X", "it broke", "").to_string(), "error: it broke");
    }
}
