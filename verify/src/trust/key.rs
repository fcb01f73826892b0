//! A public key of the policy: PEM or DER comes in, a key of a known kind in its one canonical encoding comes out.

use std::{fmt, ptr};

use assay_admission::Digest;
use aws_lc_rs::{
    digest::Digest as Digested,
    signature::{self, ParsedPublicKey, RsaParameters, UnparsedPublicKey, VerificationAlgorithm},
};
use x509_parser::{pem::Pem, prelude::FromDer, x509::SubjectPublicKeyInfo};

use crate::{
    der::{integer, tlv},
    sigstore::{BlobDigests, HashName, Signed},
};

/// A public key for verifying signatures. Equal keys have equal encodings, so a key counts once however it was written.
#[derive(Clone)]
pub struct PublicKey {
    kind: PublicKeyKind,
    spki: Vec<u8>,
    spki_sha256: Digest,
    /// Parsed for the one algorithm that cosign's formats allow for this kind.
    parsed: ParsedPublicKey,
}

/// The kinds of key that count, each with the sizes that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PublicKeyKind {
    /// NIST P-256.
    P256,
    /// NIST P-384.
    P384,
    /// NIST P-521.
    P521,
    /// RSA with its modulus length in bits: 2048 to 8192.
    Rsa {
        /// Length of the modulus.
        bits: u16,
    },
    /// Ed25519.
    Ed25519,
}

/// Why bytes are no public key that counts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The text is not PEM with exactly one block.
    #[error("the key is not one PEM block")]
    Pem,
    /// The PEM block is something else.
    #[error("the PEM block is a {label:?}, not a \"PUBLIC KEY\"")]
    Label {
        /// What stands behind `BEGIN`.
        label: String,
    },
    /// The bytes are no SubjectPublicKeyInfo, or not its canonical encoding.
    #[error("the key is no SubjectPublicKeyInfo in canonical DER (uncompressed point; RSA with NULL parameters)")]
    Encoding,
    /// The algorithm or curve is not one that counts.
    #[error("the key's algorithm {oid} is not P-256, P-384, P-521, RSA or Ed25519")]
    Algorithm {
        /// The algorithm's object identifier.
        oid: String,
    },
    /// The RSA modulus is too short or too long.
    #[error("the RSA key has {bits} bits; 2048 to 8192 are accepted")]
    RsaSize {
        /// Its length.
        bits: usize,
    },
    /// The point is not on its curve, or the numbers are no RSA key.
    #[error("the key's value is not valid for its algorithm")]
    Value,
}

impl PublicKey {
    /// Reads PEM with one block `PUBLIC KEY`.
    ///
    /// # Errors
    /// [`KeyError`] naming what is wrong.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let mut blocks = Pem::iter_from_buffer(text.as_bytes());
        let block = blocks.next().and_then(Result::ok).ok_or(KeyError::Pem)?;
        if blocks.next().is_some() {
            return Err(KeyError::Pem);
        }
        if block.label != "PUBLIC KEY" {
            return Err(KeyError::Label { label: block.label });
        }
        Self::from_spki_der(&block.contents)
    }

    /// Reads a SubjectPublicKeyInfo (RFC 5280 §4.1) in DER.
    ///
    /// # Errors
    /// [`KeyError`] naming what is wrong.
    pub fn from_spki_der(der: &[u8]) -> Result<Self, KeyError> {
        let kind = kind_of(der)?;
        let parsed = ParsedPublicKey::new(cosign_algorithm(kind), der).map_err(|_| KeyError::Value)?;
        Ok(Self { kind, spki: der.to_owned(), spki_sha256: Digest::sha256(der), parsed })
    }

    /// What kind of key it is.
    #[must_use]
    pub const fn kind(&self) -> PublicKeyKind {
        self.kind
    }

    /// The SubjectPublicKeyInfo in DER.
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// SHA-256 of the SubjectPublicKeyInfo in lower-case hex.
    #[must_use]
    pub fn spki_sha256(&self) -> String {
        self.spki_sha256.hex()
    }

    /// SHA-256 of the SubjectPublicKeyInfo: what a bundle's hint names.
    pub(crate) fn spki_hash(&self) -> &[u8] {
        self.spki_sha256.value()
    }

    /// The hash over which this key signs messages; none for Ed25519, which signs the message itself (RFC 8032 §5.1).
    pub(crate) const fn hash_name(&self) -> Option<HashName> {
        match self.kind {
            PublicKeyKind::P256 | PublicKeyKind::Rsa { .. } => Some(HashName::Sha256),
            PublicKeyKind::P384 => Some(HashName::Sha384),
            PublicKeyKind::P521 => Some(HashName::Sha512),
            PublicKeyKind::Ed25519 => None,
        }
    }

    /// The same as [`Self::verifies`] for a message of which the digests are known. What is not known verifies nothing.
    pub(crate) fn verifies_digest(&self, message: &BlobDigests, signature: &[u8]) -> bool {
        match self.hash_name() {
            None => message.whole().is_some_and(|whole| self.verifies(whole, signature)),
            Some(hash) => import(message.get(hash), hash)
                .is_some_and(|digest| self.parsed.verify_digest_sig(&digest, signature).is_ok()),
        }
    }

    /// Whether this key made `signature` over `message` in the way that cosign's formats use a key of this kind.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.parsed.verify_sig(message, signature).is_ok()
    }
}

