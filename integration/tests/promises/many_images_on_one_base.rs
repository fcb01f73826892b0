//! More images on one base than are examined for one answer: a signed one is unpacked and runs, an unsigned one is refused.

#![expect(clippy::indexing_slicing, reason = "a test fails by panicking")]

use anyhow::{Context, Result, ensure};
use assay_testkit::{ImageBuilder, Layer, PullBy, PushedImage, Version, sha256};
use serde_json::{Value, json};

use crate::scene::{Scene, refused};

/// Images in one archive, and archives: together more than are examined at once.
const IN_ARCHIVE: usize = 50;
const ARCHIVES: usize = 6;

#[test]
fn signed_image_among_many_on_its_base_is_unpacked_and_runs() -> Result<()> {
    let scene = Scene::enforcing(Version::V2)?;
    let containerd = &scene.host.containerd;
    let base = ImageBuilder::busybox("base")?;
    let signed = base.clone().environment("WHO", "signed").push(&scene.production(), "signed")?;
    scene.cosign.sign(&scene.ci, &signed.by_digest())?;
    for number in 0..ARCHIVES {
        let archive = tempfile::NamedTempFile::new()?;
        std::fs::write(archive.path(), copies(&signed, number)?)?;
        let path = archive.path().to_str().context("a path of ASCII")?;
        containerd.ctr(&["image", "import", "--no-unpack", path])?.success()?;
    }
    let unsigned = base.environment("WHO", "unsigned").push(&scene.production(), "unsigned")?;
    refused(containerd.pull(&unsigned.by_tag(), PullBy::Default)?, "NO_SIGNATURE")?;
    ensure!(containerd.snapshots()?.is_empty(), "{:?}", containerd.snapshots()?);
    containerd.pull(&signed.by_tag(), PullBy::Default)?.success()?;
    containerd.run(&signed.by_tag(), &[])?.success()?;
    Ok(())
}

/// An archive of images on the layers of `image` that differ in their configs.
fn copies(image: &PushedImage, number: usize) -> Result<Vec<u8>> {
    let stored = image.repository.manifest(&image.manifest().digest)?.context("the manifest is there")?;
    let mut layout = Layer::new().file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
    let mut blobs: Vec<Vec<u8>> =
        image.manifest().layers.iter().map(|layer| image.repository.blob(layer)).collect::<Result<_>>()?;
    let mut listed = Vec::new();
    for n in 0..IN_ARCHIVE {
        let mut config: Value = serde_json::from_slice(&image.manifest().config)?;
        config["author"] = format!("copy {number}-{n}").into();
        let config = serde_json::to_vec(&config)?;
        let mut manifest = stored.json()?;
        manifest["config"]["digest"] = sha256(&config).into();
        manifest["config"]["size"] = config.len().into();
        let manifest = serde_json::to_vec(&manifest)?;
        listed.push(json!({
            "mediaType": stored.media_type, "digest": sha256(&manifest), "size": manifest.len(),
            "annotations": { "io.containerd.image.name": format!("{}:copy-{number}-{n}", image.repository.path()) },
        }));
        blobs.extend([config, manifest]);
    }
    let index = serde_json::to_vec(&json!({ "schemaVersion": 2, "manifests": listed }))?;
    layout = layout.file("index.json", &index);
    for blob in blobs {
        layout = layout.file(&format!("blobs/{}", sha256(&blob).replace(':', "/")), &blob);
    }
    layout.tar()
}
