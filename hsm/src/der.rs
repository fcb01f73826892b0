//! The few DER structures a token's answers need: SubjectPublicKeyInfo from PKCS#11 attributes, and an ECDSA
//! signature from r and s. Writes only; reads nothing but the token's OCTET STRING around a point.

use crate::key::KeyKind;

/// Why two numbers are no ECDSA signature.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EcdsaSignatureError {
    /// Not the length of a P-256 (64) or P-384 (96) signature.
    #[error("raw ECDSA signature has {length} bytes instead of 64 or 96")]
    Length {
        /// Bytes given.
        length: usize,
    },
    /// r or s is zero, which no signer produces.
    #[error("raw ECDSA signature has a zero half")]
    Zero,
}

/// Converts the token's r and s, of equal length, into a DER `ECDSA-Sig-Value` (RFC 3279 §2.2.3).
///
/// # Errors
/// When the length is not that of P-256 or P-384, or a half is zero.
pub fn ecdsa_raw_to_der(raw: &[u8]) -> Result<Vec<u8>, EcdsaSignatureError> {
    if raw.len() != 64 && raw.len() != 96 {
        return Err(EcdsaSignatureError::Length { length: raw.len() });
    }
    let (r, s) = raw.split_at(raw.len() / 2);
    if r.iter().all(|byte| *byte == 0) || s.iter().all(|byte| *byte == 0) {
        return Err(EcdsaSignatureError::Zero);
    }
    Ok(element(SEQUENCE, &[integer(r), integer(s)].concat()))
}

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const SEQUENCE: u8 = 0x30;

/// id-ecPublicKey, 1.2.840.10045.2.1.
const EC_PUBLIC_KEY: &[u8] = &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
/// secp256r1, 1.2.840.10045.3.1.7: the value of CKA_EC_PARAMS.
pub(crate) const P256_PARAMS: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// secp384r1, 1.3.132.0.34.
pub(crate) const P384_PARAMS: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
/// id-Ed25519, 1.3.101.112 (RFC 8410 §3).
pub(crate) const ED25519_PARAMS: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];
/// The PrintableString "edwards25519", PKCS#11 3.0 §2.3.10.
pub(crate) const ED25519_CURVE_NAME: &[u8] = b"\x13\x0cedwards25519";
/// rsaEncryption with its NULL, RFC 3279 §2.3.1.
const RSA_ALGORITHM: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];

/// The kind of an elliptic-curve key by its CKA_EC_PARAMS, or `None` for a curve that is not served.
pub(crate) fn curve_of(params: &[u8]) -> Option<KeyKind> {
    if params == P256_PARAMS {
        Some(KeyKind::P256)
    } else if params == P384_PARAMS {
        Some(KeyKind::P384)
    } else if params == ED25519_PARAMS || params == ED25519_CURVE_NAME {
        Some(KeyKind::Ed25519)
    } else {
        None
    }
}

/// SubjectPublicKeyInfo of a curve's point as the token gives it (CKA_EC_POINT), or `None` if it is no such point.
pub(crate) fn curve_spki(kind: KeyKind, point: &[u8]) -> Option<Vec<u8>> {
    let (algorithm, length) = match kind {
        KeyKind::P256 => ([EC_PUBLIC_KEY, P256_PARAMS].concat(), 65),
        KeyKind::P384 => ([EC_PUBLIC_KEY, P384_PARAMS].concat(), 97),
        KeyKind::Ed25519 => (ED25519_PARAMS.to_vec(), 32),
        KeyKind::Rsa { .. } => return None,
    };
    let point = unwrap_point(point, length)?;
    // RFC 5480 §2.2: 4 marks an uncompressed point; the other forms are not accepted by every verifier.
    if kind != KeyKind::Ed25519 && point.first() != Some(&4) {
        return None;
    }
    Some(spki(&algorithm, point))
}

/// SubjectPublicKeyInfo of an RSA key, or `None` when a number is empty or zero.
pub(crate) fn rsa_spki(modulus: &[u8], exponent: &[u8]) -> Option<Vec<u8>> {
    if modulus.iter().all(|byte| *byte == 0) || exponent.iter().all(|byte| *byte == 0) {
        return None;
    }
    let key = element(SEQUENCE, &[integer(modulus), integer(exponent)].concat());
    Some(spki(RSA_ALGORITHM, &key))
}

