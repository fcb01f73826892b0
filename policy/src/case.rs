//! What is to be decided: an image, or a layer chain with every image that may contain it, with what was proved of each.

use assay_admission::{CandidateName, Digest, Gate, Namespace, Purpose, Reason};
use assay_verify::{AttestationFindings, BoundImage, Findings};

/// One question.
#[derive(Clone, Debug)]
pub struct Case<'a> {
    /// The gate that asks.
    pub gate: Gate,
    /// The containerd namespace, for what a person is told to do there; `None` where there is none.
    pub namespace: Option<&'a Namespace>,
    /// The layer chain that is asked about; `None` if an image is asked about by its name.
    pub chain: Option<AskedChain>,
    /// The manifest of the image that is probably in question, if anything speaks for one: a refusal tells of it first. It
    /// changes no verdict.
    pub likeliest: Option<Digest>,
    /// Every image that is said to contain the chain, or the one that the name led to.
    pub images: Vec<CaseImage<'a>>,
}

/// A layer chain that is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AskedChain {
    /// The chain id.
    pub id: Digest,
    /// What is about to be done with it.
    pub purpose: Purpose,
}

impl AskedChain {
    /// Whether the image has this chain where the purpose wants it: among its layers to extract one, and as all of its
    /// layers to make something of it, since layers in the middle of an image make none.
    #[must_use]
    pub fn is_of(&self, image: &BoundImage) -> bool {
        match self.purpose {
            Purpose::Extraction => image.contains_chain(&self.id),
            Purpose::Use => image.chains().last() == Some(&self.id),
        }
    }
}

/// One image of a case.
#[derive(Clone, Debug)]
pub struct CaseImage<'a> {
    /// Its platform manifest.
    pub manifest: Digest,
    /// The config that the manifest names, or is said to name.
    pub config: Digest,
    /// Every name under which it is known. Empty for an import.
    pub names: Vec<CandidateName>,
    /// Whether its documents belong together, and what is known of its signatures.
    pub state: ImageState<'a>,
}

/// What is known of an image.
#[derive(Clone, Debug)]
pub enum ImageState<'a> {
    /// Its documents are bound to each other.
    Bound {
        /// The bound documents.
        image: &'a BoundImage,
        /// What its signatures prove.
        findings: &'a Findings,
        /// What others stated about it. Need not be filled where [`Policy::asks_for_attestations`](crate::Policy) says no.
        attestations: &'a AttestationFindings,
        /// Whether all of its signatures and attestations were seen.
        collection: &'a Collection,
    },
    /// Its documents are missing or contradict each other, for this reason. No signature can be about it.
    Unbound(Reason),
    /// Its documents were left out, because there are too many images of these layers. Whoever asks has found that it names
    /// the same blobs as each other image of the case, for every chain that the two share. No signature is looked at. With the indexes that are said to contain it.
    Alike(&'a [Digest]),
}

/// Whether all evidence that exists was collected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Collection {
    /// Everything that the registry lists was seen.
    Complete,
    /// Something could not be collected. What was collected may still suffice.
    Failed(Vec<Reason>),
}
