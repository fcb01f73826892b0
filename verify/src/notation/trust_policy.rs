//! Notary Project trust policies, version 1.0 (trust-store-trust-policy.md): the bytes of `trustpolicy.oci.json` or
//! `trustpolicy.json` come in, statements that keep every rule come out. Reads no file and no store; what is unknown is refused.

use std::{collections::BTreeMap, fmt};

use super::level::{Action, Check, Level, LevelError, UnknownWord, VerificationLevel};
use crate::{
    json::{JsonError, Object, Value, parse_object},
    limits::{LimitReached, MAX_POLICY_BYTES, MAX_STATEMENTS},
    name::{DistinguishedNamePattern, PatternError},
    trust::{TimestampRule, TrustedIdentities},
};

/// A trust policy document whose statements keep every rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustPolicyDocument {
    statements: Vec<TrustPolicyStatement>,
}

/// What holds for some repositories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustPolicyStatement {
    name: String,
    scopes: Scopes,
    demand: Demand,
}

/// What a statement asks of signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Demand {
    /// Nothing: level `skip`.
    Nothing,
    /// A signature at a level.
    Signature {
        /// The level, with its overrides.
        level: VerificationLevel,
        /// When a time-stamp is needed, if there is a store of type `tsa`.
        timestamps: TimestampRule,
        /// The trust stores, each once.
        stores: Vec<TrustStoreName>,
        /// Whose signatures count.
        identities: TrustedIdentities,
    },
}

/// A named trust store: `ca:acme`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TrustStoreName {
    /// Its type.
    pub kind: TrustStoreKind,
    /// Its name: letters, digits, `_`, `.`, `-`; never a path.
    pub name: String,
}

/// The types of trust store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TrustStoreKind {
    /// `ca`
    Ca,
    /// `signingAuthority`
    SigningAuthority,
    /// `tsa`
    Tsa,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Scopes {
    All,
    Repositories(Vec<String>),
}

/// Why a document is no trust policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustPolicyError {
    /// It is not JSON as a trust policy has it.
    #[error("{field}: {problem}")]
    Malformed {
        /// Where.
        field: &'static str,
        /// What is wrong there.
        problem: String,
    },
    /// A cap was reached.
    #[error(transparent)]
    Limit(#[from] LimitReached),
    /// Another version than 1.0.
    #[error("version is {0:?}, and 1.0 is understood")]
    Version(String),
    /// No statement.
    #[error("trustPolicies is empty")]
    Empty,
    /// Two statements of one name.
    #[error("two statements are named {0:?}")]
    DuplicateName(String),
    /// One scope in two statements.
    #[error("the registry scope {0:?} stands twice")]
    DuplicateScope(String),
    /// A rule that one statement breaks.
    #[error("statement {statement:?}: {problem}")]
    Statement {
        /// Its name.
        statement: String,
        /// The rule.
        problem: StatementProblem,
    },
}

/// A rule that a statement breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatementProblem {
    /// Without a name nobody can talk about it.
    #[error("its name is empty")]
    NoName,
    /// No scope: it would hold nowhere.
    #[error("registryScopes is empty")]
    NoScope,
    /// `*` beside others.
    #[error("registryScopes has \"*\" beside other scopes")]
    WildcardBesideOthers,
    /// A scope that is no repository.
    #[error("the registry scope {0:?} is no repository such as registry.example/team/app; patterns are not accepted")]
    Scope(String),
    /// `skip` for everything.
    #[error("the level skip with the registry scope \"*\" would turn verification off")]
    SkipEverywhere,
    /// `skip` with stores or identities.
    #[error("the level skip has trust stores or trusted identities")]
    SkipWithTrust,
    /// A word that is none of those known.
    #[error("signatureVerification: {0}")]
    Word(#[from] UnknownWord),
    /// An override that is not allowed.
    #[error("signatureVerification: {0}")]
    Level(#[from] LevelError),
    /// No trust store.
    #[error("trustStores is empty")]
    NoStore,
    /// A trust store that is no TYPE:NAME.
    #[error(
        "the trust store {0:?} is not ca:NAME, signingAuthority:NAME or tsa:NAME with NAME of letters, digits, '_', '.', '-'"
    )]
    Store(String),
    /// No trusted identity.
    #[error("trustedIdentities is empty")]
    NoIdentity,
    /// `*` beside others.
    #[error("trustedIdentities has \"*\" beside others")]
    AnyoneBesideOthers,
    /// An identity of another kind than `x509.subject`, or without one.
    #[error("the trusted identity {0:?} is not \"*\" and not x509.subject:…")]
    IdentityKind(String),
    /// A distinguished name that is refused.
    #[error("the trusted identity {identity:?}: {problem}")]
    Identity {
        /// What stands there.
        identity: String,
        /// Why it is refused.
        problem: PatternError,
    },
    /// Whoever matches one matches the other.
    #[error("the trusted identities \"{0}\" and \"{1}\" overlap")]
    Overlap(String, String),
}

