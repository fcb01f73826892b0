//! Every cap of the verifier in one place, each with its reason. What goes past a cap is refused, never truncated.

/// Signature artifacts looked at for one image. Images of public projects have fewer than ten.
pub(crate) const MAX_ARTIFACTS: usize = 64;
/// Layers of one signature artifact. cosign's legacy `.sig` has a layer for each signer.
pub(crate) const MAX_BLOBS: usize = 64;
/// Signatures verified for one image, over all artifacts.
pub(crate) const MAX_SIGNATURES: usize = 64;
/// Certificates in one chain. Real chains have two to four.
pub(crate) const MAX_CHAIN: usize = 8;
/// Certificates in one store of the policy.
pub(crate) const MAX_STORE_CERTIFICATES: usize = 1024;
/// Bytes of a time-stamp token. Real ones, with their chain, have 3 to 8 KiB.
pub(crate) const MAX_TOKEN_BYTES: usize = 64 << 10;
/// Certificates in a time-stamp token or an OCSP answer. Real ones have one to four.
pub(crate) const MAX_SENT_CERTIFICATES: usize = 16;
/// Signatures tried to find the way from a time-stamping certificate to a root. A way has at most 7 steps.
pub(crate) const MAX_PATH_STEPS: usize = 32;
/// Signatures that webpki verifies at most to find one path, whatever the certificates are (its own constant).
pub(crate) const MAX_PATH_SIGNATURES: usize = 100;
/// Revocation lists for one image: a chain has one to two per certificate.
pub(crate) const MAX_REVOCATION_LISTS: usize = 64;
/// OCSP answers for one image.
pub(crate) const MAX_OCSP_ANSWERS: usize = 64;
/// Bytes of a revocation list: about 100,000 entries.
pub(crate) const MAX_LIST_BYTES: usize = 4 << 20;
/// Bytes of an OCSP answer. Real ones have 0.5 to 3 KiB.
pub(crate) const MAX_ANSWER_BYTES: usize = 64 << 10;
/// Statuses in one OCSP answer that are compared with a certificate. Real answers have one.
pub(crate) const MAX_OCSP_STATUSES: usize = 64;
/// Bytes of a Notary Project trust policy. Real ones have one to ten statements in a few KiB.
pub(crate) const MAX_POLICY_BYTES: usize = 1 << 20;
/// Statements of a Notary Project trust policy.
pub(crate) const MAX_STATEMENTS: usize = 1024;
/// Entries in each list of a Sigstore root of trust. The public one has three logs and two authorities.
pub(crate) const MAX_ROOT_ENTRIES: usize = 64;
/// Bytes of a file that are kept beside its digests, for keys that sign no digest (Ed25519).
pub(crate) const MAX_WHOLE_BLOB: usize = 32 << 20;
/// Log entries in one bundle. Real ones have one, with several logs as many as there are logs.
pub(crate) const MAX_LOG_ENTRIES: usize = 32;
/// RFC 3161 time-stamps in one bundle. Real ones have none to two.
pub(crate) const MAX_TIMESTAMPS: usize = 32;
/// Hashes in an inclusion proof: a tree of 2^64 leaves has paths of 64.
pub(crate) const MAX_PROOF_HASHES: usize = 64;
/// Signatures under a checkpoint: the log's own and those of its witnesses.
pub(crate) const MAX_CHECKPOINT_LINES: usize = 32;
/// Certificate transparency time-stamps in one certificate. Fulcio embeds one.
pub(crate) const MAX_SCTS: usize = 16;
/// Bytes of an identity or an issuer in a certificate. The longest of continuous integration have about 300.
pub(crate) const MAX_IDENTITY: usize = 2048;
/// Bytes of a pattern for identities.
pub(crate) const MAX_PATTERN: usize = 2048;
/// Bytes of a compiled pattern: matching costs its size times the length of the text.
pub(crate) const MAX_PATTERN_PROGRAM: usize = 256 << 10;
/// Bytes of a TUF root. Those of public repositories have 5 to 10 KiB.
pub(crate) const MAX_TUF_ROOT_BYTES: usize = 512 << 10;
/// Bytes of a TUF timestamp. Real ones have under 1 KiB.
pub(crate) const MAX_TUF_TIMESTAMP_BYTES: usize = 64 << 10;
/// Bytes of a TUF snapshot. Real ones have 1 to 10 KiB.
pub(crate) const MAX_TUF_SNAPSHOT_BYTES: usize = 1 << 20;
/// Bytes of TUF targets. Real ones have 5 to 50 KiB.
pub(crate) const MAX_TUF_TARGETS_BYTES: usize = 4 << 20;
/// Bytes of a `trusted_root.json`. Real ones have 5 to 20 KiB.
pub(crate) const MAX_TRUSTED_ROOT_BYTES: usize = 4 << 20;
/// Roots that one refresh steps over. A public repository makes about four a year; the next refresh goes on.
pub(crate) const MAX_TUF_ROOT_STEPS: usize = 32;
/// Roots kept behind the configured one: decades of them. A newer configured root makes room.
pub(crate) const MAX_TUF_KEPT_ROOTS: usize = 256;
/// Signatures under one TUF file, and keys of one role. Real roots have five to ten.
pub(crate) const MAX_TUF_SIGNATURES: usize = 64;
/// Bytes of what is kept of one TUF repository: far above what 256 real roots and the rest need.
pub(crate) const MAX_TUF_KEPT_BYTES: usize = 16 << 20;
/// Nesting of a JSON document. Manifests need 5, bundles 8.
pub(crate) const MAX_JSON_DEPTH: usize = 64;
/// Values in a JSON document. The config of an image with 128 layers has about 1,000; this bounds memory, not meaning.
pub(crate) const MAX_JSON_VALUES: usize = 100_000;
/// Values in a statement. An SBOM of 3 MiB, which is what fits into an envelope, has about 150,000.
pub(crate) const MAX_STATEMENT_VALUES: usize = 250_000;
/// Layers of one image. Overlayfs and Docker stop at 127 or 128.
pub(crate) const MAX_LAYERS: usize = 256;
/// Manifests in one index. The largest public ones have about 50.
pub(crate) const MAX_MANIFESTS: usize = 1024;
/// Subjects of one in-toto statement.
pub(crate) const MAX_SUBJECTS: usize = 1024;
/// Public-key operations for one image: each signature may be tried against several keys.
pub(crate) const MAX_KEY_OPERATIONS: usize = 1024;
/// Public-key operations for one image that only find out why a signature does not count. They take nothing from those above.
pub(crate) const MAX_DIAGNOSES: usize = 64;

