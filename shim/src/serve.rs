//! Wiring: from the configuration to a server on its socket, until it is told to stop.

use std::{
    collections::BTreeSet,
    fs::DirBuilder,
    future::Future,
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use assay_admission::Namespace;
use assay_proto::{SocketError, containerd::snapshots::snapshots_server::SnapshotsServer};
use tokio::net::UnixListener;

use crate::{
    agent::Agent,
    config::Config,
    gate::UnpackGate,
    mapping::Images,
    overlay::{Overlay, OverlayError},
    service::Snapshotter,
};

/// Largest message taken from containerd: a key, a parent and their labels.
const MAX_CALL_BYTES: usize = 4 << 20;
/// Longest wait for calls that are under way when the server is told to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the snapshotter does not run. Fits after "failed to serve snapshots: ".
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The store cannot be opened.
    #[error(transparent)]
    Overlay(#[from] OverlayError),
    /// The socket cannot be made.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// A folder or inherited socket cannot be used.
    #[error("{path}: {source}")]
    Io {
        /// The folder or socket.
        path: PathBuf,
        /// What failed.
        source: io::Error,
    },
    /// The server failed.
    #[error(transparent)]
    Server(#[from] tonic::transport::Error),
}

/// Serves on the configured socket until `stop` is done. `ready` is called once connections are accepted.
///
/// # Errors
/// [`ServeError`] if store or socket cannot be opened.
pub async fn serve(
    config: &Config,
    inherited: Option<std::os::unix::net::UnixListener>,
    ready: impl FnOnce(),
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let listener = match inherited {
        Some(listener) => listener
            .set_nonblocking(true)
            .and_then(|()| UnixListener::from_std(listener))
            .map_err(|source| ServeError::Io { path: config.socket.clone(), source })?,
        None => {
            if let Some(folder) = config.socket.parent() {
                make_folder(folder, 0o755)?;
            }
            assay_proto::bind(&config.socket, 0o600)?
        }
    };
    serve_on(listener, config, ready, stop).await
}

/// The same on a socket that exists. Only uid 0 may call.
///
/// # Errors
/// [`ServeError`] if the store cannot be opened.
pub async fn serve_on(
    listener: UnixListener,
    config: &Config,
    ready: impl FnOnce(),
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    make_folder(&config.snapshots, 0o700)?;
    let overlay = Arc::new(Overlay::open(&config.snapshots)?);
    let agent = Agent::at(&config.gate, &config.agent_uids());
    let images = Images::of(&config.containerd);
    let ahead = tokio::spawn(learn_ahead(images.clone(), overlay.namespaces()?));
    let gate = UnpackGate::new(images, agent, config.verdict_timeout);
    let service = SnapshotsServer::new(Snapshotter::new(overlay, gate)).max_decoding_message_size(MAX_CALL_BYTES);
    let connections = assay_proto::accept(listener, |peer| peer.uid == 0);
    let (stopping, told) = tokio::sync::oneshot::channel::<()>();
    let server = tonic::transport::Server::builder().add_service(service);
    let server = server.serve_with_incoming_shutdown(connections, async {
        let _ = told.await;
    });
    tokio::pin!(server);
    ready();
    tokio::select! {
        ended = &mut server => return Ok(ended?),
        () = stop => drop(stopping),
    }
    ahead.abort();
    // Calls under way may end; a client that holds its connection open may not hold us.
    match tokio::time::timeout(STOP_TIMEOUT, server).await {
        Ok(ended) => Ok(ended?),
        Err(_) => Ok(()),
    }
}

/// Images are most likely where snapshots are.
async fn learn_ahead(images: Images, namespaces: BTreeSet<Namespace>) {
    for namespace in namespaces {
        images.learn_ahead(&namespace).await;
    }
}

fn make_folder(path: &Path, mode: u32) -> Result<(), ServeError> {
    let made = DirBuilder::new().recursive(true).mode(mode).create(path);
    made.map_err(|source| ServeError::Io { path: path.to_owned(), source })
}
