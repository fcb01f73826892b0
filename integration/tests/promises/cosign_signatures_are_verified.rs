//! What cosign 3.1 and 2.5 sign, with every kind of key and every option that leaves a trace, `assay verify` verifies; one byte changed,
//! it counts for nothing. Where it does not verify a signature that cosign makes, the reason is named.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use assay_testkit::{
    CertificateAuthority, Cosign, CosignKey, CosignVersion, Finished, ImageBuilder, KeyKind, LeafProfile, Node,
    PushedImage, Registry, Repository, TimestampServer,
};

use crate::scene::change_base64;

const KINDS: [KeyKind; 7] = [
    KeyKind::P256,
    KeyKind::P384,
    KeyKind::P521,
    KeyKind::Rsa2048,
    KeyKind::Rsa3072,
    KeyKind::Rsa4096,
    KeyKind::Ed25519,
];

/// What cosign writes, and which options make it do so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Bundle,
    Legacy,
}

/// The formats of images' signatures that a version writes.
const SIGNED: [(CosignVersion, Format); 3] =
    [(CosignVersion::V3, Format::Bundle), (CosignVersion::V3, Format::Legacy), (CosignVersion::V2, Format::Legacy)];

impl Format {
    /// How `cosign sign` of that version is told to use neither service nor another format.
    fn options(self, version: CosignVersion) -> &'static [&'static str] {
        match (version, self) {
            (CosignVersion::V3, Self::Bundle) => &["--signing-config", "no-services.json"],
            (CosignVersion::V3, Self::Legacy) => {
                &["--new-bundle-format=false", "--use-signing-config=false", "--tlog-upload=false"]
            }
            (CosignVersion::V2, _) => &["--tlog-upload=false"],
        }
    }
}

/// A registry, and the command line of a node that runs nothing.
struct Bench {
    node: Node,
    registry: Registry,
    /// Imports keys for both versions: Debian's cosign 2.5 reads what is imported and cannot import by itself.
    importer: Cosign,
}

impl Bench {
    fn start() -> Result<Self> {
        Ok(Self { node: Node::reserve()?, registry: Registry::start()?, importer: Cosign::of(CosignVersion::V3)? })
    }

    fn repository(&self) -> Repository {
        self.registry.repository("team/app")
    }

    fn image(&self, tag: &str) -> Result<PushedImage> {
        ImageBuilder::busybox(tag)?.push(&self.repository(), tag)
    }

    fn verify(&self, image: &str, more: &[&str]) -> Result<Finished> {
        self.node.assay(&[&["verify", image, "--plain-http"], more].concat())
    }

    /// Changes one byte of the one signature of `image`.
    fn change(&self, image: &PushedImage, format: Format) -> Result<()> {
        match format {
            Format::Bundle => image.change_referrers(|bundle| {
                change_base64(bundle, "\"sig\"").unwrap_or_else(|error| panic!("{error}"));
            }),
            Format::Legacy => {
                let tag = format!("{}.sig", image.digest.replace(':', "-"));
                let mut stored = self.repository().manifest(&tag)?.context("it is signed")?;
                change_base64(&mut stored.bytes, "\"dev.cosignproject.cosign/signature\"")?;
                self.repository().push_manifest(&tag, &stored.media_type, &stored.bytes).map(drop)
            }
        }
    }

    /// Fails unless the signature counts, and its twin with one byte changed does not.
    fn counts(&self, case: &str, image: &PushedImage, format: Format, trust: &[&str]) -> Result<()> {
        self.verify(&image.by_digest(), trust)?.success().context(case.to_owned())?;
        self.change(image, format)?;
        let twin = self.verify(&image.by_digest(), trust)?;
        ensure!(twin.status.code() == Some(12), "{case}: the changed twin is not refused: {twin}");
        Ok(())
    }
}

fn sign(cosign: &Cosign, key: &CosignKey, options: &[&str], image: &str) -> Result<()> {
    let key = key.private.to_string_lossy().into_owned();
    let words = [&["sign", "--key", &key], options, &["--allow-http-registry", "--yes", image]].concat();
    cosign.command(&words)?.success().map(drop)
}

fn public(key: &CosignKey) -> String {
    key.public.to_string_lossy().into_owned()
}

