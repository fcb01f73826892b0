//! Builds an image and pushes it. In: layers, configuration, platforms, and every liberty an attacker takes (annotations,
//! a copied configuration). Out: what was pushed, by digest.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::layer::{Layer, gzip};
use crate::repository::Repository;

/// `sha256:` and the digest of the bytes in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// Which family of media types an image uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaTypes {
    /// `application/vnd.oci.image.…`
    Oci,
    /// `application/vnd.docker.…`
    Docker,
}

impl MediaTypes {
    fn index(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.index.v1+json",
            Self::Docker => "application/vnd.docker.distribution.manifest.list.v2+json",
        }
    }

    fn manifest(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.manifest.v1+json",
            Self::Docker => "application/vnd.docker.distribution.manifest.v2+json",
        }
    }

    fn config(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.config.v1+json",
            Self::Docker => "application/vnd.docker.container.image.v1+json",
        }
    }

    fn layer(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Docker => "application/vnd.docker.image.rootfs.diff.tar.gzip",
        }
    }
}

/// An image to be pushed.
#[derive(Debug, Clone)]
pub struct ImageBuilder {
    layers: Vec<Layer>,
    command: Vec<String>,
    environment: Vec<String>,
    media_types: MediaTypes,
    /// Empty: a single manifest for this machine's platform, without an index.
    architectures: Vec<String>,
    layer_annotations: Map<String, Value>,
    foreign_config: Option<Vec<u8>>,
}

/// What a registry holds of an image after [`ImageBuilder::push`].
#[derive(Debug, Clone)]
pub struct PushedImage {
    /// The repository it was pushed to.
    pub repository: Repository,
    /// The tag it was pushed under.
    pub tag: String,
    /// The digest the tag points to: of the index if there is one, else of the manifest.
    pub digest: String,
    /// The manifests, in the order of the architectures.
    pub manifests: Vec<PushedManifest>,
}

/// One manifest of a pushed image.
#[derive(Debug, Clone)]
pub struct PushedManifest {
    /// The digest of the manifest.
    pub digest: String,
    /// The size of the manifest in bytes.
    pub size: usize,
    /// The architecture in its configuration.
    pub architecture: String,
    /// The bytes of the configuration.
    pub config: Vec<u8>,
    /// The digests of the compressed layers.
    pub layers: Vec<String>,
    /// The digests of the plain layers.
    pub diff_ids: Vec<String>,
}

impl PushedImage {
    /// `host:port/name:tag`
    pub fn by_tag(&self) -> String {
        format!("{}:{}", self.repository.path(), self.tag)
    }

    /// `host:port/name@digest`
    pub fn by_digest(&self) -> String {
        format!("{}@{}", self.repository.path(), self.digest)
    }

    /// The image as an OCI layout in a tar archive, for `ctr images import`. Its name there is `name`.
    pub fn archive(&self, name: &str) -> Result<Vec<u8>> {
        let top = self.repository.manifest(&self.digest)?.context("the image is still there")?;
        let mut blobs = vec![top.bytes.clone()];
        for manifest in &self.manifests {
            let stored = self.repository.manifest(&manifest.digest)?.context("the manifest is still there")?;
            blobs.extend([stored.bytes, manifest.config.clone()]);
            for layer in &manifest.layers {
                blobs.push(self.repository.blob(layer)?);
            }
        }
        let mut descriptor = descriptor(&top.media_type, &top.bytes);
        if let Some(fields) = descriptor.as_object_mut() {
            fields.insert("annotations".to_owned(), json!({ "io.containerd.image.name": name }));
        }
        let index = serde_json::to_vec(&json!({ "schemaVersion": 2, "manifests": [descriptor] }))?;
        let mut layout =
            Layer::new().file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#).file("index.json", &index);
        let mut written = BTreeSet::new();
        for blob in blobs {
            let digest = sha256(&blob);
            if written.insert(digest.clone()) {
                layout = layout.file(&format!("blobs/{}", digest.replace(':', "/")), &blob);
            }
        }
        layout.tar()
    }

