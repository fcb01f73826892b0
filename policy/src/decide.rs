//! A case to its decision: pure, total, and the same in whatever order images, names and facts come.
//! Blocked digests first, then each image under its names, then the images of a chain together.

mod image;
mod sentences;

use std::collections::BTreeMap;

use assay_admission::{DenyCode, Digest, Mode, Outcome, Purpose, Reason, UnixTime};

use crate::{
    case::Case,
    decision::{Decision, ImageDecision, MAX_REASONS, MAX_SENTENCES},
    policy::Policy,
};
use image::{JudgedImage, Strength};

impl Policy {
    /// Decides a case.
    #[must_use]
    pub fn decide(&self, case: &Case<'_>) -> Decision {
        let mut images: Vec<JudgedImage<'_>> =
            case.images.iter().map(|image| self.judge_image(case.gate, case.chain, image)).collect();
        images.sort_by(|a, b| a.order().cmp(&b.order()));
        match (case.chain, images.as_slice()) {
            (None, [image]) => {
                let verdict = if image.is_admitted() { admit(&[image]) } else { refuse(image, Vec::new()) };
                verdict.into_decision(images)
            }
            (None, others) => {
                let detail = format!("{} images for a question about one", others.len());
                self.without_image(Mode::Enforce, Reason::new(DenyCode::Internal, detail))
            }
            // Where nothing of the policy refuses anything, a chain nobody knows is no exception.
            (Some(chain), []) => {
                let detail = if chain.id == Digest::sha256(b"") { NO_LAYERS.to_owned() } else { chain.id.to_string() };
                self.without_image(self.strictest, Reason::new(DenyCode::UnknownChain, detail))
            }
            (Some(chain), _) => decide_chain(chain.purpose, &images).into_decision(images),
        }
    }

    fn without_image(&self, mode: Mode, reason: Reason) -> Decision {
        let outcome = match mode {
            Mode::Enforce => Outcome::Deny { first: reason, others: Vec::new() },
            Mode::Warn | Mode::Observe => Outcome::Allow { would_deny: vec![reason] },
        };
        Decision { outcome, mode, rule: None, because: Vec::new(), holds_until: None, images: Vec::new() }
    }
}

/// How the chain of no layers is called, which a gate asks about for a snapshot that rests on nothing.
const NO_LAYERS: &str = "none at all: the image has no layers (build it with at least one), or the snapshot was made by \
                         hand without a parent";

/// What becomes of a case, before its sentences are put together.
struct Settled {
    outcome: Outcome,
    mode: Mode,
    rule: Option<String>,
    holds_until: Option<UnixTime>,
    /// Sentences before those of the images.
    remarks: Vec<String>,
    /// The image that decided: its sentences come first.
    deciding: (Digest, Digest),
}

/// Layers that are there are those of every image that has the chain: one that is admitted by signatures suffices.
///
/// To extract one, it takes a config whose images are all admitted by signatures, and no refused image that could have other
/// blobs extracted in its place: containerd does not say whose layers it is about to unpack.
///
/// Admission that asks for less counts only if every image that has this chain is admitted: the layers, once unpacked, serve
/// them all.
fn decide_chain(purpose: Purpose, images: &[JudgedImage<'_>]) -> Settled {
    let mut configs: BTreeMap<Digest, Vec<&JudgedImage<'_>>> = BTreeMap::new();
    images.iter().for_each(|image| configs.entry(image.decision.config).or_default().push(image));
    match purpose {
        Purpose::Use => {
            if let Some(image) = images.iter().find(|image| image.strength == Strength::Suffices) {
                return admit(&[image]);
            }
        }
        Purpose::Extraction => {
            if let Some(settled) = decide_extraction(&configs, images) {
                return settled;
            }
        }
    }
    let Some(first_refused) = images.iter().find(|image| !image.is_admitted()) else {
        return admit(&images.iter().collect::<Vec<_>>());
    };
    for group in configs.values() {
        let admitted = group.iter().find(|image| image.is_admitted());
        let refused = group.iter().find(|image| !image.is_admitted());
        if let (Some(admitted), Some(refused)) = (admitted, refused) {
            let detail = format!(
                "config {}: manifest {} is admitted, manifest {} is not",
                refused.decision.config, admitted.decision.manifest, refused.decision.manifest
            );
            return refuse(refused, vec![Reason::new(DenyCode::AmbiguousConfig, detail)]);
        }
    }
    let mut settled = refuse(first_refused, Vec::new());
    if let Some(image) = images.iter().find(|image| image.is_admitted()) {
        settled.remarks.push(format!(
            "image {} with these layers is admitted, but not by signatures under its own rule; that counts only if image {} \
             with the same layers is admitted too",
            image.decision.manifest, first_refused.decision.manifest
        ));
    }
    settled.mention_unexamined(images);
    settled
}

/// Whether a config suffices for a layer to be extracted; nothing if none does and none would.
fn decide_extraction(configs: &BTreeMap<Digest, Vec<&JudgedImage<'_>>>, images: &[JudgedImage<'_>]) -> Option<Settled> {
    let mut in_the_way: Option<Settled> = None;
    for group in configs.values().filter(|group| group.iter().all(|image| image.strength == Strength::Suffices)) {
        let differs = |image: &&JudgedImage<'_>| {
            !image.is_admitted() && !image.is_alike && !group.iter().any(|admitted| admitted.unpacks_like(image))
        };
        match images.iter().find(differs) {
            None => return Some(admit(group)),
            Some(image) => in_the_way = in_the_way.or_else(|| Some(refuse_beside(image, group))),
        }
    }
    in_the_way
}