impl TrustPolicyDocument {
    /// Reads a document and checks every rule of version 1.0.
    ///
    /// # Errors
    /// [`TrustPolicyError`] naming the statement and what is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, TrustPolicyError> {
        if bytes.len() > MAX_POLICY_BYTES {
            return Err(LimitReached { what: "bytes of a trust policy", limit: MAX_POLICY_BYTES }.into());
        }
        let (version, raw) = parse_object(bytes, "trust policy", |document| {
            document.only(&["version", "trustPolicies"])?;
            let statements = document.array("trustPolicies")?.iter().map(|one| Raw::read(one.object("trustPolicies")?));
            Ok((document.string("version")?.to_owned(), statements.collect::<Result<Vec<_>, _>>()?))
        })?;
        if version != "1.0" {
            return Err(TrustPolicyError::Version(version));
        }
        if raw.is_empty() {
            return Err(TrustPolicyError::Empty);
        }
        if raw.len() > MAX_STATEMENTS {
            return Err(LimitReached { what: "statements of a trust policy", limit: MAX_STATEMENTS }.into());
        }
        let statements = raw.into_iter().map(Raw::check).collect::<Result<Vec<_>, _>>()?;
        let document = Self { statements };
        document.check_uniqueness()?;
        Ok(document)
    }

    /// The statement for `repository` (`registry.example/team/app`): the one that names it, else the one with `*`.
    #[must_use]
    pub fn statement_for(&self, repository: &str) -> Option<&TrustPolicyStatement> {
        let names_it = |statement: &&TrustPolicyStatement| match &statement.scopes {
            Scopes::All => false,
            Scopes::Repositories(repositories) => repositories.iter().any(|scope| scope == repository),
        };
        let everywhere = || self.statements.iter().find(|statement| statement.scopes == Scopes::All);
        self.statements.iter().find(names_it).or_else(everywhere)
    }

    fn check_uniqueness(&self) -> Result<(), TrustPolicyError> {
        let mut names: Vec<&str> = self.statements.iter().map(|statement| statement.name.as_str()).collect();
        names.sort_unstable();
        if let Some([name, _]) = names.array_windows().find(|[one, other]| one == other) {
            return Err(TrustPolicyError::DuplicateName((*name).to_owned()));
        }
        let mut scopes: Vec<&str> = self.statements.iter().flat_map(|statement| statement.scopes.texts()).collect();
        scopes.sort_unstable();
        match scopes.array_windows().find(|[one, other]| one == other) {
            Some([scope, _]) => Err(TrustPolicyError::DuplicateScope((*scope).to_owned())),
            None => Ok(()),
        }
    }
}

impl TrustPolicyStatement {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it asks of signatures.
    #[must_use]
    pub const fn demand(&self) -> &Demand {
        &self.demand
    }
}

