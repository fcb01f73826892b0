//! The images of one layer chain together: for whose sake a layer may be extracted, or something be made of layers that are there.
//! containerd does not say which of the images is meant.

use std::collections::BTreeMap;

use assay_admission::{DenyCode, Digest, Gate, Namespace, Purpose, Reason};

use super::{
    Settled, admit,
    image::{JudgedImage, Strength},
    refuse,
};

/// Layers that are there are those of every image that has the chain: one that is admitted by signatures suffices, and admission
/// that asks for less counts only if every image that has this chain is admitted. For what may be extracted see [`extractable`].
///
/// A container is one image: where the run gate could not tell which of several, all of them have to be admitted.
pub(super) fn decide_chain(asked: &Asked<'_>, images: &[JudgedImage<'_>]) -> Settled {
    let mut configs: Configs<'_, '_> = BTreeMap::new();
    images.iter().for_each(|image| configs.entry(image.decision.config).or_default().push(image));
    let by_signatures = match asked.purpose {
        Purpose::Use if !one_image_is_enough(asked.gate) => None,
        Purpose::Use => images.iter().find(|image| image.strength == Strength::Suffices).map(|image| admit(&[image])),
        Purpose::Extraction => extractable(&configs, images, |image| image.strength == Strength::Suffices).map(admit),
    };
    if let Some(settled) = by_signatures {
        return settled;
    }
    let Some(first_refused) = images.iter().find(|image| !image.is_admitted()) else {
        return admit(&images.iter().collect::<Vec<_>>());
    };
    if asked.purpose == Purpose::Extraction
        && let Some(group) = extractable(&configs, images, JudgedImage::is_admitted)
    {
        return admit(group);
    }
    let in_question = images.iter().find(|image| asked.likeliest == Some(image.decision.manifest));
    let conflict = conflict(asked, &configs, images, in_question);
    // Who asks for an image that is refused wants to know why, whatever else is on the node.
    if let Some(image) = in_question.filter(|image| !image.is_admitted() && !image.is_alike) {
        let conflict = conflict.filter(|(refused, _)| refused.id() == image.id()).map(|(_, reason)| reason);
        let mut settled = refuse(image, Vec::new());
        settled.add(conflict);
        settled.mention_unexamined(images);
        return settled;
    }
    if let Some((refused, reason)) = conflict {
        return refuse(refused, vec![reason]);
    }
    let mut settled = refuse(first_refused, Vec::new());
    if let Some(image) = images.iter().find(|image| image.is_admitted()) {
        settled.remarks.push(only_with(image, first_refused));
    }
    settled.mention_unexamined(images);
    settled
}

/// What is asked about a chain, and what a refusal needs to name.
pub(super) struct Asked<'a> {
    pub(super) gate: Gate,
    pub(super) purpose: Purpose,
    pub(super) likeliest: Option<Digest>,
    pub(super) namespace: Option<&'a Namespace>,
}

const fn one_image_is_enough(gate: Gate) -> bool {
    match gate {
        Gate::Pull | Gate::Unpack | Gate::Ask => true,
        Gate::Run => false,
    }
}

/// The images of each config.
type Configs<'a, 'b> = BTreeMap<Digest, Vec<&'a JudgedImage<'b>>>;

