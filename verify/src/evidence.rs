//! Signature artifacts as they were collected: untrusted bytes with their place.

use assay_admission::{Digest, Document};

use crate::limits::{LimitReached, MAX_ARTIFACTS, MAX_BLOBS};

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
        Ok(Self { artifacts })
    }

    /// The artifacts.
    #[must_use]
    pub fn artifacts(&self) -> &[Artifact] {
        &self.artifacts
    }
}