impl Scopes {
    fn texts(&self) -> impl Iterator<Item = &str> {
        let (all, some): (_, &[String]) = match self {
            Self::All => (Some("*"), &[]),
            Self::Repositories(repositories) => (None, repositories),
        };
        all.into_iter().chain(some.iter().map(String::as_str))
    }
}

impl TrustStoreKind {
    /// The word of a trust policy, and the folder's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ca => "ca",
            Self::SigningAuthority => "signingAuthority",
            Self::Tsa => "tsa",
        }
    }
}

impl fmt::Display for TrustStoreName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind.as_str(), self.name)
    }
}

/// A statement as it stands in the document.
struct Raw {
    name: String,
    scopes: Vec<String>,
    level: String,
    overrides: BTreeMap<String, String>,
    timestamps: Option<String>,
    stores: Vec<String>,
    identities: Vec<String>,
}

impl Raw {
    fn read(statement: Object<'_>) -> Result<Self, JsonError> {
        statement.only(&["name", "registryScopes", "signatureVerification", "trustStores", "trustedIdentities"])?;
        let verification = statement.object("signatureVerification")?;
        verification.only(&["level", "override", "verifyTimestamp"])?;
        let texts = |key| texts(key, statement.optional_array(key)?);
        Ok(Self {
            name: statement.string("name")?.to_owned(),
            scopes: texts("registryScopes")?,
            level: verification.string("level")?.to_owned(),
            overrides: verification.strings("override")?,
            timestamps: verification.optional_string("verifyTimestamp")?.map(str::to_owned),
            stores: texts("trustStores")?,
            identities: texts("trustedIdentities")?,
        })
    }

    fn check(self) -> Result<TrustPolicyStatement, TrustPolicyError> {
        let name = self.name.clone();
        let checked = self.checked();
        checked.map_err(|problem| TrustPolicyError::Statement { statement: name, problem })
    }

    fn checked(self) -> Result<TrustPolicyStatement, StatementProblem> {
        if self.name.is_empty() {
            return Err(StatementProblem::NoName);
        }
        let scopes = scopes(&self.scopes)?;
        let level: Level = self.level.parse()?;
        let overrides = self.overrides.iter().map(|(check, action)| Ok((check.parse()?, action.parse()?)));
        let overrides = overrides.collect::<Result<BTreeMap<Check, Action>, UnknownWord>>()?;
        let level = VerificationLevel::new(level, overrides)?;
        let timestamps = timestamp_rule(self.timestamps.as_deref())?;
        let demand = if level.level() == Level::Skip {
            if scopes == Scopes::All {
                return Err(StatementProblem::SkipEverywhere);
            }
            if !self.stores.is_empty() || !self.identities.is_empty() {
                return Err(StatementProblem::SkipWithTrust);
            }
            Demand::Nothing
        } else {
            let (stores, identities) = (stores(&self.stores)?, identities(&self.identities)?);
            Demand::Signature { level, timestamps, stores, identities }
        };
        Ok(TrustPolicyStatement { name: self.name, scopes, demand })
    }
}

fn texts(key: &'static str, values: &[Value<'_>]) -> Result<Vec<String>, JsonError> {
    values.iter().map(|value| Ok(value.string(key)?.to_owned())).collect()
}

fn timestamp_rule(text: Option<&str>) -> Result<TimestampRule, UnknownWord> {
    match text {
        None | Some("always") => Ok(TimestampRule::Always),
        Some("afterCertExpiry") => Ok(TimestampRule::AfterCertificateExpiry),
        Some(other) => Err(UnknownWord { found: other.to_owned(), known: "always, afterCertExpiry" }),
    }
}

fn scopes(scopes: &[String]) -> Result<Scopes, StatementProblem> {
    match scopes {
        [] => Err(StatementProblem::NoScope),
        [all] if all == "*" => Ok(Scopes::All),
        some if some.iter().any(|scope| scope == "*") => Err(StatementProblem::WildcardBesideOthers),
        some => match some.iter().find(|scope| !is_repository(scope)) {
            Some(other) => Err(StatementProblem::Scope(other.clone())),
            None => Ok(Scopes::Repositories(some.to_vec())),
        },
    }
}

