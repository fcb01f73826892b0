//! The listening socket: inherited, or bound with nobody else able to connect in between.

use std::fs::{Permissions, set_permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::sys::stat::{Mode, umask};

/// Why there is no socket to serve on.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// What the parent passed is no listening Unix socket.
    #[error("the inherited file descriptor is not a listening Unix socket: {0}")]
    Inherited(io::Error),
    /// More than one was passed.
    #[error("{count} sockets were inherited instead of one; the key worker has one socket")]
    TooMany {
        /// How many.
        count: usize,
    },
    /// A link, file or directory is in the way.
    #[error("{path} is in the way and is not a socket; remove it")]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// Someone serves there already.
    #[error("{path} is served by another process; stop it first")]
    InUse {
        /// The path.
        path: PathBuf,
    },
    /// The socket cannot be made.
    #[error("failed to bind {path}: {source}; its directory has to exist and be writable for the key worker")]
    Bind {
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

pub(super) fn inherited() -> Result<Option<UnixListener>, SocketError> {
    let mut passed = listenfd::ListenFd::from_env();
    match passed.len() {
        0 => Ok(None),
        1 => passed.take_unix_listener(0).map_err(SocketError::Inherited),
        count => Err(SocketError::TooMany { count }),
    }
}

pub(super) fn bind(path: &Path, agent_uid: u32) -> Result<UnixListener, SocketError> {
    let failed = |source| SocketError::Bind { path: path.to_owned(), source };
    remove_dead(path)?;
    // Born private: between bind and chmod nobody else could connect.
    let before = umask(Mode::from_bits_truncate(0o177));
    let bound = UnixListener::bind(path);
    umask(before);
    let listener = bound.map_err(failed)?;
    set_permissions(path, Permissions::from_mode(0o600)).map_err(failed)?;
    let own = nix::unistd::geteuid();
    if own.is_root() {
        chown(path, Some(agent_uid), None).map_err(failed)?;
    } else if own.as_raw() != agent_uid && agent_uid != 0 {
        tracing::warn!(
            path = %path.display(), agent_uid,
            "the socket belongs to the key worker's own uid, so the agent cannot reach it; let systemd create it"
        );
    }
    Ok(listener)
}

/// Removes the socket of a worker that is gone, and nothing else.
fn remove_dead(path: &Path) -> Result<(), SocketError> {
    let failed = |source| SocketError::Bind { path: path.to_owned(), source };
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => Err(SocketError::NotASocket { path: path.to_owned() }),
        Ok(_) => match UnixStream::connect(path) {
            Ok(_) => Err(SocketError::InUse { path: path.to_owned() }),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                std::fs::remove_file(path).map_err(failed)
            }
            Err(error) => Err(failed(error)),
        },
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::{SocketError, bind};

    #[test]
    fn a_socket_is_private_and_a_dead_one_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key.sock");
        let own = nix::unistd::geteuid().as_raw();
        let listener = bind(&path, own).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
        assert!(matches!(bind(&path, own), Err(SocketError::InUse { .. })));
        drop(listener);
        bind(&path, own).unwrap();
    }

    #[test]
    fn a_link_or_file_in_the_way_is_refused_and_left() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key.sock");
        symlink(directory.path().join("elsewhere.sock"), &path).unwrap();
        assert!(matches!(bind(&path, 0), Err(SocketError::NotASocket { .. })));
        assert!(path.is_symlink());
    }
}
