//! C2SP signed notes (c2sp.org/signed-note): text and signature lines, keys by their SubjectPublicKeyInfo.
//! Untrusted text goes in, a parsed note comes out; signatures are checked here and made nowhere.

use std::fmt;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ED25519, UnparsedPublicKey};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use sha2::{Digest as _, Sha256};

/// Most bytes of a note that are looked at.
pub(crate) const MAX_NOTE_BYTES: usize = 128 * 1024;
/// Most signature lines; the specification asks for at least 16.
const MAX_SIGNATURES: usize = 64;
/// Longest key name or origin.
const MAX_NAME_BYTES: usize = 255;

// RFC 8410 §4 and RFC 5480 §2.1.1: the DER of a SubjectPublicKeyInfo up to its key bytes.
const ED25519_SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
const P256_SPKI: [u8; 27] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
];

/// A public key that may sign notes. Its name stands in the note, beside the signature.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct NoteKey(Kind);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Signature type 0x01.
    Ed25519([u8; 32]),
    /// Signature type 0x02: x and y.
    P256([u8; 64]),
}

/// Why a note, a key or a signature does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// The key is neither Ed25519 nor an uncompressed P-256 point in a SubjectPublicKeyInfo.
    #[error("log key is neither an Ed25519 nor a P-256 SubjectPublicKeyInfo")]
    KeyKind,
    /// More bytes than a note has.
    #[error("note is longer than {MAX_NOTE_BYTES} bytes")]
    TooLong,
    /// Not UTF-8, or with control characters.
    #[error("note has bytes that are not allowed in a note")]
    Bytes,
    /// Text and signatures are not separated by an empty line, or the last line is not whole.
    #[error("note has no text followed by an empty line and whole signature lines")]
    Shape,
    /// A signature line is not dash, name and base64 of at least five bytes.
    #[error("signature line {0} is malformed")]
    SignatureLine(usize),
    /// More signature lines than are looked at.
    #[error("note has more than {MAX_SIGNATURES} signatures")]
    TooManySignatures,
    /// A name that cannot be a key name.
    #[error("key name is empty, longer than {MAX_NAME_BYTES} bytes, or has spaces, control characters or a plus sign")]
    Name,
    /// The text is not that of a checkpoint.
    #[error("note's text is not origin, size and root hash on a line each")]
    NotCheckpoint,
    /// No key was given to check with.
    #[error("no log key is pinned")]
    NoKeys,
    /// None of the signatures is by a pinned key under the log's name.
    #[error("no signature is by a pinned log key")]
    NoKnownKey,
    /// A signature that says it is by a pinned key is not.
    #[error("signature by the pinned log key is wrong")]
    BadSignature,
}

impl NoteKey {
    /// The key in a DER SubjectPublicKeyInfo: Ed25519, or P-256 with an uncompressed point.
    ///
    /// # Errors
    /// [`NoteError::KeyKind`] for anything else.
    pub fn from_spki(der: &[u8]) -> Result<Self, NoteError> {
        let ed25519 = der.strip_prefix(&ED25519_SPKI).and_then(|key| key.try_into().ok()).map(Kind::Ed25519);
        let p256 = der.strip_prefix(&P256_SPKI).and_then(|key| key.try_into().ok()).map(Kind::P256);
        ed25519.or(p256).map(Self).ok_or(NoteError::KeyKind)
    }

    /// The DER SubjectPublicKeyInfo.
    #[must_use]
    pub fn spki(&self) -> Vec<u8> {
        match &self.0 {
            Kind::Ed25519(key) => [ED25519_SPKI.as_slice(), key].concat(),
            Kind::P256(key) => [P256_SPKI.as_slice(), key].concat(),
        }
    }

    /// SHA-256 of the SubjectPublicKeyInfo, hex: what people compare and pin.
    #[must_use]
    pub fn spki_sha256(&self) -> String {
        hex::encode(Sha256::digest(self.spki()))
    }

    /// The key ID under `name`. c2sp.org/signed-note, "Signatures" (Ed25519) and "Signature types" (0x02).
    #[must_use]
    pub fn id(&self, name: &str) -> [u8; 4] {
        let hash = match &self.0 {
            Kind::Ed25519(key) => Sha256::new().chain_update(name).chain_update(b"\n\x01").chain_update(key).finalize(),
            Kind::P256(_) => Sha256::digest(self.spki()),
        };
        let mut id = [0; 4];
        id.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
        id
    }

    /// The text `name+id+key` by which tools of the tlog ecosystem take a verifier's key.
    #[must_use]
    pub fn verifier_text(&self, name: &str) -> String {
        let key = match &self.0 {
            Kind::Ed25519(key) => [&[1], key.as_slice()].concat(),
            Kind::P256(_) => [vec![2], self.spki()].concat(),
        };
        format!("{name}+{}+{}", hex::encode(self.id(name)), BASE64_STANDARD.encode(key))
    }

