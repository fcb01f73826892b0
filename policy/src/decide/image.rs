//! One image: blocked or not, then its names. Admission under one name is enough where the rule enforces signatures for that
//! name in particular; anything less counts only if every name admits.

use std::collections::BTreeMap;

use assay_admission::{CandidateName, DenyCode, Digest, Gate, MediaType, Mode, NameSource, Purpose, Reason, UnixTime};
use assay_verify::BoundImage;

use super::sentences;
use crate::{
    case::{AskedChain, CaseImage, ImageState},
    decision::{ImageDecision, MAX_REASONS},
    policy::Policy,
    reading::{Judged, Proved, Reading, Worth},
};

/// Why an image is not admitted whose documents were left out.
const UNEXAMINED: &str = "too many images have these layers; the signatures of this one were not looked at";

/// An image with its decision.
#[derive(Clone, Debug)]
pub(super) struct JudgedImage<'a> {
    pub(super) decision: ImageDecision,
    pub(super) strength: Strength,
    pub(super) holds_until: Option<UnixTime>,
    /// Its documents, if they are bound to each other and contain the chain.
    pub(super) bound: Option<&'a BoundImage>,
    /// Whether its blobs are known to be those of the others, and nothing else is known of it.
    pub(super) is_alike: bool,
    names: Vec<CandidateName>,
    rejections: Vec<String>,
}

/// How an image stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strength {
    /// Admitted by enforced signatures under a rule for its own name.
    Suffices,
    /// Admitted by `warn`, `observe`, `accept` or a catch-all.
    Lenient,
    Refused,
}

impl JudgedImage<'_> {
    pub(super) const fn is_admitted(&self) -> bool {
        match self.strength {
            Strength::Suffices | Strength::Lenient => true,
            Strength::Refused => false,
        }
    }

    /// Whether unpacking `other` extracts the same blobs as unpacking this one, for every chain that they share: an answer
    /// for one of them is remembered for all. One whose layers are not known never does.
    pub(super) fn unpacks_like(&self, other: &Self) -> bool {
        let (Some(own), Some(other)) = (self.bound, other.bound) else { return false };
        let own: BTreeMap<_, _> = layers(own).collect();
        // Whoever shares a chain at the same place shares those below it, so that each blob is compared.
        layers(other).all(|(chain, layer)| own.get(chain).is_none_or(|own| *own == layer))
    }

    /// What images are ordered by, so that the order of a case changes nothing. What was examined comes first.
    pub(super) fn order(&self) -> impl Ord + '_ {
        (self.is_alike, self.decision.config, self.decision.manifest, &self.names)
    }

    pub(super) const fn id(&self) -> (Digest, Digest) {
        (self.decision.config, self.decision.manifest)
    }

    /// The names of containerd's records of it.
    pub(super) fn records(&self) -> impl Iterator<Item = &CandidateName> {
        self.names.iter().filter(|name| match name.source {
            NameSource::ImageRecord => true,
            NameSource::Requested | NameSource::DistributionSource => false,
        })
    }

    pub(super) fn sentences(&self) -> impl Iterator<Item = &String> {
        self.decision.facts.iter().chain(&self.rejections)
    }
}

/// Each layer's chain, place, blob, and how the blob is read.
fn layers(image: &BoundImage) -> impl Iterator<Item = (&Digest, (usize, &Digest, &str))> {
    let types = image.layer_types().iter().map(MediaType::unpacked_as);
    let blobs = image.layers().iter().zip(types).enumerate().map(|(place, (blob, read_as))| (place, blob, read_as));
    image.chains().iter().zip(blobs)
}

