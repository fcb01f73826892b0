//! What attached manifests and their envelopes say: bytes that anyone may have made come in, words for people and JSON for scripts
//! come out. Nothing here is proved, and whatever cannot be read is said to be so.

use assay_admission::Digest;
use assay_verify::read_unproved;
use base64::{Engine as _, engine::general_purpose::STANDARD, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{belongings::Attached, certificate};

const BUNDLE: &str = "application/vnd.dev.sigstore.bundle";
const DSSE: &str = "application/vnd.dsse.envelope.v1+json";
const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const JWS: &str = "application/jose+json";
const COSE: &str = "application/cose";
/// The predicate type by which cosign says "signed".
const SIGNED: &str = "https://sigstore.dev/cosign/sign/v1";
/// More levels than any envelope has.
const MAX_CBOR_DEPTH: usize = 16;

/// What a part of an attached manifest is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Signature,
    Attestation,
    Other,
}

impl Kind {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Signature => "signature",
            Self::Attestation => "attestation",
            Self::Other => "other",
        }
    }
}

/// One part of an attached manifest: an envelope, or a manifest of something else as a whole.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) kind: Kind,
    /// One line.
    pub(super) title: String,
    /// The envelope's digest, or the manifest's.
    pub(super) digest: String,
    /// Everything that was decoded.
    pub(super) content: Value,
}

/// A layer of a manifest.
pub(super) struct Layer {
    pub(super) media_type: String,
    pub(super) digest: Digest,
    annotations: Value,
}

/// The layers of a manifest that can be read.
pub(super) fn layers(manifest: &Value) -> Vec<Layer> {
    let list = manifest.get("layers").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    list.iter()
        .filter_map(|layer| {
            Some(Layer {
                media_type: layer.get("mediaType")?.as_str()?.to_owned(),
                digest: layer.get("digest")?.as_str()?.parse().ok()?,
                annotations: layer.get("annotations").cloned().unwrap_or_default(),
            })
        })
        .collect()
}

/// Whether a layer of this type holds an envelope that can be decoded.
pub(super) fn is_envelope(media_type: &str) -> bool {
    matches!(media_type, DSSE | SIMPLE_SIGNING | JWS | COSE) || media_type.starts_with(BUNDLE)
}

/// The parts of an attached manifest, at least one.
pub(super) fn parts(attached: &Attached) -> Vec<Part> {
    let manifest: Value = serde_json::from_slice(attached.manifest.bytes()).unwrap_or_default();
    let layers = layers(&manifest);
    let envelopes: Vec<Part> =
        layers.iter().filter(|layer| is_envelope(&layer.media_type)).map(|layer| envelope(attached, layer)).collect();
    if !envelopes.is_empty() {
        return envelopes;
    }
    let text = |pointer: &str| manifest.pointer(pointer).and_then(Value::as_str);
    let artifact_type = text("/artifactType").or_else(|| text("/config/mediaType")).unwrap_or("no type");
    let types: Vec<&str> = layers.iter().map(|layer| layer.media_type.as_str()).collect();
    vec![Part {
        kind: Kind::Other,
        title: format!("{artifact_type}, {} layers", types.len()),
        digest: attached.manifest.digest().to_string(),
        content: json!({
            "artifactType": artifact_type,
            "layers": types,
            "annotations": manifest.get("annotations").cloned().unwrap_or_default(),
        }),
    }]
}

fn envelope(attached: &Attached, layer: &Layer) -> Part {
    let digest = layer.digest.to_string();
    let Some(blob) = attached.blobs.iter().find(|blob| *blob.digest() == layer.digest) else {
        let title = format!("{}, which could not be had", layer.media_type);
        return Part { kind: Kind::Other, title, digest, content: Value::Null };
    };
    let decoded = match layer.media_type.as_str() {
        DSSE => dsse(&serde_json::from_slice(blob.bytes()).unwrap_or_default(), layer),
        SIMPLE_SIGNING => simple_signing(blob.bytes(), layer),
        JWS => jws(blob.bytes()),
        COSE => cose(blob.bytes()),
        _ => bundle(&serde_json::from_slice(blob.bytes()).unwrap_or_default()),
    };
    let (kind, title, content) =
        decoded.unwrap_or_else(|| (Kind::Other, format!("{}, which cannot be read", layer.media_type), Value::Null));
    Part { kind, title, digest, content }
}

