//! Turns a document and the keys and certificates that it names into a policy. Every pin is compared, every key parsed;
//! what is missing or does not fit is an error at the place that names it.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroUsize,
};

use assay_admission::Digest;
use assay_verify::{
    Anchors, Certificate, CertificateStore, Check, Level, LogRule, PublicKey, SignerName, SigstoreRoot, Trust,
    VerificationLevel,
};

use crate::{
    document::{
        DemandEntry, IdentifiedBy, KeyEntry, KeySource, PolicyDocument, RequirementEntry, RootEntry, RootSource,
        SignerEntry, StoreEntry, ThresholdEntry,
    },
    errors::{At, PolicyErrors, Problems},
    index::ScopeIndex,
    policy::{AttestationDemand, Authority, Demand, Identity, Policy, Requirement, Rule, Threshold},
};

/// Operators that an error shows.
const SHOWN_OPERATORS: usize = 8;

/// What was read for a document: the files it names, and its keys that live in a token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Material {
    /// File contents by the path that the document has for them.
    pub files: BTreeMap<String, Vec<u8>>,
    /// SubjectPublicKeyInfo (DER) by `pkcs11:` URI. The document's pins are compared with it, so the reader need not be
    /// believed.
    pub token_keys: BTreeMap<String, Vec<u8>>,
    /// Why keys could not be read from a token, by `pkcs11:` URI.
    pub unread_keys: BTreeMap<String, String>,
    /// `trusted_root.json` of each root of trust that the agent keeps up to date, by its name.
    pub trust_roots: BTreeMap<String, Vec<u8>>,
}

/// What becomes of a threshold of operators that a root of trust cannot reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OutOfReach {
    Refused,
    Taken,
}

impl PolicyDocument {
    /// The policy, ready to decide.
    ///
    /// # Errors
    /// [`PolicyErrors`] with every key, pin, file and threshold that does not fit.
    pub fn compile(self, material: &Material) -> Result<Policy, PolicyErrors> {
        self.build(material, OutOfReach::Refused)
    }

    /// A policy that was compiled before, with roots of trust that are others now. A root that has fewer operators than the
    /// policy asks for is taken all the same: nothing satisfies what asks for it, and a root that was replaced counts no more.
    ///
    /// # Errors
    /// [`PolicyErrors`] as [`compile`](Self::compile).
    pub fn compile_again(self, material: &Material) -> Result<Policy, PolicyErrors> {
        self.build(material, OutOfReach::Taken)
    }

    fn build(self, material: &Material, out_of_reach: OutOfReach) -> Result<Policy, PolicyErrors> {
        let mut problems = Problems::default();
        let trust = read_trust(&self, material, out_of_reach, &mut problems);
        let mut index = ScopeIndex::default();
        let mut rules = Vec::new();
        for entry in &self.rules {
            let demand = match &entry.demand {
                DemandEntry::Unsigned => Some(Demand::Unsigned),
                DemandEntry::Requirements(requirements) => requirements
                    .iter()
                    .map(|requirement| resolve_requirement(requirement, &self.signers, &trust, &mut problems))
                    .collect::<Option<Vec<Requirement>>>()
                    .map(Demand::Requirements),
            };
            // Without a demand there is an error already, and no policy comes out.
            let Some(demand) = demand else { continue };
            entry.images.iter().for_each(|scope| index.insert(&scope.value, rules.len()));
            rules.push(Rule {
                name: entry.name.value.clone(),
                mode: entry.mode,
                demand,
                signed: entry.signed,
                docker_reference: entry.docker_reference,
            });
        }
        let policy = Policy {
            source: self.source.clone(),
            sha256: Digest::sha256(self.source.text.as_bytes()).hex(),
            digest_of_own: digest(&self, material, &[]),
            digest_of_all: digest(&self, material, &self.trust_roots()),
            version: self.version.value,
            version_span: self.version.span,
            mode: self.mode,
            strictest: rules.iter().map(|rule| rule.mode).fold(self.mode, Ord::max),
            trust,
            rules,
            index,
            blocked: self.blocked,
        };
        problems.into_result(&self.source, Some(policy))
    }
}

