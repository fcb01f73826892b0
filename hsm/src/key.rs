//! What a key is and how it signs: kinds, schemes, and the public half as everyone outside the token sees it.
//!
//! Values only; nothing here talks to a token.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::uri::KeyUri;

/// A key of the token as the worker describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct KeyInfo {
    /// The key's canonical name.
    pub uri: KeyUri,
    /// Its algorithm and size.
    pub kind: KeyKind,
    /// The DER SubjectPublicKeyInfo.
    #[serde(with = "crate::protocol::base64_bytes")]
    pub spki: Vec<u8>,
    /// SHA-256 over `spki`: what a policy pins.
    #[serde(with = "crate::protocol::hex_digest")]
    pub spki_sha256: [u8; 32],
}

/// Algorithm and size of a key pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum KeyKind {
    /// ECDSA on NIST P-256.
    P256,
    /// ECDSA on NIST P-384.
    P384,
    /// RSA with a modulus of so many bits.
    Rsa {
        /// Modulus length in bits.
        bits: u32,
    },
    /// Ed25519.
    Ed25519,
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyKind::P256 => f.write_str("p256"),
            KeyKind::P384 => f.write_str("p384"),
            KeyKind::Rsa { bits } => write!(f, "rsa-{bits}"),
            KeyKind::Ed25519 => f.write_str("ed25519"),
        }
    }
}

/// A text that names no kind of key that can be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a kind of key; p256, p384, rsa-2048, rsa-3072, rsa-4096 and ed25519 are")]
pub struct InvalidKeyKind {
    /// The text as written.
    pub text: String,
}

impl std::str::FromStr for KeyKind {
    type Err = InvalidKeyKind;

    fn from_str(text: &str) -> Result<Self, InvalidKeyKind> {
        match text {
            "p256" => Ok(KeyKind::P256),
            "p384" => Ok(KeyKind::P384),
            "rsa-2048" => Ok(KeyKind::Rsa { bits: 2048 }),
            "rsa-3072" => Ok(KeyKind::Rsa { bits: 3072 }),
            "rsa-4096" => Ok(KeyKind::Rsa { bits: 4096 }),
            "ed25519" => Ok(KeyKind::Ed25519),
            other => Err(InvalidKeyKind { text: other.to_owned() }),
        }
    }
}

/// How a message is signed. The worker hashes; the caller always hands over the whole message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scheme {
    /// ECDSA P-256 with SHA-256; the signature is r and s, 32 bytes each.
    EcdsaP256Sha256,
    /// ECDSA P-384 with SHA-384; the signature is r and s, 48 bytes each.
    EcdsaP384Sha384,
    /// RSASSA-PSS with SHA-256, MGF1 SHA-256 and a salt of 32 bytes.
    RsaPssSha256,
    /// RSASSA-PSS with SHA-384, MGF1 SHA-384 and a salt of 48 bytes.
    RsaPssSha384,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RsaPkcs1Sha256,
    /// Plain Ed25519.
    Ed25519,
}

impl Scheme {
    /// Whether a key of this kind can sign by this scheme.
    #[must_use]
    pub fn fits(self, kind: KeyKind) -> bool {
        match self {
            Scheme::EcdsaP256Sha256 => kind == KeyKind::P256,
            Scheme::EcdsaP384Sha384 => kind == KeyKind::P384,
            Scheme::RsaPssSha256 | Scheme::RsaPssSha384 | Scheme::RsaPkcs1Sha256 => {
                matches!(kind, KeyKind::Rsa { .. })
            }
            Scheme::Ed25519 => kind == KeyKind::Ed25519,
        }
    }

    /// Bytes of a signature by a key of this kind, or `None` when they do not fit.
    #[must_use]
    pub fn signature_length(self, kind: KeyKind) -> Option<usize> {
        match (self, kind) {
            (Scheme::EcdsaP256Sha256, KeyKind::P256) | (Scheme::Ed25519, KeyKind::Ed25519) => Some(64),
            (Scheme::EcdsaP384Sha384, KeyKind::P384) => Some(96),
            (Scheme::RsaPssSha256 | Scheme::RsaPssSha384 | Scheme::RsaPkcs1Sha256, KeyKind::Rsa { bits }) => {
                usize::try_from(bits.div_ceil(8)).ok()
            }
            _ => None,
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Scheme::EcdsaP256Sha256 => "ecdsa-p256-sha256",
            Scheme::EcdsaP384Sha384 => "ecdsa-p384-sha384",
            Scheme::RsaPssSha256 => "rsa-pss-sha256",
            Scheme::RsaPssSha384 => "rsa-pss-sha384",
            Scheme::RsaPkcs1Sha256 => "rsa-pkcs1-sha256",
            Scheme::Ed25519 => "ed25519",
        })
    }
}
