//! The policy language: TOML text in, a checked document out, or every error with its line and column.
//! All that can be known without the keys themselves is checked here: names, scopes, thresholds, references between parts.

mod read;
mod rules;
mod signers;
mod trusted;

use std::{collections::BTreeMap, num::NonZeroUsize, sync::Arc};

use assay_admission::{Digest, Mode};
use assay_verify::{Action, DistinguishedNamePattern, IdentityPattern, PredicateType, SignerName, TimestampRule};
use toml::de::DeTable;

use crate::{
    errors::{At, PolicyErrors, Problems, Source},
    scope::Scope,
};
use read::{Fields, Section};
use signers::Known;

/// A policy that was read and makes sense, without the keys and certificates that it names.
#[derive(Clone, Debug)]
pub struct PolicyDocument {
    pub(crate) source: Source,
    pub(crate) version: At<u64>,
    pub(crate) mode: Mode,
    pub(crate) keys: Vec<KeyEntry>,
    pub(crate) stores: Vec<StoreEntry>,
    pub(crate) roots: Vec<RootEntry>,
    pub(crate) signers: Vec<SignerEntry>,
    pub(crate) rules: Vec<RuleEntry>,
    pub(crate) blocked: BTreeMap<Digest, String>,
}

/// A public key that has to be read from a token before the policy can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenKey<'a> {
    /// The key's name in the policy.
    pub name: &'a SignerName,
    /// Its `pkcs11:` URI, as written.
    pub uri: &'a str,
    /// SHA-256 of the SubjectPublicKeyInfo it must have, lower-case hex.
    pub sha256: String,
}

/// `[keys.NAME]`
#[derive(Clone, Debug)]
pub(crate) struct KeyEntry {
    pub(crate) name: At<SignerName>,
    pub(crate) public: At<KeySource>,
    pub(crate) pin: Option<At<String>>,
    /// The root in whose logs its signatures have to stand.
    pub(crate) log: Option<At<SignerName>>,
}

#[derive(Clone, Debug)]
pub(crate) enum KeySource {
    Pem(String),
    File(String),
    Token(String),
}

/// `[certificates.NAME]`
#[derive(Clone, Debug)]
pub(crate) struct StoreEntry {
    pub(crate) name: At<SignerName>,
    /// Files of type `ca`, `signingAuthority` and `tsa`.
    pub(crate) anchors: Vec<At<String>>,
    pub(crate) signing_authority: Vec<At<String>>,
    pub(crate) timestamping: Vec<At<String>>,
    pub(crate) timestamps: TimestampRule,
    pub(crate) revocation: Action,
    /// Greatest age of lists and answers in seconds.
    pub(crate) revocation_age: Option<u32>,
}

/// `[sigstore.NAME]`
#[derive(Clone, Debug)]
pub(crate) struct RootEntry {
    pub(crate) name: At<SignerName>,
    pub(crate) source: At<RootSource>,
    /// Operators of logs in which a signature must stand; 0: it need not stand in any.
    pub(crate) logs: Option<At<u64>>,
    /// Operators who must have told the time of a signature.
    pub(crate) times: Option<At<NonZeroUsize>>,
}

impl RootEntry {
    pub(crate) fn required_logs(&self) -> u64 {
        self.logs.as_ref().map_or(1, |logs| logs.value)
    }

    pub(crate) fn required_times(&self) -> NonZeroUsize {
        self.times.as_ref().map_or(NonZeroUsize::MIN, |times| times.value)
    }
}

#[derive(Clone, Debug)]
pub(crate) enum RootSource {
    /// `trusted-root`: a file beside the policy.
    File(String),
    /// `trust-root`: one that the agent keeps up to date, by its name.
    Managed(String),
}

/// `[signers.NAME]`
#[derive(Clone, Debug)]
pub(crate) struct SignerEntry {
    pub(crate) name: At<SignerName>,
    pub(crate) identified_by: IdentifiedBy,
}

