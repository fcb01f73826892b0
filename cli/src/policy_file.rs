//! A policy file and everything that it names: files beside it, and public keys in the token, by way of the agent.
//! Reads and checks; puts nothing in force.

use std::path::{Path, PathBuf};

use assay_policy::{Material, Policy, PolicyDocument, PolicyErrors};
use serde_json::json;

use crate::{
    Context,
    agent::Agent,
    bounded_file,
    failure::{Exit, Failure},
    keys, trust_root,
};

/// Largest file that is read: what the agent reads too.
const MAX_FILE_BYTES: u64 = 8 << 20;

/// How the agent's answers are called that say that a URI leads to no key, or to several.
const ANSWERS: [&str; 2] = ["NOT_FOUND", "INVALID"];

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
    /// How a verb ends that cannot do without it.
    exit: Exit,
}

/// Reads public keys from the token, through the agent. Once the agent could not be asked, it is not asked again.
struct TokenReader<'a> {
    context: &'a Context,
    agent: Option<Result<Agent, Failure>>,
}

impl TokenReader<'_> {
    async fn read(&mut self, uri: &str) -> Result<Vec<u8>, Failure> {
        let agent = match self.agent.take() {
            Some(agent) => agent,
            None => Agent::any(self.context).await,
        };
        let read = match &agent {
            Ok(agent) => keys::public_key_from(agent, uri.to_owned()).await.map(|key| key.spki),
            Err(failure) => Err(failure.clone()),
        };
        self.agent = Some(match &read {
            Err(failure) if failure.exit == Exit::AgentUnreachable => Err(failure.clone()),
            Ok(_) | Err(_) => agent,
        });
        read
    }
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
        let mut token = TokenReader { context, agent: None };
        for key in document.token_keys() {
            match token.read(key.uri).await {
                Ok(spki) => drop(material.token_keys.insert(key.uri.to_owned(), spki)),
                // The token was asked and has no such key, or several: an error at the line that names it.
                Err(failure) if ANSWERS.contains(&failure.code) => {
                    material.unread_keys.insert(key.uri.to_owned(), failure.message);
                }
                Err(Failure { message: why, exit, .. }) => {
                    unread.push(UnreadKey { name: key.name.to_string(), uri: key.uri.to_owned(), why, exit });
                }
            }
        }
        for name in document.trust_roots() {
            // Without an agent, or without one of that name, `compile` names the line.
            if let Some(root) = trust_root::trusted(context, name).await {
                material.trust_roots.insert(name.to_owned(), root);
            }
        }
        Ok(Self { document, material, unread })
    }

    /// The keys in the token that could not be read: without them there is no whole check.
    pub(crate) fn unread(&self) -> &[UnreadKey] {
        &self.unread
    }

    /// Whether a key is known not to be in the token, so that the policy cannot be put in force.
    pub(crate) fn has_missing_keys(&self) -> bool {
        !self.material.unread_keys.is_empty()
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
        if let Some(key) = self.unread.first().filter(|_| !self.has_missing_keys()) {
            return Err(Failure::new(
                "KEY_UNREAD",
                format!("key {} ({}) lives in the token and could not be read: {}", key.name, key.uri, key.why),
                "start the agent, or name the key's PEM file in the policy (`assay keys public` prints it)",
            )
            .exits(key.exit));
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
