//! What cosign attests, in its present and its older format, `assay verify --type` verifies; one byte changed, of another image,
//! of another key or of another type it counts for nothing; and what belongs to an image is shown from registry and folder.

#![expect(clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use assay_testkit::{Cosign, CosignKey, Finished, ImageBuilder, Node, PushedImage, Registry, Repository};
use serde_json::{Value, json};

use crate::scene::change_base64;

/// A registry and a key, and the command line of a node that runs nothing.
struct Bench {
    cosign: Cosign,
    ci: CosignKey,
    node: Node,
    registry: Registry,
}

impl Bench {
    fn start() -> Result<Self> {
        let cosign = Cosign::new()?;
        let ci = cosign.generate_key("ci")?;
        Ok(Self { ci, cosign, node: Node::reserve()?, registry: Registry::start()? })
    }

    fn repository(&self) -> Repository {
        self.registry.repository("team/app")
    }

    fn image(&self, tag: &str) -> Result<PushedImage> {
        ImageBuilder::busybox(tag)?.push(&self.repository(), tag)
    }

    fn predicate(&self, predicate: &Value) -> Result<PathBuf> {
        let path = self.node.root().join("predicate.json");
        std::fs::write(&path, predicate.to_string())?;
        Ok(path)
    }

    fn attest(&self, image: &PushedImage, kind: &str, predicate: &Value) -> Result<()> {
        self.cosign.attest(&self.ci, &image.by_digest(), kind, &self.predicate(predicate)?).map(drop)
    }

    fn attest_legacy(&self, image: &PushedImage, kind: &str, predicate: &Value) -> Result<()> {
        self.cosign.attest_legacy(&self.ci, &image.by_digest(), kind, &self.predicate(predicate)?).map(drop)
    }

    fn verify(&self, key: &CosignKey, image: &PushedImage, kind: &str) -> Result<Finished> {
        let (key, image) = (key.public.to_string_lossy().into_owned(), image.by_digest());
        self.node.assay(&["verify", &image, "--plain-http", "--key", &key, "--type", kind, "-o", "json"])
    }

    /// Fails unless nothing counted, with that exit code and that word in a reason.
    fn refused(&self, image: &PushedImage, kind: &str, code: i32, reason: &str) -> Result<()> {
        let answer = self.verify(&self.ci, image, kind)?;
        ensure!(answer.status.code() == Some(code) && answer.said(reason), "not refused for {reason:?}: {answer}");
        let json: Value = serde_json::from_str(&answer.stdout)?;
        ensure!(json["verified"] == false && json["attestations"] == json!([]), "{answer}");
        Ok(())
    }
}

fn review() -> Value {
    json!({ "reviewed": true })
}

const REVIEW: &str = "https://acme.example/review/v1";