/// Why a signature that this cosign makes with such a key does not count: nothing, for those that do.
fn refusal(version: CosignVersion, kind: KeyKind) -> Option<&'static str> {
    match (version, kind) {
        // Ed25519ph, which the format does not have, and which cosign itself does not verify.
        (CosignVersion::V3, KeyKind::Ed25519) => Some("does not count"),
        // With SHA-256, where the format has the curve's own hash.
        (CosignVersion::V2, KeyKind::P384 | KeyKind::P521) => Some("made it with SHA-256"),
        (_, KeyKind::P256 | KeyKind::Rsa2048 | KeyKind::Rsa3072 | KeyKind::Rsa4096)
        | (CosignVersion::V3, KeyKind::P384 | KeyKind::P521)
        | (CosignVersion::V2, KeyKind::Ed25519) => None,
    }
}

#[test]
fn every_kind_of_key_counts_in_every_format() -> Result<()> {
    let bench = Bench::start()?;
    let cosigns =
        [(CosignVersion::V3, Cosign::of(CosignVersion::V3)?), (CosignVersion::V2, Cosign::of(CosignVersion::V2)?)];
    for kind in KINDS {
        let private = kind.generate_pem()?;
        for (version, format) in SIGNED {
            let case = format!("cosign {version:?}, {kind:?}, {format:?}");
            let cosign =
                cosigns.iter().find(|(of, _)| *of == version).map(|(_, cosign)| cosign).context("it is there")?;
            let name = format!("{version:?}-{kind:?}-{format:?}");
            let key = bench.importer.import_key(&name, &private).context(case.clone())?;
            let image = bench.image(&name)?;
            sign(cosign, &key, format.options(version), &image.by_digest()).context(case.clone())?;
            match refusal(version, kind) {
                None => bench.counts(&case, &image, format, &["--key", &public(&key)])?,
                Some(reason) => {
                    let answer = bench.verify(&image.by_digest(), &["--key", &public(&key)])?;
                    ensure!(answer.status.code() == Some(12) && answer.said(reason), "{case}: {answer}");
                }
            }
        }
    }
    Ok(())
}

#[test]
fn annotations_are_required_as_cosign_signs_them() -> Result<()> {
    let bench = Bench::start()?;
    for (version, format) in SIGNED {
        let case = format!("cosign {version:?} sign -a, {format:?}");
        let cosign = Cosign::of(version)?;
        let key = cosign.generate_key("ci")?;
        let image = bench.image(&format!("a-{version:?}-{format:?}"))?;
        let options = [format.options(version), &["-a", "stage=release", "-a", "build=7"]].concat();
        sign(&cosign, &key, &options, &image.by_digest()).context(case.clone())?;
        let public = public(&key);
        for wanted in [&["-a", "stage=release"][..], &["-a", "build=7", "--annotations", "stage=release"]] {
            let words = [&["--key", &public], wanted].concat();
            bench.verify(&image.by_digest(), &words)?.success().context(case.clone())?;
        }
        for (other, said) in [("stage=test", "stage=test"), ("team=a", "team=a")] {
            let answer = bench.verify(&image.by_digest(), &["--key", &public, "-a", "build=7", "-a", other])?;
            let reason = format!("has not the annotation {said}");
            ensure!(answer.status.code() == Some(12) && answer.said(&reason), "{case}: {answer}");
        }
        bench.counts(&case, &image, format, &["--key", &public, "-a", "stage=release"])?;
    }
    Ok(())
}

#[test]
fn recursive_signatures_count_for_the_index_and_for_each_manifest() -> Result<()> {
    let bench = Bench::start()?;
    for (version, format) in SIGNED {
        let case = format!("cosign {version:?} sign --recursive, {format:?}");
        let cosign = Cosign::of(version)?;
        let key = cosign.generate_key("ci")?;
        let tag = format!("r-{version:?}-{format:?}");
        let image = ImageBuilder::busybox(&tag)?.architectures(&["amd64", "arm64"]).push(&bench.repository(), &tag)?;
        sign(&cosign, &key, &[format.options(version), &["--recursive"]].concat(), &image.by_digest())
            .context(case.clone())?;
        let public = public(&key);
        for manifest in &image.manifests {
            let name = format!("{}@{}", bench.repository().path(), manifest.digest);
            let platform = format!("linux/{}", manifest.architecture);
            let words = ["--key", &public, "--platform", &platform];
            bench.verify(&name, &words)?.success().context(case.clone())?;
            bench.verify(&image.by_digest(), &words)?.success().context(case.clone())?;
        }
    }
    Ok(())
}