fn read_trust(
    document: &PolicyDocument,
    material: &Material,
    out_of_reach: OutOfReach,
    problems: &mut Problems,
) -> Trust {
    let mut trust = Trust::default();
    for entry in &document.keys {
        if let Some(key) = read_key(entry, material, problems) {
            trust.keys.insert(entry.name.value.clone(), key);
        }
    }
    for entry in &document.stores {
        if let Some(store) = read_store(entry, material, problems) {
            trust.certificates.insert(entry.name.value.clone(), store);
        }
    }
    for entry in &document.roots {
        if let Some(root) = read_root(entry, material, problems) {
            if out_of_reach == OutOfReach::Refused {
                check_operators(entry, &root, problems);
            }
            trust.sigstore.insert(entry.name.value.clone(), root);
        }
    }
    for entry in &document.keys {
        if let Some(log) = &entry.log {
            trust.logged_keys.insert(entry.name.value.clone(), log.value.clone());
        }
    }
    trust
}

fn read_key(entry: &KeyEntry, material: &Material, problems: &mut Problems) -> Option<PublicKey> {
    let span = &entry.public.span;
    let key = match &entry.public.value {
        KeySource::Pem(pem) => PublicKey::from_pem(pem),
        KeySource::File(path) => {
            let bytes = file(path, span, material, problems)?;
            let Ok(pem) = std::str::from_utf8(bytes) else {
                problems.add(
                    span,
                    format!("{path} is not a PEM file"),
                    "a public key begins with -----BEGIN PUBLIC KEY-----",
                );
                return None;
            };
            PublicKey::from_pem(pem)
        }
        KeySource::Token(uri) => {
            let Some(spki) = material.token_keys.get(uri) else {
                let hint =
                    "is the token there, and does the URI name one public key in it? `assay keys list` shows its keys";
                let why = material.unread_keys.get(uri).map_or_else(String::new, |why| format!(": {why}"));
                problems.add(span, format!("key {} was not read from its token{why}", entry.name.value), hint);
                return None;
            };
            PublicKey::from_spki_der(spki)
        }
    };
    let key = match key {
        Ok(key) => key,
        Err(error) => {
            problems.add(span, format!("key {} cannot be used: {error}", entry.name.value), "");
            return None;
        }
    };
    if let Some(pin) = &entry.pin
        && pin.value != key.spki_sha256()
    {
        let message = format!("key {} is not the pinned one: its sha256 is {}", entry.name.value, key.spki_sha256());
        problems.add(&pin.span, message, "change the pin only if you know why the key changed");
        return None;
    }
    Some(key)
}