fn predicates() -> [(&'static str, Value, &'static str); 9] {
    let material = json!({ "uri": "git+https://git.example/acme/app", "digest": { "sha1": "b6589fc6ab0dc82cf12099d1c2d40ab994e8410c" } });
    let builder = json!({ "id": "https://ci.example/builder" });
    [
        (
            "slsaprovenance",
            json!({ "builder": builder, "buildType": "https://ci.example/make@v1", "materials": [material] }),
            "SLSA provenance v0.2",
        ),
        (
            "slsaprovenance1",
            json!({
                "buildDefinition": { "buildType": "https://ci.example/make@v1", "externalParameters": { "target": "all" },
                    "resolvedDependencies": [material] },
                "runDetails": { "builder": builder },
            }),
            "SLSA provenance v1",
        ),
        (
            "spdxjson",
            json!({ "spdxVersion": "SPDX-2.3", "name": "app", "packages": [{ "name": "busybox" }] }),
            "1 packages",
        ),
        (
            "cyclonedx",
            json!({ "bomFormat": "CycloneDX", "specVersion": "1.5", "components": [{ "type": "library", "name": "busybox" }] }),
            "CycloneDX 1.5",
        ),
        (
            "vuln",
            json!({ "scanner": { "uri": "pkg:deb/debian/scanner@1", "result": {} },
                "metadata": { "scanStartedOn": "2026-11-22T10:00:00Z", "scanFinishedOn": "2026-11-22T10:01:00Z" } }),
            "finished at 2026-11-22T10:01:00Z",
        ),
        (
            "openvex",
            json!({ "@context": "https://openvex.dev/ns/v0.2.0", "@id": "https://acme.example/vex/1", "author": "Acme",
                "timestamp": "2026-11-22T10:00:00Z", "version": 1, "statements": [{ "vulnerability": { "name": "CVE-2026-0001" },
                "products": [{ "@id": "pkg:oci/app" }], "status": "fixed" }] }),
            "OpenVEX document",
        ),
        ("custom", review(), "not read here"),
        (
            "https://slsa.dev/verification_summary/v1",
            json!({ "verifier": { "id": "https://verifier.example" }, "timeVerified": "2026-11-22T10:00:00Z",
                "resourceUri": "oci://registry.example/app", "policy": { "uri": "https://policy.example" },
                "verificationResult": "PASSED", "verifiedLevels": ["SLSA_BUILD_LEVEL_3"] }),
            "passed",
        ),
        (REVIEW, review(), "not read here"),
    ]
}

#[test]
fn each_type_that_cosign_attests_is_verified_in_both_formats() -> Result<()> {
    let bench = Bench::start()?;
    for (at, (kind, predicate, summary)) in predicates().into_iter().enumerate() {
        let image = bench.image(&format!("t{at}"))?;
        bench.refused(&image, kind, 10, "NO_SIGNATURE")?;
        bench.attest(&image, kind, &predicate)?;
        bench.attest_legacy(&image, kind, &predicate)?;
        let answer = bench.verify(&bench.ci, &image, kind)?.success()?;
        let json: Value = serde_json::from_str(&answer.stdout)?;
        let found = json["attestations"].as_array().context("a list")?;
        assert_eq!(found.len(), 2, "{kind}: {answer}");
        for attestation in found {
            assert!(attestation["summary"].as_str().is_some_and(|text| text.contains(summary)), "{attestation}");
            assert_eq!(attestation["subject"], image.digest, "{kind}");
        }
        bench.cosign.verify_attestation(&bench.ci.public, &image.by_digest(), kind)?.success()?;
    }
    Ok(())
}

#[test]
fn attestation_of_another_type_or_another_key_does_not_count() -> Result<()> {
    let bench = Bench::start()?;
    let image = bench.image("1")?;
    bench.attest(&image, REVIEW, &review())?;
    bench.attest_legacy(&image, REVIEW, &review())?;
    bench.verify(&bench.ci, &image, REVIEW)?.success()?;
    bench.refused(&image, "vuln", 12, "its predicate type is")?;
    let other = bench.cosign.generate_key("other")?;
    let answer = bench.verify(&other, &image, REVIEW)?;
    assert_eq!(answer.status.code(), Some(12), "{answer}");
    Ok(())
}

#[test]
fn attestation_changed_in_one_byte_does_not_count() -> Result<()> {
    let bench = Bench::start()?;
    let image = bench.image("bundle")?;
    bench.attest(&image, REVIEW, &review())?;
    bench.verify(&bench.ci, &image, REVIEW)?.success()?;
    image.change_referrers(|bundle| change_base64(bundle, "\"payload\"").unwrap_or_else(|error| panic!("{error}")))?;
    bench.refused(&image, REVIEW, 12, "does not count")?;

    let image = bench.image("legacy")?;
    bench.attest_legacy(&image, REVIEW, &review())?;
    bench.verify(&bench.ci, &image, REVIEW)?.success()?;
    let tag = format!("{}.att", image.digest.replace(':', "-"));
    let stored = bench.repository().manifest(&tag)?.context("it is attested")?;
    let mut manifest = stored.json()?;
    let layer = &mut manifest["layers"][0];
    let mut envelope = bench.repository().blob(layer["digest"].as_str().context("a digest")?)?;
    change_base64(&mut envelope, "\"payload\"")?;
    layer["digest"] = bench.repository().push_blob(&envelope)?.into();
    bench.repository().push_manifest(&tag, &stored.media_type, &serde_json::to_vec(&manifest)?)?;
    bench.refused(&image, REVIEW, 12, "no trusted key made it")
}