impl PublicKey {
    /// Whether this key made `signature` over `message` in the way of `algorithm`.
    pub(crate) fn verifies_as(
        &self,
        algorithm: &'static dyn VerificationAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        // Most certificates are signed in the way that the key is parsed for already.
        if ptr::addr_eq(algorithm, cosign_algorithm(self.kind)) {
            return self.verifies(message, signature);
        }
        UnparsedPublicKey::new(algorithm, &self.spki).verify(message, signature).is_ok()
    }

    /// Whether this key made `signature` over `message` with SHA-256 where its curve's own hash is wanted: cosign 2 and many
    /// key services do. For a person to be told; such a signature counts for nothing.
    pub(crate) fn made_with_sha256(&self, signed: &Signed<'_>, signature: &[u8]) -> bool {
        let algorithm: &'static dyn VerificationAlgorithm = match self.kind {
            PublicKeyKind::P384 => &signature::ECDSA_P384_SHA256_ASN1,
            PublicKeyKind::P521 => &signature::ECDSA_P521_SHA256_ASN1,
            PublicKeyKind::P256 | PublicKeyKind::Rsa { .. } | PublicKeyKind::Ed25519 => return false,
        };
        let digest = signed.digest(HashName::Sha256);
        let Some(digest) = import(digest.as_deref(), HashName::Sha256) else { return false };
        ParsedPublicKey::new(algorithm, &self.spki).is_ok_and(|key| key.verify_digest_sig(&digest, signature).is_ok())
    }

    /// The hash that signatures in cosign's formats have with a key of this kind.
    pub(crate) const fn hash(&self) -> &'static str {
        match self.kind {
            PublicKeyKind::P384 => "SHA-384",
            PublicKeyKind::P521 => "SHA-512",
            PublicKeyKind::P256 | PublicKeyKind::Rsa { .. } => "SHA-256",
            PublicKeyKind::Ed25519 => "no hash",
        }
    }
}

fn import(value: Option<&[u8]>, hash: HashName) -> Option<Digested> {
    value.and_then(|value| Digested::import_less_safe(value, hash.algorithm()).ok())
}

/// sigstore's defaults: ECDSA in DER with the curve's own hash, RSA PKCS#1 v1.5 with SHA-256 at every size, plain Ed25519.
fn cosign_algorithm(kind: PublicKeyKind) -> &'static dyn VerificationAlgorithm {
    match kind {
        PublicKeyKind::P256 => &signature::ECDSA_P256_SHA256_ASN1,
        PublicKeyKind::P384 => &signature::ECDSA_P384_SHA384_ASN1,
        PublicKeyKind::P521 => &signature::ECDSA_P521_SHA512_ASN1,
        PublicKeyKind::Rsa { .. } => &RSA_PKCS1_SHA256,
        PublicKeyKind::Ed25519 => &signature::ED25519,
    }
}

