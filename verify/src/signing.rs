//! The bytes of a signature that is about to be made, and of the envelope once it is made. No key is used here: what to sign goes
//! out, the raw signature comes in.

pub mod cosign_bundle;
pub mod notation_cose;

pub use crate::notation::Algorithm;

use crate::der::{integer, tlv};

/// An ECDSA signature in DER (`ECDSA-Sig-Value`, RFC 3279 §2.2.3) from r and s of equal length, as PKCS#11 tokens give them.
/// `None` if the length is odd or zero, or is not one of a curve up to P-521.
#[must_use]
pub fn ecdsa_der_of_raw(raw: &[u8]) -> Option<Vec<u8>> {
    if raw.is_empty() || !raw.len().is_multiple_of(2) || raw.len() > 132 {
        return None;
    }
    let (r, s) = raw.split_at(raw.len() / 2);
    Some(tlv(0x30, &[tlv(0x02, &integer(r)), tlv(0x02, &integer(s))].concat()))
}

#[cfg(test)]
mod tests;
