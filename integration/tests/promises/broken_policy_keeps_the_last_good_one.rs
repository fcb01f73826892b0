//! A policy that cannot be read changes nothing but the node's own report of it.

use anyhow::Result;
use assay_testkit::{PullBy, Version};

use crate::scene::{Scene, refused_cleanly};

#[test]
fn broken_policy_is_refused_with_its_place_and_the_last_good_one_stays() -> Result<()> {
    let scene = Scene::enforcing(Version::V2)?;
    let broken = scene.policy.in_mode("observe").document().replace("[[rules]]", "[[rules]]\nfail-open = true");
    let line = broken.lines().position(|line| line.starts_with("fail-open")).map_or(0, |index| index + 1);
    scene.host.node.write("policy.toml", &broken)?;
    let answer = scene.host.node.assay(&["node", "reload"])?.failure()?;
    assert!(answer.said(&format!("policy.toml:{line}:1")) && answer.said("fail-open"), "{answer}");
    let status = scene.host.node.assay(&["node", "status"])?;
    assert!(status.said(&format!("policy.toml:{line}:1")), "{status}");

    let (signed, unsigned) = (scene.signed("signed")?, scene.unsigned("unsigned")?);
    refused_cleanly(&scene.host, scene.host.containerd.pull(&unsigned.by_tag(), PullBy::Default)?, "NO_SIGNATURE")?;
    scene.host.containerd.pull(&signed.by_tag(), PullBy::Default)?.success()?;
    Ok(())
}

#[test]
fn what_is_not_built_is_refused_by_name() -> Result<()> {
    let scene = Scene::enforcing(Version::V2)?;
    for (text, name) in [
        ("[[exceptions]]\nimages = [\"**\"]\nreason = \"x\"\nexpires = 2027-01-31T00:00:00Z\n", "exceptions"),
        ("[[rules]]\nname = \"rego\"\nimages = [\"r.example/**\"]\nrequire = [{ rego = \"r.rego\" }]\n", "rego"),
    ] {
        scene.host.node.write_policy(&scene.policy.in_mode("enforce").text(text))?;
        let answer = scene.host.node.assay(&["node", "reload"])?.failure()?;
        assert!(answer.said(name), "{answer}");
    }
    Ok(())
}

#[test]
fn node_without_a_policy_admits_nothing() -> Result<()> {
    let mut scene = Scene::enforcing(Version::V2)?;
    let image = scene.signed("1")?;
    scene.host.node.stop()?;
    scene.host.node.write("policy.toml", "mode = \"observe\"\n")?;
    scene.host.start_node()?;
    refused_cleanly(&scene.host, scene.host.containerd.pull(&image.by_tag(), PullBy::Default)?, "NO_POLICY")
}
