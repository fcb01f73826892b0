//! Unix sockets whose two ends know each other: the client checks path and peer before the first byte, the server
//! gives each call the peer's credentials. Knows no service; opens nothing but AF_UNIX.

use std::{
    io,
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{UnixListener, UnixStream},
    sync::mpsc,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint, Uri, server::Connected};

use crate::SocketAccess;

/// Longest wait for a connection to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Most connections that wait to be served.
const BACKLOG: usize = 64;

/// Why a socket is not used.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// A part of the path is a symbolic link.
    #[error("{0} is a symbolic link")]
    Symlink(PathBuf),
    /// The path exists and is no socket.
    #[error("{0} exists and is not a socket")]
    NotASocket(PathBuf),
    /// The process on the other side has a uid that is not accepted.
    #[error("{path} is served by uid {found}, only {accepted:?} is accepted")]
    ForeignPeer {
        /// The socket.
        path: PathBuf,
        /// The peer's uid.
        found: u32,
        /// The uids that are accepted.
        accepted: Vec<u32>,
    },
    /// An operation on the path failed.
    #[error("{path}: {source}")]
    Io {
        /// The socket.
        path: PathBuf,
        /// What failed.
        source: io::Error,
    },
}

impl SocketError {
    fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }
}

/// Who is on the other side of a connection, as the kernel recorded it when the connection was made (`SO_PEERCRED`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The effective user id.
    pub uid: u32,
    /// The effective group id.
    pub gid: u32,
    /// The process id; it may have ended since.
    pub pid: Option<i32>,
}

/// Connects a gRPC channel to `path`, now. Each later reconnect makes the same checks.
///
/// # Errors
/// [`SocketError`] if the path has a symbolic link, nothing listens there, or the peer's uid is not in `accepted`.
pub async fn connect(path: &Path, accepted: &[u32]) -> Result<Channel, SocketError> {
    drop(open(path, accepted).await?);
    Ok(connector_to(path, accepted))
}

/// A gRPC channel to `path` that connects at its first call, with the same checks as [`connect`].
#[must_use]
pub fn connector_to(path: &Path, accepted: &[u32]) -> Channel {
    let (path, accepted) = (path.to_owned(), accepted.to_vec());
    // The URI is never resolved: it only fills the `:authority` header, for which containerd's servers want a legal value.
    Endpoint::from_static("http://localhost").connect_timeout(CONNECT_TIMEOUT).connect_with_connector_lazy(
        tower::service_fn(move |_: Uri| {
            let (path, accepted) = (path.clone(), accepted.clone());
            async move { open(&path, &accepted).await.map(TokioIo::new).map_err(io::Error::other) }
        }),
    )
}

async fn open(path: &Path, accepted: &[u32]) -> Result<UnixStream, SocketError> {
    refuse_symlinks(path)?;
    let stream = UnixStream::connect(path).await.map_err(|error| SocketError::io(path, error))?;
    let found = stream.peer_cred().map_err(|error| SocketError::io(path, error))?.uid();
    if accepted.contains(&found) {
        Ok(stream)
    } else {
        Err(SocketError::ForeignPeer { path: path.to_owned(), found, accepted: accepted.to_vec() })
    }
}

/// A symbolic link in the socket's folder or in its last part could have been put there to lead to another server.
/// Links further up (`/var/run` → `/run`) belong to root.
fn refuse_symlinks(path: &Path) -> Result<(), SocketError> {
    for part in path.ancestors().take(2).filter(|part| !part.as_os_str().is_empty()) {
        let metadata = std::fs::symlink_metadata(part).map_err(|error| SocketError::io(part, error))?;
        if metadata.is_symlink() {
            return Err(SocketError::Symlink(part.to_owned()));
        }
    }
    Ok(())
}

/// Binds `path` with `mode`, as [`bind_for`] does.
///
/// # Errors
/// As [`bind_for`].
pub fn bind(path: &Path, mode: u32) -> Result<UnixListener, SocketError> {
    bind_for(path, SocketAccess::of_mode(mode))
}

/// Binds `path` for whom `access` names. A socket that is left over from an earlier process is replaced; anything else there is an error.
///
/// # Errors
/// [`SocketError`] if the path or its folder is a symbolic link, is no socket, or cannot be bound or given to the group.
pub fn bind_for(path: &Path, access: SocketAccess) -> Result<UnixListener, SocketError> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_symlink() => return Err(SocketError::Symlink(path.to_owned())),
        Ok(metadata) if !metadata.file_type().is_socket() => return Err(SocketError::NotASocket(path.to_owned())),
        Ok(_) => std::fs::remove_file(path).map_err(|error| SocketError::io(path, error))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(SocketError::io(path, error)),
    }
    if let Some(folder) = path.parent() {
        refuse_symlinks(folder)?;
    }
    // Bound under a name that nobody knows, and moved to its place only with its final mode: no moment with a laxer one.
    let hidden = path.with_extension(format!("{}.new", std::process::id()));
    let _ = std::fs::remove_file(&hidden);
    let listener = UnixListener::bind(&hidden).map_err(|error| SocketError::io(&hidden, error))?;
    access.give(&hidden).and_then(|()| std::fs::rename(&hidden, path)).map_err(|error| SocketError::io(path, error))?;
    Ok(listener)
}

/// Accepts connections from peers that `admits` and hands them to a tonic server. An error while accepting (too many
/// open files, say) is waited out: the loop ends only with its listener's owner.
pub fn accept(
    listener: UnixListener,
    admits: impl Fn(&Peer) -> bool + Send + 'static,
) -> ReceiverStream<io::Result<Accepted>> {
    let (sender, receiver) = mpsc::channel(BACKLOG);
    tokio::spawn(async move {
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let Ok(credentials) = stream.peer_cred() else { continue };
            let peer = Peer { uid: credentials.uid(), gid: credentials.gid(), pid: credentials.pid() };
            if admits(&peer) && sender.send(Ok(Accepted { stream, peer })).await.is_err() {
                return;
            }
        }
    });
    ReceiverStream::new(receiver)
}

/// A connection whose peer was accepted. Handlers find the [`Peer`] in the request's extensions.
#[derive(Debug)]
pub struct Accepted {
    stream: UnixStream,
    peer: Peer,
}

impl Connected for Accepted {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer
    }
}

impl AsyncRead for Accepted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
