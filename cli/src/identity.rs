//! Who must have signed without a key of their own: the flags that cosign has for it, as a root of trust and a pattern. No agent is asked.

use std::path::{Path, PathBuf};

use assay_verify::{IdentityPattern, LogRule, SigstoreRoot, TextPattern, TextPatternError};
use clap::Args;

use crate::{
    bounded_file,
    failure::{Exit, Failure},
};

/// Largest root of trust that is read; the public one has a hundredth of it.
const MAX_ROOT_BYTES: u64 = 1 << 20;

/// Whose keyless signatures count.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct IdentityArgs {
    /// Who must have signed: the identity in the certificate, an e-mail address or a workflow's URI
    #[arg(long, value_name = "IDENTITY", requires = "trusted_root", conflicts_with = "certificate_identity_regexp")]
    certificate_identity: Option<String>,
    /// The same as a regular expression, which has to match all of the identity
    #[arg(long, value_name = "REGEXP", requires = "trusted_root")]
    certificate_identity_regexp: Option<String>,
    /// Who must have vouched for the identity: the issuer of its token
    #[arg(long, value_name = "URL", conflicts_with = "certificate_oidc_issuer_regexp")]
    certificate_oidc_issuer: Option<String>,
    /// The same as a regular expression, which has to match all of the issuer
    #[arg(long, value_name = "REGEXP")]
    certificate_oidc_issuer_regexp: Option<String>,
    /// The Sigstore root of trust: a trusted_root.json. With --key: the logs in which the signature must stand
    #[arg(long, value_name = "FILE")]
    trusted_root: Option<PathBuf>,
    /// Do not ask for an entry in a transparency log: for a CA of one's own, where a time-stamp alone says when. Entries that are
    /// there have to hold all the same
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    insecure_ignore_tlog: bool,
}

/// What the flags ask for.
#[derive(Debug)]
pub(crate) enum Asked {
    /// Nothing about identities.
    Nothing,
    /// Just the root's logs.
    Root(SigstoreRoot),
    /// An identity that the root vouches for.
    Identity(SigstoreRoot, IdentityPattern),
}

impl IdentityArgs {
    /// Reads the root and the patterns.
    ///
    /// # Errors
    /// Exit code 2 if the flags do not go together; others if the root cannot be read.
    pub(crate) fn read(&self) -> Result<Asked, Failure> {
        let identity = pattern(
            "--certificate-identity",
            self.certificate_identity.as_deref(),
            self.certificate_identity_regexp.as_deref(),
        )?;
        let issuer = pattern(
            "--certificate-oidc-issuer",
            self.certificate_oidc_issuer.as_deref(),
            self.certificate_oidc_issuer_regexp.as_deref(),
        )?;
        let root = self.trusted_root.as_deref().map(root).transpose()?;
        let root = match root {
            Some(root) if self.insecure_ignore_tlog => Some(root.requiring_logs(LogRule::InsecureNone)),
            root => root,
        };
        match (identity, issuer, root) {
            (None, None, None) => Ok(Asked::Nothing),
            (None, None, Some(root)) => Ok(Asked::Root(root)),
            (Some(identity), Some(issuer), Some(root)) => {
                Ok(Asked::Identity(root, IdentityPattern::new(identity, issuer)))
            }
            (None, _, _) | (_, None, _) | (_, _, None) => Err(Failure::new(
                "USAGE",
                "an identity is worth what its issuer is, and both need a root of trust",
                "give --certificate-identity, --certificate-oidc-issuer (or their -regexp forms) and --trusted-root",
            )
            .exits(Exit::Usage)),
        }
    }
}

fn pattern(flag: &str, exact: Option<&str>, regexp: Option<&str>) -> Result<Option<TextPattern>, Failure> {
    let failed = |suffix: &str, remedy: &str, error: TextPatternError| {
        Failure::new("USAGE", format!("failed to read {flag}{suffix}: {error}"), remedy).exits(Exit::Usage)
    };
    match (exact, regexp) {
        (None, None) => Ok(None),
        (Some(exact), _) => {
            TextPattern::exact(exact).map(Some).map_err(|error| failed("", "give the text itself", error))
        }
        (None, Some(source)) => TextPattern::regex(source).map(Some).map_err(|error| {
            failed("-regexp", "give a regular expression that matches all of it, and quote it for the shell", error)
        }),
    }
}

fn root(path: &Path) -> Result<SigstoreRoot, Failure> {
    let bytes =
        bounded_file::read(path, MAX_ROOT_BYTES).map_err(|error| Failure::io("read the trusted root", path, &error))?;
    SigstoreRoot::from_json(&bytes).map_err(|error| {
        Failure::new(
            "TRUSTED_ROOT",
            format!("failed to read the trusted root {}: {error}", path.display()),
            "give a trusted_root.json of version 0.1 or 0.2, as `cosign trusted-root create` writes it",
        )
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const ROOT: &str = r#"{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1","tlogs":[{"baseUrl":"x","hashAlgorithm":"SHA2_256","publicKey":{"rawBytes":"MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEYI4heOTrNrZO27elFE8ynfrdPMikttRkbe+vJKQ50G6bfwQ3WyhLpRwwwohelDAm8xRzJ56nYsIa3VHivVvpmA==","keyDetails":"PKIX_ECDSA_P256_SHA_256"},"logId":{"keyId":"AAAAAAAAAAA="}}]}"#;

    #[test]
    fn an_identity_needs_its_issuer_and_a_root() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("root.json");
        std::fs::write(&file, ROOT).unwrap();
        let asked = |identity: Option<&str>, issuer: Option<&str>, root: bool| {
            IdentityArgs {
                certificate_identity: identity.map(str::to_owned),
                certificate_oidc_issuer: issuer.map(str::to_owned),
                trusted_root: root.then(|| file.clone()),
                ..IdentityArgs::default()
            }
            .read()
        };
        assert!(matches!(asked(Some("a"), Some("b"), true), Ok(Asked::Identity(..))));
        assert!(matches!(asked(None, None, true), Ok(Asked::Root(_))));
        assert!(matches!(asked(None, None, false), Ok(Asked::Nothing)));
        for (identity, issuer, root) in [
            (Some("a"), None, true),
            (None, Some("b"), true),
            (Some("a"), Some("b"), false),
            (Some(""), Some("b"), true),
        ] {
            assert_eq!(asked(identity, issuer, root).unwrap_err().exit, Exit::Usage, "{identity:?} {issuer:?} {root}");
        }
        let bad = IdentityArgs { certificate_identity_regexp: Some("(".to_owned()), ..IdentityArgs::default() };
        assert_eq!(bad.read().unwrap_err().exit, Exit::Usage);
    }

    #[test]
    fn a_root_that_is_none_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("root.json");
        std::fs::write(&file, "{}").unwrap();
        let arguments = IdentityArgs { trusted_root: Some(file), ..IdentityArgs::default() };
        let failure = arguments.read().unwrap_err();
        assert_eq!(failure.code, "TRUSTED_ROOT");
        assert!(failure.message.contains("mediaType"), "{}", failure.message);
    }
}
