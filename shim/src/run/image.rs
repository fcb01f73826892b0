//! From a name or a config to the images that a container may be of: claims and documents for the agent, as containerd has them.

use std::collections::BTreeSet;

use assay_admission::{
    CandidateName, DenyCode, Digest, Document, Documents, ImageClaim, ImageRef, MAX_DOCUMENT_BYTES, MediaType,
    NameSource, Namespace, Platform, Purpose,
};
use assay_proto::containerd::types;
use serde::Deserialize;

use super::foreign;
use crate::{
    containerd::{Containerd, ContainerdError},
    mapping::{Images, MappingError, Reading, chains},
    refusal::{Refusal, shown},
};

/// How deep indexes may be nested.
const MAX_NESTING: usize = 3;
/// Most documents that are read for one name.
const MAX_DOCUMENTS: usize = 64;

/// Images with their documents.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    pub(super) claims: Vec<ImageClaim>,
    pub(super) documents: Documents,
}

/// A document that is named by a digest.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Named {
    media_type: String,
    digest: String,
    platform: Option<NamedPlatform>,
}

#[derive(Clone, Debug, Deserialize)]
struct NamedPlatform {
    os: String,
    architecture: String,
}

#[derive(Debug, Deserialize)]
struct Index {
    manifests: Vec<Named>,
}

#[derive(Debug, Deserialize)]
struct Manifest {
    config: Named,
}

impl Found {
    /// The images of this platform that containerd's record of this name leads to; `None` without such a record.
    pub(super) async fn by_name(
        containerd: &Containerd,
        namespace: &Namespace,
        name: &str,
    ) -> Result<Option<Self>, Refusal> {
        let reference = name.parse::<ImageRef>().ok();
        let mut target = containerd.target(namespace, name).await.map_err(unanswered)?;
        // CRI's clients may say `alpine` for docker.io/library/alpine:latest.
        if let (None, Some(canonical)) =
            (&target, reference.as_ref().map(ToString::to_string).filter(|text| text != name))
        {
            target = containerd.target(namespace, &canonical).await.map_err(unanswered)?;
        }
        let Some(types::Descriptor { media_type, digest, .. }) = target else { return Ok(None) };
        let names = reference.map(|reference| CandidateName { reference, source: NameSource::ImageRecord });
        let names: Vec<CandidateName> = names.into_iter().collect();
        let mut found = Self::default();
        // The documents to look at, each with the indexes that led to it.
        let mut level = vec![(Named { media_type, digest, platform: None }, Vec::new())];
        for _ in 0..=MAX_NESTING {
            let mut next = Vec::new();
            for (named, indexes) in level {
                let Some(document) = found.read(containerd, namespace, &named).await? else { continue };
                let (digest, bytes) = (*document.digest(), document.bytes().to_vec());
                if document.media_type().is_index() {
                    let path: Vec<Digest> = indexes.iter().copied().chain([digest]).collect();
                    let Index { manifests } = parse(&digest, &bytes)?;
                    next.extend(
                        manifests.into_iter().filter(Named::is_for_this_host).map(|child| (child, path.clone())),
                    );
                } else if document.media_type().is_manifest() {
                    let Manifest { config } = parse(&digest, &bytes)?;
                    if let Some(document) = found.read(containerd, namespace, &config).await? {
                        let config = *document.digest();
                        let names = names.clone();
                        found.claims.push(ImageClaim { manifest: digest, config, indexes, names });
                    }
                } else {
                    let kind = shown(document.media_type().as_str());
                    return Err(malformed(&digest, format!("{kind} is neither an index nor an image's manifest")));
                }
            }
            level = next;
        }
        Ok(Some(found))
    }