    /// Changes every envelope that is attached to the image by way of the fallback tag `sha256-…`, and with it each digest
    /// that depends on it.
    pub fn change_referrers(&self, change: impl Fn(&mut Vec<u8>)) -> Result<()> {
        let tag = self.digest.replace(':', "-");
        let index = self.repository.manifest(&tag)?.context("nothing is attached to the image")?;
        let mut referrers = index.json()?;
        let list = referrers.get_mut("manifests").and_then(Value::as_array_mut).context("the referrers are no list")?;
        for referrer in list {
            let stored = self.repository.manifest(digest_of(referrer)?)?.context("a referrer is gone")?;
            let mut manifest = stored.json()?;
            let layer = manifest.pointer_mut("/layers/0").context("a referrer has no layer")?;
            let mut envelope = self.repository.blob(digest_of(layer)?)?;
            change(&mut envelope);
            self.repository.push_blob(&envelope)?;
            point_to(layer, &envelope)?;
            let bytes = serde_json::to_vec(&manifest)?;
            self.repository.push_manifest(&sha256(&bytes), &stored.media_type, &bytes)?;
            point_to(referrer, &bytes)?;
        }
        self.repository.push_manifest(&tag, &index.media_type, &serde_json::to_vec(&referrers)?)?;
        Ok(())
    }

    /// The only manifest, or the first of several.
    pub fn manifest(&self) -> &PushedManifest {
        self.manifests.first().expect("an image is pushed with at least one manifest")
    }
}

impl ImageBuilder {
    /// An image of busybox that prints `hello from <name>`. Different names give different digests.
    pub fn busybox(name: &str) -> Result<Self> {
        Ok(Self {
            layers: vec![Layer::busybox()?, Layer::new().file("etc/name", name.as_bytes())],
            command: vec!["/bin/sh".to_owned(), "-c".to_owned(), format!("echo hello from {name}")],
            environment: vec!["PATH=/bin".to_owned()],
            media_types: MediaTypes::Oci,
            architectures: Vec::new(),
            layer_annotations: Map::new(),
            foreign_config: None,
        })
    }

    /// Leaves the lowest layer alone, which holds the programs.
    pub fn of_one_layer(mut self) -> Self {
        self.layers.truncate(1);
        self
    }

    /// Adds a layer on top.
    pub fn layer(mut self, layer: Layer) -> Self {
        self.layers.push(layer);
        self
    }

    /// Adds `count` layers of one file each, which hold `bytes` bytes that hardly compress.
    pub fn layers(mut self, count: usize, bytes: usize) -> Self {
        for number in 0..count {
            let content = noise(&format!("{number}"), bytes);
            self.layers.push(Layer::new().file(&format!("layer-{number}"), &content));
        }
        self
    }

    /// Replaces the command.
    pub fn command(mut self, words: &[&str]) -> Self {
        self.command = words.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// Adds a variable to the environment.
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push(format!("{name}={value}"));
        self
    }

    /// Uses Docker's media types or OCI's.
    pub fn media_types(mut self, media_types: MediaTypes) -> Self {
        self.media_types = media_types;
        self
    }

    /// Makes an index with one manifest for each architecture, such as `amd64`.
    pub fn architectures(mut self, architectures: &[&str]) -> Self {
        self.architectures = architectures.iter().map(|name| (*name).to_owned()).collect();
        self
    }

    /// Writes an annotation into every layer's descriptor.
    pub fn layer_annotation(mut self, key: &str, value: &str) -> Self {
        self.layer_annotations.insert(key.to_owned(), json!(value));
        self
    }

    /// Uses these bytes as configuration, whatever the layers are.
    pub fn foreign_config(mut self, config: &[u8]) -> Self {
        self.foreign_config = Some(config.to_vec());
        self
    }

    /// Pushes layers, configurations, manifests and, where architectures were named, the index under `tag`.
    pub fn push(&self, repository: &Repository, tag: &str) -> Result<PushedImage> {
        let plain: Vec<_> = self.layers.iter().map(Layer::tar).collect::<Result<_>>()?;
        let diff_ids: Vec<_> = plain.iter().map(|bytes| sha256(bytes)).collect();
        let compressed: Vec<_> = plain.iter().map(|bytes| gzip(bytes)).collect::<Result<_>>()?;
        for blob in &compressed {
            repository.push_blob(blob)?;
        }
        if self.architectures.is_empty() {
            let manifest = self.push_manifest(repository, Some(tag), this_architecture()?, &compressed, diff_ids)?;
            let digest = manifest.digest.clone();
            return Ok(PushedImage {
                repository: repository.clone(),
                tag: tag.to_owned(),
                digest,
                manifests: vec![manifest],
            });
        }
        let manifests: Vec<_> = self
            .architectures
            .iter()
            .map(|architecture| self.push_manifest(repository, None, architecture, &compressed, diff_ids.clone()))
            .collect::<Result<_>>()?;
        let index = serde_json::to_vec(&self.index(&manifests))?;
        let digest = repository.push_manifest(tag, self.media_types.index(), &index)?;
        Ok(PushedImage { repository: repository.clone(), tag: tag.to_owned(), digest, manifests })
    }

