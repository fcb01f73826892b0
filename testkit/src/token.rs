//! A SoftHSM token in a folder of its own. Out: module, configuration, PIN file and keys, for a worker under any uid.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;

use crate::command::{Finished, finish};

/// Where Debian's libsofthsm2 puts the module.
const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
const PIN: &str = "4711-0815";
const SO_PIN: &str = "9876-5432";
/// An RSA key takes its time.
const LIMIT: Duration = Duration::from_secs(60);

/// The kinds of keys a token makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKey {
    /// NIST P-256.
    P256,
    /// NIST P-384.
    P384,
    /// RSA with 3072 bits.
    Rsa3072,
    /// Ed25519.
    Ed25519,
}

impl TokenKey {
    fn name(self) -> &'static str {
        match self {
            Self::P256 => "EC:prime256v1",
            Self::P384 => "EC:secp384r1",
            Self::Rsa3072 => "rsa:3072",
            Self::Ed25519 => "EC:edwards25519",
        }
    }
}

/// A token.
#[derive(Debug)]
pub struct Token {
    folder: TempDir,
    label: String,
}

impl Token {
    /// Makes an empty token with that label.
    pub fn create(label: &str) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("assay-token-").tempdir()?;
        let token = Self { folder, label: label.to_owned() };
        fs::create_dir(token.folder.path().join("tokens"))?;
        fs::write(
            token.configuration(),
            format!(
                "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
                token.store().display()
            ),
        )?;
        fs::write(token.pin_file(), PIN)?;
        fs::set_permissions(token.pin_file(), fs::Permissions::from_mode(0o400))?;
        token.softhsm(&["--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", SO_PIN])?.success()?;
        Ok(token)
    }

    /// The PKCS#11 module.
    pub fn module(&self) -> &'static Path {
        Path::new(MODULE)
    }

    /// The file that the environment variable SOFTHSM2_CONF is to name.
    pub fn configuration(&self) -> PathBuf {
        self.folder.path().join("softhsm2.conf")
    }

    /// The folder whose absence is a token pulled out.
    pub fn store(&self) -> PathBuf {
        self.folder.path().join("tokens")
    }

    /// A file with mode 0400 that holds the user PIN and nothing else.
    pub fn pin_file(&self) -> PathBuf {
        self.folder.path().join("pin")
    }

    /// The user PIN.
    pub fn pin(&self) -> &'static str {
        PIN
    }

    /// The label of the token.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The RFC 7512 URI of the private key with that label.
    pub fn uri(&self, label: &str) -> String {
        format!("pkcs11:token={};object={label};type=private", self.label)
    }

    /// Makes a key pair whose objects both have that label.
    pub fn generate(&self, label: &str, kind: TokenKey) -> Result<()> {
        let id = hex::encode(label);
        let words = ["--login", "--pin", PIN, "--keypairgen", "--key-type", kind.name(), "--label", label, "--id", &id];
        self.pkcs11_tool(&words)?.success()?;
        Ok(())
    }

    /// The public key with that label as DER SubjectPublicKeyInfo.
    pub fn public_key(&self, label: &str) -> Result<Vec<u8>> {
        let file = self.folder.path().join("public.der");
        let path = file.to_str().context("the temporary folder's name is not UTF-8")?;
        self.pkcs11_tool(&["--read-object", "--type", "pubkey", "--label", label, "--output-file", path])?.success()?;
        Ok(fs::read(&file)?)
    }

    /// The same as PEM.
    pub fn public_key_pem(&self, label: &str) -> Result<String> {
        let encoded = STANDARD.encode(self.public_key(label)?);
        let lines: Vec<_> = encoded.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
        Ok(format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n")))
    }

    /// Makes the token the property of that user, who alone can open it then (besides root).
    pub fn give_to(&self, uid: u32, gid: u32) -> Result<()> {
        give_all(self.folder.path(), uid, gid)
    }

    fn softhsm(&self, words: &[&str]) -> Result<Finished> {
        finish(Command::new("softhsm2-util").args(words).env("SOFTHSM2_CONF", self.configuration()), LIMIT)
    }

    fn pkcs11_tool(&self, words: &[&str]) -> Result<Finished> {
        let mut command = Command::new("pkcs11-tool");
        command.args(["--module", MODULE, "--token-label", &self.label]).args(words);
        finish(command.env("SOFTHSM2_CONF", self.configuration()), LIMIT)
    }
}

fn give_all(path: &Path, uid: u32, gid: u32) -> Result<()> {
    chown(path, Some(uid), Some(gid)).with_context(|| format!("failed to give {} to {uid}", path.display()))?;
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            give_all(&entry?.path(), uid, gid)?;
        }
    }
    Ok(())
}
