//! What most promises start from: a host that enforces one cosign key on `prod/`, and ways to tamper with what a registry
//! holds.

#![expect(clippy::indexing_slicing, reason = "a test fails by panicking")]

use anyhow::{Context, Result, ensure};
use assay_testkit::{
    Cosign, CosignKey, Finished, Host, ImageBuilder, PolicyText, PushedImage, Registry, Repository, Token, TokenKey,
    Version,
};
use serde_json::json;

/// A host with the rule `production`: one signature of `ci` on `<registry>/prod/**`.
pub(crate) struct Scene {
    pub(crate) host: Host,
    pub(crate) cosign: Cosign,
    pub(crate) ci: CosignKey,
    pub(crate) policy: PolicyText,
}

impl Scene {
    /// The policy enforces.
    pub(crate) fn enforcing(version: Version) -> Result<Self> {
        Self::start(version, PolicyText::enforcing(), None, Ok)
    }

    /// The policy is this one with the rule, and containerd 2.x asks the pull gate.
    pub(crate) fn with_pull_gate(policy: PolicyText) -> Result<Self> {
        Self::start(Version::V2, policy, None, Host::with_pull_gate)
    }

    /// The policy enforces, and a key in a token signs the log's head.
    pub(crate) fn enforcing_with_signed_log(version: Version) -> Result<Self> {
        let token = Token::create("assay")?;
        token.generate("log", TokenKey::P256)?;
        Self::start(version, PolicyText::enforcing(), Some(token), Ok)
    }

    /// The policy observes.
    pub(crate) fn observing(version: Version) -> Result<Self> {
        Self::start(version, PolicyText::observing(), None, Ok)
    }

    /// The policy enforces, and the run gate stands in front of runc. `change` has its way with the host before it starts.
    pub(crate) fn gated(version: Version, change: impl FnOnce(Host) -> Result<Host>) -> Result<Self> {
        Self::start(version, PolicyText::enforcing(), None, |host| change(host.with_run_gate()?))
    }

    fn start(
        version: Version,
        policy: PolicyText,
        token: Option<Token>,
        change: impl FnOnce(Host) -> Result<Host>,
    ) -> Result<Self> {
        let registry = Registry::start()?;
        let cosign = Cosign::new()?;
        let ci = cosign.generate_key("ci")?;
        let policy = policy.key("ci", &ci.public_pem()?).rule("production", &[&production(&registry)], 1, &["ci"]);
        let host = Host::reserve(version, registry)?;
        let host = match token {
            Some(token) => host.with_token(token, &[])?,
            None => host,
        };
        Ok(Self { host: change(host)?.up(&policy)?, cosign, ci, policy })
    }

    /// The repository that the rule covers.
    pub(crate) fn production(&self) -> Repository {
        self.host.repository("prod/app")
    }

    /// Pushes an image that nobody signed.
    pub(crate) fn unsigned(&self, tag: &str) -> Result<PushedImage> {
        ImageBuilder::busybox(tag)?.push(&self.production(), tag)
    }

    /// Pushes an image that `ci` signed in cosign's present format.
    pub(crate) fn signed(&self, tag: &str) -> Result<PushedImage> {
        let image = self.unsigned(tag)?;
        self.cosign.sign(&self.ci, &image.by_digest())?;
        Ok(image)
    }
}

/// The scope of the rule `production`.
pub(crate) fn production(registry: &Registry) -> String {
    format!("{}/prod/**", registry.host())
}

/// Fails unless Assay refused with that code and neither snapshot nor container is left behind.
pub(crate) fn refused_cleanly(host: &Host, answer: Finished, code: &str) -> Result<()> {
    refused(answer, code)?;
    ensure!(host.containerd.snapshots()?.is_empty(), "snapshots are left: {:?}", host.containerd.snapshots()?);
    let containers = host.containerd.ctr(&["containers", "ls", "-q"])?.success()?;
    ensure!(containers.stdout.trim().is_empty(), "containers are left: {}", containers.stdout);
    Ok(())
}

/// Fails unless Assay refused with that code.
pub(crate) fn refused(answer: Finished, code: &str) -> Result<()> {
    let answer = answer.failure()?;
    ensure!(answer.said("assay: ") && answer.said(code), "not refused with {code}: {answer}");
    Ok(())
}

/// The layers of the image that anyone asked the registry for.
pub(crate) fn layers_fetched(registry: &Registry, image: &PushedImage) -> Vec<String> {
    let requests = registry.requests();
    let layers = image.manifests.iter().flat_map(|manifest| &manifest.layers);
    layers
        .filter(|layer| requests.iter().any(|request| request.starts_with("GET ") && request.contains(*layer)))
        .cloned()
        .collect()
}

/// Pushes a manifest that says the same and has another digest, under the same tag.
pub(crate) fn change_manifest(image: &PushedImage) -> Result<String> {
    let stored = image.repository.manifest(&image.digest)?.context("the image is there")?;
    let mut manifest = stored.json()?;
    manifest["annotations"] = json!({ "changed": "yes" });
    image.repository.push_manifest(&image.tag, &stored.media_type, &serde_json::to_vec(&manifest)?)
}

/// Adds one to the byte in the middle of the text behind the last `key` in a JSON document, staying within base64.
pub(crate) fn change_base64(document: &mut [u8], key: &str) -> Result<()> {
    let at = document.windows(key.len()).rposition(|window| window == key.as_bytes()).context("the key is there")?;
    let byte = document.get_mut(at + key.len() + 30).context("the value is long enough")?;
    *byte = if *byte == b'A' { b'B' } else { b'A' };
    Ok(())
}
