//! A policy that can decide: trust as parsed keys and certificates, rules found by name. Immutable; made by `compile` alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroUsize,
};

use assay_admission::{CandidateName, Digest, Mode, Repository};
use assay_verify::{DistinguishedNamePattern, IdentityPattern, PredicateType, SignerName, Trust};

use crate::{
    document::{DockerReference, SignedDocument},
    errors::{Source, Span},
    index::ScopeIndex,
};

/// A policy with its keys and certificates.
#[derive(Clone, Debug)]
pub struct Policy {
    pub(crate) source: Source,
    pub(crate) sha256: String,
    /// Over what its author wrote: roots of trust that the agent keeps up to date change without a new version.
    pub(crate) digest_of_own: Digest,
    pub(crate) digest_of_all: Digest,
    pub(crate) version: u64,
    pub(crate) version_span: Span,
    pub(crate) mode: Mode,
    pub(crate) trust: Trust,
    pub(crate) rules: Vec<Rule>,
    pub(crate) index: ScopeIndex,
    pub(crate) blocked: BTreeMap<Digest, String>,
    /// The strictest mode of the policy and all its rules.
    pub(crate) strictest: Mode,
}

#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) name: String,
    pub(crate) mode: Mode,
    pub(crate) demand: Demand,
    pub(crate) signed: SignedDocument,
    pub(crate) docker_reference: DockerReference,
}

/// What a rule asks for.
#[derive(Clone, Debug)]
pub(crate) enum Demand {
    /// Nothing: the policy says `accept = "unsigned"`.
    Unsigned,
    /// All of these; at least one.
    Requirements(Vec<Requirement>),
}

#[derive(Clone, Debug)]
pub(crate) enum Requirement {
    Signatures(Threshold),
    Attestation(AttestationDemand),
}

/// A statement of this type, by any of these.
#[derive(Clone, Debug)]
pub(crate) struct AttestationDemand {
    pub(crate) predicate_type: PredicateType,
    pub(crate) by: Vec<Authority>,
}

/// So many distinct signers out of these.
#[derive(Clone, Debug)]
pub(crate) struct Threshold {
    pub(crate) signatures: NonZeroUsize,
    pub(crate) of: Vec<Authority>,
}

/// A signer or key as a rule names it, and how it is recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Authority {
    pub(crate) name: SignerName,
    pub(crate) identity: Identity,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    /// By the key's hash rather than its name in the policy: one key may have several names there.
    Key { spki_sha256: String },
    /// By the name too: a key whose signatures have to stand in a log may have another name that asks for less.
    LoggedKey { name: SignerName, spki_sha256: String },
    /// By a certificate of this store with this subject.
    Certificate { store: SignerName, subject: DistinguishedNamePattern },
    /// By an identity that an authority of this Sigstore root certified.
    Certified { root: SignerName, pattern: IdentityPattern },
}

impl Rule {
    fn asks_for_attestations(&self) -> bool {
        match &self.demand {
            Demand::Unsigned => false,
            Demand::Requirements(requirements) => requirements.iter().any(|requirement| match requirement {
                Requirement::Signatures(_) => false,
                Requirement::Attestation(_) => true,
            }),
        }
    }
}

impl Policy {
    /// The policy's own version.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// The mode where no rule says otherwise.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// Whom verification may take keys and certificates from.
    #[must_use]
    pub const fn trust(&self) -> &Trust {
        &self.trust
    }

    /// Where the signatures of an image of this name may lie. A name whose port is unknown may be at every port that a
    /// scope for it has; without such a scope, at the host's usual port.
    #[must_use]
    pub fn repositories_for(&self, name: &CandidateName) -> Vec<Repository> {
        let repository = name.reference.repository();
        let hosts = if name.port_is_unknown() { self.index.hosts_with_port(name) } else { BTreeSet::new() };
        if hosts.is_empty() {
            return vec![repository.clone()];
        }
        hosts.iter().filter_map(|host| Repository::new(host, repository.path()).ok()).collect()
    }

    /// Whether a rule that an image of these names and digests may fall under asks for an attestation, so that those that there are
    /// have to be looked at.
    #[must_use]
    pub fn asks_for_attestations(&self, names: &[CandidateName], digests: &[Digest]) -> bool {
        let names: Vec<&CandidateName> = names.iter().collect();
        self.readings(&names, digests).iter().filter_map(|reading| reading.rule).any(Rule::asks_for_attestations)
    }

    /// SHA-256 of the policy's text, lower-case hex.
    #[must_use]
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// The policy's text.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source.text
    }

    /// The name the text was read under.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.source.name
    }

    /// A digest over the text and everything that was read for it: it changes when any key or certificate does.
    #[must_use]
    pub const fn digest_of_all(&self) -> Digest {
        self.digest_of_all
    }
}
