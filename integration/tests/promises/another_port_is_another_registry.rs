//! A host's other port is another registry: what a lax rule lets in from there is not admitted under a strict rule's name,
//! and a label that lost its port counts for the stricter of the two.

use anyhow::Result;
use assay_testkit::{AGENT_UID, Cosign, CosignKey, Host, ImageBuilder, PolicyText, PullBy, Registry, Version};

use crate::scene::refused;

/// Two registries on one host. The policy enforces `ci` on `prod/**` of the first and observes everything of the second.
struct Ports {
    host: Host,
    lax: Registry,
    cosign: Cosign,
    ci: CosignKey,
}

impl Ports {
    fn start(version: Version) -> Result<Self> {
        let (strict, lax, cosign) = (Registry::start()?, Registry::start()?, Cosign::new()?);
        let ci = cosign.generate_key("ci")?;
        let policy = PolicyText::enforcing()
            .key("ci", &ci.public_pem()?)
            .rule("production", &[&format!("{}/prod/**", strict.host())], 1, &["ci"])
            .text(&format!(
                "[[rules]]\nname = \"lab\"\nimages = [\"{}/**\"]\nmode = \"observe\"\n\
                 require = [{{ signatures = 1, of = [\"ci\"] }}]\n",
                lax.host()
            ));
        let hosts = format!("plain-http = [\"{}\", \"{}\"]\n", strict.host(), lax.host());
        let host = Host::reserve(version, strict)?;
        host.node.write("fetch.toml", &format!("agent-uid = {AGENT_UID}\n{hosts}"))?;
        Ok(Self { host: host.up(&policy)?, lax, cosign, ci })
    }
}

#[test]
fn what_one_port_let_in_is_refused_under_the_name_of_the_other() -> Result<()> {
    for version in [Version::V2, Version::V1_6] {
        let ports = Ports::start(version)?;
        let containerd = &ports.host.containerd;
        let builder = ImageBuilder::busybox("same")?;
        let in_lab = builder.push(&ports.lax.repository("lab/app"), "1")?;
        let in_production = builder.push(&ports.host.repository("prod/app"), "1")?;
        assert_eq!(in_lab.digest, in_production.digest);
        containerd.pull(&in_lab.by_tag(), PullBy::Default)?.success()?;
        containerd.run(&in_lab.by_tag(), &[])?.success()?;
        // By the operator's own hand, and by a pull that finds all content on the node.
        containerd.ctr(&["images", "tag", &in_lab.by_tag(), &in_production.by_tag()])?.success()?;
        refused(containerd.run(&in_production.by_tag(), &[])?, "NO_SIGNATURE")?;
        containerd.ctr(&["images", "rm", &in_lab.by_tag()])?.success()?;
        refused(containerd.run(&in_production.by_tag(), &[])?, "NO_SIGNATURE")?;
        ports.cosign.sign(&ports.ci, &in_production.by_digest())?;
        assert_eq!(containerd.run(&in_production.by_tag(), &[])?.success()?.stdout, "hello from same\n");
    }
    Ok(())
}

#[test]
fn label_that_lost_its_port_counts_for_the_stricter_rule() -> Result<()> {
    let ports = Ports::start(Version::V2)?;
    let containerd = &ports.host.containerd;
    // The lax registry offers a repository that bears the strict one's name; containerd's label tells no port.
    let disguised = ImageBuilder::busybox("disguised")?.push(&ports.lax.repository("prod/app"), "1")?;
    refused(containerd.pull(&disguised.by_tag(), PullBy::Default)?, "NO_SIGNATURE")?;
    assert!(containerd.snapshots()?.is_empty());
    let honest = ImageBuilder::busybox("honest")?.push(&ports.lax.repository("lab/app"), "1")?;
    containerd.pull(&honest.by_tag(), PullBy::Default)?.success()?;
    Ok(())
}
