//! Binds an image's documents to each other by digest: index → manifest → config → layer chains. Claims and untrusted bytes go
//! in, a [`BoundImage`] comes out whose parts are proved to belong together. Nothing here knows who signed what.

use assay_admission::{
    DenyCode, Descriptor, Digest, Document, Documents, ImageClaim, MAX_DOCUMENT_BYTES, MediaType, Platform,
    PlatformError,
};

use crate::{
    json::JsonError,
    limits::LimitReached,
    oci::{self, Config, Manifest},
};

mod claim;

pub use claim::claim_of;

/// An image whose documents are bound to each other. Only [`bind`] and [`bind_manifest`] make one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundImage {
    manifest: Descriptor,
    indexes: Vec<Descriptor>,
    left_out: Vec<(Digest, BindError)>,
    config: Digest,
    chains: Vec<Digest>,
    layers: Vec<Digest>,
    layer_types: Vec<MediaType>,
    platform: Platform,
    wanted: Platform,
}

/// Why documents do not belong together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BindError {
    /// A document is not there. Nothing is wrong with the image; the fetcher may have the document.
    #[error("document {digest} is missing")]
    Missing {
        /// The document's digest.
        digest: Digest,
    },
    /// A document is not what its media type says.
    #[error("document {digest}, {field}: {problem}")]
    Malformed {
        /// The document's digest.
        digest: Digest,
        /// The field.
        field: &'static str,
        /// What is wrong there.
        problem: String,
    },
    /// The documents are well-formed and contradict each other.
    #[error("document {digest} says {said} of {about}, and it has {found}")]
    Mismatch {
        /// The document that says so.
        digest: Digest,
        /// Of what it says so.
        about: &'static str,
        /// What it says.
        said: Box<str>,
        /// What there is.
        found: Box<str>,
    },
    /// The index does not list the manifest itself. An index inside an index is not followed.
    #[error(
        "index {index} does not list manifest {manifest} itself, and nested indexes are not followed: push the image as one index"
    )]
    NotInIndex {
        /// The index.
        index: Digest,
        /// The manifest.
        manifest: Box<Digest>,
    },
    /// The index lists the manifest more than once.
    #[error("index {index} lists manifest {manifest} more than once")]
    ListedTwice {
        /// The index.
        index: Digest,
        /// The manifest.
        manifest: Box<Digest>,
    },
    /// The image has no manifest for the platform.
    #[error("index {index} has no manifest for {platform}")]
    NoPlatform {
        /// The index.
        index: Digest,
        /// The platform.
        platform: Box<Platform>,
    },
    /// The image has several manifests for the platform.
    #[error("index {index} has more than one manifest for {platform}")]
    SeveralForPlatform {
        /// The index.
        index: Digest,
        /// The platform.
        platform: Box<Platform>,
    },
    /// What the platform leads to is no image manifest.
    #[error(
        "index {index} leads {platform} to {media_type}; nested indexes are not followed: push the image as one index"
    )]
    Nested {
        /// The index.
        index: Digest,
        /// The platform.
        platform: Box<Platform>,
        /// The entry's media type.
        media_type: MediaType,
    },
    /// The document is neither an index nor an image manifest.
    #[error("document {digest} has media type {media_type}, which is no image")]
    NotAnImage {
        /// The document.
        digest: Digest,
        /// Its media type.
        media_type: MediaType,
    },
    /// The digest is not SHA-256: documents are addressed by nothing else here.
    #[error("document {digest} is not addressed by sha256")]
    Algorithm {
        /// The digest.
        digest: Digest,
    },
    /// A layer's bytes would come from outside the registry.
    #[error("layer {layer} names urls to be fetched from outside the registry")]
    ForeignUrls {
        /// The layer.
        layer: Digest,
    },
    /// The config is larger than is looked at, so that nobody need send it.
    #[error(
        "config {config} has {size} bytes, at most {MAX_DOCUMENT_BYTES} are looked at: build the image with a smaller \
         config, that is with fewer or shorter labels, variables and history entries"
    )]
    ConfigSize {
        /// The config.
        config: Digest,
        /// Its size, as the manifest says it.
        size: u64,
    },
    /// A cap was reached.
    #[error("document {digest}: {limit}")]
    Limit {
        /// The document.
        digest: Digest,
        /// The cap.
        limit: LimitReached,
    },
}

