//! OCI and Docker documents (image-spec v1.1 manifest.md, image-index.md, config.md; Docker schema 2): bytes go in, the fields that
//! bind documents to each other come out. Nothing here looks at another document.

use std::collections::BTreeMap;

use assay_admission::{Descriptor, Digest, Document, MediaType};

use crate::{
    json::{JsonError, Object, Value, parse_object, wrong},
    limits::{LimitReached, MAX_LAYERS, MAX_MANIFESTS},
};

/// A manifest of an image or of a signature.
#[derive(Clone, Debug)]
pub(crate) struct Manifest {
    pub(crate) artifact_type: Option<String>,
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<Layer>,
    pub(crate) subject: Option<Descriptor>,
}

#[derive(Clone, Debug)]
pub(crate) struct Layer {
    pub(crate) descriptor: Descriptor,
    pub(crate) annotations: BTreeMap<String, String>,
    /// Addresses outside the registry (`urls`) from which the bytes would be fetched.
    pub(crate) has_urls: bool,
}

/// An entry of an index.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) descriptor: Descriptor,
    pub(crate) platform: EntryPlatform,
}

/// `platform` of an index entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EntryPlatform {
    Absent,
    Named { os: String, architecture: String, variant: Option<String> },
}

/// The fields of an image config that matter for layers and platform.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) os: String,
    pub(crate) architecture: String,
    pub(crate) variant: Option<String>,
    pub(crate) diff_ids: Vec<Digest>,
}

pub(crate) fn parse_manifest(document: &Document) -> Result<Manifest, JsonError> {
    parse_object(document.bytes(), "manifest", |object| {
        if !document.media_type().is_manifest() {
            return Err(wrong("mediaType", format!("is {}, which is no manifest", document.media_type())));
        }
        check_body(object, document)?;
        object.without("manifests", "stands in a manifest; a document is a manifest or an index, not both")?;
        let layers = object.array("layers")?;
        if layers.len() > MAX_LAYERS {
            return Err(LimitReached { what: "layers in a manifest", limit: MAX_LAYERS }.into());
        }
        Ok(Manifest {
            artifact_type: object.optional_string("artifactType")?.map(str::to_owned),
            config: descriptor(object.object("config")?)?,
            layers: layers.iter().map(layer).collect::<Result<_, _>>()?,
            subject: object.optional_object("subject")?.map(descriptor).transpose()?,
        })
    })
}

pub(crate) fn parse_index(document: &Document) -> Result<Vec<Entry>, JsonError> {
    parse_object(document.bytes(), "index", |object| {
        if !document.media_type().is_index() {
            return Err(wrong("mediaType", format!("is {}, which is no index", document.media_type())));
        }
        check_body(object, document)?;
        object.without("layers", "stands in an index; a document is a manifest or an index, not both")?;
        object.without("config", "stands in an index; a document is a manifest or an index, not both")?;
        let entries = object.array("manifests")?;
        if entries.is_empty() {
            return Err(wrong("manifests", "is empty"));
        }
        if entries.len() > MAX_MANIFESTS {
            return Err(LimitReached { what: "manifests in an index", limit: MAX_MANIFESTS }.into());
        }
        entries.iter().map(entry).collect()
    })
}

pub(crate) fn parse_config(bytes: &[u8]) -> Result<Config, JsonError> {
    parse_object(bytes, "config", |object| {
        let rootfs = object.object("rootfs")?;
        let kind = rootfs.string("type")?;
        if kind != "layers" {
            return Err(wrong("rootfs", format!("has the type {kind:?}, not \"layers\"")));
        }
        let diff_ids = rootfs.array("diff_ids")?;
        if diff_ids.is_empty() {
            return Err(wrong("diff_ids", "is empty; an image needs at least one layer"));
        }
        if diff_ids.len() > MAX_LAYERS {
            return Err(LimitReached { what: "diff ids in a config", limit: MAX_LAYERS }.into());
        }
        Ok(Config {
            os: object.string("os")?.to_owned(),
            architecture: object.string("architecture")?.to_owned(),
            variant: object.optional_string("variant")?.filter(|variant| !variant.is_empty()).map(str::to_owned),
            diff_ids: diff_ids
                .iter()
                .map(|value| parse_digest("diff_ids", value.string("diff_ids")?))
                .collect::<Result<_, _>>()?,
        })
    })
}

/// A descriptor: media type, digest and size (image-spec descriptor.md).
pub(crate) fn descriptor(object: Object<'_>) -> Result<Descriptor, JsonError> {
    let media_type = object.string("mediaType")?;
    Ok(Descriptor {
        media_type: MediaType::new(media_type).ok_or_else(|| wrong("mediaType", "is not 1 to 255 ASCII characters"))?,
        digest: parse_digest("digest", object.string("digest")?)?,
        size: object.integer("size")?,
    })
}

pub(crate) fn parse_digest(field: &'static str, text: &str) -> Result<Digest, JsonError> {
    text.parse().map_err(|error| wrong(field, format!("{error}")))
}

/// Version and media type. The body's media type may be absent in OCI documents (manifest.md: SHOULD), never in Docker's.
fn check_body(object: Object<'_>, document: &Document) -> Result<(), JsonError> {
    let version = object.integer("schemaVersion")?;
    if version != 2 {
        return Err(wrong("schemaVersion", format!("is {version}, not 2")));
    }
    let stored = document.media_type().as_str();
    match object.optional_string("mediaType")? {
        Some(body) if body == stored => Ok(()),
        Some(body) => Err(wrong("mediaType", format!("is {body:?} in the document and {stored:?} outside"))),
        None if matches!(stored, MediaType::OCI_MANIFEST | MediaType::OCI_INDEX) => Ok(()),
        None => Err(wrong("mediaType", format!("is missing, and {stored} must have it"))),
    }
}

fn layer(value: &Value<'_>) -> Result<Layer, JsonError> {
    let object = value.object("layers")?;
    Ok(Layer {
        descriptor: descriptor(object)?,
        annotations: object.strings("annotations")?,
        has_urls: !object.optional_array("urls")?.is_empty(),
    })
}

fn entry(value: &Value<'_>) -> Result<Entry, JsonError> {
    let object = value.object("manifests")?;
    let platform = match object.optional_object("platform")? {
        None => EntryPlatform::Absent,
        Some(platform) => EntryPlatform::Named {
            os: platform.string("os")?.to_owned(),
            architecture: platform.string("architecture")?.to_owned(),
            variant: platform.optional_string("variant")?.filter(|variant| !variant.is_empty()).map(str::to_owned),
        },
    };
    Ok(Entry { descriptor: descriptor(object)?, platform })
}
