//! Whom the policy trusts, as parsed keys and certificates: the only place where a verifier takes keys from.

use std::{collections::BTreeMap, fmt, str::FromStr};

/// A name in a policy: 1 to 64 characters of letters, digits, `.`, `_`, `-`, starting with a letter or digit.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SignerName(String);

/// A public key for verifying signatures.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    kind: PublicKeyKind,
    spki: Vec<u8>,
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

/// An X.509 certificate that was parsed.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
}

/// Certificates that are trusted as anchors for Notary Project chains: a `ca` trust store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateStore {
    anchors: Vec<Certificate>,
}

/// Everything that is trusted, by name. Empty trusts nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// Keys for cosign's formats.
    pub keys: BTreeMap<SignerName, PublicKey>,
    /// Certificate stores for Notary Project formats.
    pub certificates: BTreeMap<SignerName, CertificateStore>,
}
