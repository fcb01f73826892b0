//! What a gate asks: which chain or image, under which names, with the documents the node already has.
//! Everything in it is a claim; the agent hashes and binds every document itself.

use std::{collections::BTreeMap, fmt, str::FromStr};

use crate::{CandidateName, Descriptor, Digest, MAX_DOCUMENT_BYTES, MediaType, Platform};

/// Most images of one chain that are examined for one answer.
pub const MAX_CLAIMS: usize = 256;
/// Most further images of one chain, of which only names and digests are told.
pub const MAX_ALIKE: usize = 20_000;
/// Most names of one image.
pub const MAX_NAMES: usize = 64;
/// Most documents in one request: manifest, config and some indexes for each claim.
pub const MAX_DOCUMENTS: usize = 1024;

/// The place where an image was stopped to be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Gate {
    /// Before containerd fetches anything.
    Pull,
    /// Before a layer is extracted or a snapshot of an image is made.
    Unpack,
    /// Before a container is created.
    Run,
    /// A person or a tool asks; nothing is enforced by the answer.
    Ask,
}

impl Gate {
    /// `pull`, `unpack`, `run` or `ask`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Unpack => "unpack",
            Self::Run => "run",
            Self::Ask => "ask",
        }
    }
}

/// A containerd namespace: 1 to 76 characters of letters, digits, `-`, `_`, `.`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Namespace(String);

impl Namespace {
    /// Stands where containerd does not tell a gate which namespace it is about: `-`, which is no legal name of containerd's own
    /// (its names begin with a letter or digit).
    #[must_use]
    pub fn untold() -> Self {
        Self("-".to_owned())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Namespace {
    type Err = RequestError;

    fn from_str(text: &str) -> Result<Self, RequestError> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if (1..=76).contains(&text.len()) && text.bytes().all(legal) && !text.starts_with('.') {
            Ok(Self(text.to_owned()))
        } else {
            Err(RequestError::Namespace)
        }
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A stored document: its media type and bytes. Its digest is computed here, never taken from anyone.
#[derive(Clone, PartialEq, Eq)]
pub struct Document {
    media_type: MediaType,
    digest: Digest,
    bytes: Vec<u8>,
}

impl Document {
    /// Hashes `bytes` (SHA-256) and keeps them.
    ///
    /// # Errors
    /// [`RequestError::DocumentSize`] if there are more than [`MAX_DOCUMENT_BYTES`].
    pub fn new(media_type: MediaType, bytes: Vec<u8>) -> Result<Self, RequestError> {
        if bytes.len() > MAX_DOCUMENT_BYTES {
            return Err(RequestError::DocumentSize(bytes.len()));
        }
        Ok(Self { media_type, digest: Digest::sha256(&bytes), bytes })
    }

    /// The media type under which it is stored.
    #[must_use]
    pub const fn media_type(&self) -> &MediaType {
        &self.media_type
    }

    /// The SHA-256 digest of the bytes.
    #[must_use]
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Media type, digest and size.
    #[must_use]
    pub fn descriptor(&self) -> Descriptor {
        Descriptor {
            media_type: self.media_type.clone(),
            digest: self.digest,
            size: u64::try_from(self.bytes.len()).unwrap_or(u64::MAX),
        }
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Document({} {} {} bytes)", self.media_type, self.digest, self.bytes.len())
    }
}

/// Documents by their digest.
pub type Documents = BTreeMap<Digest, Document>;

/// The claim that a manifest is an image the chain may belong to. Digests point into the request's documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageClaim {
    /// The platform manifest.
    pub manifest: Digest,
    /// The config that it is said to name.
    pub config: Digest,
    /// Indexes that are said to contain the manifest.
    pub indexes: Vec<Digest>,
    /// Names under which the manifest or one of the indexes is known. May be empty (an import).
    pub names: Vec<CandidateName>,
}

/// What is about to be done with a layer chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Purpose {
    /// A layer is about to be extracted for it. Whose blob that is, containerd does not say, and it compares the diff id only
    /// afterwards.
    Extraction,
    /// Something is about to be made on layers that are there. They got the chain's name only after their diff ids were
    /// compared, so that it does not matter any more whose blobs they were.
    Use,
}

impl Purpose {
    /// `extraction` or `use`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Extraction => "extraction",
            Self::Use => "use",
        }
    }
}

