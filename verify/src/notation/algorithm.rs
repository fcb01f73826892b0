//! The six algorithms of the Notary Project (signature-specification.md, "Algorithm Selection"): the key alone decides which one it is.

use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};

use crate::trust::PublicKeyKind;

/// A signature algorithm. ECDSA signatures are r and s, each as long as the curve's order; RSA-PSS salts are as long as the hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// RSASSA-PSS with SHA-256, for RSA-2048.
    Ps256,
    /// RSASSA-PSS with SHA-384, for RSA-3072.
    Ps384,
    /// RSASSA-PSS with SHA-512, for RSA-4096.
    Ps512,
    /// ECDSA with SHA-256, for P-256.
    Es256,
    /// ECDSA with SHA-384, for P-384.
    Es384,
    /// ECDSA with SHA-512, for P-521.
    Es512,
}

impl Algorithm {
    /// The one algorithm for a key of this kind.
    ///
    /// # Errors
    /// The kind's name, if the Notary Project does not sign with such keys.
    pub fn of(kind: PublicKeyKind) -> Result<Self, String> {
        match kind {
            PublicKeyKind::P256 => Ok(Self::Es256),
            PublicKeyKind::P384 => Ok(Self::Es384),
            PublicKeyKind::P521 => Ok(Self::Es512),
            PublicKeyKind::Rsa { bits: 2048 } => Ok(Self::Ps256),
            PublicKeyKind::Rsa { bits: 3072 } => Ok(Self::Ps384),
            PublicKeyKind::Rsa { bits: 4096 } => Ok(Self::Ps512),
            PublicKeyKind::Rsa { .. } | PublicKeyKind::Ed25519 => Err(kind.to_string()),
        }
    }

    /// The JWS name (RFC 7518 §3.1): `ES256`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
        }
    }

    /// The COSE number (RFC 9053 §2.1, RFC 8230 §2).
    #[must_use]
    pub const fn cose(self) -> i64 {
        match self {
            Self::Ps256 => -37,
            Self::Ps384 => -38,
            Self::Ps512 => -39,
            Self::Es256 => -7,
            Self::Es384 => -35,
            Self::Es512 => -36,
        }
    }

    /// The algorithm with this COSE number.
    pub(crate) fn from_cose(number: i64) -> Option<Self> {
        [Self::Ps256, Self::Ps384, Self::Ps512, Self::Es256, Self::Es384, Self::Es512]
            .into_iter()
            .find(|algorithm| algorithm.cose() == number)
    }

    pub(crate) fn verifies(self, spki: &[u8], message: &[u8], signature: &[u8]) -> bool {
        let algorithm: &'static dyn VerificationAlgorithm = match self {
            Self::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
            Self::Ps384 => &signature::RSA_PSS_2048_8192_SHA384,
            Self::Ps512 => &signature::RSA_PSS_2048_8192_SHA512,
            Self::Es256 => &signature::ECDSA_P256_SHA256_FIXED,
            Self::Es384 => &signature::ECDSA_P384_SHA384_FIXED,
            Self::Es512 => &signature::ECDSA_P521_SHA512_FIXED,
        };
        UnparsedPublicKey::new(algorithm, spki).verify(message, signature).is_ok()
    }
}