#[test]
fn options_that_only_change_what_stands_beside_the_signature_change_nothing() -> Result<()> {
    let bench = Bench::start()?;
    let cases: [(CosignVersion, Format, &[&str]); 5] = [
        (CosignVersion::V3, Format::Bundle, &["--sign-container-identity", "registry.example/other/name"]),
        (CosignVersion::V3, Format::Legacy, &["--record-creation-timestamp"]),
        (CosignVersion::V3, Format::Legacy, &["--sign-container-identity", "registry.example/other/name"]),
        (CosignVersion::V2, Format::Legacy, &["--record-creation-timestamp"]),
        (CosignVersion::V2, Format::Legacy, &["--sign-container-identity", "registry.example/other/name"]),
    ];
    for (at, (version, format, more)) in cases.into_iter().enumerate() {
        let case = format!("cosign {version:?} sign {}, {format:?}", more.join(" "));
        let cosign = Cosign::of(version)?;
        let key = cosign.generate_key("ci")?;
        let image = bench.image(&format!("o{at}"))?;
        sign(&cosign, &key, &[format.options(version), more].concat(), &image.by_digest()).context(case.clone())?;
        bench.counts(&case, &image, format, &["--key", &public(&key)])?;
    }
    Ok(())
}

/// A private certificate authority and a time-stamping one, with a signer and the root of trust that `cosign` makes of them.
struct Private {
    _server: TimestampServer,
    root: PathBuf,
    url: String,
}

const IDENTITY: &str = "https://ci.example/acme/app";
const ISSUER: &str = "https://token.ci.example";

impl Private {
    /// Writes `leaf.pem`, `chain.pem`, `tsa.pem`, `services.json` and `root.json` into the home of `cosign`, and imports the key.
    fn new(bench: &Bench, cosign: &Cosign, name: &str, tsa: KeyKind) -> Result<(Self, CosignKey)> {
        let authority = CertificateAuthority::root("Acme Root")?.intermediate("Acme Signing")?;
        let signer = authority.issue(&LeafProfile::keyless(IDENTITY, ISSUER), KeyKind::P256)?;
        let key = bench.importer.import_key(name, &signer.key_pem)?;
        let leaf_end = signer
            .chain_pem
            .find("-----END")
            .and_then(|at| signer.chain_pem.get(at..)?.find('\n').map(|end| at + end + 1));
        let (leaf, chain) = signer.chain_pem.split_at(leaf_end.context("a chain")?);
        let stamps = CertificateAuthority::root("Acme Time Root")?.time_stamping("Acme Time", tsa)?;
        let server = TimestampServer::start(&stamps)?;
        let url = server.url();
        for (name, text) in [("leaf.pem", leaf), ("chain.pem", chain), ("tsa.pem", &stamps.chain_pem)] {
            std::fs::write(cosign.file(name), text)?;
        }
        let services = format!(
            r#"{{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json","rekorTlogConfig":{{}},
            "tsaUrls":[{{"url":"{url}","majorApiVersion":1,"validFor":{{"start":"2024-01-01T00:00:00Z"}},"operator":"acme"}}],
            "tsaConfig":{{"selector":"ANY"}}}}"#
        );
        std::fs::write(cosign.file("services.json"), services)?;
        // The present cosign makes the root of trust; the one before cannot.
        let root = cosign.file("root.json");
        let fulcio = format!("url=https://fulcio.example,certificate-chain={}", cosign.file("chain.pem").display());
        let tsa = format!("url={url},certificate-chain={}", cosign.file("tsa.pem").display());
        let out = root.to_string_lossy().into_owned();
        let words = ["trusted-root", "create", "--fulcio", &fulcio, "--tsa", &tsa, "--out", &out];
        bench.importer.command(&words)?.success()?;
        Ok((Self { _server: server, root, url }, key))
    }

    /// The flags of `assay verify` that ask for the signer.
    fn trust(&self, identity: &str) -> Vec<String> {
        let root = self.root.to_string_lossy();
        ["--certificate-identity", identity, "--certificate-oidc-issuer", ISSUER, "--trusted-root", &root]
            .iter()
            .map(|word| (*word).to_owned())
            .chain(["--insecure-ignore-tlog".to_owned()])
            .collect()
    }
}

