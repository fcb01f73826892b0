//! What the next question will probably be about: the images that were admitted last, as they were mapped then.
//! An expectation saves waiting, never a question: it counts only if containerd says the same when it is asked.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use assay_admission::{Digest, Documents, ImageClaim, Namespace};

use super::Mapped;

/// Most mappings that are kept: as many images as are commonly unpacked at once.
const MAX_KEPT: usize = 8;
/// Most bytes of documents of a mapping that is kept.
const MAX_KEPT_BYTES: usize = 128 << 10;

/// The mappings that were admitted last, the newest last.
#[derive(Clone, Debug, Default)]
pub(super) struct Admitted {
    /// Protects the list; held for a look-up, never while waiting.
    last: Arc<Mutex<VecDeque<Kept>>>,
}

#[derive(Debug)]
struct Kept {
    namespace: Namespace,
    mapped: Mapped,
}

/// What containerd is expected to know of a chain.
#[derive(Clone, Debug)]
pub(crate) struct Expected(pub(super) Mapped);

impl Expected {
    /// Whether containerd said the same.
    pub(crate) fn is(&self, found: &Mapped) -> bool {
        found.many.is_none()
            && self.0.claims == found.claims
            && self.0.documents == found.documents
            && self.0.below == found.below
    }

    /// The mapping that is expected.
    pub(crate) const fn mapping(&self) -> &Mapped {
        &self.0
    }

    /// Whether these claims speak of nothing but documents that are here.
    pub(super) fn has_documents_of(&self, claims: &[ImageClaim]) -> bool {
        digests(claims).iter().all(|digest| self.0.documents.contains_key(digest))
    }
}

impl Admitted {
    /// Keeps a mapping that was admitted.
    pub(super) fn keep(&self, namespace: &Namespace, mapped: Mapped) {
        let bytes: usize = mapped.documents.values().map(|document| document.bytes().len()).sum();
        if bytes > MAX_KEPT_BYTES || mapped.many.is_some() || digests(&mapped.claims).len() != mapped.documents.len() {
            return;
        }
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() >= MAX_KEPT {
            last.pop_front();
        }
        last.push_back(Kept { namespace: namespace.clone(), mapped });
    }

    /// The newest mapping with claims that `contains` the wanted chain, reduced to these. The chain below is left open.
    pub(super) fn newest(&self, namespace: &Namespace, contains: impl Fn(&ImageClaim) -> bool) -> Option<Mapped> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.iter().rev().filter(|kept| kept.namespace == *namespace).find_map(|Kept { mapped, .. }| {
            let claims: Vec<ImageClaim> = mapped.claims.iter().filter(|claim| contains(claim)).cloned().collect();
            let wanted = digests(&claims);
            let documents: Documents = mapped
                .documents
                .iter()
                .filter(|(digest, _)| wanted.contains(digest))
                .map(|(d, v)| (*d, v.clone()))
                .collect();
            (!claims.is_empty()).then_some(Mapped { claims, documents, ..Mapped::default() })
        })
    }
}

/// The documents that claims speak of.
fn digests(claims: &[ImageClaim]) -> BTreeSet<Digest> {
    let of = |claim: &ImageClaim| [claim.manifest, claim.config].into_iter().chain(claim.indexes.clone());
    claims.iter().flat_map(of).collect()
}
