//! Certificates that openssl revokes, signatures that notation makes: revoked is refused, unknown is refused, what was fetched serves
//! without network, and nobody on this machine is asked unless the fetcher is told so.

use anyhow::{Result, ensure};
use assay_testkit::{
    EnvelopeFormat, Host, Identity, ImageBuilder, Notation, OpensslAuthority, PolicyText, PullBy, PushedImage,
    Registry, Version, sha256,
};

use crate::scene::{production, refused, refused_cleanly};

/// An image that notation signed with `identity`.
fn signed(registry: &Registry, identity: &Identity, tag: &str) -> Result<PushedImage> {
    let image = ImageBuilder::busybox(tag)?.push(&registry.repository("prod/app"), tag)?;
    let notation = Notation::new()?;
    notation.add_key("release", identity)?;
    notation.sign("release", EnvelopeFormat::Jws, &image.by_digest())?;
    Ok(image)
}

/// One signature of anybody of Acme, who must not be revoked.
fn policy(registry: &Registry, authority: &OpensslAuthority) -> Result<PolicyText> {
    Ok(PolicyText::enforcing()
        .certificates_that_may_be_revoked("acme", &authority.root_pem()?, "C=DE, ST=Berlin, O=Acme")
        .rule("production", &[&production(registry)], 1, &["acme"]))
}

#[test]
fn revoked_certificate_is_refused_by_list_and_by_responder() -> Result<()> {
    let (registry, authority) = (Registry::start()?, OpensslAuthority::start()?);
    let (kept, listed, answered) =
        (authority.listed("kept")?, authority.listed("listed")?, authority.answered("answered")?);
    let good = signed(&registry, &kept, "good")?;
    let bad = [signed(&registry, &listed, "listed")?, signed(&registry, &answered, "answered")?];
    let asked = signed(&registry, &authority.answered("other")?, "other")?;
    authority.revoke("listed")?;
    authority.revoke("answered")?;
    let policy = policy(&registry, &authority)?;
    let host = Host::reserve(Version::V2, registry)?.with_revocation_host(&authority.host)?.up(&policy)?;
    for image in &bad {
        refused_cleanly(&host, host.containerd.pull(&image.by_tag(), PullBy::Default)?, "NOT_SATISFIED")?;
    }
    host.containerd.pull(&good.by_tag(), PullBy::Default)?.success()?;
    host.containerd.pull(&asked.by_tag(), PullBy::Default)?.success()?;
    ensure!(authority.asked().iter().any(|line| line == "GET /ca.crl"), "{:?}", authority.asked());
    ensure!(authority.asked().iter().any(|line| line.starts_with("POST /ocsp")), "{:?}", authority.asked());
    let told = host.node.assay(&["verify", &bad[0].by_tag()])?.failure()?;
    ensure!(told.said("was revoked at"), "no word of the revocation: {told}");
    Ok(())
}

#[test]
fn unknown_status_is_refused_until_a_list_is_imported() -> Result<()> {
    let (registry, authority) = (Registry::start()?, OpensslAuthority::start()?);
    let image = signed(&registry, &authority.listed("release")?, "1")?;
    let policy = policy(&registry, &authority)?;
    // The server is on this machine, and nobody told the fetcher that it may be asked there.
    let host = Host::reserve(Version::V2, registry)?.up(&policy)?;
    refused_cleanly(&host, host.containerd.pull(&image.by_tag(), PullBy::Default)?, "EVIDENCE_UNAVAILABLE")?;
    ensure!(authority.asked().is_empty(), "asked without leave: {:?}", authority.asked());
    let file = host.node.root().join("ca.crl");
    std::fs::write(&file, authority.list()?)?;
    let argument = format!("{}={}", authority.list_url(), file.display());
    host.node.assay(&["evidence", "import", "--crl", &argument])?.success()?;
    host.containerd.pull(&image.by_tag(), PullBy::Default)?.success()?;
    let (log, digest) = (host.node.assay(&["audit", "show"])?.success()?, sha256(&std::fs::read(&file)?));
    ensure!(
        log.said(&format!("import  the revocation list for {}, {digest}, by uid 0", authority.list_url())),
        "{log}"
    );
    Ok(())
}

#[test]
fn image_runs_without_registry_and_list_after_a_restart() -> Result<()> {
    let (registry, authority) = (Registry::start()?, OpensslAuthority::start()?);
    let image = signed(&registry, &authority.listed("release")?, "1")?;
    let policy = policy(&registry, &authority)?;
    let mut host = Host::reserve(Version::V2, registry)?.with_revocation_host(&authority.host)?.up(&policy)?;
    host.containerd.pull(&image.by_tag(), PullBy::Default)?.success()?;
    host.registry.stop()?;
    drop(authority);
    host.node.stop()?;
    host.start_node()?;
    assert_eq!(host.containerd.run(&image.by_tag(), &[])?.success()?.stdout, "hello from 1\n");
    // Without what is kept of the list it is not known any more.
    host.node.stop()?;
    std::fs::remove_dir_all(host.node.root().join("var/lib/assay/agent/evidence/revocation"))?;
    host.start_node()?;
    refused(host.containerd.run(&image.by_tag(), &[])?, "assay: ")
}
