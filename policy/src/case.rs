//! What is to be decided: an image, or a layer chain with every image that may contain it, with what was proved of each.

use assay_admission::{CandidateName, Digest, Gate, Reason};
use assay_verify::{BoundImage, Findings};

/// One question.
#[derive(Clone, Debug)]
pub struct Case<'a> {
    /// The gate that asks.
    pub gate: Gate,
    /// The layer chain that is asked about; `None` if an image is asked about by its name.
    pub chain: Option<Digest>,
    /// Every image that is said to contain the chain, or the one that the name led to.
    pub images: Vec<CaseImage<'a>>,
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
        /// Whether all of its signatures were seen.
        collection: &'a Collection,
    },
    /// Its documents are missing or contradict each other, for this reason. No signature can be about it.
    Unbound(Reason),
}

/// Whether all evidence that exists was collected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Collection {
    /// Everything that the registry lists was seen.
    Complete,
    /// Something could not be collected. What was collected may still suffice.
    Failed(Vec<Reason>),
}