/// A Sigstore bundle.
fn bundle(bundle: &Value) -> Option<(Kind, String, Value)> {
    let material = bundle.get("verificationMaterial")?;
    let mut certificates: Vec<&Value> = material.pointer("/certificate").into_iter().collect();
    let chain = material.pointer("/x509CertificateChain/certificates").and_then(Value::as_array);
    certificates.extend(chain.into_iter().flatten());
    let certificates: Vec<Value> = certificates
        .into_iter()
        .filter_map(|certificate| STANDARD.decode(certificate.get("rawBytes")?.as_str()?).ok())
        .map(|der| certificate::describe(&der))
        .collect();
    let count = |pointer: &str| material.pointer(pointer).and_then(Value::as_array).map_or(0, Vec::len);
    let by = json!({
        "keyHint": material.pointer("/publicKey/hint"),
        "certificates": certificates,
        "logEntries": count("/tlogEntries"),
        "timestamps": count("/timestampVerificationData/rfc3161Timestamps"),
    });
    let who = signer(&by);
    let (kind, title, content) = match bundle.get("dsseEnvelope") {
        Some(envelope) => statement(envelope)?,
        None => {
            let digest = bundle.pointer("/messageSignature/messageDigest")?;
            (Kind::Signature, "message signature".to_owned(), json!({ "messageDigest": digest }))
        }
    };
    let content = json!({ "mediaType": bundle.get("mediaType"), "signedBy": by, "content": content });
    Some((kind, format!("{title} (Sigstore bundle, {who})"), content))
}

/// A bare envelope, with cosign's annotations beside it.
fn dsse(envelope: &Value, layer: &Layer) -> Option<(Kind, String, Value)> {
    let (kind, title, content) = statement(envelope)?;
    let by = beside(layer);
    let who = signer(&by);
    Some((kind, format!("{title} (DSSE envelope, {who})"), json!({ "signedBy": by, "content": content })))
}

/// The statement in an envelope.
fn statement(envelope: &Value) -> Option<(Kind, String, Value)> {
    let payload = STANDARD.decode(envelope.get("payload")?.as_str()?).ok()?;
    let json: Value = serde_json::from_slice(&payload).ok()?;
    match read_unproved(&payload) {
        Ok(statement) if statement.predicate_type == SIGNED => Some((Kind::Signature, "cosign".to_owned(), json)),
        Ok(statement) => {
            let predicate = match &statement.predicate {
                Ok(predicate) => predicate.to_string(),
                Err(reason) => format!("which cannot be read: {reason}"),
            };
            Some((Kind::Attestation, format!("{}: {predicate}", statement.predicate_type), json))
        }
        Err(reason) => Some((Kind::Attestation, format!("no in-toto statement: {reason}"), json)),
    }
}

/// cosign's older signatures.
fn simple_signing(payload: &[u8], layer: &Layer) -> Option<(Kind, String, Value)> {
    let payload: Value = serde_json::from_slice(payload).ok()?;
    let reference = payload.pointer("/critical/identity/docker-reference").and_then(Value::as_str).unwrap_or_default();
    let by = beside(layer);
    let title = format!("cosign for {reference:?} (simple signing, {})", signer(&by));
    Some((Kind::Signature, title, json!({ "signedBy": by, "content": payload })))
}

/// What cosign writes into the annotations of a layer.
fn beside(layer: &Layer) -> Value {
    let annotation = |key: &str| layer.annotations.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let pem = annotation("dev.sigstore.cosign/certificate").unwrap_or_default();
    let certificates: Vec<Value> = x509_parser::pem::Pem::iter_from_buffer(pem.as_bytes())
        .filter_map(Result::ok)
        .take(8)
        .map(|block| certificate::describe(&block.contents))
        .collect();
    json!({
        "certificates": certificates,
        "logEntries": u8::from(annotation("dev.sigstore.cosign/bundle").is_some()),
        "timestamps": u8::from(annotation("dev.sigstore.cosign/rfc3161timestamp").is_some()),
    })
}

