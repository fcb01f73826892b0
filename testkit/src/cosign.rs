//! The real cosign, without any service: no transparency log, no time-stamps. In: an image by digest. Out: signatures in the
//! registry, and cosign's own word on them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use tempfile::TempDir;

use crate::command::{Finished, finish};
use crate::registry::Registry;
use crate::tools::Tools;

const LIMIT: Duration = Duration::from_secs(60);

/// A signing configuration that names no service at all.
const NO_SERVICES: &str =
    r#"{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json","rekorTlogConfig":{},"tsaConfig":{}}"#;

/// A key pair of cosign's, in files.
#[derive(Debug, Clone)]
pub struct CosignKey {
    /// The encrypted private key; its password is empty.
    pub private: PathBuf,
    /// The public key as PEM.
    pub public: PathBuf,
}

impl CosignKey {
    /// The public key as PEM.
    pub fn public_pem(&self) -> Result<String> {
        Ok(fs::read_to_string(&self.public)?)
    }
}

/// Which cosign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CosignVersion {
    /// The present one, 3.1.
    V3,
    /// The one before, 2.5.
    V2,
}

/// cosign with a home of its own.
#[derive(Debug)]
pub struct Cosign {
    home: TempDir,
    program: PathBuf,
}

impl Cosign {
    /// Makes the home of the present version; fails if cosign was not set up.
    pub fn new() -> Result<Self> {
        Self::of(CosignVersion::V3)
    }

    /// Makes the home of that version; fails if it was not set up.
    pub fn of(version: CosignVersion) -> Result<Self> {
        let tools = Tools::find()?;
        let program = match version {
            CosignVersion::V3 => tools.program("cosign"),
            CosignVersion::V2 => tools.cosign_2(),
        };
        let home = tempfile::Builder::new().prefix("assay-cosign-").tempdir()?;
        fs::write(home.path().join("no-services.json"), NO_SERVICES)?;
        Ok(Self { home, program })
    }

    /// A file in the home, where cosign finds it by its name alone. `no-services.json` is there: a signing configuration without services.
    pub fn file(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Runs it with these words, in its home.
    pub fn command(&self, words: &[&str]) -> Result<Finished> {
        self.run(|cosign| cosign.args(words))
    }

    /// A fresh P-256 key pair.
    pub fn generate_key(&self, name: &str) -> Result<CosignKey> {
        let prefix = self.home.path().join(name);
        self.run(|cosign| cosign.arg("generate-key-pair").arg("--output-key-prefix").arg(&prefix))?.success()?;
        Ok(key_files(&prefix))
    }

    /// A key pair from a private key in PEM, of any kind that cosign can sign with.
    pub fn import_key(&self, name: &str, private_pem: &str) -> Result<CosignKey> {
        let prefix = self.home.path().join(name);
        let plain = prefix.with_extension("pem");
        fs::write(&plain, private_pem)?;
        self.run(|cosign| {
            cosign.arg("import-key-pair").arg("--key").arg(&plain).arg("--output-key-prefix").arg(&prefix)
        })?
        .success()?;
        Ok(key_files(&prefix))
    }

    /// Makes cosign use the registry's credentials, if it has any.
    pub fn sign_in(&self, registry: &Registry) -> Result<()> {
        let folder = self.home.path().join(".docker");
        fs::create_dir_all(&folder)?;
        Ok(fs::write(folder.join("config.json"), registry.docker_config())?)
    }

    /// Signs as cosign 3 does by default: a Sigstore bundle among the image's referrers.
    pub fn sign(&self, key: &CosignKey, image: &str) -> Result<Finished> {
        let services = self.home.path().join("no-services.json");
        self.run(|cosign| {
            cosign.arg("sign").arg("--key").arg(&key.private).arg("--signing-config").arg(services);
            cosign.args(["--allow-http-registry", "--yes", image])
        })?
        .success()
    }

    /// Signs as cosign 1 and 2 did: simple signing under the tag `sha256-….sig`.
    pub fn sign_legacy(&self, key: &CosignKey, image: &str) -> Result<Finished> {
        self.run(|cosign| {
            cosign.arg("sign").arg("--key").arg(&key.private);
            cosign.args(["--new-bundle-format=false", "--use-signing-config=false", "--tlog-upload=false"]);
            cosign.args(["--allow-http-registry", "--yes", image])
        })?
        .success()
    }

    /// Attaches an attestation of one of cosign's predicate types, such as `spdxjson` or `vuln`.
    pub fn attest(&self, key: &CosignKey, image: &str, kind: &str, predicate: &Path) -> Result<Finished> {
        let services = self.home.path().join("no-services.json");
        self.run(|cosign| {
            cosign.arg("attest").arg("--key").arg(&key.private).arg("--signing-config").arg(services);
            cosign.arg("--predicate").arg(predicate).args(["--type", kind]);
            cosign.args(["--allow-http-registry", "--yes", image])
        })?
        .success()
    }

    /// Attaches an attestation as cosign 1 and 2 did: an envelope under the tag `sha256-….att`.
    pub fn attest_legacy(&self, key: &CosignKey, image: &str, kind: &str, predicate: &Path) -> Result<Finished> {
        self.run(|cosign| {
            cosign.arg("attest").arg("--key").arg(&key.private);
            cosign.args(["--new-bundle-format=false", "--use-signing-config=false", "--tlog-upload=false"]);
            cosign.arg("--predicate").arg(predicate).args(["--type", kind]);
            cosign.args(["--allow-http-registry", "--yes", image])
        })?
        .success()
    }

    /// What cosign says of the attestations of one type in its present format.
    pub fn verify_attestation(&self, public: &Path, image: &str, kind: &str) -> Result<Finished> {
        self.run(|cosign| {
            cosign.arg("verify-attestation").arg("--key").arg(public).args(["--type", kind]);
            cosign.args(["--insecure-ignore-tlog=true", "--allow-http-registry", image])
        })
    }

    /// Writes the image with its older signatures and attestations into a folder, as an OCI layout.
    pub fn save(&self, image: &str, folder: &Path) -> Result<Finished> {
        self.run(|cosign| cosign.arg("save").arg("--dir").arg(folder).args(["--allow-http-registry", image]))?.success()
    }

    /// What cosign says of the signatures in its present format.
    pub fn verify(&self, public: &Path, image: &str) -> Result<Finished> {
        self.run(|cosign| {
            cosign.arg("verify").arg("--key").arg(public);
            cosign.args(["--insecure-ignore-tlog=true", "--allow-http-registry", image])
        })
    }

    /// What cosign says of the signatures in its older format.
    pub fn verify_legacy(&self, public: &Path, image: &str) -> Result<Finished> {
        self.run(|cosign| {
            cosign.arg("verify").arg("--key").arg(public).arg("--new-bundle-format=false");
            cosign.args(["--insecure-ignore-tlog=true", "--allow-http-registry", image])
        })
    }

    fn run(&self, fill: impl FnOnce(&mut Command) -> &mut Command) -> Result<Finished> {
        let mut command = Command::new(&self.program);
        command.current_dir(self.home.path()).env("HOME", self.home.path()).env("COSIGN_PASSWORD", "");
        finish(fill(&mut command), LIMIT)
    }
}

fn key_files(prefix: &Path) -> CosignKey {
    CosignKey { private: prefix.with_extension("key"), public: prefix.with_extension("pub") }
}
