//! containerd's record of a container: of which image it says it is, what that says of the config, and where its snapshot is.

use assay_admission::{DenyCode, Digest};
use assay_proto::containerd::containers::Container;
use serde::Deserialize;

use super::{bundle::Bundle, foreign};
use crate::refusal::{Refusal, shown};

/// The snapshotter whose snapshots are of what was admitted.
const SNAPSHOTTER: &str = "assay";
/// Where CRI keeps what it knows of a container, and of a sandbox (containerd, internal/cri/labels).
const CRI_CONTAINER: &str = "io.cri-containerd.container.metadata";
const CRI_SANDBOX: &str = "io.cri-containerd.sandbox.metadata";
/// The names that CRI gives the images of a container and of a sandbox (containerd, internal/cri/annotations).
const CONTAINER_IMAGE: &str = "io.kubernetes.cri.image-name";
const SANDBOX_IMAGE: &str = "io.kubernetes.cri.podsandbox.image-name";

/// What a container is said to be made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// The name of its image; without it the container may be any that has its layers and config.
    pub(super) name: Option<String>,
    /// The config that CRI made it of.
    pub(super) config: Option<Digest>,
    /// The key of its snapshot.
    pub(super) key: String,
}

/// CRI's record. Only what is wanted is read.
#[derive(Debug, Deserialize)]
struct Metadata {
    #[serde(rename = "Metadata")]
    inner: Inner,
}

#[derive(Debug, Deserialize)]
struct Inner {
    #[serde(rename = "ImageRef")]
    image: String,
}

impl Record {
    /// Reads containerd's record and what CRI wrote into the bundle.
    pub(super) fn read(container: Container, bundle: &Bundle) -> Result<Self, Refusal> {
        let Container { id, image, snapshotter, snapshot_key: key, extensions, .. } = container;
        if snapshotter != SNAPSHOTTER || key.is_empty() {
            let what = if snapshotter.is_empty() { "no snapshotter".to_owned() } else { shown(&snapshotter) };
            return Err(foreign(format!("container {} is kept by {what} instead of {SNAPSHOTTER:?}", shown(&id))));
        }
        let annotation = |key: &str| bundle.annotation(key).map(str::to_owned);
        let (name, config) = match (extensions.get(CRI_CONTAINER), extensions.get(CRI_SANDBOX)) {
            // CRI's own name in the record is the first of the image's names in a sorted list.
            (Some(metadata), _) => (annotation(CONTAINER_IMAGE), Some(config(&metadata.value)?)),
            (None, Some(_)) => (annotation(SANDBOX_IMAGE).or(Some(image)), None),
            (None, None) if image.is_empty() => {
                return Err(foreign(format!("container {} is of no image", shown(&id))));
            }
            (None, None) => (Some(image), None),
        };
        // CRI has a record called as the config's digest for each image, too; that is an id, not a name.
        let id = name.as_deref().and_then(|name| name.parse::<Digest>().ok());
        match (id, config) {
            (Some(id), Some(config)) if id != config => {
                Err(foreign(format!("it is called {id}, and is made of config {config}")))
            }
            (Some(id), _) => Ok(Self { name: None, config: Some(id), key }),
            (None, config) => Ok(Self { name, config, key }),
        }
    }
}

fn config(metadata: &[u8]) -> Result<Digest, Refusal> {
    let unclear = |what: String| Refusal::own(DenyCode::Internal, format!("CRI's record of the container: {what}"));
    let Metadata { inner } = serde_json::from_slice(metadata).map_err(|error| unclear(error.to_string()))?;
    inner.image.parse().map_err(|error| unclear(format!("ImageRef {}: {error}", shown(&inner.image))))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn bundle(annotations: &serde_json::Value) -> Bundle {
        let folder = tempfile::tempdir().unwrap();
        let spec = serde_json::json!({ "root": { "path": "rootfs" }, "annotations": annotations });
        std::fs::write(folder.path().join("config.json"), spec.to_string()).unwrap();
        Bundle::read(folder.path()).unwrap()
    }

    fn container(image: &str, extensions: &[(&str, &str)]) -> Container {
        let any = |value: &str| prost_types::Any { type_url: "x".into(), value: value.as_bytes().to_vec() };
        Container {
            id: "c".into(),
            image: image.into(),
            snapshotter: SNAPSHOTTER.into(),
            snapshot_key: "k".into(),
            extensions: extensions.iter().map(|(name, value)| ((*name).to_owned(), any(value))).collect(),
            ..Container::default()
        }
    }

    fn code(container: Container) -> Option<DenyCode> {
        let bundle = bundle(&serde_json::json!({ CONTAINER_IMAGE: Digest::sha256(b"c").to_string() }));
        Record::read(container, &bundle).unwrap_err().own_reason().map(|reason| reason.code)
    }

    #[test]
    fn the_name_is_the_records_or_the_one_that_cri_was_asked_for() {
        let config = Digest::sha256(b"c");
        let metadata =
            serde_json::json!({ "Version": "v1", "Metadata": { "ImageRef": config.to_string() } }).to_string();
        let annotated =
            bundle(&serde_json::json!({ CONTAINER_IMAGE: "r.example/app:1", SANDBOX_IMAGE: "r.example/pause:1" }));
        let read = |container| {
            let Record { name, config, .. } = Record::read(container, &annotated).unwrap();
            (name, config)
        };
        let named = |name: &str| Some(name.to_owned());
        assert_eq!(read(container("r.example/x:1", &[])), (named("r.example/x:1"), None));
        assert_eq!(
            read(container("r.example/x:1", &[(CRI_CONTAINER, &metadata)])),
            (named("r.example/app:1"), Some(config))
        );
        assert_eq!(read(container("r.example/x:1", &[(CRI_SANDBOX, "{}")])), (named("r.example/pause:1"), None));
        let id = config.to_string();
        assert_eq!(read(container(&id, &[])), (None, Some(config)));
        let plain = Record::read(container(&id, &[(CRI_SANDBOX, "{}")]), &bundle(&serde_json::json!({}))).unwrap();
        assert_eq!((plain.name, plain.config), (None, Some(config)));
    }

    #[test]
    fn what_is_kept_elsewhere_or_is_of_no_image_is_refused() {
        assert_eq!(code(container("", &[])), Some(DenyCode::ForeignRoot));
        for (snapshotter, key) in [("overlayfs", "k"), ("", "k"), ("assay", ""), ("Assay", "k")] {
            let (snapshotter, snapshot_key) = (snapshotter.to_owned(), key.to_owned());
            let changed = Container { snapshotter, snapshot_key, ..container("r.example/x:1", &[]) };
            assert_eq!(code(changed), Some(DenyCode::ForeignRoot));
        }
    }

    #[test]
    fn cris_record_names_one_config_and_no_other() {
        for odd in ["", "{}", "{\"Metadata\":{}}", "{\"Metadata\":{\"ImageRef\":\"r.example/x:1\"}}"] {
            assert_eq!(code(container("r.example/x:1", &[(CRI_CONTAINER, odd)])), Some(DenyCode::Internal), "{odd}");
        }
        let other = serde_json::json!({ "Metadata": { "ImageRef": Digest::sha256(b"d").to_string() } }).to_string();
        assert_eq!(code(container("r.example/x:1", &[(CRI_CONTAINER, &other)])), Some(DenyCode::ForeignRoot));
    }
}