/// A cap was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {limit} {what}")]
pub struct LimitReached {
    /// What there was too much of.
    pub what: &'static str,
    /// The cap.
    pub limit: usize,
}

/// Work that may still be spent on one image. Counts work, not time, so that the same input always ends the same way.
#[derive(Clone, Debug)]
pub struct Budget {
    signatures: usize,
    key_operations: usize,
    diagnoses: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { signatures: MAX_SIGNATURES, key_operations: MAX_KEY_OPERATIONS, diagnoses: MAX_DIAGNOSES }
    }
}

impl Budget {
    /// Spends one signature.
    ///
    /// # Errors
    /// [`LimitReached`] if [`MAX_SIGNATURES`] were spent.
    pub fn spend_signature(&mut self) -> Result<(), LimitReached> {
        let left = self.signatures.checked_sub(1);
        self.signatures = left.ok_or(LimitReached { what: "signatures", limit: MAX_SIGNATURES })?;
        Ok(())
    }

    /// Spends one public-key operation.
    ///
    /// # Errors
    /// [`LimitReached`] if [`MAX_KEY_OPERATIONS`] were spent.
    pub fn spend_key_operation(&mut self) -> Result<(), LimitReached> {
        let left = self.key_operations.checked_sub(1);
        self.key_operations = left.ok_or(LimitReached { what: "public-key operations", limit: MAX_KEY_OPERATIONS })?;
        Ok(())
    }

    /// Spends one public-key operation on a better explanation; `false` if [`MAX_DIAGNOSES`] were spent.
    pub(crate) fn spend_diagnosis(&mut self) -> bool {
        let left = self.diagnoses.checked_sub(1);
        self.diagnoses = left.unwrap_or(0);
        left.is_some()
    }
}
