//! A signature that is there and does not count: of another key, for another image, changed in one byte, or the same twice.

use anyhow::{Context, Result};
use assay_testkit::{
    CertificateAuthority, EnvelopeFormat, Host, ImageBuilder, KeyKind, Notation, PolicyText, PullBy, Registry, Version,
};

use crate::scene::{Scene, change_base64, change_manifest, production, refused_cleanly};

#[test]
fn signature_of_another_key_does_not_count() -> Result<()> {
    for version in [Version::V2, Version::V1_6] {
        let scene = Scene::enforcing(version)?;
        let other = scene.cosign.generate_key("other")?;
        let image = scene.unsigned("1")?;
        scene.cosign.sign(&other, &image.by_digest())?;
        scene.cosign.sign_legacy(&other, &image.by_digest())?;
        refused_cleanly(&scene.host, scene.host.containerd.pull(&image.by_tag(), PullBy::Default)?, "NOT_SATISFIED")?;
    }
    Ok(())
}

#[test]
fn signature_for_another_image_does_not_count() -> Result<()> {
    let scene = Scene::enforcing(Version::V2)?;
    let (signed, unsigned) = (scene.unsigned("signed")?, scene.unsigned("unsigned")?);
    scene.cosign.sign_legacy(&scene.ci, &signed.by_digest())?;
    scene.cosign.sign(&scene.ci, &signed.by_digest())?;
    let repository = scene.production();
    for suffix in [".sig", ""] {
        let tag = |digest: &str| format!("{}{suffix}", digest.replace(':', "-"));
        let stored = repository.manifest(&tag(&signed.digest))?.context("it is signed")?;
        repository.push_manifest(&tag(&unsigned.digest), &stored.media_type, &stored.bytes)?;
    }
    refused_cleanly(&scene.host, scene.host.containerd.pull(&unsigned.by_tag(), PullBy::Default)?, "NOT_SATISFIED")?;
    scene.host.containerd.pull(&signed.by_tag(), PullBy::Default)?.success()?;
    Ok(())
}

#[test]
fn bundle_changed_in_one_byte_does_not_count() -> Result<()> {
    let scene = Scene::enforcing(Version::V2)?;
    for key in ["\"sig\"", "\"payload\""] {
        let image = scene.signed(&format!("t{}", key.len()))?;
        image.change_referrers(|bundle| change_base64(bundle, key).unwrap_or_else(|error| panic!("{error}")))?;
        refused_cleanly(&scene.host, scene.host.containerd.pull(&image.by_tag(), PullBy::Default)?, "NOT_SATISFIED")?;
    }
    Ok(())
}

#[test]
fn legacy_signature_changed_in_one_byte_does_not_count() -> Result<()> {
    let scene = Scene::enforcing(Version::V2)?;
    let image = scene.unsigned("1")?;
    scene.cosign.sign_legacy(&scene.ci, &image.by_digest())?;
    let tag = format!("{}.sig", image.digest.replace(':', "-"));
    let mut stored = scene.production().manifest(&tag)?.context("it is signed")?;
    change_base64(&mut stored.bytes, "\"dev.cosignproject.cosign/signature\"")?;
    scene.production().push_manifest(&tag, &stored.media_type, &stored.bytes)?;
    refused_cleanly(&scene.host, scene.host.containerd.pull(&image.by_tag(), PullBy::Default)?, "NOT_SATISFIED")
}

#[test]
fn notary_envelope_changed_in_one_byte_does_not_count() -> Result<()> {
    for format in [EnvelopeFormat::Jws, EnvelopeFormat::Cose] {
        let (registry, root) = (Registry::start()?, CertificateAuthority::root("Acme Root")?);
        let image = ImageBuilder::busybox("app")?.push(&registry.repository("prod/app"), "1")?;
        let notation = Notation::new()?;
        notation.add_key("release", &root.code_signing("Release Managers", KeyKind::P256)?)?;
        notation.sign("release", format, &image.by_digest())?;
        let policy = PolicyText::enforcing()
            .certificates("releases", root.root_pem(), "C=DE, ST=Berlin, O=Acme, CN=Release Managers")
            .rule("production", &[&production(&registry)], 1, &["releases"]);
        image.change_referrers(|envelope| match format {
            EnvelopeFormat::Jws => change_base64(envelope, "\"signature\"").unwrap_or_else(|error| panic!("{error}")),
            // COSE ends with the 64 bytes of the signature.
            EnvelopeFormat::Cose => *envelope.last_mut().unwrap_or(&mut 0) ^= 1,
        })?;
        let host = Host::reserve(Version::V2, registry)?.up(&policy)?;
        refused_cleanly(&host, host.containerd.pull(&image.by_tag(), PullBy::Default)?, "NOT_SATISFIED")?;
    }
    Ok(())
}

#[test]
fn certificate_of_another_subject_or_another_root_does_not_count() -> Result<()> {
    let (registry, root) = (Registry::start()?, CertificateAuthority::root("Acme Root")?);
    let repository = registry.repository("prod/app");
    let notation = Notation::new()?;
    notation.add_key("intern", &root.code_signing("Interns", KeyKind::P256)?)?;
    let namesake = CertificateAuthority::root("Acme Root")?;
    notation.add_key("namesake", &namesake.code_signing("Release Managers", KeyKind::P256)?)?;
    let policy = PolicyText::enforcing()
        .certificates("releases", root.root_pem(), "C=DE, ST=Berlin, O=Acme, CN=Release Managers")
        .rule("production", &[&production(&registry)], 1, &["releases"]);
    let host = Host::reserve(Version::V2, registry)?.up(&policy)?;
    for key in ["intern", "namesake"] {
        let image = ImageBuilder::busybox(key)?.push(&repository, key)?;
        notation.sign(key, EnvelopeFormat::Jws, &image.by_digest())?;
        refused_cleanly(&host, host.containerd.pull(&image.by_tag(), PullBy::Default)?, "NOT_SATISFIED")?;
    }
    Ok(())
}

