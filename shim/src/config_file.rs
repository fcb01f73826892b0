//! One TOML file in, its checked values out: how every gate reads its configuration. Unknown keys, relative paths and waits
//! that are too long are refused with file and key.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::de::DeserializeOwned;

/// Largest configuration file that is read.
const MAX_CONFIG_BYTES: u64 = 64 << 10;

/// Why the configuration is refused. Fits after "failed to load configuration: ".
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What failed.
        source: io::Error,
    },
    /// The file is no TOML, or has a key that does not exist.
    #[error("{path}: {source}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column.
        source: Box<toml::de::Error>,
    },
    /// The file is too large.
    #[error("{0}: larger than {MAX_CONFIG_BYTES} bytes")]
    TooLarge(PathBuf),
    /// The wait for a verdict is none or too long.
    #[error("{path}: verdict-timeout-ms is {found}, it must be 1 to {most}")]
    Timeout {
        /// The file.
        path: PathBuf,
        /// What it says.
        found: u64,
        /// The most that it may say.
        most: u64,
    },
    /// A path must not depend on where the program was started.
    #[error("{path}: {key} is {found:?}, it must be an absolute path")]
    Relative {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// What it says.
        found: PathBuf,
    },
}

/// Whether there has to be a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// Its absence is an error.
    Needed,
    /// Its absence is an empty file.
    Optional,
}

/// Reads `path` into `T`, whose fields are all of the file's keys.
pub(crate) fn read<T: DeserializeOwned>(path: &Path, presence: Presence) -> Result<T, ConfigError> {
    let read = fs::metadata(path).and_then(|metadata| {
        if metadata.len() > MAX_CONFIG_BYTES { Ok(None) } else { fs::read_to_string(path).map(Some) }
    });
    let text = match read {
        Ok(Some(text)) => text,
        Ok(None) => return Err(ConfigError::TooLarge(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound && presence == Presence::Optional => String::new(),
        Err(source) => return Err(ConfigError::Read { path: path.to_owned(), source }),
    };
    toml::from_str(&text).map_err(|error| ConfigError::Parse { path: path.to_owned(), source: Box::new(error) })
}

/// The wait that `verdict-timeout-ms` of `path` says, or the `default`; 1 to `most` milliseconds.
pub(crate) fn verdict_timeout(
    path: &Path,
    found: Option<u64>,
    default: u64,
    most: u64,
) -> Result<Duration, ConfigError> {
    let found = found.unwrap_or(default);
    if (1..=most).contains(&found) {
        Ok(Duration::from_millis(found))
    } else {
        Err(ConfigError::Timeout { path: path.to_owned(), found, most })
    }
}

/// The uids that may be the agent: root, and the one that `agent-uid` says.
pub(crate) fn agent_uids(found: Option<u32>) -> Vec<u32> {
    std::iter::once(0).chain(found).collect()
}

/// containerd's socket as `containerd-address` of `path` says, or where it usually is.
pub(crate) fn containerd_address(path: &Path, found: Option<PathBuf>) -> Result<PathBuf, ConfigError> {
    absolute(path, "containerd-address", found.unwrap_or_else(|| "/run/containerd/containerd.sock".into()))
}

/// The path that `key` of `path` says.
pub(crate) fn absolute(path: &Path, key: &'static str, found: PathBuf) -> Result<PathBuf, ConfigError> {
    if found.is_absolute() { Ok(found) } else { Err(ConfigError::Relative { path: path.to_owned(), key, found }) }
}