/// The images for whose sake a layer may be extracted: those of one config, each of them admitted as `counts` says, beside which no
/// refused image could have other blobs extracted in their place. containerd does not say whose layers it is about to unpack;
/// these are then blobs that an admitted image names, whoever's they are.
fn extractable<'a, 'b>(
    configs: &'a Configs<'a, 'b>,
    images: &[JudgedImage<'b>],
    counts: impl Fn(&JudgedImage<'b>) -> bool,
) -> Option<&'a [&'a JudgedImage<'b>]> {
    configs
        .values()
        .map(Vec::as_slice)
        .find(|group| group.iter().all(|image| counts(image)) && is_whole(group) && in_the_way(group, images).is_none())
}

/// Whether all images of a config are admitted, and known by their documents: else nothing is known of their blobs.
fn is_whole(group: &[&JudgedImage<'_>]) -> bool {
    group.iter().all(|image| image.is_admitted() && image.bound.is_some())
}

/// A refused image that may have other blobs than these for a layer that both have.
fn in_the_way<'a, 'b>(group: &[&JudgedImage<'_>], images: &'a [JudgedImage<'b>]) -> Option<&'a JudgedImage<'b>> {
    images.iter().find(|image| {
        !image.is_admitted() && !image.is_alike && !group.iter().any(|admitted| admitted.unpacks_like(image))
    })
}

/// The refused image that keeps an admitted one from being admitted here, if there is one, and how it does.
fn conflict<'a, 'b>(
    asked: &Asked<'_>,
    configs: &Configs<'a, 'b>,
    images: &'a [JudgedImage<'b>],
    in_question: Option<&JudgedImage<'_>>,
) -> Option<(&'a JudgedImage<'b>, Reason)> {
    let is_in_question = |image: &JudgedImage<'_>| in_question.is_some_and(|asked| asked.id() == image.id());
    // The image that is asked for goes before others that could be told of.
    let mut groups: Vec<&Vec<&'a JudgedImage<'b>>> = configs.values().collect();
    groups.sort_by_key(|group| !group.iter().any(|image| is_in_question(image)));
    if asked.purpose == Purpose::Extraction {
        for group in groups.iter().filter(|group| is_whole(group)) {
            if let Some(refused) = in_the_way(group, images) {
                return Some((refused, beside(asked, refused, group)));
            }
        }
    }
    for group in &groups {
        let admitted = group.iter().find(|image| image.is_admitted());
        let refused = group.iter().find(|image| !image.is_admitted());
        if let (Some(admitted), Some(refused)) = (admitted, refused) {
            let detail = format!(
                "config {}: manifest {} is admitted, manifest {} is not: {}",
                refused.decision.config,
                admitted.decision.manifest,
                refused.decision.manifest,
                removal(asked, refused)
            );
            return Some((refused, Reason::new(DenyCode::AmbiguousConfig, detail)));
        }
    }
    let admitted = in_question.filter(|image| image.is_admitted())?;
    let refused = images.iter().find(|image| !image.is_admitted())?;
    let detail = format!("{}: {}", only_with(admitted, refused), removal(asked, refused));
    Some((refused, Reason::new(DenyCode::AmbiguousConfig, detail)))
}

fn only_with(admitted: &JudgedImage<'_>, refused: &JudgedImage<'_>) -> String {
    format!(
        "image {} with these layers is admitted, but not by signatures under its own rule; that counts only if image {} with the \
         same layers is admitted too",
        admitted.decision.manifest, refused.decision.manifest
    )
}

/// Why a refused image that does not have the layers of these, which are admitted, stops their extraction.
fn beside(asked: &Asked<'_>, refused: &JudgedImage<'_>, admitted: &[&JudgedImage<'_>]) -> Reason {
    let manifest = refused.decision.manifest;
    let what = if refused.bound.is_some() { "names other layer blobs" } else { "cannot be read" };
    let beside = admitted
        .first()
        .map_or_else(String::new, |first| format!(" beside admitted image {}", first.decision.manifest));
    let detail = format!(
        "refused image {manifest} claims the same layers{beside} and {what}; until it is gone they cannot be told apart: {}",
        removal(asked, refused)
    );
    Reason::new(DenyCode::AmbiguousConfig, detail)
}

/// How to take an image off the node: by its names, as far as containerd has records of them, else by its digest. Without
/// `--sync` the content stays until containerd next collects garbage.
fn removal(asked: &Asked<'_>, image: &JudgedImage<'_>) -> String {
    let namespace = asked.namespace.map_or("NAMESPACE", Namespace::as_str);
    let records: Vec<String> = image.records().take(MAX_RECORDS).map(|name| name.reference.to_string()).collect();
    match records.as_slice() {
        [] => format!("`ctr -n {namespace} content rm {}`", image.decision.manifest),
        names => format!("`ctr -n {namespace} images rm --sync {}`", names.join(" ")),
    }
}

/// Most names in a command to remove an image.
const MAX_RECORDS: usize = 4;