fn read_store(entry: &StoreEntry, material: &Material, problems: &mut Problems) -> Option<CertificateStore> {
    let anchors = Anchors {
        ca: read_certificates(&entry.anchors, material, problems)?,
        signing_authority: read_certificates(&entry.signing_authority, material, problems)?,
        tsa: read_certificates(&entry.timestamping, material, problems)?,
    };
    let level = VerificationLevel::new(Level::Strict, BTreeMap::from([(Check::Revocation, entry.revocation)]));
    let store = match level.map(|level| CertificateStore::of(anchors, level)) {
        Ok(Ok(store)) => Ok(store.with_timestamps(entry.timestamps)),
        Ok(Err(error)) => Err(error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match store {
        Ok(store) => Some(match entry.revocation_age {
            Some(seconds) => store.with_revocation_age(seconds),
            None => store,
        }),
        Err(error) => {
            problems.add(&entry.name.span, format!("certificates {} cannot be used: {error}", entry.name.value), "");
            None
        }
    }
}

fn read_certificates(paths: &[At<String>], material: &Material, problems: &mut Problems) -> Option<Vec<Certificate>> {
    let mut all = Vec::new();
    for path in paths {
        let bytes = file(&path.value, &path.span, material, problems)?;
        match Certificate::all_from_pem(bytes) {
            Ok(certificates) => all.extend(certificates),
            Err(error) => {
                problems.add(&path.span, format!("{} cannot be used: {error}", path.value), "");
                return None;
            }
        }
    }
    Some(all)
}

fn read_root(entry: &RootEntry, material: &Material, problems: &mut Problems) -> Option<SigstoreRoot> {
    let span = &entry.source.span;
    let (bytes, shown) = match &entry.source.value {
        RootSource::File(path) => (file(path, span, material, problems)?, path.as_str()),
        RootSource::Managed(name) => match material.trust_roots.get(name) {
            Some(bytes) => (bytes.as_slice(), name.as_str()),
            None => {
                let hint =
                    "`assay trust-root show` says which there are and why; [trust-roots.NAME] of assayd.toml makes one";
                problems.add(span, format!("the trust root {name} has nothing that is trusted yet"), hint);
                return None;
            }
        },
    };
    match SigstoreRoot::from_json(bytes) {
        Ok(root) => {
            let logs = usize::try_from(entry.required_logs()).unwrap_or(usize::MAX);
            let logs = NonZeroUsize::new(logs).map_or(LogRule::InsecureNone, LogRule::Operators);
            Some(root.requiring_logs(logs).requiring_times(entry.required_times()))
        }
        Err(error) => {
            let hint = "a trusted_root.json of version 0.1 or 0.2, as `cosign trusted-root create` writes it";
            problems.add(span, format!("{shown} cannot be used: {error}"), hint);
            None
        }
    }
}

/// More operators than the root names can never be there. Said at the number, or at the root if the number is the usual one.
fn check_operators(entry: &RootEntry, root: &SigstoreRoot, problems: &mut Problems) {
    let times = u64::try_from(entry.required_times().get()).unwrap_or(u64::MAX);
    for (field, span, wanted, named) in [
        ("transparency-logs", entry.logs.as_ref().map(|logs| &logs.span), entry.required_logs(), root.log_operators()),
        ("trusted-times", entry.times.as_ref().map(|times| &times.span), times, root.time_operators()),
    ] {
        let most = u64::try_from(named.len()).unwrap_or(u64::MAX);
        if wanted > most {
            let names: Vec<String> = named.iter().take(SHOWN_OPERATORS).map(|name| format!("{name:?}")).collect();
            let hint =
                format!("the root names {}", if names.is_empty() { "none".to_owned() } else { names.join(", ") });
            let message =
                format!("`{field}` of {wanted} different operators can never be there: the root names {most}");
            problems.add(span.unwrap_or(&entry.source.span), message, hint);
        }
    }
}

fn file<'a>(
    path: &str,
    span: &crate::errors::Span,
    material: &'a Material,
    problems: &mut Problems,
) -> Option<&'a [u8]> {
    let bytes = material.files.get(path);
    if bytes.is_none() {
        problems.add(span, format!("the file {path} was not found"), "paths are relative to the policy's own folder");
    }
    bytes.map(Vec::as_slice)
}

fn resolve_requirement(
    entry: &RequirementEntry,
    signers: &[SignerEntry],
    trust: &Trust,
    problems: &mut Problems,
) -> Option<Requirement> {
    match entry {
        RequirementEntry::Signatures(threshold) => {
            resolve_threshold(threshold, signers, trust, problems).map(Requirement::Signatures)
        }
        RequirementEntry::Attestation(attestation) => {
            let by = resolve_authorities(&attestation.by, signers, trust, problems)?;
            let predicate_type = attestation.predicate_type.clone();
            Some(Requirement::Attestation(AttestationDemand { predicate_type, by }))
        }
    }
}

