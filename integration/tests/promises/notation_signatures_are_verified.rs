//! What notation signs, with every kind of key, in both envelopes and with every option of its own, `assay verify` verifies, by a root and
//! a name as well as by notation's own trust policy; one byte changed, it counts for nothing.

use anyhow::{Context, Result, ensure};
use assay_testkit::{
    CertificateAuthority, EnvelopeFormat, Finished, ImageBuilder, KeyKind, Node, Notation, PushedImage, Registry,
    TimestampServer,
};
use serde_json::json;

use crate::scene::change_base64;

const KINDS: [KeyKind; 6] =
    [KeyKind::P256, KeyKind::P384, KeyKind::P521, KeyKind::Rsa2048, KeyKind::Rsa3072, KeyKind::Rsa4096];
const FORMATS: [EnvelopeFormat; 2] = [EnvelopeFormat::Jws, EnvelopeFormat::Cose];
const SUBJECT: &str = "C=DE, ST=Berlin, O=Acme, CN=Release Managers";

/// A registry, notation with a trusted root, and the command line of a node that runs nothing.
struct Bench {
    node: Node,
    registry: Registry,
    notation: Notation,
    authority: CertificateAuthority,
}

impl Bench {
    fn start() -> Result<Self> {
        let authority = CertificateAuthority::root("Acme Root")?.intermediate("Acme Signing")?;
        let notation = Notation::new()?;
        notation.trust(authority.root_pem(), &["x509.subject: C=DE, ST=Berlin, O=Acme"])?;
        Ok(Self { node: Node::reserve()?, registry: Registry::start()?, notation, authority })
    }

    fn image(&self, tag: &str) -> Result<PushedImage> {
        let tag = tag.to_lowercase();
        ImageBuilder::busybox(&tag)?.push(&self.registry.repository("team/app"), &tag)
    }

    fn add_key(&self, kind: KeyKind) -> Result<String> {
        let name = format!("{kind:?}");
        self.notation.add_key(&name, &self.authority.code_signing("Release Managers", kind)?)?;
        Ok(name)
    }

    fn sign(&self, key: &str, format: EnvelopeFormat, options: &[&str], image: &PushedImage) -> Result<()> {
        let name = image.by_digest();
        let words = ["sign", "--key", key, "--signature-format", format.name(), "--insecure-registry"];
        self.notation.command(&[&words, options, &[&name]].concat())?.success().map(drop)
    }

    fn by_root(&self, image: &PushedImage, more: &[&str]) -> Result<Finished> {
        let root = self.node.root().join("root.pem");
        std::fs::write(&root, self.authority.root_pem())?;
        let (name, root) = (image.by_digest(), root.to_string_lossy().into_owned());
        let words = ["verify", &name, "--plain-http", "--certificate-store", &root, "--subject", SUBJECT];
        self.node.assay(&[&words, more].concat())
    }

    /// By notation's own files.
    fn by_trust_policy(&self, image: &PushedImage, more: &[&str]) -> Result<Finished> {
        let folder = self.notation.configuration();
        let name = image.by_digest();
        let policy = folder.join("trustpolicy.oci.json");
        let policy = if policy.exists() { policy } else { folder.join("trustpolicy.json") };
        let (policy, stores) =
            (policy.to_string_lossy().into_owned(), folder.join("truststore").to_string_lossy().into_owned());
        let words = ["verify", &name, "--plain-http", "--trust-policy", &policy, "--trust-store", &stores];
        self.node.assay(&[&words, more].concat())
    }

    /// Fails unless both ways the signature counts, and its twin with one byte changed does not.
    fn counts(&self, case: &str, image: &PushedImage, format: EnvelopeFormat, more: &[&str]) -> Result<()> {
        self.by_root(image, more)?.success().context(case.to_owned())?;
        self.by_trust_policy(image, more)?.success().context(case.to_owned())?;
        change(image, format)?;
        for answer in [self.by_root(image, more)?, self.by_trust_policy(image, more)?] {
            ensure!(answer.status.code() == Some(12), "{case}: the changed twin is not refused: {answer}");
        }
        Ok(())
    }
}

/// Changes one byte of the payload.
fn change(image: &PushedImage, format: EnvelopeFormat) -> Result<()> {
    image.change_referrers(|envelope| match format {
        EnvelopeFormat::Jws => change_base64(envelope, "\"payload\"").unwrap_or_else(|error| panic!("{error}")),
        EnvelopeFormat::Cose => {
            let text = b"targetArtifact";
            let at = envelope.windows(text.len()).position(|window| window == text);
            if let Some(byte) = at.and_then(|at| envelope.get_mut(at)) {
                *byte ^= 1;
            }
        }
    })
}

