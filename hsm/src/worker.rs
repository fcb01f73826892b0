//! The worker at work: a listening socket, connections, and a few threads that talk to the module.
//!
//! In: configuration, PIN and socket. Out: answers to the agent. A module that hangs costs its thread, and when no
//! thread is left, the process: its supervisor starts a new one.

mod generate;
mod keys;
mod module;
mod pool;
mod server;
mod signing;
mod socket;
mod token;

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::pin::Pin;

pub use socket::SocketError;

/// A running worker; it serves until the process ends or `stop` is called.
#[derive(Debug)]
pub struct Worker {
    pool: Arc<pool::Pool>,
}

/// Why the worker does not run.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The system gives no thread.
    #[error("failed to start a thread: {0}")]
    Thread(std::io::Error),
}

impl Worker {
    /// Takes the socket inherited from the parent (systemd's protocol), or `None` when there is none.
    ///
    /// # Errors
    /// When something was inherited that is not one listening Unix socket.
    pub fn inherited_socket() -> Result<Option<UnixListener>, SocketError> {
        socket::inherited()
    }

    /// Binds the socket at `path` with mode 0600; as root, hands it to `agent_uid`.
    ///
    /// # Errors
    /// When something lies there that is not a dead worker's socket.
    pub fn bind_socket(path: &Path, agent_uid: u32) -> Result<UnixListener, SocketError> {
        socket::bind(path, agent_uid)
    }

    /// Starts to serve. The module is loaded and the token opened in the background: neither has to be there.
    ///
    /// # Errors
    /// When the system gives no threads.
    pub fn start(config: Config, pin: Pin, listener: UnixListener) -> Result<Self, StartError> {
        let agent_uid = config.agent_uid;
        let pool = pool::Pool::start(config, pin).map_err(StartError::Thread)?;
        server::start(listener, agent_uid, Arc::clone(&pool)).map_err(StartError::Thread)?;
        Ok(Worker { pool })
    }

    /// Takes a PIN read anew, which may be tried even if the one before was refused.
    pub fn reload(&self, pin: Pin) {
        self.pool.reload(pin);
    }

    /// Stops taking requests and waits, at most `limit`, for those under way.
    pub fn stop(&self, limit: Duration) {
        self.pool.stop(limit);
    }
}