fn resolve_authorities(
    names: &[At<SignerName>],
    signers: &[SignerEntry],
    trust: &Trust,
    problems: &mut Problems,
) -> Option<Vec<Authority>> {
    let resolved: Vec<Authority> = names.iter().filter_map(|name| resolve_authority(name, signers, trust)).collect();
    if resolved.len() == names.len() {
        return Some(resolved);
    }
    // A key that could not be read has its own error; this keeps a policy from coming out without one.
    let unread = "one of these signers cannot be used";
    names.first().into_iter().for_each(|name| problems.add(&name.span, unread, "see the other errors"));
    None
}

fn resolve_threshold(
    entry: &ThresholdEntry,
    signers: &[SignerEntry],
    trust: &Trust,
    problems: &mut Problems,
) -> Option<Threshold> {
    let of = resolve_authorities(&entry.of, signers, trust, problems)?;
    // Two names of one key are one signer, whatever else each of them asks for.
    let mut distinct: Vec<Identity> = Vec::new();
    for authority in &of {
        let identity = match &authority.identity {
            Identity::LoggedKey { spki_sha256, .. } => Identity::Key { spki_sha256: spki_sha256.clone() },
            other @ (Identity::Key { .. } | Identity::Certificate { .. } | Identity::Certified { .. }) => other.clone(),
        };
        if !distinct.contains(&identity) {
            distinct.push(identity);
        }
    }
    let signatures = usize::try_from(entry.signatures.value).ok().and_then(NonZeroUsize::new);
    match signatures.filter(|signatures| signatures.get() <= distinct.len()) {
        Some(signatures) => Some(Threshold { signatures, of }),
        None => {
            let message = format!(
                "{} signatures of {} distinct signers can never be there",
                entry.signatures.value,
                distinct.len()
            );
            let hint = "every signer counts once, and two names of one key are one signer: name each person or machine";
            problems.add(&entry.signatures.span, message, hint);
            None
        }
    }
}

fn resolve_authority(name: &At<SignerName>, signers: &[SignerEntry], trust: &Trust) -> Option<Authority> {
    let key = |name: &SignerName| {
        let spki_sha256 = trust.keys.get(name)?.spki_sha256();
        Some(match trust.logged_keys.get(name) {
            Some(root) if !trust.sigstore.contains_key(root) => return None,
            Some(_) => Identity::LoggedKey { name: name.clone(), spki_sha256 },
            None => Identity::Key { spki_sha256 },
        })
    };
    let identity = match signers.iter().find(|signer| signer.name.value == name.value) {
        None => key(&name.value),
        Some(signer) => match &signer.identified_by {
            IdentifiedBy::Key(name) => key(name),
            IdentifiedBy::Certificate { store, subject } => trust
                .certificates
                .contains_key(store)
                .then(|| Identity::Certificate { store: store.clone(), subject: subject.clone() }),
            IdentifiedBy::Identity { root, pattern } => trust
                .sigstore
                .contains_key(root)
                .then(|| Identity::Certified { root: root.clone(), pattern: pattern.clone() }),
        },
    }?;
    Some(Authority { name: name.value.clone(), identity })
}

/// Everything that can change a decision, each with its length before it so that nothing can be moved between two.
fn digest(document: &PolicyDocument, material: &Material, trust_roots: &[&str]) -> Digest {
    let mut bytes = Vec::new();
    let mut add = |part: &[u8]| {
        bytes.extend(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        bytes.extend_from_slice(part);
    };
    add(document.source.text.as_bytes());
    for path in document.files() {
        add(path.as_bytes());
        add(material.files.get(path).map(Vec::as_slice).unwrap_or_default());
    }
    let uris: BTreeSet<&str> = document.token_keys().into_iter().map(|key| key.uri).collect();
    for uri in uris {
        add(uri.as_bytes());
        add(material.token_keys.get(uri).map(Vec::as_slice).unwrap_or_default());
    }
    for name in trust_roots {
        add(name.as_bytes());
        add(material.trust_roots.get(*name).map(Vec::as_slice).unwrap_or_default());
    }
    Digest::sha256(&bytes)
}