impl Policy {
    /// Judges one image of a case.
    pub(super) fn judge_image<'a>(
        &self,
        gate: Gate,
        chain: Option<AskedChain>,
        image: &CaseImage<'a>,
    ) -> JudgedImage<'a> {
        let (bound, is_alike) = match (&image.state, contradiction(chain, image)) {
            (ImageState::Bound { image: bound, .. }, None) => (Some(*bound), false),
            (ImageState::Bound { .. }, Some(_)) | (ImageState::Unbound(_), _) => (None, false),
            (ImageState::Alike(_), _) => (None, true),
        };
        JudgedImage { bound, is_alike, ..self.weigh_image(gate, chain, image) }
    }

    fn weigh_image<'a>(&self, gate: Gate, chain: Option<AskedChain>, image: &CaseImage<'a>) -> JudgedImage<'a> {
        let mut names: Vec<&CandidateName> = image.names.iter().collect();
        names.sort_unstable();
        names.dedup();
        if let Some(reason) = self.blocked(image, &names) {
            return judged_image(image, &names, Strength::Refused, None, Mode::Enforce, vec![reason]);
        }
        match contradiction(chain, image) {
            Some(reason) => self.judge_unbound(image, &[], &names, &reason),
            None => match &image.state {
                ImageState::Unbound(reason) => self.judge_unbound(image, &[], &names, reason),
                ImageState::Alike(indexes) => {
                    self.judge_unbound(image, indexes, &names, &Reason::new(DenyCode::Limit, UNEXAMINED))
                }
                ImageState::Bound { image: bound, findings, attestations, collection } => {
                    let digests: Vec<Digest> = bound.subjects().map(|subject| subject.digest).collect();
                    let readings = self.readings(&names, &digests);
                    let proved = Proved { findings, attestations, collection };
                    let judged = readings.iter().map(|reading| reading.judge(bound, &proved)).collect();
                    weigh(gate, image, &names, judged)
                }
            },
        }
    }

    /// Blocked digests deny in every mode and under every name, wherever the image has them.
    fn blocked(&self, image: &CaseImage<'_>, names: &[&CandidateName]) -> Option<Reason> {
        let indexes: Vec<&Digest> = match &image.state {
            ImageState::Bound { image: bound, .. } => {
                let left_out = bound.left_out().iter().map(|(index, _)| index);
                bound.indexes().iter().map(|index| &index.digest).chain(left_out).collect()
            }
            ImageState::Alike(indexes) => indexes.iter().collect(),
            ImageState::Unbound(_) => Vec::new(),
        };
        let named = names.iter().filter_map(|name| name.reference.digest());
        let mut digests = [&image.manifest, &image.config].into_iter().chain(indexes).chain(named);
        let (digest, why) = digests.find_map(|digest| self.blocked.get_key_value(digest))?;
        Some(Reason::new(DenyCode::Blocked, format!("{digest}: {why}")))
    }

    /// Nothing is known of such an image but its names, and its digests are claims: it is refused if any rule that it may
    /// fall under enforces, with and without the scopes that have a digest.
    fn judge_unbound<'a>(
        &self,
        image: &CaseImage<'a>,
        indexes: &[Digest],
        names: &[&CandidateName],
        reason: &Reason,
    ) -> JudgedImage<'a> {
        let digests: Vec<Digest> = std::iter::once(image.manifest).chain(indexes.iter().copied()).collect();
        let mut readings = self.readings(names, &digests);
        readings.extend(self.readings(names, &[]));
        let judged: Vec<Judged<'_>> =
            readings.into_iter().map(|reading| reading.with(Worth::Unsatisfied(vec![reason.clone()]))).collect();
        weigh_all(image, names, judged)
    }
}

/// What the caller says of an image must be what its documents say.
fn contradiction(chain: Option<AskedChain>, image: &CaseImage<'_>) -> Option<Reason> {
    let ImageState::Bound { image: bound, .. } = &image.state else { return None };
    if bound.manifest().digest != image.manifest || *bound.config() != image.config {
        let detail = format!("image {} was asked about, {} was examined", image.manifest, bound.manifest().digest);
        return Some(Reason::new(DenyCode::Internal, detail));
    }
    chain.filter(|chain| !chain.is_of(bound)).map(|chain| {
        let detail = match chain.purpose {
            Purpose::Extraction => format!("image {} has no layer chain {}", image.manifest, chain.id),
            Purpose::Use => format!("image {} as a whole is not layer chain {}", image.manifest, chain.id),
        };
        Reason::new(DenyCode::UnknownChain, detail)
    })
}