/// Refuses a chain for the sake of an image that is refused and does not have the layers of these, which are admitted.
fn refuse_beside(image: &JudgedImage<'_>, admitted: &[&JudgedImage<'_>]) -> Settled {
    let manifest = image.decision.manifest;
    let what = if image.bound.is_some() { "names other layer blobs" } else { "cannot be read" };
    let beside = admitted
        .first()
        .map_or_else(String::new, |first| format!(" beside admitted image {}", first.decision.manifest));
    let detail = format!(
        "refused image {manifest} claims the same layers{beside} and {what}; until it is gone they cannot be told apart: \
         `ctr -n NAMESPACE image rm` its name or `ctr -n NAMESPACE content rm {manifest}`"
    );
    refuse(image, vec![Reason::new(DenyCode::AmbiguousConfig, detail)])
}

/// Admits on the strength of all of these images (at least one).
fn admit(images: &[&JudgedImage<'_>]) -> Settled {
    let mut would_deny: Vec<Reason> = Vec::new();
    for reason in images.iter().flat_map(|image| &image.decision.reasons) {
        if would_deny.len() < MAX_REASONS && !would_deny.contains(reason) {
            would_deny.push(reason.clone());
        }
    }
    // The strictest that had to admit; among equals the one that has something to tell, then the first.
    let strictness = |image: &JudgedImage<'_>| (image.decision.mode, !image.decision.reasons.is_empty());
    let deciding = images.iter().rev().max_by_key(|image| strictness(image));
    match deciding {
        Some(image) => Settled {
            outcome: Outcome::Allow { would_deny },
            mode: image.decision.mode,
            rule: image.decision.rule.clone(),
            holds_until: images.iter().filter_map(|image| image.holds_until).min(),
            remarks: Vec::new(),
            deciding: image.id(),
        },
        None => Settled {
            outcome: Outcome::Deny { first: Reason::new(DenyCode::Internal, "no image"), others: Vec::new() },
            mode: Mode::Enforce,
            rule: None,
            holds_until: None,
            remarks: Vec::new(),
            deciding: (Digest::from_sha256([0; 32]), Digest::from_sha256([0; 32])),
        },
    }
}

/// Refuses for `before`, if there is any, and then for the image's own reasons.
fn refuse(image: &JudgedImage<'_>, before: Vec<Reason>) -> Settled {
    let mut reasons = before.into_iter().chain(image.decision.reasons.iter().cloned());
    let first = reasons.next().unwrap_or_else(|| Reason::new(DenyCode::Internal, "refused without a reason"));
    Settled {
        outcome: Outcome::Deny { first, others: reasons.take(MAX_REASONS - 1).collect() },
        mode: Mode::Enforce,
        rule: image.decision.rule.clone(),
        holds_until: None,
        remarks: Vec::new(),
        deciding: image.id(),
    }
}

impl Settled {
    /// Says that signatures of some images were not looked at, which a person may take for a refusal of theirs.
    fn mention_unexamined(&mut self, images: &[JudgedImage<'_>]) {
        let alike = images.iter().filter(|image| image.is_alike).count();
        if let (Outcome::Deny { others, .. }, 1..) = (&mut self.outcome, alike) {
            let detail = format!(
                "{} images have these layers; the signatures of the {} that were changed last were looked at: if this one was not \
                 among them, pull it again by its name",
                images.len(),
                images.len() - alike
            );
            others.truncate(MAX_REASONS - 2);
            others.push(Reason::new(DenyCode::Limit, detail));
        }
    }

    fn into_decision(self, images: Vec<JudgedImage<'_>>) -> Decision {
        let (deciding, others): (Vec<&JudgedImage<'_>>, Vec<&JudgedImage<'_>>) =
            images.iter().partition(|image| image.id() == self.deciding);
        let of_images = deciding.into_iter().chain(others).flat_map(JudgedImage::sentences);
        let all: Vec<&String> = self.remarks.iter().chain(of_images).collect();
        let mut because: Vec<String> = Vec::new();
        for text in &all {
            if !because.contains(text) {
                because.push((*text).clone());
            }
            if because.len() == MAX_SENTENCES {
                let last = because.pop().filter(|_| all.last().is_some_and(|last| *last == *text));
                because.push(last.unwrap_or_else(|| "further sentences are left out".to_owned()));
                break;
            }
        }
        Decision {
            outcome: self.outcome,
            mode: self.mode,
            rule: self.rule,
            because,
            holds_until: self.holds_until,
            images: images.into_iter().map(|image| image.decision).collect::<Vec<ImageDecision>>(),
        }
    }
}
