//! Assay, cosign and notation judge the same signatures, valid and broken: where they disagree, `docs/differential.md` says why. A kind
//! of disagreement that is not listed there fails. `ASSAY_DIFFERENTIAL_CASES` asks for more cases, `ASSAY_DIFFERENTIAL_SEED` for others.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use assay_testkit::{
    CertificateAuthority, Cosign, CosignKey, EnvelopeFormat, ImageBuilder, KeyKind, Node, Notation, PushedImage,
    Registry, sha256,
};
use serde_json::{Value, json};

/// The list of disagreements that are explained.
const EXPLAINED: &str = include_str!("../../../docs/differential.md");
const CASES: usize = 72;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Bundle,
    Legacy,
    Jws,
    Cose,
}

const FORMATS: [Format; 4] = [Format::Bundle, Format::Legacy, Format::Jws, Format::Cose];

/// Ways to break a signature, or to change what surrounds it.
const CHANGES: [&str; 16] = [
    "nothing",
    "signature",
    "payload",
    "any byte",
    "cut off",
    "bytes behind",
    "field twice",
    "unknown field",
    "reformatted",
    "second signature",
    "payload type",
    "version",
    "layer type",
    "artifact type",
    "subject",
    "annotations",
];

/// Numbers that depend on the seed alone (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = self.0;
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let number = number ^ (number >> 31);
        usize::try_from(number % u64::try_from(end.max(1)).unwrap_or(1)).unwrap_or(0)
    }
}

/// A signed image, its signature as it was made, and who may have made it.
struct Signed {
    format: Format,
    image: PushedImage,
    manifest: Value,
    envelope: Vec<u8>,
}

struct Bench {
    node: Node,
    _registry: Registry,
    cosign: Cosign,
    key: CosignKey,
    notation: Notation,
    root: String,
    signed: Vec<Signed>,
}

impl Bench {
    fn start() -> Result<Self> {
        let (node, registry, cosign, notation) =
            (Node::reserve()?, Registry::start()?, Cosign::new()?, Notation::new()?);
        let key = cosign.generate_key("ci")?;
        let authority = CertificateAuthority::root("Acme Root")?;
        notation.trust(authority.root_pem(), &["x509.subject: C=DE, ST=Berlin, O=Acme"])?;
        notation.add_key("release", &authority.code_signing("Release Managers", KeyKind::P256)?)?;
        let root = node.root().join("root.pem");
        std::fs::write(&root, authority.root_pem())?;
        let mut signed = Vec::new();
        for format in FORMATS {
            let tag = format!("{format:?}").to_lowercase();
            let image = ImageBuilder::busybox(&tag)?.push(&registry.repository("team/app"), &tag)?;
            match format {
                Format::Bundle => cosign.sign(&key, &image.by_digest())?,
                Format::Legacy => cosign.sign_legacy(&key, &image.by_digest())?,
                Format::Jws => notation.sign("release", EnvelopeFormat::Jws, &image.by_digest())?,
                Format::Cose => notation.sign("release", EnvelopeFormat::Cose, &image.by_digest())?,
            };
            let manifest = attached(&image, format)?;
            let layer = manifest.pointer("/layers/0/digest").and_then(Value::as_str).context("a layer")?;
            let envelope = image.repository.blob(layer)?;
            signed.push(Signed { format, image, manifest, envelope });
        }
        let root = root.to_string_lossy().into_owned();
        Ok(Self { node, _registry: registry, cosign, key, notation, root, signed })
    }

    /// Whether Assay accepts, and whether the tool that made the signature does.
    fn verdicts(&self, signed: &Signed) -> Result<(bool, bool)> {
        let (image, key) = (signed.image.by_digest(), self.key.public.to_string_lossy().into_owned());
        let common = ["verify", &image, "--plain-http"];
        let (trust, tool) = match signed.format {
            Format::Bundle => (vec!["--key", &key], self.cosign.verify(&self.key.public, &image)?),
            Format::Legacy => (vec!["--key", &key], self.cosign.verify_legacy(&self.key.public, &image)?),
            Format::Jws | Format::Cose => (
                vec!["--certificate-store", &self.root, "--subject", "C=DE, ST=Berlin, O=Acme"],
                self.notation.verify(&image)?,
            ),
        };
        let ours = self.node.assay(&[&common[..], &trust].concat())?;
        Ok((ours.status.success(), tool.status.success()))
    }
}

