//! The hashes that time-stamps and OCSP answers name by object identifier.

use aws_lc_rs::digest::{self, Digest};
use der::asn1::ObjectIdentifier;

const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
const SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2");
const SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.3");
const SHA1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");

/// The SHA-2 hash of `data` by the algorithm `oid`; `None` for every other algorithm, SHA-1 among them.
pub(super) fn sha2(oid: &ObjectIdentifier, data: &[u8]) -> Option<Digest> {
    match *oid {
        SHA256 => Some(digest::digest(&digest::SHA256, data)),
        SHA384 => Some(digest::digest(&digest::SHA384, data)),
        SHA512 => Some(digest::digest(&digest::SHA512, data)),
        _ => None,
    }
}

/// The hash of `data` where it only looks something up and protects nothing: SHA-1 too (RFC 6960 §4.3, RFC 5280 §4.2.1.2).
pub(super) fn index(oid: &ObjectIdentifier, data: &[u8]) -> Option<Digest> {
    if *oid == SHA1 { Some(sha1(data)) } else { sha2(oid, data) }
}

pub(super) fn sha1(data: &[u8]) -> Digest {
    digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, data)
}

/// The object identifier of SHA-256: the default where a structure names no hash (RFC 5035 §3).
pub(super) const DEFAULT: ObjectIdentifier = SHA256;

/// RSASSA-PKCS1-v1_5 with the hash `oid` (RFC 8017 §A.2.4), for those who name the key's algorithm and the hash apart.
pub(super) fn rsa_with(oid: &ObjectIdentifier) -> Option<ObjectIdentifier> {
    match *oid {
        SHA256 => Some(ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11")),
        SHA384 => Some(ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.12")),
        SHA512 => Some(ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.13")),
        _ => None,
    }
}
