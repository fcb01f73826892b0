//! The snapshotter's configuration: one TOML file and where things are below a root. Unknown keys are refused.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;

use crate::config_file::{ConfigError, Presence, absolute, agent_uids, containerd_address, read, verdict_timeout};

/// Longest wait for a verdict that can be configured: a Prepare that waits holds containerd's locks.
const MAX_VERDICT_TIMEOUT_MS: u64 = 10_000;

/// Where a node's files are: `/`, or a folder that holds a node of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    root: PathBuf,
}

impl Paths {
    /// Paths below `root`.
    #[must_use]
    pub fn below(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// `etc/assay/snapshotter.toml`
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.root.join("etc/assay/snapshotter.toml")
    }

    /// `run/assay/snapshotter.sock`, which containerd calls.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.root.join("run/assay/snapshotter.sock")
    }

    /// `run/assay/gate.sock`, where the agent answers.
    #[must_use]
    pub fn gate(&self) -> PathBuf {
        self.root.join("run/assay/gate.sock")
    }

    /// `var/lib/assay/snapshotter`, where snapshots are kept unless the configuration says otherwise.
    #[must_use]
    pub fn snapshots(&self) -> PathBuf {
        self.root.join("var/lib/assay/snapshotter")
    }
}

/// What the snapshotter is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// containerd's socket.
    pub containerd: PathBuf,
    /// The agent's socket.
    pub gate: PathBuf,
    /// The agent's uid. Besides it only uid 0 is accepted as the agent.
    pub agent_uid: Option<u32>,
    /// The socket that containerd calls.
    pub socket: PathBuf,
    /// Where snapshots are kept.
    pub snapshots: PathBuf,
    /// Longest wait for a verdict, mapping included.
    pub verdict_timeout: Duration,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    containerd_address: Option<PathBuf>,
    agent_uid: Option<u32>,
    root: Option<PathBuf>,
    verdict_timeout_ms: Option<u64>,
}

impl Config {
    /// Reads `file`, or the one below `paths`; the latter may be absent, and then everything has its default.
    ///
    /// # Errors
    /// [`ConfigError`] naming file and key.
    pub fn load(paths: &Paths, file: Option<&Path>) -> Result<Self, ConfigError> {
        let path = file.map_or_else(|| paths.config(), Path::to_owned);
        let file: File = read(&path, file.map_or(Presence::Optional, |_| Presence::Needed))?;
        Ok(Self {
            containerd: containerd_address(&path, file.containerd_address)?,
            gate: paths.gate(),
            agent_uid: file.agent_uid,
            socket: paths.socket(),
            snapshots: absolute(&path, "root", file.root.unwrap_or_else(|| paths.snapshots()))?,
            verdict_timeout: verdict_timeout(&path, file.verdict_timeout_ms, 3000, MAX_VERDICT_TIMEOUT_MS)?,
        })
    }

    /// The uids that may be the agent.
    #[must_use]
    pub fn agent_uids(&self) -> Vec<u32> {
        agent_uids(self.agent_uid)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::{fs, io};

    use super::*;

    fn load(text: &str) -> Result<Config, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("snapshotter.toml");
        fs::write(&file, text).unwrap();
        Config::load(&Paths::below("/n"), Some(&file))
    }

    #[test]
    fn an_absent_default_file_gives_defaults_and_an_absent_named_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let config = Config::load(&Paths::below(folder.path()), None).unwrap();
        assert_eq!((config.agent_uids(), config.verdict_timeout.as_millis()), (vec![0], 3000));
        assert_eq!(config.socket, folder.path().join("run/assay/snapshotter.sock"));
        let absent = folder.path().join("x");
        assert!(matches!(
            Config::load(&Paths::below("/n"), Some(&absent)),
            Err(ConfigError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound
        ));
    }

    #[test]
    fn every_key_is_taken_and_an_unknown_one_is_refused() {
        let text = "containerd-address = '/c.sock'\nagent-uid = 7\nroot = '/s'\nverdict-timeout-ms = 500\n";
        let config = load(text).unwrap();
        assert_eq!((config.agent_uids(), config.snapshots), (vec![0, 7], PathBuf::from("/s")));
        assert!(matches!(load("agent-uids = 7\n"), Err(ConfigError::Parse { .. })));
        assert!(matches!(load("verdict-timeout-ms = 0\n"), Err(ConfigError::Timeout { found: 0, .. })));
        assert!(matches!(load("verdict-timeout-ms = 10001\n"), Err(ConfigError::Timeout { found: 10_001, .. })));
        assert!(matches!(load("root = 's'\n"), Err(ConfigError::Relative { key: "root", .. })));
    }
}