#[test]
fn attestation_of_another_image_does_not_count() -> Result<()> {
    let bench = Bench::start()?;
    let (attested, other) = (bench.image("attested")?, bench.image("other")?);
    bench.attest(&attested, REVIEW, &review())?;
    bench.attest_legacy(&attested, REVIEW, &review())?;
    for suffix in [".att", ""] {
        let tag = |digest: &str| format!("{}{suffix}", digest.replace(':', "-"));
        let stored = bench.repository().manifest(&tag(&attested.digest))?.context("it is attested")?;
        bench.repository().push_manifest(&tag(&other.digest), &stored.media_type, &stored.bytes)?;
        bench.refused(&other, REVIEW, 12, &attested.digest)?;
    }
    bench.verify(&bench.ci, &attested, REVIEW)?.success()?;
    Ok(())
}

#[test]
fn signatures_and_attestations_do_not_stand_in_for_each_other() -> Result<()> {
    let bench = Bench::start()?;
    let (signed, attested) = (bench.image("signed")?, bench.image("attested")?);
    bench.cosign.sign(&bench.ci, &signed.by_digest())?;
    bench.cosign.sign_legacy(&bench.ci, &signed.by_digest())?;
    bench.attest(&attested, REVIEW, &review())?;
    bench.attest_legacy(&attested, REVIEW, &review())?;
    let key = bench.ci.public.to_string_lossy().into_owned();
    let plain = |image: &PushedImage| bench.node.assay(&["verify", &image.by_digest(), "--plain-http", "--key", &key]);
    plain(&signed)?.success()?;
    assert_eq!(plain(&attested)?.status.code(), Some(10));
    bench.verify(&bench.ci, &attested, REVIEW)?.success()?;
    for kind in [REVIEW, "https://sigstore.dev/cosign/sign/v1"] {
        bench.refused(&signed, kind, 10, "a signature is no attestation")?;
    }
    Ok(())
}

#[test]
fn what_belongs_to_an_image_is_shown_from_registry_and_folder() -> Result<()> {
    let bench = Bench::start()?;
    let image = bench.image("1")?;
    bench.cosign.sign(&bench.ci, &image.by_digest())?;
    bench.cosign.sign_legacy(&bench.ci, &image.by_digest())?;
    bench.attest_legacy(&image, REVIEW, &review())?;
    let kinds = |answer: Finished| -> Result<Vec<String>> {
        let json: Value = serde_json::from_str(&answer.success()?.stdout)?;
        let attached = json["attached"].as_array().context("a list")?;
        let parts = attached.iter().flat_map(|attached| attached["parts"].as_array().into_iter().flatten());
        let mut kinds: Vec<String> = parts.filter_map(|part| part["kind"].as_str()).map(str::to_owned).collect();
        kinds.sort();
        Ok(kinds)
    };
    let tree = bench.node.assay(&["tree", &image.by_tag(), "--plain-http", "-o", "json"])?;
    assert_eq!(kinds(tree)?, ["attestation", "signature", "signature"]);
    // cosign saves its older formats alone.
    let folder = bench.node.root().join("saved");
    bench.cosign.save(&image.by_tag(), &folder)?;
    let place = format!("oci:{}", folder.display());
    assert_eq!(kinds(bench.node.assay(&["inspect", &place, "-o", "json"])?)?, ["attestation", "signature"]);
    let text = bench.node.assay(&["tree", &place])?.success()?;
    assert!(text.said(REVIEW) && text.said(&image.digest), "{text}");
    Ok(())
}
