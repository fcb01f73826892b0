//! What belongs to an image, wherever it was found: its own documents and the manifests that are attached to them, with the
//! layers that hold envelopes. Untrusted bytes whose digests are right.

use assay_admission::{Digest, Document};
use serde_json::Value;

/// Manifests of other platforms that are looked at. A registry is asked about eight digests at most.
pub(super) const MAX_CHILDREN: usize = 7;

/// All of it.
#[derive(Debug)]
pub(super) struct Belongings {
    /// How the image was named.
    pub(super) name: String,
    /// Its index, or its manifest if it has no index.
    pub(super) top: Document,
    /// What the index lists.
    pub(super) children: Vec<Child>,
    /// What is attached to the index or to one of its manifests.
    pub(super) attached: Vec<Attached>,
    /// What could not be had.
    pub(super) problems: Vec<String>,
}

/// An entry of the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Child {
    pub(super) digest: Digest,
    /// `linux/amd64`, or what it says instead of a platform.
    pub(super) about: String,
}

/// A manifest that refers to a document of the image.
#[derive(Debug)]
pub(super) struct Attached {
    pub(super) subject: Digest,
    /// Where it was found.
    pub(super) found_by: &'static str,
    pub(super) manifest: Document,
    /// Those of its layers that may hold envelopes.
    pub(super) blobs: Vec<Document>,
}

/// What the index `top` lists; nothing if it is a manifest. Not all of it if that is more than is looked at.
pub(super) fn children(top: &Document, problems: &mut Vec<String>) -> Vec<Child> {
    let index: Value = serde_json::from_slice(top.bytes()).unwrap_or_default();
    let Some(entries) = index.get("manifests").and_then(Value::as_array).filter(|_| top.media_type().is_index()) else {
        return Vec::new();
    };
    if entries.len() > MAX_CHILDREN {
        problems
            .push(format!("the index lists {} manifests, and the first {MAX_CHILDREN} are looked at", entries.len()));
    }
    entries.iter().take(MAX_CHILDREN).filter_map(child).collect()
}

fn child(entry: &Value) -> Option<Child> {
    let digest = entry.get("digest")?.as_str()?.parse().ok()?;
    let text = |pointer: &str| entry.pointer(pointer).and_then(Value::as_str);
    // BuildKit puts attestations that nobody signed into the index, as manifests of no platform.
    let about =
        match (text("/annotations/vnd.docker.reference.type"), text("/platform/os"), text("/platform/architecture")) {
            (Some(kind), ..) => {
                format!("{kind} of {}", text("/annotations/vnd.docker.reference.digest").unwrap_or("nothing"))
            }
            (None, Some(os), Some(architecture)) => {
                let variant = text("/platform/variant").map(|variant| format!("/{variant}")).unwrap_or_default();
                format!("{os}/{architecture}{variant}")
            }
            (None, ..) => "no platform".to_owned(),
        };
    Some(Child { digest, about })
}
