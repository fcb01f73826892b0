//! The run gate's configuration, and which program is the real runtime: one that only root can change, and not this one.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;

use crate::{
    Paths,
    config_file::{ConfigError, Presence, absolute, containerd_address, read, verdict_timeout},
};

/// Longest wait for a verdict that can be configured.
const MAX_VERDICT_TIMEOUT_MS: u64 = 10_000;
/// Where the real runtime is if the configuration does not say.
const USUAL: [&str; 4] = ["/usr/bin/runc", "/usr/sbin/runc", "/usr/local/sbin/runc", "/usr/local/bin/runc"];

/// What the run gate is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunConfig {
    /// containerd's socket.
    pub containerd: PathBuf,
    /// The agent's socket.
    pub gate: PathBuf,
    /// The agent's uid. Besides it only uid 0 is accepted as the agent.
    pub agent_uid: Option<u32>,
    /// The real runtime, if it is told.
    pub runtime: Option<PathBuf>,
    /// Longest wait for a verdict, looking up the image included.
    pub verdict_timeout: Duration,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    containerd_address: Option<PathBuf>,
    agent_uid: Option<u32>,
    runtime: Option<PathBuf>,
    verdict_timeout_ms: Option<u64>,
}

/// Why there is no real runtime to become. Fits after "failed to find the runtime: ".
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The configured one cannot be looked at.
    #[error("{path}: {source}")]
    Io {
        /// The program.
        path: PathBuf,
        /// What failed.
        source: std::io::Error,
    },
    /// It is this program itself.
    #[error("{0} is this gate itself; name the real runtime as `runtime` in runtime.toml")]
    Itself(PathBuf),
    /// Others than root may change it.
    #[error("{path} belongs to uid {uid} and has mode {mode:04o}: others than root may change it")]
    Writable {
        /// The program.
        path: PathBuf,
        /// Its owner.
        uid: u32,
        /// Its mode.
        mode: u32,
    },
    /// It is no program.
    #[error("{0} is no executable file")]
    NoProgram(PathBuf),
    /// Nothing is told, and nothing is in the usual places.
    #[error("none of {USUAL:?} is there; name the real runtime as `runtime` in runtime.toml")]
    Nowhere,
}

impl RunConfig {
    /// Reads `etc/assay/runtime.toml` below `root`; without it everything has its default.
    ///
    /// # Errors
    /// [`ConfigError`] naming file and key.
    pub fn load(root: &Path) -> Result<Self, ConfigError> {
        let path = root.join("etc/assay/runtime.toml");
        let file: File = read(&path, Presence::Optional)?;
        Ok(Self {
            containerd: containerd_address(&path, file.containerd_address)?,
            gate: Paths::below(root).gate(),
            agent_uid: file.agent_uid,
            runtime: file.runtime.map(|runtime| absolute(&path, "runtime", runtime)).transpose()?,
            verdict_timeout: verdict_timeout(&path, file.verdict_timeout_ms, 3000, MAX_VERDICT_TIMEOUT_MS)?,
        })
    }

    /// The real runtime, which is not the program at `own`.
    ///
    /// # Errors
    /// [`RuntimeError`] if there is none that could be trusted.
    pub fn real_runtime(&self, own: &Path) -> Result<PathBuf, RuntimeError> {
        match &self.runtime {
            Some(runtime) => trusted(runtime, own),
            None => {
                let usual = USUAL.iter().map(Path::new);
                first_other(usual, own)
            }
        }
    }
}