#[test]
fn manifest_changed_in_one_byte_is_another_image_and_unsigned() -> Result<()> {
    let scene = Scene::enforcing(Version::V2)?;
    let image = scene.signed("1")?;
    assert_ne!(change_manifest(&image)?, image.digest);
    refused_cleanly(&scene.host, scene.host.containerd.pull(&image.by_tag(), PullBy::Default)?, "NO_SIGNATURE")
}

#[test]
fn bytes_that_do_not_have_their_digest_are_not_unpacked() -> Result<()> {
    for part in ["manifest", "config"] {
        let scene = Scene::enforcing(Version::V2)?;
        let image = scene.signed("1")?;
        let digest = match part {
            "manifest" => image.digest.clone(),
            _ => assay_testkit::sha256(&image.manifest().config),
        };
        scene.host.registry.change_stored(&digest, |bytes| {
            if let Some(byte) = bytes.iter_mut().find(|byte| **byte == b'l') {
                *byte = b'L';
            }
        })?;
        scene.host.containerd.pull(&image.by_tag(), PullBy::Default)?.failure()?;
        assert!(scene.host.containerd.snapshots()?.is_empty(), "{part}");
    }
    Ok(())
}

#[test]
fn one_signer_counts_once() -> Result<()> {
    let registry = Registry::start()?;
    let cosign = assay_testkit::Cosign::new()?;
    let (first, second) = (cosign.generate_key("first")?, cosign.generate_key("second")?);
    let policy = PolicyText::enforcing().key("first", &first.public_pem()?).key("second", &second.public_pem()?).rule(
        "production",
        &[&production(&registry)],
        2,
        &["first", "second"],
    );
    let image = ImageBuilder::busybox("app")?.push(&registry.repository("prod/app"), "1")?;
    cosign.sign(&first, &image.by_digest())?;
    cosign.sign_legacy(&first, &image.by_digest())?;
    let host = Host::reserve(Version::V2, registry)?.up(&policy)?;
    refused_cleanly(&host, host.containerd.pull(&image.by_tag(), PullBy::Default)?, "NOT_SATISFIED")?;
    cosign.sign_legacy(&second, &image.by_digest())?;
    host.containerd.pull(&image.by_tag(), PullBy::Default)?.success()?;
    Ok(())
}

#[test]
fn attestation_of_the_right_key_is_not_a_signature() -> Result<()> {
    let scene = Scene::enforcing(Version::V2)?;
    let image = scene.unsigned("1")?;
    let predicate = scene.host.node.root().join("sbom.json");
    std::fs::write(&predicate, br#"{"spdxVersion":"SPDX-2.3"}"#)?;
    scene.cosign.attest(&scene.ci, &image.by_digest(), "custom", &predicate)?;
    refused_cleanly(&scene.host, scene.host.containerd.pull(&image.by_tag(), PullBy::Default)?, "NO_SIGNATURE")?;
    // Where the registry does not say that it is an attestation, it is fetched, and does not count either.
    let tag = image.digest.replace(':', "-");
    let stored = scene.production().manifest(&tag)?.context("it is attested")?;
    let mut referrers = stored.json()?;
    let referrer = referrers.pointer_mut("/manifests/0").context("a referrer")?;
    let digest = referrer.get("digest").and_then(|digest| digest.as_str()).context("a digest")?.to_owned();
    let attached = scene.production().manifest(&digest)?.context("the referrer is there")?;
    let mut manifest = attached.json()?;
    manifest.as_object_mut().context("an object")?.remove("annotations").context("cosign writes annotations")?;
    let bytes = serde_json::to_vec(&manifest)?;
    let digest = scene.production().push_manifest(&assay_testkit::sha256(&bytes), &attached.media_type, &bytes)?;
    let referrer = referrer.as_object_mut().context("an object")?;
    referrer.insert("digest".to_owned(), digest.into());
    referrer.insert("size".to_owned(), bytes.len().into());
    scene.production().push_manifest(&tag, &stored.media_type, &serde_json::to_vec(&referrers)?)?;
    refused_cleanly(&scene.host, scene.host.containerd.pull(&image.by_tag(), PullBy::Default)?, "NOT_SATISFIED")
}

#[test]
fn junk_beside_a_good_signature_cannot_veto_it() -> Result<()> {
    let scene = Scene::enforcing(Version::V2)?;
    let other = scene.cosign.generate_key("other")?;
    let image = scene.unsigned("1")?;
    for _ in 0..3 {
        scene.cosign.sign(&other, &image.by_digest())?;
    }
    scene.cosign.sign(&scene.ci, &image.by_digest())?;
    scene.cosign.sign(&other, &image.by_digest())?;
    scene.host.containerd.pull(&image.by_tag(), PullBy::Default)?.success()?;
    Ok(())
}

#[test]
fn blocked_digest_is_refused_though_it_is_signed() -> Result<()> {
    let scene = Scene::enforcing(Version::V2)?;
    let image = scene.signed("1")?;
    let blocked = format!("[[blocked]]\ndigest = \"{}\"\nreason = \"CVE-2026-0001\"\n", image.digest);
    scene.host.node.apply_policy(&scene.policy.in_mode("observe").text(&blocked))?;
    refused_cleanly(&scene.host, scene.host.containerd.pull(&image.by_tag(), PullBy::Default)?, "BLOCKED")
}