/// How much is done for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Thoroughness {
    /// Whatever there is time for.
    Full,
    /// Only what the agent keeps is looked at. An admission counts as any other; a refusal only means that the gate has to
    /// ask about other images or in full, and is not recorded.
    Glance,
}

/// What is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A layer chain (OCI image-spec config.md "Layer ChainID") and every image on the node that is said to contain it.
    Chain {
        /// The chain id.
        chain: Digest,
        /// What for.
        purpose: Purpose,
        /// The images, the likeliest to be the one in question first. An empty list is refused as an unknown chain.
        images: Vec<ImageClaim>,
        /// Further images that contain the chain, too many for their documents to be sent. The gate has found that each of
        /// them names the same blobs, under the same media types, as any other image of this question, for every chain that
        /// the two share. None of them can be admitted by signatures.
        alike: Vec<ImageClaim>,
    },
    /// An image by name. Without a digest in `top` or in the name, the tag is resolved by the agent.
    Image {
        /// The name that was asked for.
        name: CandidateName,
        /// The index or manifest the name led to, if known.
        top: Option<Digest>,
    },
}

/// A request for a verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdmissionRequest {
    gate: Gate,
    namespace: Namespace,
    platform: Platform,
    subject: Subject,
    documents: Documents,
    thoroughness: Thoroughness,
}

/// Why a request is refused before it is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Not a legal containerd namespace.
    #[error("namespace is not 1 to 76 letters, digits, dashes, underscores and dots")]
    Namespace,
    /// A document is larger than [`MAX_DOCUMENT_BYTES`].
    #[error("document has {0} bytes, at most {MAX_DOCUMENT_BYTES} are looked at")]
    DocumentSize(usize),
    /// More than [`MAX_DOCUMENTS`] documents.
    #[error("{0} documents, at most {MAX_DOCUMENTS} are looked at")]
    Documents(usize),
    /// More than [`MAX_CLAIMS`] images claim the chain.
    #[error("{0} images for one chain, at most {MAX_CLAIMS} are looked at")]
    Claims(usize),
    /// More than [`MAX_ALIKE`] further images have the chain.
    #[error("{0} further images for one chain, at most {MAX_ALIKE} are looked at")]
    Alike(usize),
    /// More than [`MAX_NAMES`] names for one image.
    #[error("{0} names for one image, at most {MAX_NAMES} are looked at")]
    Names(usize),
}

impl RequestError {
    /// Whether a cap was reached, rather than something being ill-formed.
    #[must_use]
    pub const fn is_limit(self) -> bool {
        match self {
            Self::Namespace => false,
            Self::DocumentSize(_) | Self::Documents(_) | Self::Claims(_) | Self::Alike(_) | Self::Names(_) => true,
        }
    }
}

impl AdmissionRequest {
    /// Checks the caps and keeps each image's indexes and names in one order. Asks for a full answer.
    ///
    /// # Errors
    /// [`RequestError`] naming the cap that was exceeded.
    pub fn new(
        gate: Gate,
        namespace: Namespace,
        platform: Platform,
        mut subject: Subject,
        documents: Documents,
    ) -> Result<Self, RequestError> {
        if documents.len() > MAX_DOCUMENTS {
            return Err(RequestError::Documents(documents.len()));
        }
        if let Subject::Chain { images, alike, .. } = &mut subject {
            if images.len() > MAX_CLAIMS {
                return Err(RequestError::Claims(images.len()));
            }
            if alike.len() > MAX_ALIKE {
                return Err(RequestError::Alike(alike.len()));
            }
            for image in images.iter_mut().chain(alike) {
                image.indexes.sort_unstable();
                image.indexes.dedup();
                image.names.sort_unstable();
                image.names.dedup();
                if image.names.len() > MAX_NAMES {
                    return Err(RequestError::Names(image.names.len()));
                }
            }
        }
        Ok(Self { gate, namespace, platform, subject, documents, thoroughness: Thoroughness::Full })
    }