#[derive(Clone, Debug)]
pub(crate) enum IdentifiedBy {
    Key(SignerName),
    Certificate { store: SignerName, subject: DistinguishedNamePattern },
    Identity { root: SignerName, pattern: IdentityPattern },
}

/// `[[rules]]`
#[derive(Clone, Debug)]
pub(crate) struct RuleEntry {
    pub(crate) name: At<String>,
    pub(crate) images: Vec<At<Scope>>,
    pub(crate) mode: Mode,
    pub(crate) demand: DemandEntry,
    pub(crate) signed: SignedDocument,
    pub(crate) docker_reference: DockerReference,
}

#[derive(Clone, Debug)]
pub(crate) enum DemandEntry {
    /// `accept = "unsigned"`
    Unsigned,
    /// `require = […]`: all of them.
    Requirements(Vec<RequirementEntry>),
}

#[derive(Clone, Debug)]
pub(crate) enum RequirementEntry {
    /// `{ signatures = N, of = […] }`
    Signatures(ThresholdEntry),
    /// `{ attestation = TYPE, by = […] }`
    Attestation(AttestationEntry),
}

#[derive(Clone, Debug)]
pub(crate) struct AttestationEntry {
    pub(crate) predicate_type: PredicateType,
    pub(crate) by: Vec<At<SignerName>>,
}

#[derive(Clone, Debug)]
pub(crate) struct ThresholdEntry {
    pub(crate) signatures: At<u64>,
    pub(crate) of: Vec<At<SignerName>>,
}

/// Which document of an image must be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SignedDocument {
    Either,
    Index,
    Manifest,
}

/// What a repository that a signature names means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DockerReference {
    Enforce,
    Ignore,
}

const ROOT: Fields = Fields {
    known: &["version", "mode", "keys", "certificates", "sigstore", "signers", "rules", "blocked"],
    unsupported: &["exceptions", "repositories", "revocation", "break-glass"],
};
const BLOCKED: Fields = Fields { known: &["digest", "reason"], unsupported: &["images", "expires"] };

impl PolicyDocument {
    /// Reads `text`. `name` is what messages call it, usually the file's name.
    ///
    /// # Errors
    /// [`PolicyErrors`] with everything that is wrong.
    pub fn parse(name: &str, text: &str) -> Result<Self, PolicyErrors> {
        let source = Source { name: name.to_owned(), text: Arc::from(text) };
        let mut problems = Problems::default();
        let (table, syntax_errors) = DeTable::parse_recoverable(text);
        for error in &syntax_errors {
            problems.add(&error.span().unwrap_or(0..0), error.message(), "");
        }
        // What a parser guessed behind a syntax error is not worth a second message.
        let document = if syntax_errors.is_empty() {
            read_document(&source, &Section::root(table.get_ref()), &mut problems)
        } else {
            None
        };
        problems.into_result(&source, document)
    }

    /// The files the policy names, relative to its own folder, each once.
    #[must_use]
    pub fn files(&self) -> Vec<&str> {
        let keys = self.keys.iter().filter_map(|key| match &key.public.value {
            KeySource::File(path) => Some(path.as_str()),
            KeySource::Pem(_) | KeySource::Token(_) => None,
        });
        let stores = self.stores.iter();
        let anchors =
            stores.flat_map(|store| [&store.anchors, &store.signing_authority, &store.timestamping]).flatten();
        let roots = self.roots.iter().filter_map(|root| match &root.source.value {
            RootSource::File(path) => Some(path.as_str()),
            RootSource::Managed(_) => None,
        });
        let mut files: Vec<&str> = keys.chain(anchors.map(|path| path.value.as_str())).chain(roots).collect();
        files.sort_unstable();
        files.dedup();
        files
    }