/// The manifest that holds the signature.
fn attached(image: &PushedImage, format: Format) -> Result<Value> {
    let tag = image.digest.replace(':', "-");
    if format == Format::Legacy {
        return image.repository.manifest(&format!("{tag}.sig"))?.context("it is signed")?.json();
    }
    let index = image.repository.manifest(&tag)?.context("it is signed")?.json()?;
    let digest = index.pointer("/manifests/0/digest").and_then(Value::as_str).context("a referrer")?;
    image.repository.manifest(digest)?.context("the referrer is there")?.json()
}

/// Puts the envelope and the manifest in the place of what is attached to the image.
fn attach(signed: &Signed, mut manifest: Value, envelope: &[u8]) -> Result<()> {
    const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    let repository = &signed.image.repository;
    repository.push_blob(envelope)?;
    let layer = manifest.pointer_mut("/layers/0").and_then(Value::as_object_mut).context("a layer")?;
    layer.insert("digest".to_owned(), sha256(envelope).into());
    layer.insert("size".to_owned(), envelope.len().into());
    let bytes = serde_json::to_vec(&manifest)?;
    let tag = signed.image.digest.replace(':', "-");
    if signed.format == Format::Legacy {
        return repository.push_manifest(&format!("{tag}.sig"), MANIFEST, &bytes).map(drop);
    }
    let digest = repository.push_manifest(&sha256(&bytes), MANIFEST, &bytes)?;
    let kind = manifest.get("artifactType").or_else(|| manifest.pointer("/config/mediaType")).cloned();
    let descriptor = json!({ "mediaType": MANIFEST, "digest": digest, "size": bytes.len(), "artifactType": kind });
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor] });
    repository.push_manifest(&tag, INDEX, &serde_json::to_vec(&index)?).map(drop)
}

/// Where the signature and the payload stand in an envelope of JSON.
fn pointers(format: Format) -> (&'static str, &'static str) {
    match format {
        Format::Bundle => ("/dsseEnvelope/signatures/0/sig", "/dsseEnvelope/payload"),
        Format::Jws => ("/signature", "/payload"),
        Format::Legacy | Format::Cose => ("", ""),
    }
}

/// The manifest and the envelope with one change; `None` if the change makes no sense in this format.
fn changed(signed: &Signed, change: &str, numbers: &mut Numbers) -> Result<Option<(Value, Vec<u8>)>> {
    let (mut manifest, mut envelope) = (signed.manifest.clone(), signed.envelope.clone());
    let (signature, payload) = pointers(signed.format);
    let is_json = matches!(signed.format, Format::Bundle | Format::Jws);
    let text = |value: &Value| value.to_string().into_bytes();
    match change {
        "nothing" => {}
        "any byte" => {
            let at = numbers.below(envelope.len());
            flip(&mut envelope, at);
        }
        "cut off" => envelope.truncate(numbers.below(envelope.len())),
        "bytes behind" => envelope.extend_from_slice(b" \n{}"),
        "signature" | "payload" if is_json => {
            let mut json: Value = serde_json::from_slice(&envelope)?;
            let pointer = if change == "signature" { signature } else { payload };
            change_text(json.pointer_mut(pointer).context("it is there")?, numbers);
            envelope = text(&json);
        }
        "signature" if signed.format == Format::Legacy => {
            let name = "/layers/0/annotations/dev.cosignproject.cosign~1signature";
            change_text(manifest.pointer_mut(name).context("it is there")?, numbers);
        }
        "signature" => {
            let at = envelope.len().saturating_sub(1 + numbers.below(64));
            flip(&mut envelope, at);
        }
        "payload" => {
            let word: &[u8] = if signed.format == Format::Legacy { b"critical" } else { b"targetArtifact" };
            let at = envelope.windows(word.len()).position(|window| window == word).context("the word is there")?;
            flip(&mut envelope, at + numbers.below(word.len()));
        }
        "field twice" if is_json => {
            let name = if signed.format == Format::Bundle { "mediaType" } else { "payload" };
            let first = format!("{{\"{name}\":\"x\",");
            envelope.splice(0..1, first.into_bytes());
        }
        "unknown field" if is_json => {
            envelope.splice(0..1, b"{\"unknown\":1,".to_vec());
        }
        "reformatted" if is_json => envelope = serde_json::to_vec_pretty(&serde_json::from_slice::<Value>(&envelope)?)?,
        "second signature" if signed.format == Format::Bundle => {
            let mut json: Value = serde_json::from_slice(&envelope)?;
            let list = json.pointer_mut("/dsseEnvelope/signatures").and_then(Value::as_array_mut).context("a list")?;
            list.extend(list.first().cloned());
            envelope = text(&json);
        }
        "payload type" if signed.format == Format::Bundle => {
            let mut json: Value = serde_json::from_slice(&envelope)?;
            *json.pointer_mut("/dsseEnvelope/payloadType").context("it is there")? = "application/json".into();
            envelope = text(&json);
        }
        "version" if signed.format == Format::Bundle => {
            let mut json: Value = serde_json::from_slice(&envelope)?;
            let version = ["0.1", "0.2", "0.3", "0.4"].get(numbers.below(4)).context("one of four")?;
            let name = format!("application/vnd.dev.sigstore.bundle+json;version={version}");
            *json.pointer_mut("/mediaType").context("it is there")? = name.into();
            envelope = text(&json);
        }
        "layer type" => {
            *manifest.pointer_mut("/layers/0/mediaType").context("it is there")? = "application/octet-stream".into();
        }
        "artifact type" if signed.format != Format::Legacy => {
            let pointer = if manifest.get("artifactType").is_some() { "/artifactType" } else { "/config/mediaType" };
            *manifest.pointer_mut(pointer).context("it is there")? = "application/vnd.example.other".into();
        }
        "subject" if manifest.get("subject").is_some() => {
            let other = sha256(b"another image");
            *manifest.pointer_mut("/subject/digest").context("it is there")? = other.into();
        }
        "annotations" => {
            let fields = manifest.as_object_mut().context("an object")?;
            fields.insert("annotations".to_owned(), json!({ "unknown": "annotation" }));
        }
        _ => return Ok(None),
    }
    Ok(Some((manifest, envelope)))
}