    /// The same question, to be answered with this thoroughness.
    #[must_use]
    pub fn with_thoroughness(self, thoroughness: Thoroughness) -> Self {
        Self { thoroughness, ..self }
    }

    /// How much is to be done for the answer.
    #[must_use]
    pub const fn thoroughness(&self) -> Thoroughness {
        self.thoroughness
    }

    /// The gate that asks.
    #[must_use]
    pub const fn gate(&self) -> Gate {
        self.gate
    }

    /// The containerd namespace.
    #[must_use]
    pub const fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// The platform the image is to run on.
    #[must_use]
    pub const fn platform(&self) -> &Platform {
        &self.platform
    }

    /// What is asked about.
    #[must_use]
    pub const fn subject(&self) -> &Subject {
        &self.subject
    }

    /// The documents the gate had.
    #[must_use]
    pub const fn documents(&self) -> &Documents {
        &self.documents
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn chain(claims: usize, alike: usize, names: usize) -> Result<AdmissionRequest, RequestError> {
        let name = |n: usize| CandidateName {
            reference: format!("r.example/a:{n}").parse().unwrap(),
            source: crate::NameSource::ImageRecord,
        };
        let claim = ImageClaim {
            manifest: Digest::sha256(b"m"),
            config: Digest::sha256(b"c"),
            indexes: vec![],
            names: (0..names).map(name).collect(),
        };
        AdmissionRequest::new(
            Gate::Unpack,
            "default".parse().unwrap(),
            Platform::host(),
            Subject::Chain {
                chain: Digest::sha256(b"x"),
                purpose: Purpose::Use,
                images: vec![claim.clone(); claims],
                alike: vec![claim; alike],
            },
            Documents::new(),
        )
    }

    #[test]
    fn a_request_at_its_caps_is_taken_and_one_past_them_is_refused() {
        assert!(chain(MAX_CLAIMS, 1, MAX_NAMES).is_ok());
        assert!(chain(1, MAX_ALIKE, 1).is_ok());
        assert_eq!(chain(MAX_CLAIMS + 1, 0, 1).err(), Some(RequestError::Claims(MAX_CLAIMS + 1)));
        assert_eq!(chain(1, MAX_ALIKE + 1, 1).err(), Some(RequestError::Alike(MAX_ALIKE + 1)));
        assert_eq!(chain(1, 0, MAX_NAMES + 1).err(), Some(RequestError::Names(MAX_NAMES + 1)));
        assert_eq!(chain(0, 1, MAX_NAMES + 1).err(), Some(RequestError::Names(MAX_NAMES + 1)));
    }

    #[test]
    fn a_document_at_the_cap_is_taken_and_one_byte_more_is_refused() {
        let json = MediaType::new("application/json").unwrap();
        assert!(Document::new(json.clone(), vec![0; MAX_DOCUMENT_BYTES]).is_ok());
        let size = MAX_DOCUMENT_BYTES + 1;
        assert_eq!(Document::new(json, vec![0; size]).err(), Some(RequestError::DocumentSize(size)));
    }

    #[test]
    fn namespaces_that_could_leave_a_path_are_refused() {
        for bad in ["", "..", "a/b", "a\0", "x".repeat(77).as_str()] {
            assert_eq!(bad.parse::<Namespace>(), Err(RequestError::Namespace), "{bad:?}");
        }
    }
}
