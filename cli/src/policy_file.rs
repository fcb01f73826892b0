//! A policy file and everything that it names: files beside it, and public keys in the token, by way of the agent.
//! Reads and checks; puts nothing in force.

use std::path::{Path, PathBuf};

use assay_policy::{Material, Policy, PolicyDocument, PolicyErrors};
use serde_json::json;

use crate::{Context, bounded_file, failure::Failure, keys};

/// Largest file that is read: what the agent reads too.
const MAX_FILE_BYTES: u64 = 8 << 20;

/// A policy that was read, with what it names.
#[derive(Debug)]
pub(crate) struct PolicyFile {
    document: PolicyDocument,
    material: Material,
    unread: Vec<UnreadKey>,
}

/// A key whose public half could not be read from its token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UnreadKey {
    /// Its name in the policy.
    pub(crate) name: String,
    /// Its `pkcs11:` URI.
    pub(crate) uri: String,
    /// Why.
    pub(crate) why: String,
}

impl PolicyFile {
    /// Reads the policy at `path`, its files, and its keys in the token as far as the agent can be asked.
    ///
    /// # Errors
    /// If the file cannot be read or is no policy: with line and column.
    pub(crate) async fn read(context: &Context, path: &Path) -> Result<Self, Failure> {
        let bytes =
            bounded_file::read(path, MAX_FILE_BYTES).map_err(|error| Failure::io("read the policy", path, &error))?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            Failure::new("POLICY_INVALID", format!("{}: byte {at} is not UTF-8", path.display()), "save it as UTF-8")
        })?;
        let document = PolicyDocument::parse(&path.display().to_string(), &text).map_err(|errors| invalid(&errors))?;
        let mut material = Material::default();
        let folder = path.parent().unwrap_or(Path::new(""));
        for name in document.files() {
            // A file that is missing is an error at the line that names it: `compile` says so.
            match bounded_file::read(&folder.join(name), MAX_FILE_BYTES) {
                Ok(bytes) => drop(material.files.insert(name.to_owned(), bytes)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(Failure::io("read", &folder.join(name), &error)),
            }
        }
        let mut unread = Vec::new();
        for key in document.token_keys() {
            match keys::public_key(context, key.uri.to_owned()).await {
                Ok(public) => drop(material.token_keys.insert(key.uri.to_owned(), public.spki)),
                Err(failure) => {
                    unread.push(UnreadKey { name: key.name.to_string(), uri: key.uri.to_owned(), why: failure.message })
                }
            }
        }
        Ok(Self { document, material, unread })
    }

    /// The keys in the token that could not be read: without them there is no whole check.
    pub(crate) fn unread(&self) -> &[UnreadKey] {
        &self.unread
    }

    /// The document, as far as it can be judged without its keys.
    pub(crate) const fn document(&self) -> &PolicyDocument {
        &self.document
    }

    /// Files that the policy names and that are not there.
    pub(crate) fn missing_files(&self) -> Vec<PathBuf> {
        let files = self.document.files().into_iter();
        files.filter(|name| !self.material.files.contains_key(*name)).map(PathBuf::from).collect()
    }

    /// The policy, ready to decide.
    ///
    /// # Errors
    /// Every key, pin, file and threshold that does not fit, with line and column.
    pub(crate) fn compile(self) -> Result<Policy, Failure> {
        if let Some(key) = self.unread.first() {
            return Err(Failure::new(
                "KEY_UNREAD",
                format!("key {} ({}) lives in the token and could not be read: {}", key.name, key.uri, key.why),
                "start the agent, or name the key's PEM file in the policy (`assay keys public` prints it)",
            ));
        }
        self.document.compile(&self.material).map_err(|errors| invalid(&errors))
    }
}

fn invalid(errors: &PolicyErrors) -> Failure {
    let problems = errors.iter().zip(errors.hints()).map(|((line, column, message), hint)| {
        json!({ "file": errors.name(), "line": line, "column": column, "message": message, "hint": hint })
    });
    Failure {
        problems: problems.collect(),
        ..Failure::new(
            "POLICY_INVALID",
            format!("{} is no usable policy\n{}", errors.name(), errors.to_string().trim_end()),
            "correct the lines shown and check again",
        )
    }
}