#[test]
fn certificates_of_a_private_authority_count_by_their_time_stamps() -> Result<()> {
    let bench = Bench::start()?;
    for tsa in [KeyKind::P256, KeyKind::P384, KeyKind::Rsa2048, KeyKind::Rsa4096] {
        for (version, format) in SIGNED {
            let case = format!("cosign {version:?} sign --certificate, {format:?}, time-stamps by {tsa:?}");
            let cosign = Cosign::of(version)?;
            let (private, key) = Private::new(&bench, &cosign, &format!("{version:?}-{format:?}-{tsa:?}"), tsa)?;
            let image = bench.image(&format!("ca-{version:?}-{format:?}-{tsa:?}"))?;
            let certificate = ["--certificate", "leaf.pem", "--certificate-chain", "chain.pem"];
            let stamped: &[&str] = match format {
                Format::Bundle => &["--signing-config", "services.json", "--trusted-root", "root.json"],
                Format::Legacy => &["--timestamp-server-url", &private.url],
            };
            let options: &[&str] = if format == Format::Bundle { &[] } else { format.options(version) };
            let words = [options, &certificate, stamped].concat();
            sign(&cosign, &key, &words, &image.by_digest()).context(case.clone())?;
            let other = private.trust("https://ci.example/acme/other");
            let other: Vec<&str> = other.iter().map(String::as_str).collect();
            let answer = bench.verify(&image.by_digest(), &other)?;
            ensure!(answer.status.code() == Some(12) && answer.said("not who was asked for"), "{case}: {answer}");
            let trust = private.trust(IDENTITY);
            let mut trust: Vec<&str> = trust.iter().map(String::as_str).collect();
            bench.verify(&image.by_digest(), &trust)?.success().context(case.clone())?;
            // Without the log that nobody wrote to, the time-stamp alone is not enough unless one says so.
            trust.pop();
            let answer = bench.verify(&image.by_digest(), &trust)?;
            ensure!(answer.status.code() == Some(12) && answer.said("log entries"), "{case}: {answer}");
            trust.push("--insecure-ignore-tlog");
            bench.counts(&case, &image, format, &trust)?;
        }
    }
    Ok(())
}

