//! Every decision stands in the log, the log can be checked without the node, and a change to it is found.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use assay_testkit::{
    Cosign, CosignKey, Host, ImageBuilder, PolicyText, PullBy, Registry, Token, TokenKey, Version, eventually,
};

use crate::scene::{production, refused_cleanly};

/// A host with a token, so that the log's head is signed.
fn host() -> Result<(Host, Cosign, CosignKey)> {
    let registry = Registry::start()?;
    let cosign = Cosign::new()?;
    let key = cosign.generate_key("ci")?;
    let policy =
        PolicyText::enforcing().key("ci", &key.public_pem()?).rule("production", &[&production(&registry)], 1, &["ci"]);
    let token = Token::create("assay")?;
    token.generate("log", TokenKey::P256)?;
    Ok((Host::reserve(Version::V2, registry)?.with_token(token, &[])?.up(&policy)?, cosign, key))
}

#[test]
fn decisions_are_recorded_and_the_log_verifies() -> Result<()> {
    let (host, cosign, key) = host()?;
    let repository = host.repository("prod/app");
    let (good, bad) = (ImageBuilder::busybox("good")?, ImageBuilder::busybox("bad")?);
    let (good, bad) = (good.push(&repository, "good")?, bad.push(&repository, "bad")?);
    cosign.sign(&key, &good.by_digest())?;
    refused_cleanly(&host, host.containerd.pull(&bad.by_tag(), PullBy::Default)?, "NO_SIGNATURE")?;
    host.containerd.pull(&good.by_tag(), PullBy::Default)?.success()?;

    let shown = host.node.assay(&["audit", "show", "-o", "json"])?.success()?;
    for text in [good.digest.as_str(), bad.digest.as_str(), "NO_SIGNATURE", "production"] {
        assert!(shown.said(text), "{text} is missing: {shown}");
    }
    host.node.assay(&["audit", "head"])?.success()?;
    host.node.assay(&["audit", "verify"])?.success()?;
    Ok(())
}

#[test]
fn what_observe_would_have_refused_is_recorded() -> Result<()> {
    let scene = crate::scene::Scene::observing(Version::V2)?;
    let image = scene.unsigned("1")?;
    scene.host.containerd.pull(&image.by_tag(), PullBy::Default)?.success()?;
    let shown = scene.host.node.assay(&["audit", "show", "-o", "json"])?.success()?;
    assert!(shown.said("NO_SIGNATURE") && shown.said("observe"), "{shown}");
    Ok(())
}

#[test]
fn changed_record_is_found() -> Result<()> {
    let (mut host, ..) = host()?;
    let image = ImageBuilder::busybox("bad")?.push(&host.repository("prod/app"), "bad")?;
    refused_cleanly(&host, host.containerd.pull(&image.by_tag(), PullBy::Default)?, "NO_SIGNATURE")?;
    host.node.assay(&["audit", "head"])?.success()?;
    host.node.assay(&["audit", "verify"])?.success()?;
    host.node.stop()?;

    let folder = host.node.root().join("var/lib/assay/agent/log");
    let mut changed = 0;
    for file in files(&folder)? {
        let before = fs::read(&file)?;
        let Some(at) = before.windows(12).position(|window| window == b"NO_SIGNATURE") else { continue };
        let mut after = before.clone();
        after.splice(at..at + 12, *b"NO_SIGNATURA");
        fs::write(&file, after)?;
        let answer = host.node.assay(&["audit", "verify"])?.failure()?;
        assert_eq!(answer.status.code(), Some(5), "{answer}");
        fs::write(&file, before)?;
        changed += 1;
    }
    assert!(changed > 0, "the record stands somewhere in {}", folder.display());
    host.node.assay(&["audit", "verify"])?.success()?;
    Ok(())
}

#[test]
fn killed_agent_loses_no_record_that_was_answered_by() -> Result<()> {
    let (host, cosign, key) = host()?;
    let image = ImageBuilder::busybox("good")?.push(&host.repository("prod/app"), "good")?;
    cosign.sign(&key, &image.by_digest())?;
    host.containerd.pull(&image.by_tag(), PullBy::Default)?.success()?;
    host.node.kill(assay_testkit::Program::Agent)?;
    eventually("the agent is back", std::time::Duration::from_secs(20), || {
        host.node.assay(&["audit", "show", "-o", "json"]).is_ok_and(|shown| shown.said(&image.digest))
    })?;
    host.node.assay(&["audit", "verify"])?.success().context("after the kill")?;
    Ok(())
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { found.extend(files(&path)?) } else { found.push(path) }
    }
    Ok(found)
}