/// RSA PKCS#1 v1.5 with SHA-256, in one place: aws-lc-rs has it as a constant, which is another one wherever it is named, and
/// [`PublicKey::verifies_as`] knows algorithms by their places.
pub(crate) static RSA_PKCS1_SHA256: RsaParameters = signature::RSA_PKCS1_2048_8192_SHA256;

/// Everything before the point, for the curves with uncompressed points (0x04) and for Ed25519. RFC 5480 §2, RFC 8410 §4.
const FIXED: [(PublicKeyKind, &[u8], usize); 4] = [
    (
        PublicKeyKind::P256,
        b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00\x04",
        64,
    ),
    (
        PublicKeyKind::P384,
        b"\x30\x76\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22\x03\x62\x00\x04",
        96,
    ),
    (
        PublicKeyKind::P521,
        b"\x30\x81\x9b\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x23\x03\x81\x86\x00\x04",
        132,
    ),
    (PublicKeyKind::Ed25519, b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00", 32),
];

/// `SEQUENCE { OBJECT IDENTIFIER rsaEncryption, NULL }`
const RSA_ENCRYPTION: &[u8] = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";

fn kind_of(der: &[u8]) -> Result<PublicKeyKind, KeyError> {
    let fits = |prefix: &[u8], length| der.strip_prefix(prefix).is_some_and(|rest| rest.len() == length);
    if let Some((kind, ..)) = FIXED.iter().find(|(_, prefix, length)| fits(prefix, *length)) {
        return Ok(*kind);
    }
    let (rest, spki) = SubjectPublicKeyInfo::from_der(der).map_err(|_| KeyError::Encoding)?;
    if !rest.is_empty() {
        return Err(KeyError::Encoding);
    }
    let algorithm = spki.algorithm.algorithm.to_id_string();
    match algorithm.as_str() {
        "1.2.840.113549.1.1.1" => rsa_kind(der, &spki),
        "1.2.840.10045.2.1" => {
            let curve =
                spki.algorithm.parameters.as_ref().and_then(|any| any.as_oid().ok()).map(|oid| oid.to_id_string());
            match curve.as_deref() {
                Some("1.2.840.10045.3.1.7" | "1.3.132.0.34" | "1.3.132.0.35") => Err(KeyError::Encoding),
                other => Err(KeyError::Algorithm { oid: other.unwrap_or("(explicit curve)").to_owned() }),
            }
        }
        "1.3.101.112" => Err(KeyError::Encoding),
        _ => Err(KeyError::Algorithm { oid: algorithm }),
    }
}

fn rsa_kind(der: &[u8], spki: &SubjectPublicKeyInfo<'_>) -> Result<PublicKeyKind, KeyError> {
    let Ok(x509_parser::public_key::PublicKey::RSA(rsa)) = spki.parsed() else { return Err(KeyError::Encoding) };
    let numbers = [tlv(0x02, &integer(rsa.modulus)), tlv(0x02, &integer(rsa.exponent))].concat();
    let key = tlv(0x03, &[&[0_u8], tlv(0x30, &numbers).as_slice()].concat());
    if tlv(0x30, &[RSA_ENCRYPTION, &key].concat()) != der {
        return Err(KeyError::Encoding);
    }
    let modulus: Vec<u8> = rsa.modulus.iter().copied().skip_while(|byte| *byte == 0).collect();
    let unused = modulus.first().map_or(0, |byte| byte.leading_zeros());
    let bits = usize::try_from(unused).map_or(0, |unused| modulus.len().saturating_mul(8).saturating_sub(unused));
    match u16::try_from(bits) {
        Ok(bits @ 2048..=8192) => Ok(PublicKeyKind::Rsa { bits }),
        _ => Err(KeyError::RsaSize { bits }),
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.spki == other.spki
    }
}

impl Eq for PublicKey {}

impl fmt::Display for PublicKeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::P256 => f.write_str("P-256"),
            Self::P384 => f.write_str("P-384"),
            Self::P521 => f.write_str("P-521"),
            Self::Rsa { bits } => write!(f, "RSA-{bits}"),
            Self::Ed25519 => f.write_str("Ed25519"),
        }
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({} {})", self.kind, self.spki_sha256())
    }
}

#[cfg(test)]
mod tests;
