//! Whether a log entry is about this very signature: digest, signature and verifier in its body have to be those that are being
//! verified. A valid entry about something else proves nothing (the class of CVE-2022-36056).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use x509_parser::pem::Pem;

use super::{
    EntryError, Envelope, Maker, Signed,
    entry::{Entry, EntryKind},
    signed::HashName,
};
use crate::json::{JsonError, Object, parse_object, wrong};

/// Compares the body of `entry` with what is being verified.
pub(super) fn is_about(
    entry: &Entry,
    signed: &Signed<'_>,
    envelope: Option<&Envelope<'_>>,
    signature: &[u8],
    maker: Maker<'_>,
) -> Result<(), EntryError> {
    // hashedrekord 0.0.1 is made for messages; envelopes have kinds of their own there.
    match (entry.kind, envelope) {
        (EntryKind::HashedRekord001, Some(_)) | (EntryKind::Dsse001 | EntryKind::Intoto002, None) => {
            return Err(kind_error(entry.kind));
        }
        (EntryKind::HashedRekord001, None)
        | (EntryKind::Dsse001 | EntryKind::Intoto002, Some(_))
        | (EntryKind::HashedRekord002, _) => {}
    }
    let found = parse_object(&entry.body, "body", |body| read(body, entry.kind)).map_err(unreadable)?;
    let is_same_content = match (&found.content, envelope) {
        (Content::Signed(hash, digest), _) => signed.digest(*hash).as_ref() == Some(digest),
        (Content::Payload(digest), Some(envelope)) => {
            Signed::Bytes(envelope.payload).digest(HashName::Sha256).as_ref() == Some(digest)
        }
        (Content::TypedPayload(kind, digest), Some(envelope)) => {
            kind == envelope.payload_type
                && Signed::Bytes(envelope.payload).digest(HashName::Sha256).as_ref() == Some(digest)
        }
        (Content::Payload(_) | Content::TypedPayload(..), None) => false,
    };
    if !is_same_content {
        return Err(EntryError::Other { field: "digest" });
    }
    if found.signature != signature {
        return Err(EntryError::Other { field: "signature" });
    }
    if found.verifier != maker.verifier() {
        return Err(EntryError::Other { field: "verifier" });
    }
    Ok(())
}

/// What an entry is about.
struct Found {
    content: Content,
    signature: Vec<u8>,
    /// The certificate, or the key, in DER.
    verifier: Verifier,
}

/// Who is said to have signed, in DER.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verifier {
    Certificate(Vec<u8>),
    Key(Vec<u8>),
}

enum Content {
    /// The hash of the bytes that were signed.
    Signed(HashName, Vec<u8>),
    /// The SHA-256 of an envelope's payload.
    Payload(Vec<u8>),
    /// The same, with the payload's type.
    TypedPayload(String, Vec<u8>),
}

fn read(body: Object<'_>, kind: EntryKind) -> Result<Found, JsonError> {
    let (name, version) = kind.texts();
    if body.string("kind")? != name || body.string("apiVersion")? != version {
        return Err(wrong("kind", format!("and apiVersion are not {name} {version}")));
    }
    let spec = body.object("spec")?;
    match kind {
        EntryKind::HashedRekord001 => hashedrekord_001(spec),
        EntryKind::Dsse001 => dsse_001(spec),
        EntryKind::Intoto002 => intoto_002(spec),
        EntryKind::HashedRekord002 => hashedrekord_002(spec.object("hashedRekordV002")?),
    }
}

fn hashedrekord_001(spec: Object<'_>) -> Result<Found, JsonError> {
    let (hash, signature) = (spec.object("data")?.object("hash")?, spec.object("signature")?);
    let algorithm = match hash.string("algorithm")? {
        "sha256" => HashName::Sha256,
        "sha384" => HashName::Sha384,
        "sha512" => HashName::Sha512,
        other => return Err(wrong("algorithm", format!("is {other:?}"))),
    };
    Ok(Found {
        content: Content::Signed(algorithm, hex_of("value", hash.string("value")?)?),
        signature: base64_of("content", signature.string("content")?)?,
        verifier: pem_of(&base64_of("content", signature.object("publicKey")?.string("content")?)?)?,
    })
}