    fn push_manifest(
        &self,
        repository: &Repository,
        tag: Option<&str>,
        architecture: &str,
        layers: &[Vec<u8>],
        diff_ids: Vec<String>,
    ) -> Result<PushedManifest> {
        let config = match &self.foreign_config {
            Some(bytes) => bytes.clone(),
            None => serde_json::to_vec(&self.config(architecture, &diff_ids))?,
        };
        repository.push_blob(&config)?;
        let bytes = serde_json::to_vec(&self.manifest(&config, layers))?;
        let digest = sha256(&bytes);
        repository.push_manifest(tag.unwrap_or(&digest), self.media_types.manifest(), &bytes)?;
        Ok(PushedManifest {
            digest,
            size: bytes.len(),
            architecture: architecture.to_owned(),
            config,
            layers: layers.iter().map(|layer| sha256(layer)).collect(),
            diff_ids,
        })
    }

    fn config(&self, architecture: &str, diff_ids: &[String]) -> Value {
        json!({
            "architecture": architecture,
            "os": "linux",
            "config": { "Cmd": self.command, "Env": self.environment },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        })
    }

    fn manifest(&self, config: &[u8], layers: &[Vec<u8>]) -> Value {
        let layers: Vec<_> = layers.iter().map(|layer| self.layer_descriptor(layer)).collect();
        json!({
            "schemaVersion": 2,
            "mediaType": self.media_types.manifest(),
            "config": descriptor(self.media_types.config(), config),
            "layers": layers,
        })
    }

    fn layer_descriptor(&self, layer: &[u8]) -> Value {
        let mut descriptor = descriptor(self.media_types.layer(), layer);
        if let (Some(fields), false) = (descriptor.as_object_mut(), self.layer_annotations.is_empty()) {
            fields.insert("annotations".to_owned(), Value::Object(self.layer_annotations.clone()));
        }
        descriptor
    }

    fn index(&self, manifests: &[PushedManifest]) -> Value {
        let manifests: Vec<_> = manifests
            .iter()
            .map(|manifest| {
                json!({
                    "mediaType": self.media_types.manifest(),
                    "digest": manifest.digest,
                    "size": manifest.size,
                    "platform": { "architecture": manifest.architecture, "os": "linux" },
                })
            })
            .collect();
        json!({ "schemaVersion": 2, "mediaType": self.media_types.index(), "manifests": manifests })
    }
}

fn digest_of(descriptor: &Value) -> Result<&str> {
    descriptor.get("digest").and_then(Value::as_str).context("a descriptor without a digest")
}

/// Makes a descriptor describe other bytes.
fn point_to(descriptor: &mut Value, bytes: &[u8]) -> Result<()> {
    let fields = descriptor.as_object_mut().context("a descriptor is an object")?;
    fields.insert("digest".to_owned(), json!(sha256(bytes)));
    fields.insert("size".to_owned(), json!(bytes.len()));
    Ok(())
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": sha256(bytes), "size": bytes.len() })
}

/// The name that OCI gives to the architecture this program was compiled for.
fn this_architecture() -> Result<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Some("amd64"),
        "aarch64" => Some("arm64"),
        _ => None,
    }
    .context("the tests know no OCI name for this machine's architecture")
}

/// Bytes that look random and are the same on every run: a chain of digests.
fn noise(seed: &str, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 32);
    let mut link = Sha256::digest(seed.as_bytes());
    while bytes.len() < length {
        bytes.extend_from_slice(&link);
        link = Sha256::digest(link);
    }
    bytes.truncate(length);
    bytes
}
