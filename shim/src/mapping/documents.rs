//! Reads the documents that claims speak of: manifest, config and indexes, bounded in size and number.
//! Media types are what the documents say of themselves and each other: claims that the agent checks.

use std::collections::{BTreeMap, BTreeSet};

use assay_admission::{Digest, Document, Documents, ImageClaim, MAX_DOCUMENT_BYTES, MediaType, Namespace};
use serde::Deserialize;

use super::MappingError;
use crate::containerd::{Containerd, ContainerdError};

/// Most bytes of all documents of a request: it must fit into one message.
const MAX_BYTES: usize = 16 << 20;
/// Most documents that are read at the same time.
const PARALLEL_READS: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Index,
    Manifest,
    Config,
}

/// The documents that are there, and the digests of those that are not. A config that is too large to be judged is in neither,
/// and its claim cannot be admitted.
pub(super) async fn collect(
    containerd: &Containerd,
    namespace: &Namespace,
    claims: &[ImageClaim],
) -> Result<(Documents, BTreeSet<Digest>), MappingError> {
    let mut roles = BTreeMap::new();
    for claim in claims {
        roles.extend(claim.indexes.iter().map(|index| (*index, Role::Index)));
        roles.insert(claim.config, Role::Config);
        roles.insert(claim.manifest, Role::Manifest);
    }
    let digests: Vec<Digest> = roles.keys().copied().collect();
    let mut read = BTreeMap::new();
    let mut absent = BTreeSet::new();
    let mut bytes_read = 0_usize;
    for some in digests.chunks(PARALLEL_READS) {
        let mut reads = tokio::task::JoinSet::new();
        for digest in some.iter().copied() {
            let (containerd, namespace) = (containerd.clone(), namespace.clone());
            reads.spawn(async move { (digest, containerd.read(&namespace, &digest, MAX_DOCUMENT_BYTES).await) });
        }
        while let Some(joined) = reads.join_next().await {
            let Ok((digest, bytes)) = joined else { continue };
            let is_config = roles.get(&digest) == Some(&Role::Config);
            let bytes = match bytes {
                Err(ContainerdError::DocumentSize { .. }) if is_config => continue,
                other => other?,
            };
            let Some(bytes) = bytes else {
                absent.insert(digest);
                continue;
            };
            bytes_read = bytes_read.saturating_add(bytes.len());
            if bytes_read > MAX_BYTES {
                return Err(MappingError::Bytes(MAX_BYTES));
            }
            read.insert(digest, bytes);
        }
    }
    let config_types = config_types(claims, &read);
    let mut documents = Documents::new();
    for (digest, bytes) in read {
        let named = match roles.get(&digest) {
            Some(Role::Config) => config_types.get(&digest).cloned(),
            Some(Role::Index | Role::Manifest) | None => Header::of(&bytes).media_type,
        };
        let usual = match roles.get(&digest) {
            Some(Role::Index) => MediaType::OCI_INDEX,
            Some(Role::Manifest) | None => MediaType::OCI_MANIFEST,
            Some(Role::Config) => MediaType::OCI_CONFIG,
        };
        let media_type = named.as_deref().and_then(MediaType::new).or_else(|| MediaType::new(usual));
        let media_type = media_type.expect("the usual types are printable ASCII");
        let document = Document::new(media_type, bytes)?;
        documents.insert(*document.digest(), document);
    }
    Ok((documents, absent))
}

/// The media type under which a manifest names its config.
fn config_types(claims: &[ImageClaim], read: &BTreeMap<Digest, Vec<u8>>) -> BTreeMap<Digest, String> {
    let typed = claims.iter().filter_map(|claim| {
        let manifest = Header::of(read.get(&claim.manifest)?);
        Some((claim.config, manifest.config?.media_type?))
    });
    typed.collect()
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    media_type: Option<String>,
    config: Option<ConfigHeader>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ConfigHeader {
    media_type: Option<String>,
}

impl Header {
    /// What the document says of itself; nothing if it is malformed, which the agent will find.
    fn of(bytes: &[u8]) -> Self {
        serde_json::from_slice(bytes).unwrap_or_default()
    }
}
