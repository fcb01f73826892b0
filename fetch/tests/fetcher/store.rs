//! What a well-behaved registry holds: documents by path. Tests put images and signatures in and take them out changed.

use std::collections::BTreeMap;

use assay_admission::{Digest, MediaType};
use serde_json::{Value, json};

use crate::registry::{Answer, Seen};

pub(crate) const NOTARY: &str = "application/vnd.cncf.notary.signature";
pub(crate) const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
pub(crate) const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// Path → media type and bytes, all in the repository `app`.
#[derive(Clone, Default)]
pub(crate) struct Store(pub(crate) BTreeMap<String, (String, Vec<u8>)>);

impl Store {
    pub(crate) fn blob(&mut self, media_type: &str, content: &[u8]) -> Value {
        let digest = Digest::sha256(content);
        self.0.insert(format!("/v2/app/blobs/{digest}"), ("application/octet-stream".into(), content.to_vec()));
        json!({ "mediaType": media_type, "digest": digest.to_string(), "size": content.len() })
    }

    /// Stores a document under its digest and, if given, a tag.
    pub(crate) fn document(&mut self, media_type: &str, tag: Option<&str>, document: &Value) -> Value {
        let bytes = serde_json::to_vec(document).unwrap();
        let digest = Digest::sha256(&bytes);
        for reference in tag.map(ToOwned::to_owned).into_iter().chain([digest.to_string()]) {
            self.0.insert(format!("/v2/app/manifests/{reference}"), (media_type.into(), bytes.clone()));
        }
        json!({ "mediaType": media_type, "digest": digest.to_string(), "size": bytes.len() })
    }

    /// An image for linux/amd64 with an index under tag `1`. Returns the descriptors of index and manifest.
    pub(crate) fn image(&mut self) -> (Value, Value) {
        let config = self.blob(MediaType::OCI_CONFIG, b"{\"os\":\"linux\"}");
        let layer = json!({ "mediaType": "application/vnd.oci.image.layer.v1.tar", "size": 1,
            "digest": Digest::sha256(b"layer").to_string(), "urls": ["https://169.254.169.254/layer"] });
        let manifest =
            json!({ "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST, "config": config, "layers": [layer] });
        let manifest = self.document(MediaType::OCI_MANIFEST, None, &manifest);
        let mut listed = manifest.clone();
        listed["platform"] = json!({ "os": "linux", "architecture": "amd64" });
        let index = json!({ "schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": [listed] });
        (self.document(MediaType::OCI_INDEX, Some("1"), &index), manifest)
    }

    /// A signature manifest with one layer that holds `content`. Returns its descriptor with `listed_type`.
    pub(crate) fn signature(&mut self, kind: &str, content: &str, listed_type: Option<&str>) -> Value {
        let empty = self.blob(EMPTY, b"{}");
        let manifest = if kind == NOTARY {
            let layer = self.blob("application/jose+json", content.as_bytes());
            let mut config = empty;
            config["mediaType"] = json!(NOTARY);
            json!({ "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST, "config": config, "layers": [layer] })
        } else {
            let layer = self.blob(kind, content.as_bytes());
            json!({ "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST, "artifactType": kind, "config": empty,
                "layers": [layer] })
        };
        let mut descriptor = self.document(MediaType::OCI_MANIFEST, None, &manifest);
        if let Some(text) = listed_type {
            descriptor["artifactType"] = json!(text);
        }
        descriptor
    }

    /// Lists `referrers` of `subject` by the referrers API.
    pub(crate) fn list_by_api(&mut self, subject: &Value, referrers: &[Value]) {
        let path = format!("/v2/app/referrers/{}", subject["digest"].as_str().unwrap());
        self.0.insert(path, (MediaType::OCI_INDEX.into(), list(referrers)));
    }

    /// Lists `referrers` of `subject` under the fallback tag.
    pub(crate) fn list_by_tag(&mut self, subject: &Value, referrers: &[Value]) {
        let tag = subject["digest"].as_str().unwrap().replace(':', "-");
        self.0.insert(format!("/v2/app/manifests/{tag}"), (MediaType::OCI_INDEX.into(), list(referrers)));
    }

    pub(crate) fn answer(&self, seen: &Seen) -> Answer {
        match self.0.get(seen.path()) {
            Some((media_type, bytes)) => Answer::ok(media_type, bytes.clone()),
            None => Answer::status(404),
        }
    }
}

/// The bytes of an index that lists `entries`.
pub(crate) fn list(entries: &[Value]) -> Vec<u8> {
    serde_json::to_vec(&json!({ "schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": entries })).unwrap()
}

pub(crate) fn digest(descriptor: &Value) -> Digest {
    descriptor["digest"].as_str().unwrap().parse().unwrap()
}