impl BindError {
    /// The deny code under which an image that cannot be bound is refused.
    #[must_use]
    pub const fn code(&self) -> DenyCode {
        match self {
            Self::Missing { .. } => DenyCode::EvidenceUnavailable,
            Self::ConfigSize { .. } | Self::Limit { .. } => DenyCode::Limit,
            Self::Malformed { .. }
            | Self::Mismatch { .. }
            | Self::NotInIndex { .. }
            | Self::ListedTwice { .. }
            | Self::NoPlatform { .. }
            | Self::SeveralForPlatform { .. }
            | Self::Nested { .. }
            | Self::NotAnImage { .. }
            | Self::Algorithm { .. }
            | Self::ForeignUrls { .. } => DenyCode::Malformed,
        }
    }
}

/// Proves that the documents of `claim` belong together. `platform` is kept to be compared; an image of another platform binds.
///
/// # Errors
/// [`BindError`]: a document is missing, malformed, or contradicts another.
pub fn bind(claim: &ImageClaim, documents: &Documents, platform: &Platform) -> Result<BoundImage, BindError> {
    let bound = bind_manifest(claim, documents, platform)?;
    match bound.left_out.first() {
        Some((_, error)) => Err(error.clone()),
        None => Ok(bound),
    }
}

/// [`bind`] for an image that is known by its manifest: anybody may push an index that lists it. An index that does not bind is left
/// out: nothing that was signed for it counts, and what was signed for the manifest or another index does.
///
/// # Errors
/// [`BindError`]: manifest or config is missing, malformed, or contradicts the other.
pub fn bind_manifest(claim: &ImageClaim, documents: &Documents, platform: &Platform) -> Result<BoundImage, BindError> {
    let manifest_document = find(documents, &claim.manifest)?;
    let manifest = oci::parse_manifest(manifest_document).map_err(|error| malformed(&claim.manifest, error))?;
    let descriptor = manifest_document.descriptor();
    let config = bind_config(claim, &manifest, documents)?;
    let (mut indexes, mut left_out) = (Vec::new(), Vec::new());
    for index in &claim.indexes {
        match bind_index(index, &descriptor, documents) {
            Ok(descriptor) => indexes.push(descriptor),
            Err(error) => left_out.push((*index, error)),
        }
    }
    let own = own_platform(&config).map_err(|error| BindError::Malformed {
        digest: claim.config,
        field: "os, architecture, variant",
        problem: error.to_string(),
    })?;
    Ok(BoundImage {
        manifest: descriptor,
        indexes,
        left_out,
        config: claim.config,
        chains: chain_ids(&config.diff_ids),
        layers: manifest.layers.iter().map(|layer| layer.descriptor.digest).collect(),
        layer_types: manifest.layers.iter().map(|layer| layer.descriptor.media_type.clone()).collect(),
        platform: own,
        wanted: platform.clone(),
    })
}

impl BoundImage {
    /// The platform manifest.
    #[must_use]
    pub const fn manifest(&self) -> &Descriptor {
        &self.manifest
    }

    /// Indexes that list the manifest.
    #[must_use]
    pub fn indexes(&self) -> &[Descriptor] {
        &self.indexes
    }

    /// Indexes that were said to list the manifest and do not bind, with the reason. Nothing that was signed for one counts.
    #[must_use]
    pub fn left_out(&self) -> &[(Digest, BindError)] {
        &self.left_out
    }

    /// The config's digest.
    #[must_use]
    pub const fn config(&self) -> &Digest {
        &self.config
    }

    /// What a signature of this image may be about: the manifest, then the indexes.
    pub fn subjects(&self) -> impl Iterator<Item = &Descriptor> {
        std::iter::once(&self.manifest).chain(&self.indexes)
    }

    /// The chain id of each layer, the lowest first (image-spec config.md, "Layer ChainID").
    #[must_use]
    pub fn chains(&self) -> &[Digest] {
        &self.chains
    }

    /// The digest of each layer as the manifest names it, compressed, the lowest first: as many as [`Self::chains`].
    #[must_use]
    pub fn layers(&self) -> &[Digest] {
        &self.layers
    }

    /// The media type under which the manifest names each layer: as many as [`Self::layers`]. containerd chooses by it how
    /// it reads the blob.
    #[must_use]
    pub fn layer_types(&self) -> &[MediaType] {
        &self.layer_types
    }

    /// Whether `chain` is the chain id of one of the layers.
    #[must_use]
    pub fn contains_chain(&self, chain: &Digest) -> bool {
        self.chains.contains(chain)
    }

