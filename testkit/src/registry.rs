//! A real docker-registry 2.8 on a free port of 127.0.0.1, plain HTTP, with deleting allowed. It has no referrers API.
//! Out: its address, its repositories, what was asked of it, and a way to change what it stores behind its back.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::json;
use tempfile::TempDir;

use crate::daemon::Daemon;
use crate::http;
use crate::repository::{Credentials, Repository};
use crate::tools::Tools;

const START_LIMIT: Duration = Duration::from_secs(10);
const STOP_LIMIT: Duration = Duration::from_secs(2);

/// Bcrypt at its lowest cost of [`Credentials::test`]'s password.
const HTPASSWD: &str = "tester:$2b$04$assaytestkitsaltassayuZmOjBdDqkfHNCEM2nRybWFtjcBIy8W.\n";

/// A running registry.
#[derive(Debug)]
pub struct Registry {
    // Before the folder, so that the process is gone when the folder goes.
    daemon: Option<Daemon>,
    folder: TempDir,
    address: SocketAddr,
    credentials: Option<Credentials>,
}

impl Registry {
    /// Starts a registry that anyone may read and write.
    pub fn start() -> Result<Self> {
        Self::start_with(None)
    }

    /// Starts a registry that serves nobody but [`Credentials::test`].
    pub fn with_basic_auth() -> Result<Self> {
        Self::start_with(Some(Credentials::test()))
    }

    fn start_with(credentials: Option<Credentials>) -> Result<Self> {
        // Between choosing a port and binding it another process may take it: choose again.
        const TRIES: usize = 3;
        let mut last = None;
        for _ in 0..TRIES {
            let mut registry = Self {
                daemon: None,
                folder: tempfile::Builder::new().prefix("assay-registry-").tempdir()?,
                address: free_address()?,
                credentials: credentials.clone(),
            };
            match registry.resume() {
                Ok(()) => return Ok(registry),
                Err(error) => last = Some(error),
            }
        }
        bail!("failed to start a registry: {last:?}")
    }

    /// Starts it again after [`Registry::stop`], on the same port and with the same content.
    pub fn resume(&mut self) -> Result<()> {
        let configuration = self.folder.path().join("config.yml");
        fs::write(&configuration, self.configuration()?)?;
        let mut command = Command::new(Tools::find()?.program("docker-registry"));
        command.arg("serve").arg(&configuration).env("OTEL_TRACES_EXPORTER", "none");
        let mut daemon = Daemon::start("docker-registry", &mut command, &self.log_file())?;
        let address = self.address;
        daemon.wait_until(START_LIMIT, || http::exchange(address, "GET", "/v2/", &[], b"").is_ok())?;
        self.daemon = Some(daemon);
        Ok(())
    }

    /// Ends the process; port and content stay reserved in this struct.
    pub fn stop(&mut self) -> Result<()> {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.stop(STOP_LIMIT)?;
        }
        Ok(())
    }

    /// Host and port, as they stand in an image reference.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// A docker `config.json` with this registry's credentials, or without any if it wants none.
    pub fn docker_config(&self) -> String {
        let auths = match &self.credentials {
            Some(credentials) => json!({ self.host(): { "auth": credentials.encoded() } }),
            None => json!({}),
        };
        json!({ "auths": auths }).to_string()
    }

    /// A repository of this registry, to be used with its credentials if it has any.
    pub fn repository(&self, name: &str) -> Repository {
        Repository::new(self.address, name, self.credentials.clone())
    }

    /// The requests served so far, one `METHOD TARGET` each, in order.
    pub fn requests(&self) -> Vec<String> {
        let log = fs::read_to_string(self.log_file()).unwrap_or_default();
        log.lines()
            .filter_map(|line| line.split('"').nth(1))
            .filter_map(|request| request.strip_suffix(" HTTP/1.1"))
            .map(str::to_owned)
            .collect()
    }

    /// The requests of programs whose user agent begins with `agent`, such as `containerd/`.
    pub fn requests_of(&self, agent: &str) -> Vec<String> {
        let log = fs::read_to_string(self.log_file()).unwrap_or_default();
        // The combined log format: the request is the first thing in quotation marks, the user agent the third.
        let of = |line: &str| {
            let mut quoted = line.split('"').skip(1).step_by(2);
            let request = quoted.next()?.strip_suffix(" HTTP/1.1")?;
            quoted.nth(1).filter(|found| found.starts_with(agent)).map(|_| request.to_owned())
        };
        log.lines().filter_map(of).collect()
    }

    /// Changes stored bytes in place: from now on the registry serves the new ones under the old digest.
    pub fn change_stored(&self, digest: &str, change: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
        let hex = digest.strip_prefix("sha256:").context("not a sha256 digest")?;
        let folder = hex.get(..2).context("a digest that short does not exist")?;
        let file = self.folder.path().join("data/docker/registry/v2/blobs/sha256").join(folder).join(hex).join("data");
        let mut bytes = fs::read(&file).with_context(|| format!("the registry does not store {digest}"))?;
        change(&mut bytes);
        Ok(fs::write(&file, bytes)?)
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn configuration(&self) -> Result<String> {
        let folder = self.folder.path();
        let mut text = format!(
            "version: 0.1\n\
             log: {{ level: warn }}\n\
             storage:\n  filesystem: {{ rootdirectory: {} }}\n  delete: {{ enabled: true }}\n\
             http: {{ addr: {} }}\n",
            folder.join("data").display(),
            self.address,
        );
        if self.credentials.is_some() {
            let users = folder.join("htpasswd");
            fs::write(&users, HTPASSWD)?;
            text.push_str(&format!("auth:\n  htpasswd: {{ realm: assay, path: {} }}\n", users.display()));
        }
        Ok(text)
    }
}

fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
