//! The real notation with a configuration of its own. In: identities, trusted roots, images by digest. Out: signatures in the
//! registry, and notation's own word on them.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::certificates::Identity;
use crate::command::{Finished, finish};
use crate::tools::Tools;

const LIMIT: Duration = Duration::from_secs(60);

/// The two envelopes of the Notary Project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnvelopeFormat {
    /// `application/jose+json`
    Jws,
    /// `application/cose`
    Cose,
}

impl EnvelopeFormat {
    /// How notation calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Jws => "jws",
            Self::Cose => "cose",
        }
    }
}

/// notation with a home of its own.
#[derive(Debug)]
pub struct Notation {
    home: TempDir,
}

impl Notation {
    /// Makes the home; fails if notation was not set up.
    pub fn new() -> Result<Self> {
        Tools::find()?;
        let home = tempfile::Builder::new().prefix("assay-notation-").tempdir()?;
        fs::create_dir_all(home.path().join("notation"))?;
        Ok(Self { home })
    }

    /// Makes an identity known as a signing key of that name.
    pub fn add_key(&self, name: &str, identity: &Identity) -> Result<()> {
        let (key, chain) = (self.file(&format!("{name}.key")), self.file(&format!("{name}.crt")));
        fs::write(&key, &identity.key_pem)?;
        fs::write(&chain, &identity.chain_pem)?;
        // notation has no command for a key in a file other than `cert generate-test`, which makes the key as well.
        let list = self.file("signingkeys.json");
        let mut keys: Value = match fs::read(&list) {
            Ok(bytes) => serde_json::from_slice(&bytes)?,
            Err(_) => json!({ "keys": [] }),
        };
        let known = keys.get_mut("keys").and_then(Value::as_array_mut).context("signingkeys.json has no keys")?;
        known.push(json!({ "name": name, "keyPath": key, "certPath": chain }));
        Ok(fs::write(&list, keys.to_string())?)
    }

    /// Signs with a key of [`Notation::add_key`].
    pub fn sign(&self, key: &str, format: EnvelopeFormat, image: &str) -> Result<Finished> {
        self.run(&["sign", "--key", key, "--signature-format", format.name(), "--insecure-registry", image])?.success()
    }

    /// Trusts a root for every repository and for the identities given, such as `x509.subject: C=DE, ST=Berlin, O=Acme`.
    pub fn trust(&self, root_pem: &str, identities: &[&str]) -> Result<()> {
        let (root, policy) = (self.file("root.pem"), self.file("import.json"));
        fs::write(&root, root_pem)?;
        let words = ["cert", "add", "--type", "ca", "--store", "acme", &path(&root)?];
        self.run(&words)?.success()?;
        let document = json!({
            "version": "1.0",
            "trustPolicies": [{
                "name": "all",
                "registryScopes": ["*"],
                "signatureVerification": { "level": "strict" },
                "trustStores": ["ca:acme"],
                "trustedIdentities": identities,
            }],
        });
        fs::write(&policy, document.to_string())?;
        self.run(&["policy", "import", "--force", &path(&policy)?])?.success()?;
        Ok(())
    }

    /// Runs it with these words.
    pub fn command(&self, words: &[&str]) -> Result<Finished> {
        self.run(words)
    }

    /// Where it keeps trust policy and trust stores: `trustpolicy.json`, `truststore/x509/…`.
    pub fn configuration(&self) -> PathBuf {
        self.home.path().join("notation")
    }

    /// What notation says of an image's signatures.
    pub fn verify(&self, image: &str) -> Result<Finished> {
        self.run(&["verify", "--insecure-registry", image])
    }

    fn file(&self, name: &str) -> PathBuf {
        self.home.path().join("notation").join(name)
    }

    fn run(&self, words: &[&str]) -> Result<Finished> {
        let mut command = Command::new(Tools::find()?.program("notation"));
        let home = self.home.path();
        command.args(words).env("HOME", home).env("XDG_CONFIG_HOME", home).env("XDG_CACHE_HOME", home.join("cache"));
        finish(&mut command, LIMIT)
    }
}

fn path(path: &std::path::Path) -> Result<String> {
    Ok(path.to_str().context("the temporary folder's name is not UTF-8")?.to_owned())
}
