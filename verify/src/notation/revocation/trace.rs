//! What a look at certificates' revocation leaves behind for those who collect and keep evidence: where an unknown status can be looked
//! up, and which lists and answers are proved to be their issuers'. Decides nothing.

use assay_admission::{Digest, UnixTime};

use super::{Pair, sources::Sources};
use crate::{
    der::tlv,
    limits::{MAX_OCSP_ANSWERS, MAX_REVOCATION_LISTS},
    notation::hash,
};

/// `AlgorithmIdentifier` of SHA-1, by which certificates are named in OCSP (RFC 6960 §4.1.1): an index, no proof.
const SHA1: &[u8] = b"\x30\x09\x06\x05\x2b\x0e\x03\x02\x1a\x05\x00";

/// Where a certificate says that its status can be looked up.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RevocationSource {
    /// A distribution point: the addresses of one list, any of which will do.
    List {
        /// The addresses.
        urls: Vec<String>,
    },
    /// An OCSP responder.
    Responder {
        /// Its address.
        url: String,
        /// What to ask it: an `OCSPRequest` (RFC 6960 §4.1.1) in DER, without a nonce.
        request: Vec<u8>,
    },
}

/// A list or answer that is proved to be its issuer's. Of what is about the same, only the newest counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenAnswer {
    /// Whose statement about what it is: the same for an earlier and a later one.
    pub about: Digest,
    /// When it was made (`thisUpdate`).
    pub made: UnixTime,
    /// SHA-256 of its DER.
    pub content: Digest,
    /// Where such a one comes from.
    pub source: SeenAt,
}

/// The place under which a list or answer is found again.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SeenAt {
    /// A list, by its address.
    List(String),
    /// An answer, by the request that leads to it.
    Answer(Vec<u8>),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::notation) struct Trace {
    pub(in crate::notation) unknown: Vec<RevocationSource>,
    pub(in crate::notation) seen: Vec<SeenAnswer>,
}

impl Trace {
    pub(super) fn lacks(&mut self, source: RevocationSource) {
        if self.unknown.len() < MAX_REVOCATION_LISTS && !self.unknown.contains(&source) {
            self.unknown.push(source);
        }
    }

    /// All that `sources` names for the pair's certificate.
    pub(super) fn lacks_all(&mut self, pair: Pair<'_>, sources: &Sources) {
        for url in &sources.responders {
            self.lacks(RevocationSource::Responder { url: url.clone(), request: request(pair) });
        }
        for point in &sources.points {
            self.lacks(RevocationSource::List { urls: point.urls.clone() });
        }
    }

    pub(super) fn saw(&mut self, seen: SeenAnswer) {
        if self.seen.len() < MAX_REVOCATION_LISTS + MAX_OCSP_ANSWERS && !self.seen.contains(&seen) {
            self.seen.push(seen);
        }
    }
}

/// What every list from `url` by the pair's issuer is about.
pub(super) fn about_list(pair: Pair<'_>, url: &str) -> Digest {
    about(&[b"list", pair.issuer_key.spki(), url.as_bytes()])
}

/// What every answer by the pair's issuer about its certificate is about.
pub(super) fn about_certificate(pair: Pair<'_>) -> Digest {
    about(&[b"certificate", pair.issuer_key.spki(), pair.certificate.parsed().raw_serial()])
}

/// Each part with its length before it, so that nothing can be moved between two.
fn about(parts: &[&[u8]]) -> Digest {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    Digest::sha256(&bytes)
}

/// An `OCSPRequest` about the pair's certificate alone, unsigned.
pub(super) fn request(pair: Pair<'_>) -> Vec<u8> {
    let issuer = pair.issuer.parsed();
    let octets = |data: &[u8]| tlv(0x04, hash::sha1(data).as_ref());
    let id = [
        SHA1.to_vec(),
        octets(issuer.subject().as_raw()),
        octets(&issuer.public_key().subject_public_key.data),
        tlv(0x02, pair.certificate.parsed().raw_serial()),
    ];
    // OCSPRequest, TBSRequest, requestList, Request: each has one member.
    (0..5).fold(id.concat(), |contents, _| tlv(0x30, &contents))
}