/// `cosign attest --type`, every name of both versions, and the predicate that it takes.
const TYPES: [(&str, &str); 10] = [
    (
        "slsaprovenance",
        r#"{"builder":{"id":"https://ci.example"},"buildType":"https://ci.example/make@v1","materials":[]}"#,
    ),
    (
        "slsaprovenance02",
        r#"{"builder":{"id":"https://ci.example"},"buildType":"https://ci.example/make@v1","materials":[]}"#,
    ),
    (
        "slsaprovenance1",
        r#"{"buildDefinition":{"buildType":"https://ci.example/make@v1","externalParameters":{"target":"all"}},"runDetails":{"builder":{"id":"https://ci.example"}}}"#,
    ),
    (
        "link",
        r#"{"_type":"link","name":"build","command":["make"],"materials":{},"products":{},"byproducts":{},"environment":{}}"#,
    ),
    ("spdx", "SPDXVersion: SPDX-2.3\nDataLicense: CC0-1.0\n"),
    ("spdxjson", r#"{"spdxVersion":"SPDX-2.3","name":"app","packages":[]}"#),
    ("cyclonedx", r#"{"bomFormat":"CycloneDX","specVersion":"1.5","components":[]}"#),
    (
        "vuln",
        r#"{"scanner":{"uri":"pkg:deb/debian/scanner@1","result":{}},"metadata":{"scanStartedOn":"2026-11-22T10:00:00Z","scanFinishedOn":"2026-11-22T10:01:00Z"}}"#,
    ),
    (
        "openvex",
        r#"{"@context":"https://openvex.dev/ns/v0.2.0","@id":"https://acme.example/vex/1","author":"Acme","timestamp":"2026-11-22T10:00:00Z","version":1,"statements":[{"vulnerability":{"name":"CVE-2026-0001"},"products":[{"@id":"pkg:oci/app"}],"status":"fixed"}]}"#,
    ),
    ("custom", r#"{"reviewed":true}"#),
];

#[test]
fn attestations_of_every_type_count_in_every_format() -> Result<()> {
    let bench = Bench::start()?;
    let cases: [(CosignVersion, Format, &[&str]); 4] = [
        (CosignVersion::V3, Format::Bundle, Format::Bundle.options(CosignVersion::V3)),
        (CosignVersion::V3, Format::Legacy, Format::Legacy.options(CosignVersion::V3)),
        (CosignVersion::V2, Format::Bundle, &["--new-bundle-format", "--tlog-upload=false"]),
        (CosignVersion::V2, Format::Legacy, &["--tlog-upload=false"]),
    ];
    for (version, format, options) in cases {
        let cosign = Cosign::of(version)?;
        let key = cosign.generate_key("ci")?;
        let (private, public) = (key.private.to_string_lossy().into_owned(), public(&key));
        for (kind, predicate) in TYPES {
            let case = format!("cosign {version:?} attest --type {kind}, {format:?}");
            let image = bench.image(&format!("t-{version:?}-{format:?}-{kind}"))?;
            std::fs::write(cosign.file("predicate"), predicate)?;
            let name = image.by_digest();
            let words = [
                &[
                    "attest",
                    "--key",
                    &private,
                    "--type",
                    kind,
                    "--predicate",
                    "predicate",
                    "--allow-http-registry",
                    "--yes",
                ],
                options,
                &[name.as_str()],
            ]
            .concat();
            cosign.command(&words)?.success().context(case.clone())?;
            let asked = ["--key", &public, "--type", kind];
            bench.verify(&image.by_digest(), &asked)?.success().context(case.clone())?;
            change_attestation(&bench, &image, format).context(case.clone())?;
            let twin = bench.verify(&image.by_digest(), &asked)?;
            ensure!(twin.status.code() == Some(12), "{case}: the changed twin is not refused: {twin}");
        }
    }
    Ok(())
}

/// Changes one byte of the signed payload.
fn change_attestation(bench: &Bench, image: &PushedImage, format: Format) -> Result<()> {
    let change = |bytes: &mut Vec<u8>| change_base64(bytes, "\"payload\"").unwrap_or_else(|error| panic!("{error}"));
    if format == Format::Bundle {
        return image.change_referrers(change);
    }
    let tag = format!("{}.att", image.digest.replace(':', "-"));
    let stored = bench.repository().manifest(&tag)?.context("it is attested")?;
    let mut manifest = stored.json()?;
    let layer = manifest.pointer_mut("/layers/0/digest").context("a layer")?;
    let mut envelope = bench.repository().blob(layer.as_str().context("a digest")?)?;
    change(&mut envelope);
    *layer = bench.repository().push_blob(&envelope)?.into();
    bench.repository().push_manifest(&tag, &stored.media_type, &serde_json::to_vec(&manifest)?).map(drop)
}

#[test]
fn files_that_cosign_signs_are_verified() -> Result<()> {
    let bench = Bench::start()?;
    let cosigns =
        [(CosignVersion::V3, Cosign::of(CosignVersion::V3)?), (CosignVersion::V2, Cosign::of(CosignVersion::V2)?)];
    for (version, cosign) in &cosigns {
        let options: &[&str] = match version {
            CosignVersion::V3 => &["--signing-config", "no-services.json"],
            CosignVersion::V2 => &["--new-bundle-format", "--tlog-upload=false"],
        };
        std::fs::write(cosign.file("file"), "a file of some length")?;
        for kind in KINDS {
            let case = format!("cosign {version:?} sign-blob, {kind:?}");
            let name = format!("{version:?}-{kind:?}");
            let key = bench.importer.import_key(&name, &kind.generate_pem()?).context(case.clone())?;
            let private = key.private.to_string_lossy().into_owned();
            let words =
                [&["sign-blob", "--key", &private, "--bundle", "bundle.json", "--yes"], options, &["file"]].concat();
            cosign.command(&words)?.success().context(case.clone())?;
            let [file, bundle] = ["file", "bundle.json"].map(|name| cosign.file(name).to_string_lossy().into_owned());
            let public = public(&key);
            let verify = |file: &str| bench.node.assay(&["verify-blob", "--bundle", &bundle, "--key", &public, file]);
            let answer = verify(&file)?;
            match refusal_of_file(*version, kind) {
                Some(reason) => ensure!(answer.status.code() == Some(12) && answer.said(reason), "{case}: {answer}"),
                None => {
                    answer.success().context(case.clone())?;
                    let other = cosign.file("other").to_string_lossy().into_owned();
                    std::fs::write(&other, "a file of some lengti")?;
                    let twin = verify(&other)?;
                    ensure!(twin.status.code() == Some(12), "{case}: the changed twin is not refused: {twin}");
                    let mut changed = std::fs::read(&bundle)?;
                    change_base64(&mut changed, "\"signature\"")?;
                    std::fs::write(&bundle, changed)?;
                    let twin = verify(&file)?;
                    ensure!(twin.status.code() == Some(12), "{case}: the changed bundle is not refused: {twin}");
                }
            }
        }
    }
    Ok(())
}

/// Why a signature over a file does not count: nothing, for those that do.
fn refusal_of_file(version: CosignVersion, kind: KeyKind) -> Option<&'static str> {
    match (version, kind) {
        (CosignVersion::V2, KeyKind::P384 | KeyKind::P521) => Some("made it with SHA-256"),
        (
            _,
            KeyKind::P256
            | KeyKind::P384
            | KeyKind::P521
            | KeyKind::Rsa2048
            | KeyKind::Rsa3072
            | KeyKind::Rsa4096
            | KeyKind::Ed25519,
        ) => None,
    }
}
