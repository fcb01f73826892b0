//! Whom the policy trusts, as parsed keys and certificates: the only place where a verifier takes keys from.

use std::{collections::BTreeMap, fmt, str::FromStr};

pub use certificate::{Anchors, Certificate, CertificateStore, StoreError, TimestampRule, TrustedIdentities};
pub use identity::{IdentityPattern, TextPattern, TextPatternError};
pub(crate) use key::RSA_PKCS1_SHA256;
pub use key::{KeyError, PublicKey, PublicKeyKind};
pub(crate) use root::{Authority, Log};
pub use root::{LogRule, RootError, RootMember, SigstoreRoot};

mod certificate;
mod identity;
mod key;
mod root;

/// A name in a policy: 1 to 64 characters of letters, digits, `.`, `_`, `-`, starting with a letter or digit.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SignerName(String);

/// The text is no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a name is 1 to 64 letters, digits, '.', '_' and '-', and starts with a letter or digit")]
pub struct SignerNameError;

impl SignerName {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SignerName {
    type Err = SignerNameError;

    fn from_str(text: &str) -> Result<Self, SignerNameError> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let starts_well = text.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric);
        if starts_well && text.len() <= 64 && text.bytes().all(legal) {
            Ok(Self(text.to_owned()))
        } else {
            Err(SignerNameError)
        }
    }
}

impl fmt::Display for SignerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Everything that is trusted, by name. Empty trusts nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// Keys for cosign's formats.
    pub keys: BTreeMap<SignerName, PublicKey>,
    /// Certificate stores for Notary Project formats.
    pub certificates: BTreeMap<SignerName, CertificateStore>,
    /// Sigstore roots for keyless signatures in cosign's formats.
    pub sigstore: BTreeMap<SignerName, SigstoreRoot>,
    /// Keys whose signatures count only if the logs of a root have them: the key's name, and the root's.
    pub logged_keys: BTreeMap<SignerName, SignerName>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_a_line_or_a_path_are_refused() {
        assert_eq!("ci-release.2".parse::<SignerName>().map(|name| name.to_string()), Ok("ci-release.2".to_owned()));
        for bad in ["", ".", "..", "-a", "a b", "a/b", "a\n", "\u{e4}", "a".repeat(65).as_str()] {
            assert_eq!(bad.parse::<SignerName>(), Err(SignerNameError), "{bad:?}");
        }
    }
}