/// Bits of an RSA modulus, or `None` when it is empty or absurdly long.
pub(crate) fn modulus_bits(modulus: &[u8]) -> Option<u32> {
    let significant = without_leading_zeros(modulus);
    let first = significant.first()?;
    u32::try_from(significant.len()).ok()?.checked_mul(8)?.checked_sub(first.leading_zeros())
}

/// PKCS#11 2.40 §2.3.3 wraps the point in an OCTET STRING; some modules give it bare. The length tells, since a
/// bare point's first byte looks like the OCTET STRING's tag.
fn unwrap_point(point: &[u8], length: usize) -> Option<&[u8]> {
    if point.len() == length {
        return Some(point);
    }
    match point.split_first_chunk::<2>() {
        Some(([OCTET_STRING, said], rest)) if usize::from(*said) == length && rest.len() == length => Some(rest),
        _ => None,
    }
}

fn spki(algorithm: &[u8], key: &[u8]) -> Vec<u8> {
    let bits = [&[0], key].concat();
    element(SEQUENCE, &[element(SEQUENCE, algorithm), element(BIT_STRING, &bits)].concat())
}

/// An unsigned number: no needless leading zero, and one where the top bit would make it negative.
fn integer(number: &[u8]) -> Vec<u8> {
    let number = without_leading_zeros(number);
    match number.first() {
        None => element(INTEGER, &[0]),
        Some(first) if *first >= 0x80 => element(INTEGER, &[&[0], number].concat()),
        Some(_) => element(INTEGER, number),
    }
}

fn without_leading_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut element = vec![tag];
    match u8::try_from(content.len()) {
        Ok(short) if short < 0x80 => element.push(short),
        _ => {
            let length = content.len().to_be_bytes();
            let length = without_leading_zeros(&length);
            let count = u8::try_from(length.len()).expect("a length has at most eight bytes");
            element.push(0x80 | count);
            element.extend_from_slice(length);
        }
    }
    element.extend_from_slice(content);
    element
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
    };

    use super::{EcdsaSignatureError, curve_spki, ecdsa_raw_to_der, element, modulus_bits};
    use crate::key::KeyKind;

    #[test]
    fn raw_signatures_become_der_that_another_library_accepts() {
        let random = aws_lc_rs::rand::SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref()).unwrap();
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, pair.public_key().as_ref());
        // Often enough to meet halves with a high bit and with leading zeros.
        for _ in 0..600 {
            let raw = pair.sign(&random, b"message").unwrap();
            public.verify(b"message", &ecdsa_raw_to_der(raw.as_ref()).unwrap()).unwrap();
        }
    }

    #[test]
    fn raw_signatures_of_another_length_or_with_a_zero_half_are_refused() {
        assert_eq!(ecdsa_raw_to_der(&[1; 63]), Err(EcdsaSignatureError::Length { length: 63 }));
        assert_eq!(ecdsa_raw_to_der(&[0; 64]), Err(EcdsaSignatureError::Zero));
        let mut half = [1; 64];
        half[32..].fill(0);
        assert_eq!(ecdsa_raw_to_der(&half), Err(EcdsaSignatureError::Zero));
    }

    #[test]
    fn a_point_is_taken_bare_or_wrapped_and_nothing_else() {
        let mut point = [7; 65];
        point[0] = 4;
        // Looks like an OCTET STRING of 63 bytes.
        point[1] = 63;
        let wrapped = element(0x04, &point);
        let spki = curve_spki(KeyKind::P256, &point).unwrap();
        assert_eq!(spki.len(), 91);
        assert_eq!(curve_spki(KeyKind::P256, &wrapped), Some(spki));
        assert_eq!(curve_spki(KeyKind::P256, &wrapped[..66]), None);
        assert_eq!(curve_spki(KeyKind::P384, &wrapped), None);
        point[0] = 2;
        assert_eq!(curve_spki(KeyKind::P256, &point), None);
    }

    #[test]
    fn modulus_bits_count_from_the_first_one() {
        assert_eq!(modulus_bits(&[0, 0x80, 0]), Some(16));
        assert_eq!(modulus_bits(&[0x01, 0]), Some(9));
        assert_eq!(modulus_bits(&[]), None);
    }
}