#[test]
fn every_kind_of_key_counts_in_both_envelopes() -> Result<()> {
    let bench = Bench::start()?;
    for kind in KINDS {
        let key = bench.add_key(kind)?;
        for format in FORMATS {
            let case = format!("notation sign, {kind:?}, {format:?}");
            let image = bench.image(&format!("{kind:?}-{format:?}"))?;
            bench.sign(&key, format, &[], &image).context(case.clone())?;
            bench.counts(&case, &image, format, &[])?;
        }
    }
    Ok(())
}

#[test]
fn user_metadata_is_required_as_notation_signs_it() -> Result<()> {
    let bench = Bench::start()?;
    let key = bench.add_key(KeyKind::P256)?;
    for format in FORMATS {
        let case = format!("notation sign --user-metadata, {format:?}");
        let image = bench.image(&format!("m-{format:?}"))?;
        bench
            .sign(&key, format, &["-m", "stage=release", "--user-metadata", "build=7"], &image)
            .context(case.clone())?;
        for answer in
            [bench.by_root(&image, &["-m", "stage=test"])?, bench.by_trust_policy(&image, &["-m", "stage=test"])?]
        {
            ensure!(answer.status.code() == Some(12) && answer.said("stage=test"), "{case}: {answer}");
        }
        let notation = ["verify", "--insecure-registry", "-m", "stage=test", &image.by_digest()].map(str::to_owned);
        let words: Vec<&str> = notation.iter().map(String::as_str).collect();
        bench.notation.command(&words)?.failure()?;
        bench.counts(&case, &image, format, &["-m", "stage=release", "--user-metadata", "build=7"])?;
    }
    Ok(())
}

#[test]
fn expiry_is_kept_and_shown() -> Result<()> {
    let bench = Bench::start()?;
    let key = bench.add_key(KeyKind::P256)?;
    for format in FORMATS {
        let case = format!("notation sign --expiry, {format:?}");
        let image = bench.image(&format!("e-{format:?}"))?;
        bench.sign(&key, format, &["--expiry", "1h"], &image).context(case.clone())?;
        let shown = bench.by_root(&image, &[])?.success().context(case.clone())?;
        ensure!(shown.said("holds until 20"), "{case}: {shown}");
        bench.counts(&case, &image, format, &[])?;
    }
    Ok(())
}

#[test]
fn time_stamps_are_verified_by_the_trust_policy() -> Result<()> {
    for tsa in [KeyKind::P256, KeyKind::Rsa2048, KeyKind::Rsa3072] {
        let bench = Bench::start()?;
        let key = bench.add_key(KeyKind::P256)?;
        let time = CertificateAuthority::root("Acme Time Root")?;
        let server = TimestampServer::start(&time.time_stamping("Acme Time", tsa)?)?;
        let folder = bench.notation.configuration();
        let root = folder.join("tsa-root.pem").to_string_lossy().into_owned();
        std::fs::write(&root, time.root_pem())?;
        for format in FORMATS {
            let case = format!("notation sign --timestamp-url, {format:?}, time-stamps by {tsa:?}");
            bench.notation.trust(bench.authority.root_pem(), &["x509.subject: C=DE, ST=Berlin, O=Acme"]).ok();
            let (stamped, bare) =
                (bench.image(&format!("s-{format:?}-{tsa:?}"))?, bench.image(&format!("b-{format:?}-{tsa:?}"))?);
            let options = ["--timestamp-url", &server.url(), "--timestamp-root-cert", &root].map(str::to_owned);
            let options: Vec<&str> = options.iter().map(String::as_str).collect();
            bench.sign(&key, format, &options, &stamped).context(case.clone())?;
            bench.sign(&key, format, &[], &bare)?;
            bench.notation.command(&["cert", "add", "--type", "tsa", "--store", "time", &root]).ok();
            let policy = json!({
                "version": "1.0",
                "trustPolicies": [{
                    "name": "all",
                    "registryScopes": ["*"],
                    "signatureVerification": { "level": "strict", "verifyTimestamp": "always" },
                    "trustStores": ["ca:acme", "tsa:time"],
                    "trustedIdentities": ["x509.subject: C=DE, ST=Berlin, O=Acme"],
                }],
            });
            let file = folder.join("stamped.json").to_string_lossy().into_owned();
            std::fs::write(&file, policy.to_string())?;
            bench.notation.command(&["policy", "import", "--force", &file])?.success()?;
            bench.notation.verify(&stamped.by_digest())?.success().context(case.clone())?;
            bench.notation.verify(&bare.by_digest())?.failure().context(case.clone())?;
            let answer = bench.by_trust_policy(&bare, &[])?;
            ensure!(answer.status.code() == Some(12) && answer.said("no time-stamp"), "{case}: {answer}");
            bench.counts(&case, &stamped, format, &[])?;
        }
    }
    Ok(())
}
