//! The agent's one configuration file, parsed once into its final form; every path lies below the node's root folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use assay_proto::SocketAccess;
use serde::Deserialize;
use toml::Spanned;

mod trust_root;

pub use trust_root::{TrustRootConfig, TrustRootName};

/// Everything the agent is told before it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The policy file.
    pub policy: PathBuf,
    /// Folder for the log, evidence and pinned public keys.
    pub state: PathBuf,
    /// Folder of the sockets.
    pub sockets: PathBuf,
    /// The key worker's uid, which its socket's server must have (or 0).
    pub key_worker_uid: u32,
    /// The fetcher's uid, likewise.
    pub fetcher_uid: u32,
    /// Uids that may use the admin socket.
    pub admin_uids: Vec<u32>,
    /// Who may open the signing socket at all, where the agent makes it itself.
    pub sign_socket: SocketAccess,
    /// The key in the token that signs the log's checkpoints.
    pub log_key: Option<String>,
    /// Keys that may sign, each with one purpose.
    pub keys: Vec<ConfiguredKey>,
    /// How long a gate waits for a verdict while evidence is collected.
    pub verdict_timeout: Duration,
    /// How long a collection may go on.
    pub collection_timeout: Duration,
    /// How often the log's growth is signed.
    pub checkpoint_interval: Duration,
    /// Most bytes of evidence kept on disk.
    pub evidence_limit: u64,
    /// The log's name in its checkpoints (C2SP tlog-checkpoint "origin").
    pub log_origin: String,
    /// Sigstore roots of trust that TUF repositories keep up to date, by name.
    pub trust_roots: BTreeMap<TrustRootName, TrustRootConfig>,
}

/// A key in the token and what it may be used for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfiguredKey {
    /// Its `pkcs11:` URI.
    pub uri: String,
    /// What it may sign.
    pub purpose: Purpose,
    /// Uids that may use it through sign.sock.
    #[serde(default)]
    pub peers: Vec<u32>,
}

/// What a key may sign. A key has exactly one purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// Images.
    Image,
    /// Checkpoints of this node's log.
    Log,
    /// Policy bundles.
    Policy,
}

impl Purpose {
    /// `image`, `log` or `policy`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Log => "log",
            Self::Policy => "policy",
        }
    }
}

