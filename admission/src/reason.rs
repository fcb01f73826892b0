//! Why an image is refused: a closed list of stable codes, each with a sentence and what to do.

use std::{fmt, str::FromStr};

/// Why an image is refused. The codes are stable: people write alerts and manuals for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DenyCode {
    /// No signature of any kind belongs to the image.
    NoSignature,
    /// Signatures were found, and none, or not enough of them, count for the rule.
    NotSatisfied,
    /// No rule's scope matches any name of the image.
    NoRule,
    /// The policy blocks this digest.
    Blocked,
    /// No image known to containerd contains this layer chain.
    UnknownChain,
    /// What a container is to run is not the image that it is said to be of.
    ForeignRoot,
    /// One config is named by several manifests and not all of them are admitted.
    AmbiguousConfig,
    /// Documents contradict each other or are not what their media type says.
    Malformed,
    /// Evidence is being collected and did not come in time.
    EvidencePending,
    /// The registry has no image of this name.
    NotFound,
    /// The registry or the fetcher could not be reached.
    EvidenceUnavailable,
    /// The registry wants credentials, or refuses those that were given.
    RegistryAuth,
    /// A limit on count, bytes or work was reached.
    Limit,
    /// No policy is loaded that could admit anything.
    NoPolicy,
    /// The agent cannot be reached or does not answer.
    AgentUnavailable,
    /// The decision cannot be recorded.
    LogUnavailable,
    /// A fault inside Assay.
    Internal,
}

impl DenyCode {
    /// Every code, for documentation and tests.
    pub const ALL: [Self; 17] = [
        Self::NoSignature,
        Self::NotSatisfied,
        Self::NoRule,
        Self::Blocked,
        Self::UnknownChain,
        Self::ForeignRoot,
        Self::AmbiguousConfig,
        Self::Malformed,
        Self::EvidencePending,
        Self::NotFound,
        Self::EvidenceUnavailable,
        Self::RegistryAuth,
        Self::Limit,
        Self::NoPolicy,
        Self::AgentUnavailable,
        Self::LogUnavailable,
        Self::Internal,
    ];

    /// The stable text: `NO_SIGNATURE`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoSignature => "NO_SIGNATURE",
            Self::NotSatisfied => "NOT_SATISFIED",
            Self::NoRule => "NO_RULE",
            Self::Blocked => "BLOCKED",
            Self::UnknownChain => "UNKNOWN_CHAIN",
            Self::ForeignRoot => "FOREIGN_ROOT",
            Self::AmbiguousConfig => "AMBIGUOUS_CONFIG",
            Self::Malformed => "MALFORMED",
            Self::EvidencePending => "EVIDENCE_PENDING",
            Self::NotFound => "NOT_FOUND",
            Self::EvidenceUnavailable => "EVIDENCE_UNAVAILABLE",
            Self::RegistryAuth => "REGISTRY_AUTH",
            Self::Limit => "LIMIT",
            Self::NoPolicy => "NO_POLICY",
            Self::AgentUnavailable => "AGENT_UNAVAILABLE",
            Self::LogUnavailable => "LOG_UNAVAILABLE",
            Self::Internal => "INTERNAL",
        }
    }

    /// What is wrong, as a clause for a person.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::NoSignature => "no signature was found for this image",
            Self::NotSatisfied => "the signatures found do not satisfy the rule",
            Self::NoRule => "no rule of the policy covers this image",
            Self::Blocked => "the policy blocks this digest",
            Self::UnknownChain => "these layers belong to no image that containerd knows",
            Self::ForeignRoot => "what is to run is not the image that the container is said to be of",
            Self::AmbiguousConfig => "several images claim the same config or layers and not all of them are admitted",
            Self::Malformed => "the image's documents are malformed or contradict each other",
            Self::EvidencePending => "its signatures are still being collected",
            Self::NotFound => "the registry has no such image",
            Self::EvidenceUnavailable => "its signatures could not be collected",
            Self::RegistryAuth => "the registry refused the node's credentials",
            Self::Limit => "a limit was reached while judging it",
            Self::NoPolicy => "no valid policy is loaded",
            Self::AgentUnavailable => "the Assay agent did not answer",
            Self::LogUnavailable => "the decision could not be recorded",
            Self::Internal => "Assay failed while judging it",
        }
    }

    /// What a person can do about it.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::NoSignature => "sign it (assay sign, cosign sign or notation sign) and pull again",
            Self::NotSatisfied => {
                "sign it with a key that the rule names; each signature's line says why it does not count"
            }
            Self::NoRule => {
                "use the name that it was signed for, or add a rule whose images cover this one, then `assay node reload`"
            }
            Self::Blocked => "use another digest, or remove it from `blocked` in the policy",
            Self::UnknownChain => "pull the image by its name, and make containers and snapshots from that",
            Self::ForeignRoot => {
                "make the container anew from an image, by the snapshotter assay and without a root file system of its own"
            }
            Self::AmbiguousConfig => {
                "remove the foreign image as told (`ctr -n NAMESPACE images rm --sync NAME`), then pull again"
            }
            Self::Malformed => "push the image again with an up-to-date tool, or ask its publisher",
            Self::EvidencePending => "pull again in a moment",
            Self::NotFound => "check repository, tag and platform",
            Self::EvidenceUnavailable => "check the registry and `assay node status`, then pull again",
            Self::RegistryAuth => {
                "give the fetcher credentials for this registry (docker config.json), then pull again"
            }
            Self::Limit => {
                "remove what there is too much of: signatures in the registry, or images on this node (`ctr images rm --sync`)"
            }
            Self::NoPolicy => "run `assay policy check` and `assay node reload`",
            Self::AgentUnavailable => "start assayd (`systemctl start assayd`) and try again",
            Self::LogUnavailable => "free disk space below /var/lib/assay, then try again",
            Self::Internal => "look at assayd's log and report it",
        }
    }

    /// Whether the same request may succeed later with nothing changed but time.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        match self {
            Self::EvidencePending | Self::EvidenceUnavailable | Self::AgentUnavailable | Self::LogUnavailable => true,
            Self::NoSignature
            | Self::NotSatisfied
            | Self::NoRule
            | Self::Blocked
            | Self::UnknownChain
            | Self::ForeignRoot
            | Self::AmbiguousConfig
            | Self::Malformed
            | Self::NotFound
            | Self::RegistryAuth
            | Self::Limit
            | Self::NoPolicy
            | Self::Internal => false,
        }
    }
}

impl fmt::Display for DenyCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for DenyCode {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|code| code.as_str() == text).ok_or(())
    }
}

/// One reason for a refusal: the code, and what exactly was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The stable code.
    pub code: DenyCode,
    /// What exactly was seen: names, digests, fields. May be empty.
    pub detail: String,
}

impl Reason {
    /// A reason with its detail.
    #[must_use]
    pub fn new(code: DenyCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }
}

impl fmt::Display for Reason {
    /// `NO_SIGNATURE: no signature was found for this image (DETAIL); REMEDY`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.code.sentence())?;
        if !self.detail.is_empty() {
            write!(f, " ({})", self.detail)?;
        }
        write!(f, "; {}", self.code.remedy())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives_its_text_and_no_other_text_is_a_code() {
        for code in DenyCode::ALL {
            assert_eq!(code.as_str().parse(), Ok(code));
        }
        assert_eq!("ALLOW".parse::<DenyCode>(), Err(()));
    }
}
