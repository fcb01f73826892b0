//! A case to its decision: pure, total, and the same in whatever order images, names and facts come. Which image is likely the
//! one in question changes what a refusal tells first, never whether it is one.
//! Blocked digests first, then each image under its names, then the images of a chain together.

mod chain;
mod image;
mod sentences;

use assay_admission::{DenyCode, Digest, Mode, Outcome, Reason, UnixTime};

use crate::{
    case::Case,
    decision::{Decision, ImageDecision, MAX_REASONS, MAX_SENTENCES},
    policy::Policy,
};
use chain::{Asked, decide_chain};
use image::JudgedImage;

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
            (Some(chain), _) => {
                let Case { gate, namespace, likeliest, .. } = *case;
                let asked = Asked { gate, purpose: chain.purpose, likeliest, namespace };
                decide_chain(&asked, &images).into_decision(images)
            }
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
    /// Adds a reason to those of a refusal.
    fn add(&mut self, reason: Option<Reason>) {
        if let (Outcome::Deny { others, .. }, Some(reason)) = (&mut self.outcome, reason) {
            others.truncate(MAX_REASONS - 2);
            others.push(reason);
        }
    }

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
