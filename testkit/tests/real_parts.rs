//! The test kit's own tests: every real part comes up, does its work and goes away.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use assay_testkit::{
    CertificateAuthority, Containerd, Cosign, EnvelopeFormat, ImageBuilder, KeyKind, LeafProfile, Notation, PullBy,
    Registry, Snapshotter, Token, TokenKey, Version, finish,
};

#[test]
fn registry_returns_what_was_pushed_until_it_is_changed_behind_its_back() -> Result<()> {
    let registry = Registry::start()?;
    let repository = registry.repository("prod/app");
    let image = ImageBuilder::busybox("app")?.architectures(&["amd64", "arm64"]).push(&repository, "1")?;

    let index = repository.manifest("1")?.context("the tag exists")?;
    assert_eq!(index.digest(), image.digest);
    assert_eq!(image.manifests.len(), 2);
    let config = image.manifest().config.clone();
    let digest = assay_testkit::sha256(&config);
    assert_eq!(repository.blob(&digest)?, config);
    assert!(registry.requests().contains(&format!("GET /v2/prod/app/blobs/{digest}")), "{:?}", registry.requests());

    registry.change_stored(&digest, |bytes| bytes.push(b'x'))?;
    assert_eq!(repository.blob(&digest)?.len(), config.len() + 1);
    repository.delete_manifest(&image.digest)?;
    assert!(repository.manifest("1")?.is_none());
    Ok(())
}

#[test]
fn registry_keeps_port_and_content_over_a_stop() -> Result<()> {
    let mut registry = Registry::start()?;
    let repository = registry.repository("a");
    let digest = repository.push_blob(b"content")?;
    registry.stop()?;
    assert!(repository.blob(&digest).is_err(), "a stopped registry serves nothing");
    registry.resume()?;
    assert_eq!(repository.blob(&digest)?, b"content");
    Ok(())
}

#[test]
fn registry_with_basic_auth_serves_nobody_without_the_password() -> Result<()> {
    let registry = Registry::with_basic_auth()?;
    let repository = registry.repository("private");
    let image = ImageBuilder::busybox("private")?.push(&repository, "1")?;
    assert_eq!(repository.tags()?, ["1"]);
    let containerd = Containerd::start(Version::V2, Snapshotter::Stock)?;
    let refused = containerd.pull(&image.by_tag(), PullBy::Default)?.failure()?;
    assert!(refused.said("authorization failed"), "{refused}");
    Ok(())
}

#[test]
fn containerd_2_pulls_and_runs() -> Result<()> {
    pulls_and_runs(Version::V2, PullBy::Default)?;
    pulls_and_runs(Version::V2, PullBy::Client)
}

#[test]
fn containerd_1_6_pulls_and_runs() -> Result<()> {
    pulls_and_runs(Version::V1_6, PullBy::Default)
}

fn pulls_and_runs(version: Version, by: PullBy) -> Result<()> {
    let registry = Registry::start()?;
    let image = ImageBuilder::busybox("app")?.layers(3, 100).push(&registry.repository("prod/app"), "1")?;
    let mut containerd = Containerd::start(version, Snapshotter::Stock)?;
    containerd.pull(&image.by_tag(), by)?.success()?;
    assert_eq!(containerd.images()?, [image.by_tag()]);
    assert_eq!(containerd.snapshots()?.len(), 5);
    assert_eq!(containerd.run(&image.by_tag(), &[])?.success()?.stdout, "hello from app\n");

    let id = containerd.run_detached(&image.by_tag(), &["/bin/sleep", "600"])?;
    let tasks = containerd.ctr(&["tasks", "ls"])?.success()?;
    assert!(tasks.said(&id) && tasks.said("RUNNING"), "{tasks}");
    // The container is left to the drop, after a daemon that was killed and came back.
    containerd.kill()?;
    containerd.resume()?;
    let root = containerd.root();
    drop(containerd);
    assert!(!root.exists());
    assert!(!cgroup_is_alive(&id)?, "the container {id} still runs");
    Ok(())
}

/// Whether any process of the machine is in the container's cgroup.
fn cgroup_is_alive(id: &str) -> Result<bool> {
    let found =
        finish(std::process::Command::new("grep").args(["-ls", id]).args(process_cgroups()?), Duration::from_secs(10))?;
    Ok(found.status.success())
}

fn process_cgroups() -> Result<Vec<String>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.bytes().all(|byte| byte.is_ascii_digit()) {
            files.push(format!("/proc/{name}/cgroup"));
        }
    }
    Ok(files)
}

