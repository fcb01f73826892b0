//! Chooses the manifest that a platform leads to, for an image that is known by its top document only.

use assay_admission::{CandidateName, Descriptor, Digest, Documents, ImageClaim, Platform, PlatformError};

use super::{BindError, find, malformed};
use crate::oci::{self, Entry, EntryPlatform};

/// The claim that `top` (an index or a manifest) makes for `platform`, known under `names`. It proves nothing until it is bound.
///
/// # Errors
/// [`BindError`]: a document is missing or malformed, or the index has no manifest, or several, for the platform.
pub fn claim_of(
    top: &Digest,
    documents: &Documents,
    platform: &Platform,
    names: Vec<CandidateName>,
) -> Result<ImageClaim, BindError> {
    let document = find(documents, top)?;
    let (manifest, indexes) = if document.media_type().is_index() {
        let entries = oci::parse_index(document).map_err(|error| malformed(top, error))?;
        (choose(top, &entries, platform)?.digest, vec![*top])
    } else if document.media_type().is_manifest() {
        (*top, Vec::new())
    } else {
        return Err(BindError::NotAnImage { digest: *top, media_type: document.media_type().clone() });
    };
    let parsed = oci::parse_manifest(find(documents, &manifest)?).map_err(|error| malformed(&manifest, error))?;
    Ok(ImageClaim { manifest, config: parsed.config.digest, indexes, names })
}

/// A platform from its parts, normalised as containerd normalises it.
pub(super) fn platform(os: &str, architecture: &str, variant: Option<&str>) -> Result<Platform, PlatformError> {
    let variant = match (architecture, variant) {
        ("arm", None) => Some("v7"),
        ("amd64", Some("v1")) => None,
        (_, variant) => variant,
    };
    match variant {
        Some(variant) => format!("{os}/{architecture}/{variant}").parse(),
        None => format!("{os}/{architecture}").parse(),
    }
}

/// The entry that fits best: the exact variant first, then the lower ones that the hardware runs too, last an entry that names no
/// platform (containerd takes those as fitting).
fn choose<'e>(index: &Digest, entries: &'e [Entry], wanted: &Platform) -> Result<&'e Descriptor, BindError> {
    let named = |entry: &Entry| match &entry.platform {
        EntryPlatform::Absent => None,
        EntryPlatform::Named { os, architecture, variant } => platform(os, architecture, variant.as_deref()).ok(),
    };
    let normal = platform(wanted.os(), wanted.architecture(), wanted.variant());
    for candidate in normal.iter().flat_map(runnable) {
        if let Some(entry) = single(index, wanted, entries.iter().filter(|e| named(e).as_ref() == Some(&candidate)))? {
            return Ok(entry);
        }
    }
    single(index, wanted, entries.iter().filter(|entry| entry.platform == EntryPlatform::Absent))?
        .ok_or_else(|| BindError::NoPlatform { index: *index, platform: Box::new(wanted.clone()) })
}

fn single<'e>(
    index: &Digest,
    wanted: &Platform,
    mut entries: impl Iterator<Item = &'e Entry>,
) -> Result<Option<&'e Descriptor>, BindError> {
    let Some(Entry { descriptor, .. }) = entries.next() else { return Ok(None) };
    if entries.next().is_some() {
        return Err(BindError::SeveralForPlatform { index: *index, platform: Box::new(wanted.clone()) });
    }
    if !descriptor.media_type.is_manifest() {
        let media_type = descriptor.media_type.clone();
        return Err(BindError::Nested { index: *index, platform: Box::new(wanted.clone()), media_type });
    }
    Ok(Some(descriptor))
}

/// The platform itself, then those of the same architecture that it runs too.
fn runnable(wanted: &Platform) -> Vec<Platform> {
    let lower: &[Option<&str>] = match (wanted.architecture(), wanted.variant()) {
        ("arm", Some("v8")) => &[Some("v7"), Some("v6"), Some("v5")],
        ("arm", Some("v7")) => &[Some("v6"), Some("v5")],
        ("arm", Some("v6")) => &[Some("v5")],
        ("amd64", Some("v4")) => &[Some("v3"), Some("v2"), None],
        ("amd64", Some("v3")) => &[Some("v2"), None],
        ("amd64", Some("v2")) => &[None],
        _ => &[],
    };
    let lower = lower.iter().filter_map(|variant| platform(wanted.os(), wanted.architecture(), *variant).ok());
    std::iter::once(wanted.clone()).chain(lower).collect()
}
