//! What cosign 3 and notation sign, in each of their formats, is admitted and runs on both versions of containerd.

use anyhow::Result;
use assay_testkit::{
    CertificateAuthority, Cosign, EnvelopeFormat, Host, ImageBuilder, KeyKind, Notation, PolicyText, PullBy,
    PushedImage, Registry, Version,
};

use crate::scene::{Scene, production};

const SUBJECT: &str = "C=DE, ST=Berlin, O=Acme, CN=Release Managers";

/// Signs with that kind of key and gives back the policy's view of the signer.
type Sign = fn(&PushedImage, KeyKind) -> Result<PolicyText>;

fn admits_and_runs(sign: Sign, kinds: &[KeyKind]) -> Result<()> {
    for version in [Version::V2, Version::V1_6] {
        for kind in kinds {
            let registry = Registry::start()?;
            let image = ImageBuilder::busybox("signed")?.push(&registry.repository("prod/app"), "1")?;
            let policy = sign(&image, *kind)?.rule("production", &[&production(&registry)], 1, &["signer"]);
            let host = Host::reserve(version, registry)?.up(&policy)?;
            host.containerd.pull(&image.by_tag(), PullBy::Default)?.success()?;
            assert_eq!(host.containerd.run(&image.by_tag(), &[])?.success()?.stdout, "hello from signed\n", "{kind:?}");
        }
    }
    Ok(())
}

fn with_cosign(image: &PushedImage, kind: KeyKind, format: CosignFormat) -> Result<PolicyText> {
    let cosign = Cosign::new()?;
    let key = match kind {
        KeyKind::P256 => cosign.generate_key("ci")?,
        other => cosign.import_key("ci", &other.generate_pem()?)?,
    };
    match format {
        CosignFormat::Bundle => cosign.sign(&key, &image.by_digest())?,
        CosignFormat::Legacy => cosign.sign_legacy(&key, &image.by_digest())?,
    };
    Ok(PolicyText::enforcing().key("signer", &key.public_pem()?))
}

enum CosignFormat {
    Bundle,
    Legacy,
}

fn with_notation(image: &PushedImage, kind: KeyKind, format: EnvelopeFormat) -> Result<PolicyText> {
    let root = CertificateAuthority::root("Acme Root")?;
    let identity = root.intermediate("Acme Signing")?.code_signing("Release Managers", kind)?;
    let notation = Notation::new()?;
    notation.add_key("release", &identity)?;
    notation.sign("release", format, &image.by_digest())?;
    Ok(PolicyText::enforcing().certificates("signer", root.root_pem(), SUBJECT))
}

#[test]
fn cosign_bundle_is_admitted_and_runs() -> Result<()> {
    admits_and_runs(|image, kind| with_cosign(image, kind, CosignFormat::Bundle), &[KeyKind::P256, KeyKind::Rsa3072])
}

#[test]
fn cosign_legacy_signature_is_admitted_and_runs() -> Result<()> {
    admits_and_runs(|image, kind| with_cosign(image, kind, CosignFormat::Legacy), &[KeyKind::P256, KeyKind::Rsa3072])
}

#[test]
fn notation_jws_is_admitted_and_runs() -> Result<()> {
    let kinds = [KeyKind::P256, KeyKind::P384, KeyKind::Rsa2048];
    admits_and_runs(|image, kind| with_notation(image, kind, EnvelopeFormat::Jws), &kinds)
}

#[test]
fn notation_cose_is_admitted_and_runs() -> Result<()> {
    let kinds = [KeyKind::P256, KeyKind::P384, KeyKind::Rsa3072];
    admits_and_runs(|image, kind| with_notation(image, kind, EnvelopeFormat::Cose), &kinds)
}

#[test]
fn signed_image_pulled_by_the_client_of_2_runs() -> Result<()> {
    let scene = Scene::enforcing(Version::V2)?;
    let image = scene.signed("1")?;
    scene.host.containerd.pull(&image.by_tag(), PullBy::Client)?.success()?;
    assert_eq!(scene.host.containerd.run(&image.by_tag(), &[])?.success()?.stdout, "hello from 1\n");
    Ok(())
}

#[test]
fn signature_on_the_platforms_manifest_is_enough() -> Result<()> {
    let scene = Scene::enforcing(Version::V2)?;
    let builder = ImageBuilder::busybox("multi")?.architectures(&["amd64", "arm64"]);
    let image = builder.push(&scene.production(), "1")?;
    let child = format!("{}@{}", image.repository.path(), image.manifest().digest);
    scene.cosign.sign(&scene.ci, &child)?;
    scene.host.containerd.pull(&image.by_tag(), PullBy::Default)?.success()?;
    Ok(())
}

#[test]
fn private_registry_is_read_with_the_fetchers_credentials() -> Result<()> {
    let registry = Registry::with_basic_auth()?;
    let repository = registry.repository("prod/app");
    let cosign = Cosign::new()?;
    let key = cosign.generate_key("ci")?;
    let image = ImageBuilder::busybox("private")?.push(&repository, "1")?;
    cosign.sign_in(&registry)?;
    cosign.sign(&key, &image.by_digest())?;
    let policy =
        PolicyText::enforcing().key("ci", &key.public_pem()?).rule("production", &[&production(&registry)], 1, &["ci"]);

    let credentials = assay_testkit::Credentials::test();
    let user = format!("{}:{}", credentials.user, credentials.password);
    let reference = image.by_tag();
    let pull = ["images", "pull", "--plain-http", "--snapshotter", "assay", "--user", &user, &reference];

    let mut host = Host::reserve(Version::V2, registry)?.up(&policy)?;
    crate::scene::refused_cleanly(&host, host.containerd.ctr(&pull)?, "REGISTRY_AUTH")?;
    host.node.stop()?;
    let mut host = host.with_credentials()?;
    host.start_node()?;
    host.containerd.ctr(&pull)?.success()?;
    Ok(())
}
