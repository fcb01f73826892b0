//! Under which names pulls were admitted, by the digest that each name led to; bounded, and in memory alone. In place of a name
//! that lost its port the exact ones go out that were asked for at the pull gate. Makes no verdict and drops no other name.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
};

use assay_admission::{CandidateName, Digest, ImageClaim, ImageRef, NameSource, Subject};

/// Digests whose names are remembered, the newest; some hundred bytes each.
const MAX_DIGESTS: usize = 4_096;
/// Repositories of one digest that are remembered. Of a digest with more, none counts: without one of them the others could be
/// laxer together than the name that they stand for.
const MAX_REPOSITORIES: usize = 8;

/// What is remembered of pulls.
#[derive(Debug, Default)]
pub(super) struct Pulled {
    /// Protects the names and their order of arrival. Held for look-ups only.
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    by_digest: HashMap<Digest, Names>,
    oldest_first: VecDeque<Digest>,
}

/// The names under which pulls of one digest were admitted.
#[derive(Debug)]
enum Names {
    /// One for each repository, with its last tag.
    Known(Vec<ImageRef>),
    TooMany,
}

/// The exact names that stand for the names of a question, by the place of the image in it.
#[derive(Clone, Debug, Default)]
pub(super) struct ExactNames(Vec<Vec<ImageRef>>);

impl Pulled {
    /// Remembers that a pull of `name`, which led to `top`, was admitted.
    pub(super) fn note(&self, name: &ImageRef, top: Digest) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if !kept.by_digest.contains_key(&top) {
            if kept.oldest_first.len() >= MAX_DIGESTS
                && let Some(oldest) = kept.oldest_first.pop_front()
            {
                kept.by_digest.remove(&oldest);
            }
            kept.oldest_first.push_back(top);
        }
        kept.by_digest.entry(top).or_insert_with(|| Names::Known(Vec::new())).add(name);
    }

    /// What stands for the names of `subject` that lost their port.
    pub(super) fn exact(&self, subject: &Subject) -> ExactNames {
        let images = match subject {
            Subject::Chain { images, .. } => images,
            Subject::Image { .. } => return ExactNames::default(),
        };
        if !images.iter().flat_map(|claim| &claim.names).any(CandidateName::port_is_unknown) {
            return ExactNames::default();
        }
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        ExactNames(images.iter().map(|claim| kept.names_of(claim)).collect())
    }
}

