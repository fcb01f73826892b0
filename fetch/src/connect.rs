//! Opens TCP connections, after a look at the address that was resolved: redirects, realms and changed DNS answers
//! all come through here. Never speaks a protocol.

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    task::{Context, Poll},
};

use hyper::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower::Service;

use crate::{address, caps};

/// Whether the host of a connection may be at a local address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LocalAddresses {
    Allowed,
    Refused,
}

/// What stands against a connection to an address, if anything does.
type Refuses = fn(IpAddr) -> Option<ConnectError>;

/// Makes the connections of one HTTP client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Connector(Refuses);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("{0} is an address of this machine or its link")]
    Local(IpAddr),
    #[error("{0} is no public address")]
    Private(IpAddr),
    #[error("its name could not be resolved: {0}")]
    Resolve(io::Error),
    #[error("its name has no address")]
    NoAddress,
    #[error("{0}: {1}")]
    Refused(SocketAddr, io::Error),
    #[error("{0}: no connection within {seconds} s", seconds = caps::CONNECT_TIMEOUT.as_secs())]
    TimedOut(SocketAddr),
    #[error("the URL has no host")]
    NoHost,
}

impl Connector {
    /// To any address.
    pub(crate) const fn anywhere() -> Self {
        Self(|_| None)
    }

    /// To none of this machine or its link.
    pub(crate) const fn not_local() -> Self {
        Self(|ip| address::is_local(ip).then_some(ConnectError::Local(ip)))
    }

    /// To addresses of the public network alone.
    pub(crate) const fn public() -> Self {
        Self(|ip| (!address::is_public(ip)).then_some(ConnectError::Private(ip)))
    }
}

impl From<LocalAddresses> for Connector {
    fn from(local: LocalAddresses) -> Self {
        match local {
            LocalAddresses::Allowed => Self::anywhere(),
            LocalAddresses::Refused => Self::not_local(),
        }
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(connect(uri, self.0))
    }
}

/// Connects to one of the addresses of the URL's host, if `refuses` has nothing against any of them.
async fn connect(uri: Uri, refuses: Refuses) -> Result<TokioIo<TcpStream>, ConnectError> {
    let host = uri.host().ok_or(ConnectError::NoHost)?;
    let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("http") { 80 } else { 443 });
    let addresses: Vec<SocketAddr> =
        tokio::net::lookup_host((host, port)).await.map_err(ConnectError::Resolve)?.take(caps::MAX_ADDRESSES).collect();
    // One local address among others is no accident either: all are refused, whichever would have answered.
    if let Some(refusal) = addresses.iter().find_map(|address| refuses(address.ip())) {
        return Err(refusal);
    }
    let mut last = ConnectError::NoAddress;
    for address in addresses {
        match tokio::time::timeout(caps::CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // A failure here costs milliseconds, not correctness.
                let _ = stream.set_nodelay(true);
                return Ok(TokioIo::new(stream));
            }
            Ok(Err(error)) => last = ConnectError::Refused(address, error),
            Err(_) => last = ConnectError::TimedOut(address),
        }
    }
    Err(last)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_spelling_of_a_local_address_is_refused_and_allowed_where_configured() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        for host in ["127.0.0.1", "127.1", "2130706433", "0x7f.1", "0177.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0"]
        {
            let uri = |scheme: &str| format!("{scheme}://{host}:{port}/").parse::<Uri>().unwrap();
            for scheme in ["http", "https"] {
                match connect(uri(scheme), Connector::not_local().0).await {
                    Err(ConnectError::Local(address)) => assert!(address::is_local(address), "{host}"),
                    other => panic!("{host}: {other:?}"),
                }
            }
            assert!(connect(uri("http"), Connector::anywhere().0).await.is_ok(), "{host}");
        }
    }
}