/// A host, with a port or not, and the path of a repository (OCI distribution-spec, "Pulling manifests").
fn is_repository(scope: &str) -> bool {
    let Some((host, path)) = scope.split_once('/') else { return false };
    let (host, port) = host.split_once(':').map_or((host, None), |(host, port)| (host, Some(port)));
    let is_label = |label: &str| {
        let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !label.is_empty() && label.bytes().all(is_inner) && !label.starts_with('-') && !label.ends_with('-')
    };
    let is_port = port.is_none_or(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()));
    host.split('.').all(is_label) && is_port && path.split('/').all(is_component)
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(component: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_edge = |byte: Option<&u8>| byte.copied().is_some_and(is_word);
    let bytes = component.as_bytes();
    let separators = component.split(|character: char| character.is_ascii_lowercase() || character.is_ascii_digit());
    let is_separator =
        |text: &str| text.is_empty() || matches!(text, "." | "_" | "__") || text.bytes().all(|byte| byte == b'-');
    is_edge(bytes.first()) && is_edge(bytes.last()) && separators.into_iter().all(is_separator)
}

fn stores(texts: &[String]) -> Result<Vec<TrustStoreName>, StatementProblem> {
    if texts.is_empty() {
        return Err(StatementProblem::NoStore);
    }
    let mut stores = texts.iter().map(|text| store(text)).collect::<Result<Vec<_>, _>>()?;
    stores.sort_unstable();
    stores.dedup();
    Ok(stores)
}

fn store(text: &str) -> Result<TrustStoreName, StatementProblem> {
    let refused = || StatementProblem::Store(text.to_owned());
    let (kind, name) = text.split_once(':').ok_or_else(refused)?;
    let kinds = [TrustStoreKind::Ca, TrustStoreKind::SigningAuthority, TrustStoreKind::Tsa];
    let kind = kinds.into_iter().find(|known| known.as_str() == kind).ok_or_else(refused)?;
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    // The name becomes that of a folder: the two that lead elsewhere are none.
    if name.is_empty() || !name.bytes().all(is_legal) || matches!(name, "." | "..") {
        return Err(refused());
    }
    Ok(TrustStoreName { kind, name: name.to_owned() })
}

fn identities(texts: &[String]) -> Result<TrustedIdentities, StatementProblem> {
    match texts {
        [] => return Err(StatementProblem::NoIdentity),
        [anyone] if anyone == "*" => return Ok(TrustedIdentities::Any),
        some if some.iter().any(|identity| identity == "*") => return Err(StatementProblem::AnyoneBesideOthers),
        _ => {}
    }
    let subjects = texts.iter().map(|text| identity(text)).collect::<Result<Vec<_>, _>>()?;
    for (at, one) in subjects.iter().enumerate() {
        let mut others = subjects.iter().enumerate().filter(|(place, _)| *place != at).map(|(_, other)| other);
        if let Some(other) = others.find(|other| one.is_part_of(other)) {
            return Err(StatementProblem::Overlap(one.to_string(), other.to_string()));
        }
    }
    Ok(TrustedIdentities::Subjects(subjects))
}

fn identity(text: &str) -> Result<DistinguishedNamePattern, StatementProblem> {
    let subject = text.strip_prefix("x509.subject:").map(str::trim_start).filter(|subject| !subject.is_empty());
    let subject = subject.ok_or_else(|| StatementProblem::IdentityKind(text.to_owned()))?;
    DistinguishedNamePattern::parse(subject)
        .map_err(|problem| StatementProblem::Identity { identity: text.to_owned(), problem })
}

impl From<JsonError> for TrustPolicyError {
    fn from(error: JsonError) -> Self {
        match error {
            JsonError::Syntax(problem) => Self::Malformed { field: "JSON", problem },
            JsonError::Field { field, problem } => Self::Malformed { field, problem },
            JsonError::Limit(limit) => Self::Limit(limit),
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests;
