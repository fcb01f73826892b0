//! Content digests (OCI image-spec, descriptor.md "Digests"): `sha256:` or `sha512:` with lower-case hex, nothing else.

use std::{fmt, str::FromStr};

use sha2::{Digest as _, Sha256, Sha512};

/// A content digest. Only registered algorithms and their exact lengths exist; the text form is safe as a file name part.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(Inner);

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Inner {
    Sha256([u8; 32]),
    Sha512([u8; 64]),
}

impl Digest {
    /// The SHA-256 digest of `bytes`.
    #[must_use]
    pub fn sha256(bytes: &[u8]) -> Self {
        Self(Inner::Sha256(Sha256::digest(bytes).into()))
    }

    /// The digest that has this SHA-256 value.
    #[must_use]
    pub const fn from_sha256(value: [u8; 32]) -> Self {
        Self(Inner::Sha256(value))
    }

    /// Whether `bytes` hash to this digest, under this digest's own algorithm.
    #[must_use]
    pub fn matches(&self, bytes: &[u8]) -> bool {
        match &self.0 {
            Inner::Sha256(value) => Sha256::digest(bytes).as_slice() == value,
            Inner::Sha512(value) => Sha512::digest(bytes).as_slice() == value,
        }
    }

    /// `sha256` or `sha512`.
    #[must_use]
    pub const fn algorithm(&self) -> &'static str {
        match self.0 {
            Inner::Sha256(_) => "sha256",
            Inner::Sha512(_) => "sha512",
        }
    }

    /// The raw hash value, 32 or 64 bytes.
    #[must_use]
    pub const fn value(&self) -> &[u8] {
        match &self.0 {
            Inner::Sha256(value) => value,
            Inner::Sha512(value) => value,
        }
    }

    /// The hash value in lower-case hex: 64 or 128 characters of `0-9a-f`.
    #[must_use]
    pub fn hex(&self) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        self.value()
            .iter()
            .flat_map(|byte| [byte >> 4, byte & 15])
            .filter_map(|nibble| DIGITS.get(usize::from(nibble)).copied().map(char::from))
            .collect()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm(), self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is no digest. The text itself is not repeated: it may be hostile and long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// There is no `:` between algorithm and value.
    #[error("digest has no algorithm before a colon")]
    NoAlgorithm,
    /// The algorithm is neither `sha256` nor `sha512`.
    #[error("digest algorithm is neither sha256 nor sha512")]
    UnknownAlgorithm,
    /// The value has the wrong number of characters.
    #[error("digest value has {found} characters, {expected} are needed")]
    Length {
        /// How many characters the algorithm's value has.
        expected: usize,
        /// How many were there.
        found: usize,
    },
    /// The value has a character that is not one of `0-9a-f`.
    #[error("digest value is not lower-case hex")]
    NotLowerHex,
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let (algorithm, value) = text.split_once(':').ok_or(DigestError::NoAlgorithm)?;
        match algorithm {
            "sha256" => Ok(Self(Inner::Sha256(parse_hex(value)?))),
            "sha512" => Ok(Self(Inner::Sha512(parse_hex(value)?))),
            _ => Err(DigestError::UnknownAlgorithm),
        }
    }
}

fn parse_hex<const N: usize>(text: &str) -> Result<[u8; N], DigestError> {
    let mut value = [0; N];
    if text.len() != N * 2 {
        return Err(DigestError::Length { expected: N * 2, found: text.len() });
    }
    for (byte, pair) in value.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let &[high, low] = pair else { return Err(DigestError::NotLowerHex) };
        *byte = nibble(high)? << 4 | nibble(low)?;
    }
    Ok(value)
}

const fn nibble(character: u8) -> Result<u8, DigestError> {
    match character {
        b'0'..=b'9' => Ok(character - b'0'),
        b'a'..=b'f' => Ok(character - b'a' + 10),
        _ => Err(DigestError::NotLowerHex),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn a_digest_of_bytes_matches_them_and_not_their_changed_twin() {
        let digest = Digest::sha256(b"");
        assert_eq!(digest.to_string(), EMPTY);
        assert!(digest.matches(b""));
        assert!(!digest.matches(b"\0"));
    }

    #[test]
    fn anything_but_registered_algorithm_and_exact_lower_hex_is_refused() {
        for (text, why) in [
            ("sha256", DigestError::NoAlgorithm),
            ("md5:d41d8cd98f00b204e9800998ecf8427e", DigestError::UnknownAlgorithm),
            ("SHA256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", DigestError::UnknownAlgorithm),
            ("sha256:../x", DigestError::Length { expected: 64, found: 4 }),
            (&EMPTY[..70], DigestError::Length { expected: 64, found: 63 }),
            ("sha256:E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855", DigestError::NotLowerHex),
            ("sha256:../../../../../../../../../../../../../../../../../../../../etc/", DigestError::NotLowerHex),
        ] {
            assert_eq!(text.parse::<Digest>(), Err(why), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_digest_survives_its_text(value in any::<[u8; 32]>()) {
            let digest = Digest::from_sha256(value);
            prop_assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,90}") {
            let _ = text.parse::<Digest>();
        }
    }
}