    /// The platform that the config names.
    #[must_use]
    pub const fn platform(&self) -> &Platform {
        &self.platform
    }

    /// Whether the config names the platform that was asked for. Another one may have been asked for on purpose.
    #[must_use]
    pub fn is_for_wanted_platform(&self) -> bool {
        self.platform == self.wanted
    }
}

/// The document of `digest`, with its own hash compared: a map that says otherwise is not believed.
fn find<'d>(documents: &'d Documents, digest: &Digest) -> Result<&'d Document, BindError> {
    if digest.algorithm() != "sha256" {
        return Err(BindError::Algorithm { digest: *digest });
    }
    documents.get(digest).filter(|document| document.digest() == digest).ok_or(BindError::Missing { digest: *digest })
}

fn malformed(digest: &Digest, error: JsonError) -> BindError {
    match error {
        JsonError::Syntax(problem) => BindError::Malformed { digest: *digest, field: "JSON", problem },
        JsonError::Field { field, problem } => BindError::Malformed { digest: *digest, field, problem },
        JsonError::Limit(limit) => BindError::Limit { digest: *digest, limit },
    }
}

fn bind_config(claim: &ImageClaim, manifest: &Manifest, documents: &Documents) -> Result<Config, BindError> {
    let mismatch = |about, said: &dyn ToString, found: &dyn ToString| BindError::Mismatch {
        digest: claim.manifest,
        about,
        said: said.to_string().into(),
        found: found.to_string().into(),
    };
    let said = &manifest.config;
    // containerd stores a converted manifest, with another digest, where the config has any other type.
    if !matches!(said.media_type.as_str(), MediaType::OCI_CONFIG | MediaType::DOCKER_CONFIG) {
        return Err(BindError::NotAnImage { digest: claim.manifest, media_type: said.media_type.clone() });
    }
    if said.digest != claim.config {
        return Err(mismatch("its config", &said.digest, &claim.config));
    }
    if usize::try_from(said.size).map_or(true, |size| size > MAX_DOCUMENT_BYTES) {
        return Err(BindError::ConfigSize { config: claim.config, size: said.size });
    }
    let document = find(documents, &claim.config)?;
    let found = document.descriptor();
    if said.size != found.size {
        return Err(mismatch("its config's size", &said.size, &found.size));
    }
    if let Some(layer) = manifest.layers.iter().find(|layer| layer.has_urls) {
        return Err(BindError::ForeignUrls { layer: layer.descriptor.digest });
    }
    let config = oci::parse_config(document.bytes()).map_err(|error| malformed(&claim.config, error))?;
    if manifest.layers.len() != config.diff_ids.len() {
        return Err(mismatch("its number of layers", &manifest.layers.len(), &config.diff_ids.len()));
    }
    Ok(config)
}

fn bind_index(index: &Digest, manifest: &Descriptor, documents: &Documents) -> Result<Descriptor, BindError> {
    let document = find(documents, index)?;
    let entries = oci::parse_index(document).map_err(|error| malformed(index, error))?;
    let mut listed = entries.iter().map(|entry| &entry.descriptor).filter(|entry| entry.digest == manifest.digest);
    let entry = listed.next().ok_or(BindError::NotInIndex { index: *index, manifest: Box::new(manifest.digest) })?;
    if listed.next().is_some() {
        return Err(BindError::ListedTwice { index: *index, manifest: Box::new(manifest.digest) });
    }
    let mismatch = |about, said: String, found: String| BindError::Mismatch {
        digest: *index,
        about,
        said: said.into(),
        found: found.into(),
    };
    if entry.size != manifest.size {
        return Err(mismatch("the manifest's size", entry.size.to_string(), manifest.size.to_string()));
    }
    if entry.media_type != manifest.media_type {
        return Err(mismatch(
            "the manifest's media type",
            entry.media_type.to_string(),
            manifest.media_type.to_string(),
        ));
    }
    Ok(document.descriptor())
}

fn own_platform(config: &Config) -> Result<Platform, PlatformError> {
    claim::platform(&config.os, &config.architecture, config.variant.as_deref())
}

/// ChainID(L0) = DiffID(L0); ChainID(L0|…|Ln) = SHA256(ChainID(L0|…|Ln-1) + " " + DiffID(Ln)).
fn chain_ids(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut chains: Vec<Digest> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        let chain = chains.last().map_or(*diff_id, |lower| Digest::sha256(format!("{lower} {diff_id}").as_bytes()));
        chains.push(chain);
    }
    chains
}