/// Why the configuration is not used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What failed.
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("{path}:{line}:{column}: {message}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// What is wrong there.
        message: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    #[serde(default = "default_policy")]
    policy: PathBuf,
    key_worker_uid: u32,
    fetcher_uid: u32,
    #[serde(default = "default_admins")]
    admin_uids: Vec<u32>,
    sign_socket_group: Option<Spanned<String>>,
    sign_socket_mode: Option<Spanned<String>>,
    log_key: Option<String>,
    #[serde(default)]
    keys: Vec<ConfiguredKey>,
    #[serde(default = "default_verdict_timeout")]
    verdict_timeout_ms: u64,
    #[serde(default = "default_collection_timeout")]
    collection_timeout_ms: u64,
    #[serde(default = "default_checkpoint_interval")]
    checkpoint_interval_seconds: u64,
    #[serde(default)]
    evidence: EvidenceTable,
    log_origin: Option<String>,
    #[serde(default)]
    trust_roots: BTreeMap<TrustRootName, TrustRootConfig>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct EvidenceTable {
    limit_bytes: u64,
}

impl Default for EvidenceTable {
    fn default() -> Self {
        // Some 10,000 images with two signatures each.
        Self { limit_bytes: 256 << 20 }
    }
}

fn default_policy() -> PathBuf {
    "policy.toml".into()
}

fn default_admins() -> Vec<u32> {
    vec![0]
}

const fn default_verdict_timeout() -> u64 {
    // Below the unpack gate's own 3 s, so that the gate hears EVIDENCE_PENDING rather than nothing.
    2_700
}

const fn default_collection_timeout() -> u64 {
    30_000
}

const fn default_checkpoint_interval() -> u64 {
    10
}

impl Config {
    /// Reads `file`, or `<root>/etc/assay/assayd.toml`, and places every path below `root`.
    ///
    /// # Errors
    /// [`ConfigError`] with file, line and column.
    pub fn read(root: &Path, file: Option<&Path>) -> Result<Self, ConfigError> {
        let folder = root.join("etc/assay");
        let path = file.map_or_else(|| folder.join("assayd.toml"), Path::to_owned);
        let text = std::fs::read_to_string(&path).map_err(|source| ConfigError::Read { path: path.clone(), source })?;
        let file: File = toml::from_str(&text).map_err(|error| {
            let (line, column) = line_and_column(&text, error.span().map_or(0, |span| span.start));
            ConfigError::Parse { path: path.clone(), line, column, message: error.message().to_owned() }
        })?;
        let mut sign_socket = SocketAccess::GROUP;
        let wrong = |field: &Spanned<String>, error: assay_proto::AccessError| {
            let (line, column) = line_and_column(&text, field.span().start);
            ConfigError::Parse { path: path.clone(), line, column, message: error.to_string() }
        };
        if let Some(mode) = &file.sign_socket_mode {
            sign_socket = sign_socket.with_mode(mode.get_ref()).map_err(|error| wrong(mode, error))?;
        }
        if let Some(group) = &file.sign_socket_group {
            sign_socket = sign_socket.with_group(group.get_ref()).map_err(|error| wrong(group, error))?;
        }
        let node = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let node = node.trim();
        Ok(Self {
            policy: folder.join(file.policy),
            state: root.join("var/lib/assay/agent"),
            sockets: root.join("run/assay"),
            key_worker_uid: file.key_worker_uid,
            fetcher_uid: file.fetcher_uid,
            admin_uids: file.admin_uids,
            sign_socket,
            log_key: file.log_key,
            keys: file.keys,
            verdict_timeout: Duration::from_millis(file.verdict_timeout_ms),
            collection_timeout: Duration::from_millis(file.collection_timeout_ms),
            checkpoint_interval: Duration::from_secs(file.checkpoint_interval_seconds.max(1)),
            evidence_limit: file.evidence.limit_bytes,
            log_origin: file
                .log_origin
                .unwrap_or_else(|| format!("assay.local/{}", if node.is_empty() { "node" } else { node })),
            trust_roots: file.trust_roots.into_iter().map(|(name, root)| (name, root.below(&folder))).collect(),
        })
    }
}

/// Line and column, both from 1, of a byte offset.
fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before.len() - line_start + 1)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, ConfigError> {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("etc/assay");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("assayd.toml"), text).unwrap();
        Config::read(root.path(), None)
    }

    #[test]
    fn every_path_lies_below_the_root() {
        let config = read("key-worker-uid = 1\nfetcher-uid = 2\n").unwrap();
        for path in [&config.policy, &config.state, &config.sockets] {
            assert!(path.starts_with("/tmp"), "{}", path.display());
        }
        assert_eq!(config.admin_uids, [0]);
    }

    #[test]
    fn an_unknown_field_is_refused_with_line_and_column() {
        let error = read("key-worker-uid = 1\nfetcher-uid = 2\nfail-open = true\n").unwrap_err();
        assert!(error.to_string().contains("assayd.toml:3:1: unknown field `fail-open`"), "{error}");
    }

    #[test]
    fn the_signing_sockets_group_and_mode_are_those_of_the_file_and_anything_laxer_is_refused() {
        let with = |lines: &str| read(&format!("key-worker-uid = 1\nfetcher-uid = 2\n{lines}"));
        let access = |lines: &str| with(lines).unwrap().sign_socket;
        assert_eq!(access(""), SocketAccess::GROUP);
        let named = access("sign-socket-group = \"root\"\nsign-socket-mode = \"0600\"\n");
        assert_eq!((named.mode(), named.gid()), (0o600, Some(0)));
        assert_eq!(access("sign-socket-group = \"61950\"\n").gid(), Some(61_950));
        for (line, told) in [
            ("sign-socket-mode = \"0777\"", "assayd.toml:3:20: mode \"0777\" is none of"),
            ("sign-socket-mode = \"660\"", "assayd.toml:3:20: mode \"660\" is none of"),
            ("sign-socket-group = \"no such group\"", "assayd.toml:3:21: there is no group \"no such group\""),
        ] {
            let error = with(line).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Config::read(Path::new("/nonexistent"), None).unwrap_err();
        assert!(error.to_string().starts_with("/nonexistent/etc/assay/assayd.toml: "), "{error}");
    }
}