/// The first of the usual ones that is there and is not the program at `own`.
fn first_other<'a>(usual: impl Iterator<Item = &'a Path>, own: &Path) -> Result<PathBuf, RuntimeError> {
    for path in usual {
        match trusted(path, own) {
            Err(RuntimeError::Itself(_)) => {}
            Err(RuntimeError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
            found => return found,
        }
    }
    Err(RuntimeError::Nowhere)
}

fn trusted(runtime: &Path, own: &Path) -> Result<PathBuf, RuntimeError> {
    let look = |path: &Path| fs::metadata(path).map_err(|source| RuntimeError::Io { path: path.to_owned(), source });
    let (found, own) = (look(runtime)?, look(own)?);
    if (found.dev(), found.ino()) == (own.dev(), own.ino()) {
        return Err(RuntimeError::Itself(runtime.to_owned()));
    }
    let mode = found.permissions().mode() & 0o7777;
    if !found.is_file() || mode & 0o111 == 0 {
        return Err(RuntimeError::NoProgram(runtime.to_owned()));
    }
    if found.uid() != 0 || mode & 0o022 != 0 {
        return Err(RuntimeError::Writable { path: runtime.to_owned(), uid: found.uid(), mode });
    }
    Ok(runtime.to_owned())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn node(text: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("etc/assay")).unwrap();
        fs::write(root.path().join("etc/assay/runtime.toml"), text).unwrap();
        root
    }

    fn program(folder: &Path, name: &str, mode: u32) -> PathBuf {
        let path = folder.join(name);
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn every_key_is_taken_and_an_unknown_one_is_refused() {
        let root = node("containerd-address = '/c.sock'\nagent-uid = 7\nruntime = '/r'\nverdict-timeout-ms = 500\n");
        let config = RunConfig::load(root.path()).unwrap();
        assert_eq!((config.containerd, config.agent_uid), (PathBuf::from("/c.sock"), Some(7)));
        assert_eq!((config.runtime, config.verdict_timeout.as_millis()), (Some(PathBuf::from("/r")), 500));
        assert_eq!(config.gate, root.path().join("run/assay/gate.sock"));
        let wrong = |text: &str| RunConfig::load(node(text).path()).unwrap_err();
        assert!(matches!(wrong("runtimes = '/r'\n"), ConfigError::Parse { .. }));
        assert!(matches!(wrong("runtime = 'runc'\n"), ConfigError::Relative { key: "runtime", .. }));
        assert!(matches!(wrong("verdict-timeout-ms = 10001\n"), ConfigError::Timeout { found: 10_001, .. }));
        let none = tempfile::tempdir().unwrap();
        assert_eq!(RunConfig::load(none.path()).unwrap().verdict_timeout.as_millis(), 3000);
    }

    #[test]
    fn a_runtime_that_others_may_change_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let own = program(folder.path(), "own", 0o755);
        assert_eq!(trusted(&program(folder.path(), "a", 0o755), &own).unwrap(), folder.path().join("a"));
        for mode in [0o775, 0o757] {
            let refused = trusted(&program(folder.path(), "b", mode), &own);
            assert!(matches!(refused, Err(RuntimeError::Writable { mode: found, .. }) if found == mode));
        }
        let foreign = program(folder.path(), "c", 0o755);
        std::os::unix::fs::chown(&foreign, Some(7), None).unwrap();
        assert!(matches!(trusted(&foreign, &own), Err(RuntimeError::Writable { uid: 7, .. })));
        assert!(matches!(trusted(&program(folder.path(), "d", 0o644), &own), Err(RuntimeError::NoProgram(_))));
        assert!(matches!(trusted(folder.path(), &own), Err(RuntimeError::NoProgram(_))));
        assert!(matches!(trusted(&folder.path().join("x"), &own), Err(RuntimeError::Io { .. })));
    }

    #[test]
    fn the_gate_never_becomes_itself() {
        let folder = tempfile::tempdir().unwrap();
        let (own, other) = (program(folder.path(), "own", 0o755), program(folder.path(), "other", 0o755));
        let link = folder.path().join("link");
        fs::hard_link(&own, &link).unwrap();
        assert!(matches!(trusted(&link, &own), Err(RuntimeError::Itself(_))));
        let absent = folder.path().join("absent");
        let found = first_other([absent.as_path(), &link, &other].into_iter(), &own);
        assert_eq!(found.unwrap(), other);
        assert!(matches!(first_other([absent.as_path(), &link].into_iter(), &own), Err(RuntimeError::Nowhere)));
    }
}
