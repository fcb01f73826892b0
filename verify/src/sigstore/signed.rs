//! What a signature is over: bytes, or the digests of bytes that are not at hand.

use assay_admission::Digest;
use aws_lc_rs::digest;

use crate::{limits::MAX_WHOLE_BLOB, trust::PublicKey};

/// Hashes that entries and messages may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HashName {
    Sha256,
    Sha384,
    Sha512,
}

impl HashName {
    /// The name that protobuf-specs `HashAlgorithm` has for it.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        match name {
            "SHA2_256" => Some(Self::Sha256),
            "SHA2_384" => Some(Self::Sha384),
            "SHA2_512" => Some(Self::Sha512),
            _ => None,
        }
    }

    /// As people and log entries call it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    /// The hash itself.
    pub(crate) const fn algorithm(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        }
    }
}

/// The digests of a file or document, as many as are known, and its bytes if they are.
#[derive(Clone, PartialEq, Eq)]
pub struct BlobDigests {
    sha256: Vec<u8>,
    longer: Option<(Vec<u8>, Vec<u8>)>,
    whole: Option<Vec<u8>>,
}

impl BlobDigests {
    /// A document of which no more is known than its SHA-256. Signatures by keys whose own hash is another one do not verify then.
    ///
    /// # Errors
    /// The digest itself, if it is of another kind.
    pub fn of_sha256(digest: Digest) -> Result<Self, Digest> {
        if digest.algorithm() != "sha256" {
            return Err(digest);
        }
        Ok(Self { sha256: digest.value().to_vec(), longer: None, whole: None })
    }

    /// The bytes themselves: for keys that sign no digest.
    pub(crate) fn whole(&self) -> Option<&[u8]> {
        self.whole.as_deref()
    }

    pub(crate) fn get(&self, hash: HashName) -> Option<&[u8]> {
        match (hash, &self.longer) {
            (HashName::Sha256, _) => Some(&self.sha256),
            (HashName::Sha384, Some((sha384, _))) => Some(sha384),
            (HashName::Sha512, Some((_, sha512))) => Some(sha512),
            (HashName::Sha384 | HashName::Sha512, None) => None,
        }
    }
}

impl std::fmt::Debug for BlobDigests {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BlobDigests(sha256:{})", hex::encode(&self.sha256))
    }
}

/// Computes every digest of a blob that comes in pieces, whatever its size, and keeps the bytes of one that is not large.
#[derive(Clone)]
pub struct BlobHasher {
    contexts: [digest::Context; 3],
    whole: Option<Vec<u8>>,
}

impl Default for BlobHasher {
    fn default() -> Self {
        let hashes = [HashName::Sha256, HashName::Sha384, HashName::Sha512];
        Self { contexts: hashes.map(|hash| digest::Context::new(hash.algorithm())), whole: Some(Vec::new()) }
    }
}

impl BlobHasher {
    /// Takes in the next piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.contexts.iter_mut().for_each(|context| context.update(piece));
        self.whole = self.whole.take().filter(|whole| whole.len().saturating_add(piece.len()) <= MAX_WHOLE_BLOB);
        if let Some(whole) = &mut self.whole {
            whole.extend_from_slice(piece);
        }
    }

    /// The digests of all pieces.
    #[must_use]
    pub fn finish(self) -> BlobDigests {
        let [sha256, sha384, sha512] = self.contexts.map(|context| context.finish().as_ref().to_vec());
        BlobDigests { sha256, longer: Some((sha384, sha512)), whole: self.whole }
    }
}

impl std::fmt::Debug for BlobHasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BlobHasher")
    }
}

/// What was signed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Signed<'a> {
    Bytes(&'a [u8]),
    Digests(&'a BlobDigests),
}

impl Signed<'_> {
    /// The digest, if it can be known.
    pub(crate) fn digest(&self, hash: HashName) -> Option<Vec<u8>> {
        match self {
            Self::Bytes(bytes) => Some(digest::digest(hash.algorithm(), bytes).as_ref().to_vec()),
            Self::Digests(digests) => digests.get(hash).map(<[u8]>::to_vec),
        }
    }

    /// Whether `key` made `signature` over it in the way that cosign's formats use a key of this kind.
    pub(crate) fn verifies(&self, key: &PublicKey, signature: &[u8]) -> bool {
        match self {
            Self::Bytes(bytes) => key.verifies(bytes, signature),
            Self::Digests(digests) => key.verifies_digest(digests, signature),
        }
    }

    /// What of it `key` would have signed and is not known, so that nobody can say whether it did.
    pub(crate) fn lacks(&self, key: &PublicKey) -> Option<&'static str> {
        match (self, key.hash_name()) {
            (Self::Bytes(_), _) => None,
            (Self::Digests(digests), Some(hash)) => digests.get(hash).is_none().then_some(match hash {
                HashName::Sha256 => "its SHA-256",
                HashName::Sha384 => "its SHA-384",
                HashName::Sha512 => "its SHA-512",
            }),
            (Self::Digests(digests), None) => {
                digests.whole().is_none().then_some("all of its bytes, of which not too many")
            }
        }
    }
}
