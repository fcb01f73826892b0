//! What a signature is over: bytes, or the digests of bytes that are not at hand.

use assay_admission::Digest;
use aws_lc_rs::digest;

use crate::trust::PublicKey;

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

    /// The hash itself.
    pub(crate) const fn algorithm(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        }
    }
}

/// The digests of a file or document, as many as are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobDigests {
    sha256: Vec<u8>,
    longer: Option<(Vec<u8>, Vec<u8>)>,
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
        Ok(Self { sha256: digest.value().to_vec(), longer: None })
    }

    pub(crate) fn sha256(&self) -> &[u8] {
        &self.sha256
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

/// Computes every digest of a blob that comes in pieces, whatever its size.
#[derive(Clone)]
pub struct BlobHasher([digest::Context; 3]);

impl Default for BlobHasher {
    fn default() -> Self {
        Self([HashName::Sha256, HashName::Sha384, HashName::Sha512].map(|hash| digest::Context::new(hash.algorithm())))
    }
}

impl BlobHasher {
    /// Takes in the next piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.iter_mut().for_each(|context| context.update(piece));
    }

    /// The digests of all pieces.
    #[must_use]
    pub fn finish(self) -> BlobDigests {
        let [sha256, sha384, sha512] = self.0.map(|context| context.finish().as_ref().to_vec());
        BlobDigests { sha256, longer: Some((sha384, sha512)) }
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
    pub(super) fn digest(&self, hash: HashName) -> Option<Vec<u8>> {
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
}