/// A Notary Project signature in JSON.
fn jws(bytes: &[u8]) -> Option<(Kind, String, Value)> {
    let envelope: Value = serde_json::from_slice(bytes).ok()?;
    let part = |key: &str| -> Option<Value> {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(envelope.get(key)?.as_str()?).ok()?).ok()
    };
    let chain = envelope.pointer("/header/x5c").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let certificates: Vec<Value> = chain
        .iter()
        .take(8)
        .filter_map(|text| STANDARD.decode(text.as_str()?).ok())
        .map(|der| certificate::describe(&der))
        .collect();
    let timestamps = u8::from(envelope.pointer("/header/io.cncf.notary.timestampSignature").is_some());
    let by = json!({ "certificates": certificates, "timestamps": timestamps });
    let title = format!("Notary Project (JWS, {})", signer(&by));
    Some((
        Kind::Signature,
        title,
        json!({ "signedBy": by, "protected": part("protected")?, "content": part("payload")? }),
    ))
}

/// A Notary Project signature in CBOR: tag 18, `[protected, unprotected, payload, signature]` (RFC 9052 §4.2).
fn cose(bytes: &[u8]) -> Option<(Kind, String, Value)> {
    use ciborium::Value as Cbor;
    let read =
        |bytes: &[u8]| -> Option<Cbor> { ciborium::de::from_reader_with_recursion_limit(bytes, MAX_CBOR_DEPTH).ok() };
    let Cbor::Tag(18, message) = read(bytes)? else { return None };
    let parts = message.into_array().ok()?;
    let [Cbor::Bytes(protected), Cbor::Map(unprotected), Cbor::Bytes(payload), _] = parts.as_slice() else {
        return None;
    };
    let Cbor::Map(protected) = read(protected)? else { return None };
    let protected: serde_json::Map<String, Value> =
        protected.iter().filter_map(|(key, value)| Some((label(key)?, cbor_text(value)))).collect();
    let chain = unprotected.iter().find(|(key, _)| label(key).as_deref() == Some("33")).map(|(_, value)| value);
    let certificates: Vec<Value> = chain
        .and_then(Cbor::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
        .iter()
        .take(8)
        .filter_map(|der| Some(certificate::describe(der.as_bytes()?)))
        .collect();
    let has_timestamp =
        unprotected.iter().any(|(key, _)| label(key).as_deref() == Some("io.cncf.notary.timestampSignature"));
    let by = json!({ "certificates": certificates, "timestamps": u8::from(has_timestamp) });
    let content: Value = serde_json::from_slice(payload).ok()?;
    let title = format!("Notary Project (COSE, {})", signer(&by));
    Some((Kind::Signature, title, json!({ "signedBy": by, "protected": protected, "content": content })))
}

fn label(key: &ciborium::Value) -> Option<String> {
    key.as_text().map(str::to_owned).or_else(|| key.as_integer().map(|number| i128::from(number).to_string()))
}

fn cbor_text(value: &ciborium::Value) -> Value {
    match value {
        ciborium::Value::Text(text) => text.as_str().into(),
        ciborium::Value::Tag(_, inner) => cbor_text(inner),
        ciborium::Value::Array(values) => values.iter().map(cbor_text).collect(),
        other => label(other).map_or(Value::Null, Value::from),
    }
}

/// Who is said to have signed.
fn signer(by: &Value) -> String {
    let text = |pointer: &str| by.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
    if let Some(name) = text("/certificates/0/names/0").or_else(|| text("/certificates/0/subject")) {
        return match text("/certificates/0/oidcIssuer") {
            Some(issuer) => format!("{name:?} of {issuer:?}"),
            None => format!("{name:?}"),
        };
    }
    text("/keyHint").map_or_else(|| "a key".to_owned(), |hint| format!("key {hint}"))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use std::path::{Path, PathBuf};

    use assay_admission::{Document, MediaType};

    use super::*;

    /// The real signatures that verification is tested with.
    fn vector(name: &str) -> Attached {
        let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../verify/vectors").join(name);
        let document =
            |media_type: &str, bytes: Vec<u8>| Document::new(MediaType::new(media_type).unwrap(), bytes).unwrap();
        let manifest = std::fs::read(folder.join("manifest.json")).unwrap();
        let value: Value = serde_json::from_slice(&manifest).unwrap();
        let blob = |(at, layer): (usize, Layer)| {
            document(&layer.media_type, std::fs::read(folder.join(format!("layer-{at}"))).unwrap())
        };
        Attached {
            subject: Digest::sha256(b"image"),
            found_by: "referrers API",
            blobs: layers(&value).into_iter().enumerate().map(blob).collect(),
            manifest: document(MediaType::OCI_MANIFEST, manifest),
        }
    }

    #[test]
    fn signatures_of_every_format_are_decoded() {
        for (name, title) in [
            ("bundle-p256", "cosign (Sigstore bundle, key "),
            ("legacy-p256", "cosign for \"127.0.0.1:15055/team/app\" (simple signing, a key)"),
            ("notation-jws-ec256", "Notary Project (JWS, \"C=DE, ST=Berlin, O=Acme, CN=Release Managers\")"),
            ("notation-cose-ec256", "Notary Project (COSE, \"C=DE, ST=Berlin, O=Acme, CN=Release Managers\")"),
        ] {
            let parts = parts(&vector(name));
            assert_eq!((parts.len(), parts[0].kind), (1, Kind::Signature), "{name}");
            assert!(parts[0].title.starts_with(title), "{name}: {}", parts[0].title);
        }
        for name in ["notation-jws-expiry", "notation-cose-expiry"] {
            let content = &parts(&vector(name))[0].content;
            assert!(content["protected"].get("io.cncf.notary.expiry").is_some(), "{content}");
            assert!(content["content"]["targetArtifact"]["digest"].is_string(), "{content}");
            assert_eq!(content["signedBy"]["certificates"].as_array().unwrap().len(), 3, "{content}");
        }
    }

    #[test]
    fn attestations_are_decoded_with_what_they_say() {
        let legacy = parts(&vector("attest-legacy"));
        assert_eq!(legacy.len(), 10);
        assert!(legacy.iter().all(|part| part.kind == Kind::Attestation));
        assert!(legacy[0].title.starts_with("https://slsa.dev/provenance/v0.2: SLSA provenance v0.2 by builder"));
        let bundle = &parts(&vector("attest-vuln"))[0];
        assert!(bundle.title.contains("vulnerability scan by"), "{}", bundle.title);
        assert_eq!(bundle.content["content"]["predicate"]["scanner"]["version"], "1.0");
    }

    #[test]
    fn what_cannot_be_read_is_told_and_never_a_panic() {
        for name in ["bundle-p256", "legacy-p256", "notation-jws-ec256", "notation-cose-ec256", "attest-legacy"] {
            let real = vector(name);
            let bytes = real.blobs[0].bytes();
            for at in (0..bytes.len()).step_by(7) {
                let mut changed = bytes.to_vec();
                changed[at] ^= 0x15;
                for bytes in [changed, bytes[..at].to_vec()] {
                    let blob = Document::new(real.blobs[0].media_type().clone(), bytes).unwrap();
                    let manifest = json!({ "layers": [
                        { "mediaType": blob.media_type().as_str(), "digest": blob.digest().to_string() },
                    ] });
                    let manifest = manifest.to_string().into_bytes();
                    let manifest = Document::new(real.manifest.media_type().clone(), manifest).unwrap();
                    let attached = Attached { manifest, blobs: vec![blob], ..vector(name) };
                    assert_eq!(parts(&attached).len(), 1);
                }
            }
        }
        let mut without = vector("bundle-p256");
        without.blobs.clear();
        assert!(parts(&without)[0].title.ends_with("which could not be had"));
    }
}
