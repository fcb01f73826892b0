//! An image that cosign signed keyless, for a workflow's identity, is unpacked where the policy wants that identity, by a root of trust in a
//! file or one that is kept up to date; another identity, issuer, root or bundle is refused.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};
use assay_testkit::{Host, PolicyText, PullBy, Registry, Repository, TufRepository, Version, eventually, sha256};
use serde_json::{Value, json};

use crate::scene::{production, refused_cleanly};

const IDENTITY: &str = "https://ci.example/acme/app/release.yml@refs/tags/v1";
const ISSUER: &str = "https://token.ci.example";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const LATER: &str = "2100-01-01T00:00:00Z";

/// `verify/vectors`, whose README says how they were made.
fn vector(path: &str) -> Result<Vec<u8>> {
    let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../verify/vectors");
    Ok(fs::read(folder.join(path))?)
}

fn trusted_root() -> Result<String> {
    Ok(String::from_utf8(vector("keyless-unpackable/root.json")?)?)
}

/// Pushes the image that cosign signed, with that bundle beside it; the name to pull it by.
fn push(repository: &Repository, bundle: &[u8]) -> Result<String> {
    for blob in ["layer.tar", "config.json"] {
        repository.push_blob(&vector(&format!("keyless-unpackable/{blob}"))?)?;
    }
    let manifest = vector("keyless-unpackable/manifest.json")?;
    let digest = repository.push_manifest("1", MANIFEST, &manifest)?;
    repository.push_blob(b"{}")?;
    repository.push_blob(bundle)?;
    let mut signature: Value = serde_json::from_slice(&vector("keyless-unpackable/signature/manifest.json")?)?;
    ensure!(signature.pointer("/subject/digest") == Some(&json!(digest)), "the signature is about another image");
    if let Some(layer) = signature.pointer_mut("/layers/0/digest") {
        *layer = json!(sha256(bundle));
    }
    let signature = signature.to_string();
    let signed = repository.push_manifest(&sha256(signature.as_bytes()), MANIFEST, signature.as_bytes())?;
    let listed = json!({
        "mediaType": MANIFEST, "digest": signed, "size": signature.len(),
        "artifactType": "application/vnd.dev.sigstore.bundle.v0.3+json",
    });
    let index = "application/vnd.oci.image.index.v1+json";
    let list = json!({ "schemaVersion": 2, "mediaType": index, "manifests": [listed] }).to_string();
    repository.push_manifest(&digest.replace(':', "-"), index, list.as_bytes())?;
    Ok(format!("{}:1", repository.path()))
}

fn bundle() -> Result<Vec<u8>> {
    vector("keyless-unpackable/signature/layer-0")
}

#[test]
fn image_is_unpacked_for_its_identity_and_refused_for_any_other() -> Result<()> {
    let registry = Registry::start()?;
    let image = push(&registry.repository("prod/app"), &bundle()?)?;
    let scope = production(&registry);
    let policy = |issuer: &str, identity: &str| -> Result<PolicyText> {
        let signer = PolicyText::enforcing().identity("workflow", &trusted_root()?, issuer, identity);
        Ok(signer.rule("production", &[&scope], 1, &["workflow"]))
    };
    let another = IDENTITY.replace("/v1", "/v2");
    let host = Host::reserve(Version::V2, registry)?.up(&policy(ISSUER, &another)?)?;
    refused_cleanly(&host, host.containerd.pull(&image, PullBy::Default)?, "NOT_SATISFIED")?;
    host.node.apply_policy(&policy("https://token.ci.examplf", IDENTITY)?)?;
    refused_cleanly(&host, host.containerd.pull(&image, PullBy::Default)?, "NOT_SATISFIED")?;
    host.node.apply_policy(&policy(ISSUER, IDENTITY)?)?;
    host.containerd.pull(&image, PullBy::Default)?.success()?;
    ensure!(!host.containerd.snapshots()?.is_empty(), "nothing was unpacked");
    let told = host.node.assay(&["audit", "show"])?.success()?;
    ensure!(told.said("allow   unpack"), "{told}");
    host.node.apply_policy(&policy(ISSUER, "https://ci.example/acme/app/release.yml@refs/tags/*")?)?;
    host.node.assay(&["verify", &image])?.success()?;
    host.node.apply_policy(&policy(ISSUER, &another)?)?;
    ensure!(host.node.assay(&["verify", &image])?.failure()?.said("NOT_SATISFIED"));
    Ok(())
}

#[test]
fn bundle_changed_in_one_byte_and_another_root_admit_nothing() -> Result<()> {
    let registry = Registry::start()?;
    let mut changed = bundle()?;
    crate::scene::change_base64(&mut changed, "\"sig\":\"")?;
    let repository = registry.repository("prod/app");
    let image = push(&repository, &changed)?;
    let scope = production(&registry);
    let policy = |root: &str| {
        let signer = PolicyText::enforcing().identity("workflow", root, ISSUER, IDENTITY);
        signer.rule("production", &[&scope], 1, &["workflow"])
    };
    let host = Host::reserve(Version::V2, registry)?.up(&policy(&trusted_root()?))?;
    refused_cleanly(&host, host.containerd.pull(&image, PullBy::Default)?, "NOT_SATISFIED")?;
    push(&repository, &bundle()?)?;
    let another = String::from_utf8(vector("keyless-files/root.json")?)?;
    host.node.apply_policy(&policy(&another))?;
    refused_cleanly(&host, host.containerd.pull(&image, PullBy::Default)?, "NOT_SATISFIED")?;
    host.node.apply_policy(&policy(&trusted_root()?))?;
    host.containerd.pull(&image, PullBy::Default)?.success()?;
    Ok(())
}

#[test]
fn root_that_is_kept_up_to_date_admits_from_its_change_on_and_no_longer_than_to_the_next() -> Result<()> {
    let registry = Registry::start()?;
    let image = push(&registry.repository("prod/app"), &bundle()?)?;
    let another = vector("keyless-files/root.json")?;
    let repository = TufRepository::start(&another)?;
    let policy = PolicyText::enforcing().identity_by_kept_root("workflow", "acme", ISSUER, IDENTITY).rule(
        "production",
        &[&production(&registry)],
        1,
        &["workflow"],
    );
    let host = Host::reserve(Version::V2, registry)?.with_trust_root("acme", &repository)?;
    // The agent asks by itself some seconds after its start: nothing is there yet, and nothing is in force.
    repository.server.replace(BTreeMap::new());
    let host = host.up(&policy)?;
    refused_cleanly(&host, host.containerd.pull(&image, PullBy::Default)?, "NO_POLICY")?;
    let update = |version: u64, root: &[u8]| -> Result<()> {
        repository.publish(version, root, LATER)?;
        host.node.assay(&["trust-root", "update", "acme"])?.success()?;
        eventually("the policy follows its root", Duration::from_secs(20), || {
            let log = host.node.assay(&["audit", "show"]).map(|log| log.stdout).unwrap_or_default();
            u64::try_from(log.matches("is in force from here on").count()).is_ok_and(|times| times == version - 1)
        })
    };
    update(2, &another)?;
    refused_cleanly(&host, host.containerd.pull(&image, PullBy::Default)?, "NOT_SATISFIED")?;
    update(3, trusted_root()?.as_bytes())?;
    host.containerd.pull(&image, PullBy::Default)?.success()?;
    host.node.assay(&["verify", &image])?.success()?;
    update(4, &another)?;
    ensure!(host.node.assay(&["verify", &image])?.failure()?.said("NOT_SATISFIED"));
    Ok(())
}