impl Kept {
    /// The exact names of an image that agree with one of its names that lost its port.
    fn names_of(&self, claim: &ImageClaim) -> Vec<ImageRef> {
        let mut found: Vec<ImageRef> = Vec::new();
        for digest in std::iter::once(&claim.manifest).chain(&claim.indexes) {
            match self.by_digest.get(digest) {
                Some(Names::Known(names)) => {
                    found.extend(
                        names.iter().filter(|exact| claim.names.iter().any(|name| is_of(name, exact))).cloned(),
                    );
                }
                Some(Names::TooMany) => return Vec::new(),
                None => {}
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

impl Names {
    fn add(&mut self, name: &ImageRef) {
        let Self::Known(names) = self else { return };
        names.retain(|known| known.repository() != name.repository());
        if names.len() < MAX_REPOSITORIES {
            names.push(name.clone());
        } else {
            *self = Self::TooMany;
        }
    }
}

impl ExactNames {
    /// The names of the image at this place of the question: exact ones in the place of those that lost their port, as far as they
    /// are known. Only for an image whose documents are bound: that one of its indexes names it is else a mere claim.
    pub(super) fn of(&self, place: usize, names: &[CandidateName]) -> Vec<CandidateName> {
        let Some(exact) = self.0.get(place).filter(|exact| !exact.is_empty()) else { return names.to_vec() };
        let mut replaced: Vec<CandidateName> = Vec::with_capacity(names.len());
        for name in names {
            let before = replaced.len();
            let standing_for = exact.iter().filter(|exact| is_of(name, exact));
            replaced.extend(
                standing_for.map(|exact| CandidateName { reference: exact.clone(), source: NameSource::Requested }),
            );
            if replaced.len() == before {
                replaced.push(name.clone());
            }
        }
        replaced.sort_unstable();
        replaced.dedup();
        replaced
    }

    /// A digest over what is replaced in this question, whatever the order of its images; `None` if nothing is. What was answered
    /// with other names is no answer to it.
    pub(super) fn digest(&self, subject: &Subject) -> Option<Digest> {
        let images = match subject {
            Subject::Chain { images, .. } => images,
            Subject::Image { .. } => return None,
        };
        let mut lines: Vec<String> = images
            .iter()
            .zip(&self.0)
            .filter(|(_, exact)| !exact.is_empty())
            .map(|(claim, exact)| {
                // No reference has a blank in it.
                let exact: Vec<String> = exact.iter().map(ToString::to_string).collect();
                format!("{} {} {}\n", claim.manifest, claim.config, exact.join(" "))
            })
            .collect();
        lines.sort_unstable();
        (!lines.is_empty()).then(|| Digest::sha256(lines.concat().as_bytes()))
    }
}

/// Whether `exact` may be what `name` was before it lost its port.
fn is_of(name: &CandidateName, exact: &ImageRef) -> bool {
    let (lost, exact) = (name.reference.repository(), exact.repository());
    name.port_is_unknown() && lost.host_name() == exact.host_name() && lost.path() == exact.path()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn reference(text: &str) -> ImageRef {
        text.parse().unwrap()
    }

    fn top(number: usize) -> Digest {
        Digest::sha256(&number.to_be_bytes())
    }

    /// What stands for `r.example/app` of the image with this manifest.
    fn standing_for(pulled: &Pulled, manifest: Digest) -> Vec<String> {
        let name = CandidateName { reference: reference("r.example/app"), source: NameSource::DistributionSource };
        let (config, names) = (Digest::sha256(b"c"), vec![name]);
        let claim = ImageClaim { manifest, config, indexes: vec![], names: names.clone() };
        let (chain, purpose) = (Digest::sha256(b"x"), assay_admission::Purpose::Use);
        let subject = Subject::Chain { chain, purpose, images: vec![claim], alike: vec![] };
        pulled.exact(&subject).of(0, &names).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_last_tag_of_each_repository_stands_for_the_name_that_lost_its_port() {
        let pulled = Pulled::default();
        assert_eq!(standing_for(&pulled, top(1)), ["r.example/app (distribution-source)"]);
        for name in ["r.example:5000/app:1", "r.example:5000/app:2", "r.example/app:3", "r.example:5000/other:1"] {
            pulled.note(&reference(name), top(1));
        }
        assert_eq!(standing_for(&pulled, top(1)), ["r.example/app:3 (requested)", "r.example:5000/app:2 (requested)"]);
        assert_eq!(standing_for(&pulled, top(2)), ["r.example/app (distribution-source)"]);
    }

    #[test]
    fn of_a_digest_with_too_many_repositories_none_counts_for_ever() {
        let pulled = Pulled::default();
        let note = |port: usize| pulled.note(&reference(&format!("r.example:{port}/app:1")), top(1));
        (1..=MAX_REPOSITORIES).for_each(note);
        (1..=MAX_REPOSITORIES).for_each(note);
        assert_eq!(standing_for(&pulled, top(1)).len(), MAX_REPOSITORIES);
        note(MAX_REPOSITORIES + 1);
        assert_eq!(standing_for(&pulled, top(1)), ["r.example/app (distribution-source)"]);
        note(1);
        assert_eq!(standing_for(&pulled, top(1)), ["r.example/app (distribution-source)"]);
    }

    #[test]
    fn the_digest_that_was_pulled_first_is_forgotten_first_and_whole() {
        let pulled = Pulled::default();
        for number in 0..=MAX_DIGESTS {
            pulled.note(&reference("r.example:5000/app:1"), top(number));
            pulled.note(&reference("r.example:6000/app:1"), top(number));
        }
        assert_eq!(standing_for(&pulled, top(0)), ["r.example/app (distribution-source)"]);
        assert_eq!(standing_for(&pulled, top(1)).len(), 2);
        assert_eq!(pulled.kept.lock().unwrap().by_digest.len(), MAX_DIGESTS);
    }
}