    /// The roots of trust that the agent keeps up to date, by name, each once.
    #[must_use]
    pub fn trust_roots(&self) -> Vec<&str> {
        let names = self.roots.iter().filter_map(|root| match &root.source.value {
            RootSource::Managed(name) => Some(name.as_str()),
            RootSource::File(_) => None,
        });
        let mut names: Vec<&str> = names.collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The keys that have to be read from a token.
    #[must_use]
    pub fn token_keys(&self) -> Vec<TokenKey<'_>> {
        self.keys
            .iter()
            .filter_map(|key| match (&key.public.value, &key.pin) {
                (KeySource::Token(uri), Some(pin)) => {
                    Some(TokenKey { name: &key.name.value, uri, sha256: pin.value.clone() })
                }
                (KeySource::Token(_) | KeySource::File(_) | KeySource::Pem(_), _) => None,
            })
            .collect()
    }
}

fn read_document(source: &Source, root: &Section<'_, '_>, problems: &mut Problems) -> Option<PolicyDocument> {
    root.allow(&ROOT, problems);
    let version = root.required_count("version", "a whole number that rises with every change: version = 1", problems);
    let mode = read_mode(root, problems);
    if !root.has("mode") {
        problems.add(&root.span, "a policy needs `mode`", MODE_HINT);
    }
    let keys = trusted::read_keys(root, problems);
    let stores = trusted::read_stores(root, problems);
    let roots = trusted::read_roots(root, problems);
    let signers = signers::read_signers(root, problems);
    signers::check_references(root, &Known { keys: &keys, stores: &stores, roots: &roots }, &signers, problems);
    let names = rules::Names::new(root, &keys, &stores, &signers);
    let rules = rules::read_rules(root, mode.unwrap_or(Mode::Enforce), &names, problems);
    let blocked = read_blocked(root, problems);
    Some(PolicyDocument {
        source: source.clone(),
        version: version?,
        mode: mode?,
        keys,
        stores,
        roots,
        signers,
        rules,
        blocked,
    })
}

const MODE_HINT: &str = "mode = \"enforce\", \"warn\" or \"observe\"";

/// The mode in a section, if it names one.
fn read_mode(section: &Section<'_, '_>, problems: &mut Problems) -> Option<Mode> {
    let words = [("enforce", Mode::Enforce), ("warn", Mode::Warn), ("observe", Mode::Observe)];
    read_word(section, "mode", &words, MODE_HINT, problems)
}

/// One of a few words, if the field is there.
fn read_word<T: Copy>(
    section: &Section<'_, '_>,
    field: &str,
    words: &[(&str, T)],
    hint: &str,
    problems: &mut Problems,
) -> Option<T> {
    let text = section.text(field, problems)?;
    let found = words.iter().find(|(word, _)| *word == text.value).map(|(_, meaning)| *meaning);
    if found.is_none() {
        problems.add(&text.span, format!("`{field}` cannot be {:?}", text.value), hint);
    }
    found
}

fn read_blocked(root: &Section<'_, '_>, problems: &mut Problems) -> BTreeMap<Digest, String> {
    const HINT: &str = "[[blocked]] with digest = \"sha256:…\" and reason = \"…\"";
    let mut blocked = BTreeMap::new();
    for section in root.sections("blocked", "a blocked digest", HINT, problems) {
        section.allow(&BLOCKED, problems);
        let digest = section.required_text("digest", HINT, problems);
        let reason = section.required_text("reason", "people who are refused want to know why", problems);
        let Some(digest) = digest else { continue };
        match digest.value.parse::<Digest>() {
            Ok(value) => {
                let reason = reason.map(|reason| reason.value).unwrap_or_default();
                if blocked.insert(value, reason).is_some() {
                    problems.add(&digest.span, "this digest is blocked twice", "keep one of the two");
                }
            }
            Err(error) => problems.add(
                &digest.span,
                format!("this is no digest: {error}"),
                "sha256: and 64 lower-case hex digits",
            ),
        }
    }
    blocked
}