/// Whether one name under which an image is admitted is enough. A container runs under one name, so there all must agree
/// if several are left (design: names).
const fn one_name_is_enough(gate: Gate) -> bool {
    match gate {
        Gate::Pull | Gate::Unpack | Gate::Ask => true,
        Gate::Run => false,
    }
}

fn weigh<'a>(gate: Gate, image: &CaseImage<'a>, names: &[&CandidateName], judged: Vec<Judged<'_>>) -> JudgedImage<'a> {
    let suffices = |judged: &&Judged<'_>| judged.reading.can_suffice() && judged.is_satisfied();
    let enough = if one_name_is_enough(gate) {
        judged.iter().find(suffices)
    } else {
        judged.iter().all(|judged| suffices(&judged)).then(|| judged.first()).flatten()
    };
    let Some(deciding) = enough else { return weigh_all(image, names, judged) };
    let holds_until = if one_name_is_enough(gate) {
        deciding.holds_until()
    } else {
        judged.iter().filter_map(Judged::holds_until).min()
    };
    let reading = Some(&deciding.reading);
    let mut admitted = judged_image(image, names, Strength::Suffices, reading, deciding.reading.mode, Vec::new());
    admitted.holds_until = holds_until;
    admitted
}

/// Every name has to admit.
fn weigh_all<'a>(image: &CaseImage<'a>, names: &[&CandidateName], judged: Vec<Judged<'_>>) -> JudgedImage<'a> {
    let mut refusing: Vec<&Judged<'_>> = judged.iter().filter(|judged| !judged.admits()).collect();
    // What is wanted of a name that a rule covers can still be found; of another it cannot.
    refusing.sort_by_key(|judged| judged.reading.rule.is_none());
    let (strength, reasons, deciding) = if let Some(first) = refusing.first() {
        (Strength::Refused, distinct_reasons(&refusing), Some(*first))
    } else {
        let all: Vec<&Judged<'_>> = judged.iter().collect();
        // The strictest; among equals the one that has something to tell, then the first.
        let strictest = all.iter().rev().max_by_key(|judged| (judged.reading.mode, !judged.is_satisfied())).copied();
        (Strength::Lenient, distinct_reasons(&all), strictest)
    };
    let Some(deciding) = deciding else {
        // There is a reading for every image; without one there is nothing to admit it.
        let reasons = vec![Reason::new(DenyCode::Internal, "no reading of the policy")];
        return judged_image(image, names, Strength::Refused, None, Mode::Enforce, reasons);
    };
    let mut weighed = judged_image(image, names, strength, Some(&deciding.reading), deciding.reading.mode, reasons);
    weighed.holds_until = judged.iter().filter_map(Judged::holds_until).min();
    weighed
}

fn distinct_reasons(judged: &[&Judged<'_>]) -> Vec<Reason> {
    let mut reasons: Vec<Reason> = Vec::new();
    for reason in judged.iter().flat_map(|judged| judged.reasons()) {
        if reasons.len() < MAX_REASONS && !reasons.contains(reason) {
            reasons.push(reason.clone());
        }
    }
    reasons
}

fn judged_image<'a>(
    image: &CaseImage<'a>,
    names: &[&CandidateName],
    strength: Strength,
    reading: Option<&Reading<'_>>,
    mode: Mode,
    reasons: Vec<Reason>,
) -> JudgedImage<'a> {
    let (facts, rejections) = sentences::of(&image.state, reading);
    JudgedImage {
        decision: ImageDecision {
            manifest: image.manifest,
            config: image.config,
            name: reading.and_then(|reading| reading.name.cloned()),
            rule: reading.and_then(|reading| reading.rule).map(|rule| rule.name.clone()),
            mode,
            admitted: strength != Strength::Refused,
            reasons,
            facts,
        },
        strength,
        holds_until: None,
        bound: None,
        is_alike: false,
        names: names.iter().map(|name| (*name).clone()).collect(),
        rejections,
    }
}
