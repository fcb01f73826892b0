//! A key in the token signs through the agent; cosign, notation and Assay itself accept the result; nothing else gets signed.

use anyhow::{Context, Result};
use assay_testkit::{
    CertificateAuthority, Cosign, Host, ImageBuilder, KeyUse, LeafProfile, Notation, PolicyText, PullBy, Registry,
    Token, TokenKey, Version, sha256,
};

use crate::scene::{production, refused_cleanly};

const KEYS: [(&str, TokenKey); 3] = [("ci", TokenKey::P256), ("rsa", TokenKey::Rsa3072), ("log", TokenKey::P256)];

fn host() -> Result<Host> {
    let registry = Registry::start()?;
    let token = Token::create("assay")?;
    for (label, kind) in KEYS {
        token.generate(label, kind)?;
    }
    let pin = sha256(&token.public_key("ci")?);
    let policy = PolicyText::enforcing()
        .token_key("ci", &token.uri("ci").replace("type=private", "type=public"), pin.trim_start_matches("sha256:"))
        .rule("production", &[&production(&registry)], 1, &["ci"]);
    let uses = ["ci", "rsa"].map(|label| KeyUse { label, purpose: "image", peers: &[0] });
    Host::reserve(Version::V2, registry)?.with_token(token, &uses)?.up(&policy)
}

#[test]
fn cosign_and_the_node_accept_what_the_token_signed() -> Result<()> {
    let host = host()?;
    let token = host.token.as_ref().context("there is a token")?;
    let image = ImageBuilder::busybox("app")?.push(&host.repository("prod/app"), "1")?;
    refused_cleanly(&host, host.containerd.pull(&image.by_tag(), PullBy::Default)?, "NO_SIGNATURE")?;
    host.node.assay(&["sign", &image.by_tag(), "--key", &token.uri("ci")])?.success()?;

    let public = host.node.root().join("ci.pub");
    std::fs::write(&public, token.public_key_pem("ci")?)?;
    Cosign::new()?.verify(&public, &image.by_digest())?.success()?;
    host.containerd.pull(&image.by_tag(), PullBy::Default)?.success()?;
    assert_eq!(host.containerd.run(&image.by_tag(), &[])?.success()?.stdout, "hello from app\n");
    let shown = host.node.assay(&["audit", "show", "-o", "json"])?.success()?;
    assert!(shown.said("object=ci") && shown.said(&image.digest), "the use of the key is recorded: {shown}");
    Ok(())
}

#[test]
fn cosign_accepts_the_annotations_that_the_token_signed() -> Result<()> {
    let host = host()?;
    let token = host.token.as_ref().context("there is a token")?;
    for label in ["ci", "rsa"] {
        let image = ImageBuilder::busybox(label)?.push(&host.repository("prod/app"), label)?;
        let annotations = ["-a", "stage=release", "-a", "build=7"];
        let (tagged, key) = (image.by_tag(), token.uri(label));
        host.node.assay(&[&["sign", &tagged, "--key", &key], &annotations[..]].concat())?.success()?;
        let public = host.node.root().join("key.pub");
        std::fs::write(&public, token.public_key_pem(label)?)?;
        let (public, name) = (public.to_string_lossy().into_owned(), image.by_digest());
        let cosign = Cosign::new()?;
        let common = ["verify", "--key", &public, "--insecure-ignore-tlog=true", "--allow-http-registry"];
        let verify = |more: &[&str]| cosign.command(&[&common[..], more, &[&name]].concat());
        verify(&annotations)?.success().with_context(|| label.to_owned())?;
        verify(&["-a", "stage=test"])?.failure().with_context(|| label.to_owned())?;
        let asked = ["verify", &name, "--plain-http", "--key", &public, "-a", "stage=release"];
        host.node.assay(&asked)?.success()?;
    }
    Ok(())
}

#[test]
fn notation_accepts_what_the_token_signed() -> Result<()> {
    let host = host()?;
    let token = host.token.as_ref().context("there is a token")?;
    let root = CertificateAuthority::root("Acme Root")?;
    for label in ["ci", "rsa"] {
        let image = ImageBuilder::busybox(label)?.push(&host.repository("prod/app"), label)?;
        let chain = host.node.root().join("chain.pem");
        std::fs::write(
            &chain,
            root.issue_for(&LeafProfile::code_signing("Release Managers"), &token.public_key(label)?)?,
        )?;
        let (key, chain) = (token.uri(label), chain.to_string_lossy().into_owned());
        let words = ["sign", &image.by_tag(), "--key", &key, "--format", "notation", "--certificate-chain", &chain];
        let options = ["--expiry", "24h", "-a", "build=7"];
        host.node.assay(&[&words[..], &options].concat())?.success()?;
        let notation = Notation::new()?;
        notation.trust(root.root_pem(), &["x509.subject: C=DE, ST=Berlin, O=Acme"])?;
        let verify =
            |metadata| notation.command(&["verify", "--insecure-registry", "-m", metadata, &image.by_digest()]);
        verify("build=7")?.success()?;
        verify("build=8")?.failure()?;
    }
    Ok(())
}

#[test]
fn key_of_the_log_signs_no_image() -> Result<()> {
    let host = host()?;
    let token = host.token.as_ref().context("there is a token")?;
    let image = ImageBuilder::busybox("app")?.push(&host.repository("prod/app"), "1")?;
    host.node.assay(&["sign", &image.by_tag(), "--key", &token.uri("log")])?.failure()?;
    assert!(host.repository("prod/app").manifest(&image.digest.replace(':', "-"))?.is_none(), "nothing was attached");
    let shown = host.node.assay(&["audit", "show", "-o", "json"])?.success()?;
    assert!(shown.said("object=log") && shown.said("refused"), "the refusal is recorded: {shown}");
    Ok(())
}

#[test]
fn policy_whose_pin_is_not_the_tokens_key_is_refused() -> Result<()> {
    let host = host()?;
    let token = host.token.as_ref().context("there is a token")?;
    let foreign = sha256(&token.public_key("rsa")?);
    let policy = PolicyText::observing()
        .token_key("ci", &token.uri("ci").replace("type=private", "type=public"), foreign.trim_start_matches("sha256:"))
        .rule("production", &[&production(&host.registry)], 1, &["ci"]);
    host.node.write_policy(&policy)?;
    host.node.assay(&["node", "reload"])?.failure()?;
    let image = ImageBuilder::busybox("app")?.push(&host.repository("prod/app"), "1")?;
    refused_cleanly(&host, host.containerd.pull(&image.by_tag(), PullBy::Default)?, "NO_SIGNATURE")
}