fn dsse_001(spec: Object<'_>) -> Result<Found, JsonError> {
    let [signature] = spec.array("signatures")? else {
        return Err(wrong("signatures", "does not have exactly one entry"));
    };
    let signature = signature.object("signatures")?;
    Ok(Found {
        content: Content::Payload(sha256_of(spec.object("payloadHash")?)?),
        signature: base64_of("signature", signature.string("signature")?)?,
        verifier: pem_of(&base64_of("verifier", signature.string("verifier")?)?)?,
    })
}

fn intoto_002(spec: Object<'_>) -> Result<Found, JsonError> {
    let content = spec.object("content")?;
    let envelope = content.object("envelope")?;
    let [signature] = envelope.array("signatures")? else {
        return Err(wrong("signatures", "does not have exactly one entry"));
    };
    let signature = signature.object("signatures")?;
    let digest = sha256_of(content.object("payloadHash")?)?;
    Ok(Found {
        content: Content::TypedPayload(envelope.string("payloadType")?.to_owned(), digest),
        // Rekor wraps the envelope's own base64 once more.
        signature: base64_twice("sig", signature.string("sig")?)?,
        verifier: pem_of(&base64_of("publicKey", signature.string("publicKey")?)?)?,
    })
}

fn hashedrekord_002(spec: Object<'_>) -> Result<Found, JsonError> {
    let (data, signature) = (spec.object("data")?, spec.object("signature")?);
    let algorithm = data.string("algorithm")?;
    let algorithm = HashName::parse(algorithm).ok_or_else(|| wrong("algorithm", format!("is {algorithm:?}")))?;
    let verifier = signature.object("verifier")?;
    let raw = |object: Object<'_>| base64_of("rawBytes", object.string("rawBytes")?);
    let verifier = match (verifier.optional_object("x509Certificate")?, verifier.optional_object("publicKey")?) {
        (Some(certificate), None) => Verifier::Certificate(raw(certificate)?),
        (None, Some(key)) => Verifier::Key(raw(key)?),
        (Some(_), Some(_)) | (None, None) => return Err(wrong("verifier", "is not one certificate or one key")),
    };
    Ok(Found {
        content: Content::Signed(algorithm, base64_of("digest", data.string("digest")?)?),
        signature: base64_of("content", signature.string("content")?)?,
        verifier,
    })
}

fn sha256_of(hash: Object<'_>) -> Result<Vec<u8>, JsonError> {
    match hash.string("algorithm")? {
        "sha256" => hex_of("value", hash.string("value")?),
        other => Err(wrong("algorithm", format!("is {other:?}, not \"sha256\""))),
    }
}

fn hex_of(field: &'static str, text: &str) -> Result<Vec<u8>, JsonError> {
    hex::decode(text).map_err(|error| wrong(field, format!("is not hex: {error}")))
}

fn base64_of(field: &'static str, text: &str) -> Result<Vec<u8>, JsonError> {
    STANDARD.decode(text).map_err(|error| wrong(field, format!("is not canonical base64: {error}")))
}

fn base64_twice(field: &'static str, text: &str) -> Result<Vec<u8>, JsonError> {
    let once = base64_of(field, text)?;
    STANDARD.decode(once).map_err(|error| wrong(field, format!("is not base64 twice: {error}")))
}

/// One PEM block with a certificate or a public key.
fn pem_of(pem: &[u8]) -> Result<Verifier, JsonError> {
    let mut blocks = Pem::iter_from_buffer(pem);
    match (blocks.next(), blocks.next()) {
        (Some(Ok(block)), None) if block.label == "CERTIFICATE" => Ok(Verifier::Certificate(block.contents)),
        (Some(Ok(block)), None) if block.label == "PUBLIC KEY" => Ok(Verifier::Key(block.contents)),
        _ => Err(wrong("publicKey", "is not PEM with one certificate or one public key")),
    }
}

fn kind_error(kind: EntryKind) -> EntryError {
    let (kind, version) = kind.texts();
    EntryError::Kind { kind: kind.to_owned(), version: version.to_owned() }
}

fn unreadable(error: JsonError) -> EntryError {
    match error {
        JsonError::Syntax(problem) => EntryError::Body { field: "JSON", problem },
        JsonError::Field { field, problem } => EntryError::Body { field, problem },
        JsonError::Limit(limit) => EntryError::Body { field: "JSON", problem: limit.to_string() },
    }
}
