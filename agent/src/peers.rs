//! The agent's listening sockets, one for each role, and who may use each.

use std::{io, os::unix::net::UnixListener as StdListener, path::PathBuf};

use assay_proto::{Peer, SocketAccess, SocketError};
use tokio::net::UnixListener;
use tonic::{Request, Status};

use crate::Config;

/// A listening socket for each role.
#[derive(Debug)]
pub(crate) struct Sockets {
    /// Gates ask here: root only.
    pub(crate) gate: UnixListener,
    /// People manage here: the configured admin uids.
    pub(crate) admin: UnixListener,
    /// People and CI sign here: each key has its own list of uids.
    pub(crate) sign: UnixListener,
}

/// Why the agent has no socket for a role.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// It could not be bound.
    #[error(transparent)]
    Bind(#[from] SocketError),
    /// What was inherited is unusable.
    #[error("inherited socket {0}: {1}")]
    Inherited(&'static str, io::Error),
}

impl Sockets {
    /// Takes the sockets that systemd or `assay node up` passed on (`LISTEN_FDS`, `LISTEN_FDNAMES`), and binds the rest.
    pub(crate) fn open(config: &Config) -> Result<Self, ListenError> {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut inherited = listenfd::ListenFd::from_env();
        let mut open = |role: &'static str, access: SocketAccess| -> Result<UnixListener, ListenError> {
            let position = names.split(':').position(|name| name == role || name == format!("{role}.sock"));
            let socket: Option<StdListener> = match position {
                Some(at) => inherited.take_unix_listener(at).map_err(|error| ListenError::Inherited(role, error))?,
                None => None,
            };
            match socket {
                Some(socket) => socket
                    .set_nonblocking(true)
                    .and_then(|()| UnixListener::from_std(socket))
                    .map_err(|error| ListenError::Inherited(role, error)),
                None => Ok(assay_proto::bind_for(&path(config, role), access)?),
            }
        };
        Ok(Self {
            gate: open("gate", SocketAccess::OWNER)?,
            admin: open("admin", SocketAccess::OWNER)?,
            sign: open("sign", config.sign_socket)?,
        })
    }
}

fn path(config: &Config, role: &str) -> PathBuf {
    config.sockets.join(format!("{role}.sock"))
}

/// Gates run on containerd's side, as root.
pub(crate) const fn is_gate(peer: &Peer) -> bool {
    peer.uid == 0
}

/// Who may reach sign.sock at all: root, admins, and every uid that some key lists.
pub(crate) fn may_sign(config: &Config) -> impl Fn(&Peer) -> bool + Send + 'static {
    let mut uids: Vec<u32> = config.keys.iter().flat_map(|key| key.peers.iter().copied()).collect();
    uids.extend(&config.admin_uids);
    uids.push(0);
    move |peer| uids.contains(&peer.uid)
}

/// Who may reach admin.sock.
pub(crate) fn is_admin(config: &Config) -> impl Fn(&Peer) -> bool + Send + 'static {
    let uids = config.admin_uids.clone();
    move |peer| uids.contains(&peer.uid)
}

/// Who made a request.
///
/// # Errors
/// An internal status if the server does not know, which no socket of the agent's own leads to.
pub(crate) fn peer_uid<T>(request: &Request<T>) -> Result<u32, Status> {
    let peer = request.extensions().get::<Peer>();
    peer.map(|peer| peer.uid).ok_or_else(|| Status::internal("the connection has no peer credentials"))
}
