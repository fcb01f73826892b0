//! A host's other port is another registry: what a lax rule lets in from there is not admitted under a strict rule's name,
//! and a label that lost its port counts for the stricter of the two.

use std::time::Duration;

use anyhow::Result;
use assay_testkit::{AGENT_UID, Cosign, CosignKey, Host, ImageBuilder, PolicyText, Program, PullBy, Registry, Version};

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
        Self::start_with(version, Ok)
    }

    fn start_with(version: Version, prepare: impl FnOnce(Host) -> Result<Host>) -> Result<Self> {
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
        let host = prepare(Host::reserve(version, strict)?)?;
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

#[test]
fn pull_gate_tells_the_port_that_a_label_has_lost() -> Result<()> {
    let ports = Ports::start_with(Version::V2, Host::with_pull_gate)?;
    let containerd = &ports.host.containerd;
    // The same image in a repository that bears the strict one's name, and in the strict one itself.
    let builder = ImageBuilder::busybox("disguised")?;
    let disguised = builder.push(&ports.lax.repository("prod/app"), "1")?;
    let strict = builder.push(&ports.host.repository("prod/app"), "1")?;
    assert_eq!(disguised.digest, strict.digest);
    refused(containerd.pull(&strict.by_tag(), PullBy::Default)?, "NO_SIGNATURE")?;
    // Under its own full name it is the lax rule's, when it is unpacked and when it is run.
    containerd.pull(&disguised.by_tag(), PullBy::Default)?.success()?;
    containerd.run(&disguised.by_tag(), &[])?.success()?;
    // That makes it nothing else under the strict name, at any gate.
    refused(containerd.pull(&strict.by_tag(), PullBy::Default)?, "NO_SIGNATURE")?;
    // The client asks no pull gate, and nothing is left to unpack: it is the container that is refused.
    containerd.pull(&strict.by_tag(), PullBy::Client)?.success()?;
    refused(containerd.run(&strict.by_tag(), &[])?, "NO_SIGNATURE")?;
    containerd.ctr(&["images", "rm", &strict.by_tag()])?.success()?;
    containerd.run(&disguised.by_tag(), &[])?.success()?;
    // Nothing of this is kept on disk: an agent that was started again knows the label alone.
    let before = ports.host.node.pid(Program::Agent)?;
    ports.host.node.kill(Program::Agent)?;
    ports.host.node.wait_for_restart(Program::Agent, before, Duration::from_secs(20))?;
    refused(containerd.run(&disguised.by_tag(), &[])?, "NO_SIGNATURE")
}