    /// Whether `signature` (Ed25519: 64 bytes; P-256: ASN.1) is this key's over `text`.
    pub(crate) fn verifies(&self, text: &[u8], signature: &[u8]) -> bool {
        match &self.0 {
            Kind::Ed25519(key) => UnparsedPublicKey::new(&ED25519, key).verify(text, signature).is_ok(),
            Kind::P256(point) => {
                let sec1 = [&[4], point.as_slice()].concat();
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, sec1).verify(text, signature).is_ok()
            }
        }
    }

    /// The form of `raw` that a note carries, if it is this key's signature over `text`. A P-256 signature may come as
    /// PKCS#11 tokens give it (r and s, 32 bytes each) or as ASN.1.
    pub(crate) fn note_form(&self, text: &[u8], raw: &[u8]) -> Option<Vec<u8>> {
        let from_token = match &self.0 {
            Kind::Ed25519(_) => None,
            Kind::P256(_) => <&[u8; 64]>::try_from(raw).ok().map(asn1),
        };
        from_token.into_iter().chain([raw.to_vec()]).find(|signature| self.verifies(text, signature))
    }
}

impl fmt::Debug for NoteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NoteKey({})", self.spki_sha256())
    }
}

/// r and s as an ASN.1 `SEQUENCE` of two `INTEGER`s (RFC 3279 §2.2.3), in the one DER form.
fn asn1(raw: &[u8; 64]) -> Vec<u8> {
    let (r, s) = raw.split_at(32);
    let body = [integer(r), integer(s)].concat();
    [&[0x30, short_length(&body)], body.as_slice()].concat()
}

fn integer(magnitude: &[u8]) -> Vec<u8> {
    let zeros = magnitude.iter().take_while(|&&byte| byte == 0).count();
    let digits = magnitude.get(zeros..).unwrap_or_default();
    let sign = digits.first().is_none_or(|&byte| byte >= 0x80).then_some(0);
    let value: Vec<u8> = sign.into_iter().chain(digits.iter().copied()).collect();
    [&[0x02, short_length(&value)], value.as_slice()].concat()
}

fn short_length(bytes: &[u8]) -> u8 {
    u8::try_from(bytes.len()).expect("two integers of at most 33 bytes have at most 70")
}

/// A parsed note: nothing in it is trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Note {
    /// What is signed, with its last line break.
    pub(crate) text: String,
    /// The signature lines.
    pub(crate) signatures: Vec<NoteSignature>,
}

/// One signature line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NoteSignature {
    pub(crate) name: String,
    pub(crate) key_id: [u8; 4],
    pub(crate) signature: Vec<u8>,
}

impl Note {
    /// c2sp.org/signed-note, "Format".
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > MAX_NOTE_BYTES {
            return Err(NoteError::TooLong);
        }
        let whole = std::str::from_utf8(bytes).map_err(|_| NoteError::Bytes)?;
        if whole.bytes().any(|byte| byte < 0x20 && byte != b'\n') {
            return Err(NoteError::Bytes);
        }
        let lines = whole.strip_suffix('\n').ok_or(NoteError::Shape)?;
        // The last empty line separates: signature lines are never empty.
        let (text, signed) = lines.rsplit_once("\n\n").ok_or(NoteError::Shape)?;
        if text.is_empty() || signed.is_empty() {
            return Err(NoteError::Shape);
        }
        let mut signatures = Vec::new();
        for (number, line) in signed.split('\n').enumerate() {
            if number == MAX_SIGNATURES {
                return Err(NoteError::TooManySignatures);
            }
            signatures.push(NoteSignature::parse(line).ok_or(NoteError::SignatureLine(number + 1))?);
        }
        Ok(Self { text: format!("{text}\n"), signatures })
    }
}

impl NoteSignature {
    fn parse(line: &str) -> Option<Self> {
        let (name, encoded) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
        check_name(name).ok()?;
        let decoded = BASE64_STANDARD.decode(encoded).ok()?;
        let (key_id, signature) = decoded.split_first_chunk::<4>()?;
        if signature.is_empty() {
            return None;
        }
        Some(Self { name: name.to_owned(), key_id: *key_id, signature: signature.to_vec() })
    }

    /// The line, with its line break.
    pub(crate) fn line(&self) -> String {
        let bytes = [self.key_id.as_slice(), &self.signature].concat();
        format!("\u{2014} {} {}\n", self.name, BASE64_STANDARD.encode(bytes))
    }
}

/// Key names, and origins, which serve as key names.
pub(crate) fn check_name(name: &str) -> Result<(), NoteError> {
    let illegal = |character: char| character.is_whitespace() || character.is_control() || character == '+';
    if name.is_empty() || name.len() > MAX_NAME_BYTES || name.contains(illegal) {
        return Err(NoteError::Name);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
