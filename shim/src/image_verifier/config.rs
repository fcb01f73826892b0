//! The pull gate's configuration: one TOML file below the node's root, which may be absent.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;

use crate::{
    Paths,
    config_file::{self, ConfigError, Presence},
};

/// A second less than containerd gives a verifier by default (`per_verifier_timeout = "10s"`).
const DEFAULT_VERDICT_TIMEOUT_MS: u64 = 9_000;
/// Longest wait that can be configured. A pull that waits holds nothing else up.
const MAX_VERDICT_TIMEOUT_MS: u64 = 120_000;

/// What the pull gate is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PullConfig {
    /// The agent's socket.
    pub(super) gate: PathBuf,
    /// The agent's uid. Besides it only uid 0 is accepted as the agent.
    agent_uid: Option<u32>,
    /// Longest wait for a verdict.
    pub(super) verdict_timeout: Duration,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    agent_uid: Option<u32>,
    verdict_timeout_ms: Option<u64>,
}

impl PullConfig {
    /// Reads `etc/assay/image-verifier.toml` below `root`.
    ///
    /// # Errors
    /// [`ConfigError`] naming file and key.
    pub(super) fn load(root: &Path) -> Result<Self, ConfigError> {
        let path = root.join("etc/assay/image-verifier.toml");
        let file: File = config_file::read(&path, Presence::Optional)?;
        let timeout = file.verdict_timeout_ms;
        Ok(Self {
            gate: Paths::below(root).gate(),
            agent_uid: file.agent_uid,
            verdict_timeout: config_file::verdict_timeout(
                &path,
                timeout,
                DEFAULT_VERDICT_TIMEOUT_MS,
                MAX_VERDICT_TIMEOUT_MS,
            )?,
        })
    }

    /// The uids that may be the agent.
    pub(super) fn agent_uids(&self) -> Vec<u32> {
        config_file::agent_uids(self.agent_uid)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn an_absent_file_gives_defaults_and_a_wrong_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let config = PullConfig::load(root).unwrap();
        assert_eq!((config.agent_uids(), config.verdict_timeout.as_millis()), (vec![0], 9_000));
        assert_eq!(config.gate, root.join("run/assay/gate.sock"));
        std::fs::create_dir_all(root.join("etc/assay")).unwrap();
        let load = |text: &str| {
            std::fs::write(root.join("etc/assay/image-verifier.toml"), text).unwrap();
            PullConfig::load(root)
        };
        let config = load("agent-uid = 7\nverdict-timeout-ms = 500\n").unwrap();
        assert_eq!((config.agent_uids(), config.verdict_timeout.as_millis()), (vec![0, 7], 500));
        assert!(matches!(load("agent-uids = 7\n"), Err(ConfigError::Parse { .. })));
        assert!(matches!(load("verdict-timeout-ms = 0\n"), Err(ConfigError::Timeout { found: 0, .. })));
        assert!(matches!(load("verdict-timeout-ms = 120001\n"), Err(ConfigError::Timeout { .. })));
    }
}
