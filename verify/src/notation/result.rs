//! How each check of one signature ended for one store, so that a person can be told. Proves nothing: facts do.

use assay_admission::Digest;

use super::{
    level::{Action, Check},
    revocation::{RevocationSource, SeenAnswer, Trace},
};
use crate::{facts::RejectionReason, trust::SignerName};

/// One Notary Project signature, judged by one certificate store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotaryResult {
    pub(super) envelope: Digest,
    pub(super) store: SignerName,
    pub(super) subject: String,
    /// Each check once, in order; integrity holds, or there would be no result.
    pub(super) checks: Vec<CheckResult>,
    pub(super) revocation: Trace,
}

/// How one check ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckResult {
    /// Which check.
    pub check: Check,
    /// What a failure of it means at the store's level.
    pub action: Action,
    /// How it ended.
    pub outcome: CheckOutcome,
}

/// The end of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckOutcome {
    /// It holds; what was found, in a few words.
    Passed(String),
    /// It does not hold.
    Failed(RejectionReason),
    /// The level leaves it out, or a check before it failed and was enforced.
    NotMade,
}

/// What a signature is worth at its store's level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Every check that is made holds: there is a fact.
    Proved,
    /// Every enforced check holds and another failed: the level lets it pass, and no fact is made.
    Tolerated(RejectionReason),
    /// An enforced check failed.
    Refused(RejectionReason),
}

impl NotaryResult {
    /// The digest of the envelope.
    #[must_use]
    pub const fn envelope(&self) -> &Digest {
        &self.envelope
    }

    /// The store's name in the policy.
    #[must_use]
    pub const fn store(&self) -> &SignerName {
        &self.store
    }

    /// The leaf's subject. Who that is, is as certain as the checks say.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Each check, in order.
    #[must_use]
    pub fn checks(&self) -> &[CheckResult] {
        &self.checks
    }

    /// Where the status of certificates can be looked up that is unknown. Named only by certificates of chains that end in an anchor of
    /// the store, so that nobody else can have an address asked.
    #[must_use]
    pub fn revocation_sources(&self) -> &[RevocationSource] {
        &self.revocation.unknown
    }

    /// The lists and OCSP answers that are proved to be their issuers', whatever they say.
    #[must_use]
    pub fn seen_answers(&self) -> &[SeenAnswer] {
        &self.revocation.seen
    }

    /// What the signature is worth.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let mut standing = Standing::Proved;
        for result in &self.checks {
            match (&result.outcome, result.action) {
                (CheckOutcome::Failed(reason), Action::Enforce) => return Standing::Refused(reason.clone()),
                (CheckOutcome::Failed(reason), Action::Log | Action::Skip) if standing == Standing::Proved => {
                    standing = Standing::Tolerated(reason.clone());
                }
                (CheckOutcome::Failed(_), Action::Log | Action::Skip)
                | (CheckOutcome::Passed(_) | CheckOutcome::NotMade, _) => {}
            }
        }
        standing
    }
}