fn flip(bytes: &mut [u8], at: usize) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1;
    }
}

/// Changes one character in the middle of base64, which stays base64.
fn change_text(value: &mut Value, numbers: &mut Numbers) {
    let mut text: Vec<u8> = value.as_str().unwrap_or_default().bytes().collect();
    let half = text.len() / 2;
    if let Some(byte) = text.get_mut(half / 2 + numbers.below(half)) {
        *byte = if *byte == b'A' { b'B' } else { b'A' };
    }
    *value = String::from_utf8_lossy(&text).into_owned().into();
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn every_disagreement_with_cosign_and_notation_is_explained() -> Result<()> {
    let seed = number("ASSAY_DIFFERENTIAL_SEED", 1);
    let cases = usize::try_from(number("ASSAY_DIFFERENTIAL_CASES", u64::try_from(CASES)?))?;
    println!("seed {seed}, {cases} cases");
    let (bench, mut numbers) = (Bench::start()?, Numbers(seed));
    let mut disagreements: BTreeMap<String, usize> = BTreeMap::new();
    let (mut judged, mut accepted) = (0, BTreeSet::new());
    for case in 0.. {
        if judged >= cases {
            break;
        }
        // Every change of every format once, then any of them.
        let (every, at) = (CHANGES.len() * FORMATS.len(), numbers.below(CHANGES.len() * FORMATS.len()));
        let at = if case < every { case } else { at };
        let (Some(signed), Some(change)) = (bench.signed.get(at % FORMATS.len()), CHANGES.get(at / FORMATS.len()))
        else {
            continue;
        };
        let Some((manifest, envelope)) = changed(signed, change, &mut numbers)? else { continue };
        attach(signed, manifest, &envelope)?;
        judged += 1;
        let (ours, theirs) = bench.verdicts(signed)?;
        if ours && *change == "nothing" {
            accepted.insert(format!("{:?}", signed.format));
        }
        if ours != theirs {
            let word = |accepts| if accepts { "accepts" } else { "refuses" };
            let tool = if matches!(signed.format, Format::Bundle | Format::Legacy) { "cosign" } else { "notation" };
            let class = format!("{:?}, {change}: {tool} {}, Assay {}", signed.format, word(theirs), word(ours));
            *disagreements.entry(class).or_default() += 1;
        }
    }
    ensure!(accepted.len() == FORMATS.len(), "seed {seed}: what is unchanged is accepted only for {accepted:?}");
    disagreements.iter().for_each(|(class, times)| println!("{times} times: {class}"));
    let unexplained: Vec<_> = disagreements.keys().filter(|class| !EXPLAINED.contains(&format!("`{class}`"))).collect();
    ensure!(
        unexplained.is_empty(),
        "seed {seed}: disagreements that docs/differential.md does not explain: {unexplained:#?}"
    );
    Ok(())
}
