//! Writes policy documents for tests. In: mode, keys, certificates, rules. Out: the TOML text and the files it names.
//! Each document has a higher version than those written before it in the same process.

use std::sync::atomic::{AtomicU64, Ordering};

/// A policy document with the files that it names.
#[derive(Debug, Clone)]
pub struct PolicyText {
    mode: &'static str,
    signers: String,
    rules: String,
    files: Vec<(String, String)>,
    version: u64,
}

impl PolicyText {
    /// A document whose mode is `enforce`.
    pub fn enforcing() -> Self {
        Self::of_mode("enforce")
    }

    /// A document whose mode is `observe`.
    pub fn observing() -> Self {
        Self::of_mode("observe")
    }

    fn of_mode(mode: &'static str) -> Self {
        Self { mode, signers: String::new(), rules: String::new(), files: Vec::new(), version: next_version() }
    }

    /// The same document in another mode and with the next version; rules without a mode of their own follow it.
    pub fn in_mode(&self, mode: &'static str) -> Self {
        Self { mode, version: next_version(), ..self.clone() }
    }

    /// A signer who is known by a public key in PEM.
    pub fn key(mut self, signer: &str, public_pem: &str) -> Self {
        self.signers.push_str(&format!(
            "[keys.{signer}]\npublic = \"\"\"\n{}\n\"\"\"\n[signers.{signer}]\nkey = \"{signer}\"\n",
            public_pem.trim()
        ));
        self
    }

    /// A signer who is known by a key in the token, pinned by the SHA-256 of its SubjectPublicKeyInfo in hexadecimal.
    pub fn token_key(mut self, signer: &str, uri: &str, sha256: &str) -> Self {
        self.signers.push_str(&format!(
            "[keys.{signer}]\npublic = \"{uri}\"\nsha256 = \"{sha256}\"\n[signers.{signer}]\nkey = \"{signer}\"\n"
        ));
        self
    }

    /// A signer whose certificate leads to that root and has that subject.
    pub fn certificates(mut self, signer: &str, root_pem: &str, subject: &str) -> Self {
        let file = format!("{signer}-root.pem");
        self.signers.push_str(&format!(
            "[certificates.{signer}]\nanchors = [\"{file}\"]\n\
             [signers.{signer}]\ncertificates = \"{signer}\"\nsubject = \"{subject}\"\n"
        ));
        self.files.push((file, root_pem.to_owned()));
        self
    }

    /// The same, whose certificates must be known not to be revoked.
    pub fn certificates_that_may_be_revoked(mut self, signer: &str, root_pem: &str, subject: &str) -> Self {
        self.signers.push_str(&format!(
            "[signers.{signer}]\ncertificates = \"{signer}\"\nsubject = \"{subject}\"\n\
             [certificates.{signer}]\nrevocation = \"enforce\"\nanchors = [\"{signer}-root.pem\"]\n"
        ));
        self.files.push((format!("{signer}-root.pem"), root_pem.to_owned()));
        self
    }

    /// A signer who is known by a certificate's identity and issuer, under the root of trust of that `trusted_root.json`.
    pub fn identity(mut self, signer: &str, trusted_root: &str, issuer: &str, identity: &str) -> Self {
        let file = format!("{signer}-root.json");
        self.files.push((file.clone(), trusted_root.to_owned()));
        self.identity_by(signer, &format!("trusted-root = {file:?}"), issuer, identity)
    }

    /// The same under the root of trust that the agent keeps up to date under that name.
    pub fn identity_by_kept_root(self, signer: &str, root: &str, issuer: &str, identity: &str) -> Self {
        self.identity_by(signer, &format!("trust-root = {root:?}"), issuer, identity)
    }

    fn identity_by(mut self, signer: &str, root: &str, issuer: &str, identity: &str) -> Self {
        self.signers.push_str(&format!(
            "[sigstore.{signer}]\n{root}\n[signers.{signer}]\nsigstore = {signer:?}\nissuer = {issuer:?}\nidentity = {identity:?}\n"
        ));
        self
    }

    /// A rule that wants `count` of the signers on every image of these scopes.
    pub fn rule(mut self, name: &str, scopes: &[&str], count: u32, signers: &[&str]) -> Self {
        self.rules.push_str(&format!(
            "[[rules]]\nname = \"{name}\"\nimages = {scopes:?}\nrequire = [{{ signatures = {count}, of = {signers:?} }}]\n"
        ));
        self
    }

    /// Any other text, such as `[[blocked]]`.
    pub fn text(mut self, toml: &str) -> Self {
        self.rules.push_str(toml);
        self
    }

    /// The document.
    pub fn document(&self) -> String {
        format!("version = {}\nmode = \"{}\"\n{}{}", self.version, self.mode, self.signers, self.rules)
    }

    /// The files that it names, with their content.
    pub fn files(&self) -> &[(String, String)] {
        &self.files
    }
}

/// Versions only rise, also over the nodes of one test.
fn next_version() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