    /// Every image with just this chain that the namespace still has, under all its names.
    pub(super) async fn by_chain(images: &Images, namespace: &Namespace, chain: &Digest) -> Result<Self, Refusal> {
        let mapped = images.of_chain(namespace, chain, Purpose::Use, None).await.map_err(|error| error.refusal())?;
        if mapped.many.is_some() {
            return Err(Refusal::own(DenyCode::Limit, format!("too many images have the layers {chain}")));
        }
        Ok(Self { claims: mapped.claims, documents: mapped.documents })
    }

    /// Leaves the images with this config, and the documents of what is left.
    pub(super) fn retain_config(mut self, config: &Digest) -> Self {
        self.claims.retain(|claim| claim.config == *config);
        self.without_others()
    }

    /// Leaves the images whose layers are all of this chain and no more, and the documents of what is left.
    pub(super) fn retain_chain(mut self, chain: &Digest) -> Self {
        let Self { claims, documents } = &mut self;
        claims.retain(|claim| {
            let config = documents.get(&claim.config).map(|config| chains(config.bytes()));
            matches!(config, Some(Reading::Plain(chains)) if chains.last() == Some(chain))
        });
        self.without_others()
    }

    /// Refuses for want of an image that the container could be of.
    pub(super) fn refuse_without(self, name: &str, chain: &Digest) -> Result<Self, Refusal> {
        if self.claims.is_empty() {
            let detail = format!(
                "its snapshot rests on {chain}, which is not the image that containerd knows as {}",
                shown(name)
            );
            return Err(foreign(detail));
        }
        Ok(self)
    }

    fn without_others(mut self) -> Self {
        let claimed = |claim: &ImageClaim| [claim.manifest, claim.config].into_iter().chain(claim.indexes.clone());
        let wanted: BTreeSet<Digest> = self.claims.iter().flat_map(claimed).collect();
        self.documents.retain(|digest, _| wanted.contains(digest));
        self
    }

    /// Reads a document, unless it was; `None` if the namespace does not have it.
    async fn read(
        &mut self,
        containerd: &Containerd,
        namespace: &Namespace,
        named: &Named,
    ) -> Result<Option<Document>, Refusal> {
        let unclear = |what: String| Refusal::own(DenyCode::Malformed, what);
        let digest: Digest =
            named.digest.parse().map_err(|error| unclear(format!("digest {}: {error}", shown(&named.digest))))?;
        if let Some(document) = self.documents.get(&digest) {
            return Ok(Some(document.clone()));
        }
        if self.documents.len() >= MAX_DOCUMENTS {
            return Err(Refusal::own(DenyCode::Limit, format!("more than {MAX_DOCUMENTS} documents of one image")));
        }
        let Some(bytes) = containerd.read(namespace, &digest, MAX_DOCUMENT_BYTES).await.map_err(unanswered)? else {
            return Ok(None);
        };
        let media_type = MediaType::new(&named.media_type)
            .ok_or_else(|| unclear(format!("media type {} of {digest}", shown(&named.media_type))))?;
        let document = Document::new(media_type, bytes).map_err(|error| MappingError::from(error).refusal())?;
        if *document.digest() != digest {
            return Err(malformed(
                &digest,
                format!("containerd has other bytes for it, with digest {}", document.digest()),
            ));
        }
        self.documents.insert(digest, document.clone());
        Ok(Some(document))
    }
}

impl Named {
    /// Whether it may be meant for this platform; the agent looks closely.
    fn is_for_this_host(&self) -> bool {
        let host = Platform::host();
        self.platform
            .as_ref()
            .is_none_or(|platform| platform.os == host.os() && platform.architecture == host.architecture())
    }
}

fn parse<T: for<'de> Deserialize<'de>>(digest: &Digest, bytes: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(bytes).map_err(|error| malformed(digest, error.to_string()))
}

fn malformed(digest: &Digest, what: String) -> Refusal {
    Refusal::own(DenyCode::Malformed, format!("{digest}: {what}"))
}

fn unanswered(error: ContainerdError) -> Refusal {
    MappingError::from(error).refusal()
}