#[test]
fn an_admitted_config_can_be_copied_onto_foreign_layers() -> Result<()> {
    let registry = Registry::start()?;
    let repository = registry.repository("prod/app");
    let good = ImageBuilder::busybox("good")?.push(&repository, "good")?;
    let evil = ImageBuilder::busybox("evil")?.foreign_config(&good.manifest().config).push(&repository, "evil")?;
    assert_eq!(evil.manifest().config, good.manifest().config);
    assert_ne!(evil.manifest().layers, good.manifest().layers);
    assert_ne!(evil.digest, good.digest);
    Ok(())
}

#[test]
fn cosign_signs_and_verifies_in_both_formats() -> Result<()> {
    let registry = Registry::start()?;
    let repository = registry.repository("prod/app");
    let cosign = Cosign::new()?;
    let (key, other) = (cosign.generate_key("ci")?, cosign.generate_key("other")?);

    let image = ImageBuilder::busybox("new")?.push(&repository, "new")?;
    cosign.sign(&key, &image.by_digest())?;
    cosign.verify(&key.public, &image.by_digest())?.success()?;
    cosign.verify(&other.public, &image.by_digest())?.failure()?;

    let image = ImageBuilder::busybox("old")?.push(&repository, "old")?;
    cosign.sign_legacy(&key, &image.by_digest())?;
    assert!(repository.tags()?.contains(&format!("{}.sig", image.digest.replace(':', "-"))));
    cosign.verify_legacy(&key.public, &image.by_digest())?.success()?;
    cosign.verify_legacy(&other.public, &image.by_digest())?.failure()?;
    Ok(())
}

#[test]
fn cosign_signs_with_an_rsa_key() -> Result<()> {
    let registry = Registry::start()?;
    let image = ImageBuilder::busybox("app")?.push(&registry.repository("prod/app"), "1")?;
    let cosign = Cosign::new()?;
    let rsa = CertificateAuthority::root("Root")?.code_signing("unused", KeyKind::Rsa3072)?;
    let key = cosign.import_key("rsa", &rsa.key_pem)?;
    cosign.sign(&key, &image.by_digest())?;
    cosign.verify(&key.public, &image.by_digest())?.success()?;
    Ok(())
}

#[test]
fn notation_signs_and_verifies_both_envelopes_with_ec_and_rsa() -> Result<()> {
    let registry = Registry::start()?;
    let repository = registry.repository("prod/app");
    let root = CertificateAuthority::root("Acme Root")?;
    let intermediate = root.intermediate("Acme Signing")?;
    let notation = Notation::new()?;
    notation.trust(root.root_pem(), &["x509.subject: C=DE, ST=Berlin, O=Acme"])?;
    for (number, (kind, format)) in [
        (KeyKind::P256, EnvelopeFormat::Jws),
        (KeyKind::P384, EnvelopeFormat::Cose),
        (KeyKind::Rsa2048, EnvelopeFormat::Cose),
        (KeyKind::Rsa3072, EnvelopeFormat::Jws),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("release-{number}");
        let image = ImageBuilder::busybox(&name)?.push(&repository, &name)?;
        notation.verify(&image.by_digest())?.failure()?;
        notation.add_key(&name, &intermediate.code_signing("Release Managers", kind)?)?;
        notation.sign(&name, format, &image.by_digest())?;
        notation.verify(&image.by_digest())?.success()?;
    }
    Ok(())
}

#[test]
fn notation_refuses_what_another_root_issued() -> Result<()> {
    let registry = Registry::start()?;
    let image = ImageBuilder::busybox("app")?.push(&registry.repository("prod/app"), "1")?;
    let notation = Notation::new()?;
    notation.trust(CertificateAuthority::root("Acme Root")?.root_pem(), &["*"])?;
    notation.add_key("foreign", &CertificateAuthority::root("Acme Root")?.code_signing("Someone", KeyKind::P256)?)?;
    notation.sign("foreign", EnvelopeFormat::Jws, &image.by_digest())?;
    let refused = notation.verify(&image.by_digest())?.failure()?;
    assert!(refused.said("signature verification failed"), "{refused}");
    Ok(())
}

#[test]
fn token_makes_keys_that_a_certificate_can_be_issued_for() -> Result<()> {
    let token = Token::create("assay")?;
    assert!(Path::new(token.module()).is_file());
    for (label, kind) in [("ci", TokenKey::P256), ("big", TokenKey::P384), ("ed", TokenKey::Ed25519)] {
        token.generate(label, kind)?;
    }
    let public = token.public_key_pem("ci")?;
    assert!(public.starts_with("-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE"), "{public}");
    let chain =
        CertificateAuthority::root("Root")?.issue_for(&LeafProfile::code_signing("CI"), &token.public_key("ci")?)?;
    assert_eq!(chain.matches("BEGIN CERTIFICATE").count(), 2);
    token.give_to(65534, 65534)?;
    Ok(())
}
