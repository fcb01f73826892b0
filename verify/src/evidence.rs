//! Signature artifacts as they were collected: untrusted bytes with their place.

use std::{collections::BTreeMap, sync::Arc};

use assay_admission::{Digest, Document, UnixTime};

use crate::limits::{
    LimitReached, MAX_ANSWER_BYTES, MAX_ARTIFACTS, MAX_BLOBS, MAX_LIST_BYTES, MAX_OCSP_ANSWERS, MAX_REVOCATION_LISTS,
};

/// How an artifact was found. It says nothing about its worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FoundBy {
    /// The registry's referrers API listed it.
    ReferrersApi,
    /// The fallback tag `sha256-<hex>` listed it.
    ReferrersTag,
    /// cosign's legacy tag `sha256-<hex>.sig`.
    CosignTag,
    /// A person gave it.
    Given,
}

/// A signature manifest and its layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// The image document (index or manifest) that it was found for.
    pub subject: Digest,
    /// How it was found.
    pub found_by: FoundBy,
    /// The signature manifest.
    pub manifest: Document,
    /// Those of its layers that were collected, in any order.
    pub blobs: Vec<Document>,
}

/// All that was collected for one image, in a fixed order: by manifest digest, then subject.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    artifacts: Vec<Artifact>,
    revocation: RevocationEvidence,
}

/// A certificate revocation list (RFC 5280 §5) in DER, with the address that it came from or was imported for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationList {
    /// The address, as a certificate's distribution point writes it.
    pub url: String,
    /// The list.
    pub der: Vec<u8>,
}

/// What was collected or imported about certificates that were revoked. Untrusted: each list and answer is verified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RevocationEvidence {
    lists: Vec<RevocationList>,
    answers: Vec<Vec<u8>>,
    newest: Arc<BTreeMap<Digest, UnixTime>>,
}

impl RevocationEvidence {
    /// Lists, and OCSP answers (`OCSPResponse` of RFC 6960 §4.2.1 in DER), each in any order.
    ///
    /// # Errors
    /// [`LimitReached`] if there are more than 64 of either, a list has more than 4 MiB, or an answer more than 64 KiB.
    pub fn new(lists: Vec<RevocationList>, answers: Vec<Vec<u8>>) -> Result<Self, LimitReached> {
        let within = |number: usize, what, limit| {
            if number > limit { Err(LimitReached { what, limit }) } else { Ok(()) }
        };
        within(lists.len(), "revocation lists", MAX_REVOCATION_LISTS)?;
        within(answers.len(), "OCSP answers", MAX_OCSP_ANSWERS)?;
        lists.iter().try_for_each(|list| within(list.der.len(), "bytes of a revocation list", MAX_LIST_BYTES))?;
        answers.iter().try_for_each(|answer| within(answer.len(), "bytes of an OCSP answer", MAX_ANSWER_BYTES))?;
        Ok(Self { lists, answers, newest: Arc::default() })
    }

    /// The same, knowing when the newest list or answer about each thing was made that was ever seen
    /// ([`SeenAnswer`](crate::SeenAnswer)): older ones do not count.
    #[must_use]
    pub fn knowing(self, newest: Arc<BTreeMap<Digest, UnixTime>>) -> Self {
        Self { newest, ..self }
    }

    /// The lists.
    #[must_use]
    pub fn lists(&self) -> &[RevocationList] {
        &self.lists
    }

    /// The OCSP answers.
    #[must_use]
    pub fn answers(&self) -> &[Vec<u8>] {
        &self.answers
    }

    pub(crate) fn newest(&self, about: &Digest) -> Option<UnixTime> {
        self.newest.get(about).copied()
    }
}

impl Evidence {
    /// Orders the artifacts and drops repeated ones.
    ///
    /// # Errors
    /// [`LimitReached`] if there are more than 64 artifacts, or more than 64 blobs in one.
    pub fn new(mut artifacts: Vec<Artifact>) -> Result<Self, LimitReached> {
        artifacts.sort_unstable_by_key(|artifact| (*artifact.manifest.digest(), artifact.subject, artifact.found_by));
        artifacts.dedup_by(|a, b| a.manifest.digest() == b.manifest.digest() && a.subject == b.subject);
        if artifacts.len() > MAX_ARTIFACTS {
            return Err(LimitReached { what: "signature artifacts", limit: MAX_ARTIFACTS });
        }
        if artifacts.iter().any(|artifact| artifact.blobs.len() > MAX_BLOBS) {
            return Err(LimitReached { what: "layers of a signature artifact", limit: MAX_BLOBS });
        }
        Ok(Self { artifacts, revocation: RevocationEvidence::default() })
    }

    /// The same evidence with what is known about revocation.
    #[must_use]
    pub fn with_revocation(self, revocation: RevocationEvidence) -> Self {
        Self { revocation, ..self }
    }

    /// What is known about revocation.
    #[must_use]
    pub const fn revocation(&self) -> &RevocationEvidence {
        &self.revocation
    }

    /// The artifacts.
    #[must_use]
    pub fn artifacts(&self) -> &[Artifact] {
        &self.artifacts
    }
}
