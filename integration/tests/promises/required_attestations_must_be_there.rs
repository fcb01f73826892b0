//! A rule that asks for an attestation beside a signature: what cosign attests is collected and counts by type and signer; without it the
//! image is refused, and an attestation is no signature. What was collected serves without the registry.

use std::path::PathBuf;

use anyhow::Result;
use assay_testkit::{Cosign, CosignKey, Host, ImageBuilder, PolicyText, PullBy, PushedImage, Registry, Version};
use serde_json::json;

use crate::scene::{production, refused_cleanly};

struct Bench {
    host: Host,
    cosign: Cosign,
    ci: CosignKey,
    audit: CosignKey,
}

impl Bench {
    /// `ci` signs, and `audit` says what is in it.
    fn start() -> Result<Self> {
        let (registry, cosign) = (Registry::start()?, Cosign::new()?);
        let (ci, audit) = (cosign.generate_key("ci")?, cosign.generate_key("audit")?);
        let scope = production(&registry);
        let rule = format!(
            "[[rules]]\nname = \"production\"\nimages = [\"{scope}\"]\n\
             require = [{{ signatures = 1, of = [\"ci\"] }}, {{ attestation = \"spdxjson\", by = [\"audit\"] }}]\n"
        );
        let policy =
            PolicyText::enforcing().key("ci", &ci.public_pem()?).key("audit", &audit.public_pem()?).text(&rule);
        Ok(Self { host: Host::reserve(Version::V2, registry)?.up(&policy)?, cosign, ci, audit })
    }

    fn image(&self, tag: &str) -> Result<PushedImage> {
        ImageBuilder::busybox(tag)?.push(&self.host.repository("prod/app"), tag)
    }

    fn signed(&self, tag: &str) -> Result<PushedImage> {
        let image = self.image(tag)?;
        self.cosign.sign(&self.ci, &image.by_digest())?;
        Ok(image)
    }

    /// A predicate that cosign takes for either type.
    fn predicate(&self) -> Result<PathBuf> {
        let path = self.host.node.root().join("predicate.json");
        let packages = json!([{ "name": "busybox", "SPDXID": "SPDXRef-1", "downloadLocation": "NONE" }]);
        let predicate = json!({
            "spdxVersion": "SPDX-2.3", "SPDXID": "SPDXRef-DOCUMENT", "name": "app", "dataLicense": "CC0-1.0",
            "documentNamespace": "https://acme.example/app", "packages": packages,
            "creationInfo": { "created": "2026-11-01T00:00:00Z", "creators": ["Tool: acme"] },
        });
        std::fs::write(&path, predicate.to_string())?;
        Ok(path)
    }

    fn attest(&self, key: &CosignKey, image: &PushedImage, kind: &str) -> Result<()> {
        self.cosign.attest(key, &image.by_digest(), kind, &self.predicate()?).map(drop)
    }

    fn is_refused(&self, image: &PushedImage) -> Result<()> {
        refused_cleanly(&self.host, self.host.containerd.pull(&image.by_tag(), PullBy::Default)?, "NOT_SATISFIED")
    }
}

#[test]
fn image_without_the_attestation_or_with_another_type_or_signer_is_refused() -> Result<()> {
    let bench = Bench::start()?;
    let bare = bench.signed("bare")?;
    bench.is_refused(&bare)?;
    let other_type = bench.signed("type")?;
    bench.attest(&bench.audit, &other_type, "custom")?;
    bench.is_refused(&other_type)?;
    let other_signer = bench.signed("signer")?;
    bench.attest(&bench.ci, &other_signer, "spdxjson")?;
    bench.is_refused(&other_signer)?;
    // Attested twice, and signed by nobody.
    let unsigned = bench.image("unsigned")?;
    bench.attest(&bench.audit, &unsigned, "spdxjson")?;
    bench.attest(&bench.ci, &unsigned, "spdxjson")?;
    bench.is_refused(&unsigned)
}

#[test]
fn image_with_the_attestation_is_admitted_also_in_cosigns_older_format_and_without_the_registry_later() -> Result<()> {
    let mut bench = Bench::start()?;
    let image = bench.signed("1")?;
    bench.attest(&bench.audit, &image, "spdxjson")?;
    bench.host.containerd.pull(&image.by_tag(), PullBy::Default)?.success()?;
    let legacy = bench.signed("2")?;
    bench.cosign.attest_legacy(&bench.audit, &legacy.by_digest(), "spdxjson", &bench.predicate()?)?;
    bench.host.containerd.pull(&legacy.by_tag(), PullBy::Default)?.success()?;
    bench.host.registry.stop()?;
    bench.host.node.stop()?;
    bench.host.start_node()?;
    for (image, text) in [(image, "hello from 1\n"), (legacy, "hello from 2\n")] {
        assert_eq!(bench.host.containerd.run(&image.by_tag(), &[])?.success()?.stdout, text);
    }
    Ok(())
}
