//! The agent's side of the worker's socket: one blocking connection, one request at a time.
//!
//! In: typed requests. Out: typed answers or errors. It talks only to the worker's uid or root, and recomputes
//! what can be recomputed; after a transport error it is done with, and the caller connects anew.

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use sha2::{Digest, Sha256};

use crate::key::KeyInfo;
use crate::protocol::{
    FrameError, GenerateRequest, KeyError, KeyList, Reply, Request, SignRequest, Status, VerifyRequest, decode_answer,
    encode_request, read_frame, write_frame,
};
use crate::uri::KeyUri;

/// A connection to the key worker.
#[derive(Debug)]
pub struct WorkerClient {
    stream: Option<UnixStream>,
    deadline: Duration,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The socket cannot be reached.
    #[error("failed to connect to key worker at {path}: {source}")]
    Connect {
        /// The socket's path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something else than a socket lies at the path.
    #[error("{path} is not a socket; the key worker's socket must not be a symbolic link or a file")]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The process behind the socket is neither root's nor the worker's.
    #[error("{path} is served by uid {uid}, which is neither root nor the key worker's")]
    WrongPeer {
        /// The socket's path.
        path: PathBuf,
        /// Who serves it.
        uid: u32,
    },
    /// The worker refused or failed to do it, and said so.
    #[error("{0}")]
    Worker(KeyError),
    /// No answer in time.
    #[error("key worker did not answer within {limit_ms} ms")]
    TimedOut {
        /// The limit in milliseconds.
        limit_ms: u128,
    },
    /// The connection broke.
    #[error("connection to key worker failed: {why}")]
    Transport {
        /// How.
        why: String,
    },
    /// The answer is none of this protocol, or is for another request, or contradicts itself.
    #[error("key worker gave an answer that cannot be used: {why}")]
    BadAnswer {
        /// What is wrong with it.
        why: String,
    },
    /// The request does not fit into a frame.
    #[error("request of {bytes} bytes is too large for the key worker")]
    TooLarge {
        /// Its size in bytes.
        bytes: u64,
    },
    /// An earlier call on this connection failed.
    #[error("connection to key worker failed earlier; connect again")]
    Unusable,
}

impl ClientError {
    /// Whether the same call can succeed later, on a new connection where this one broke.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            ClientError::Worker(error) => error.is_retryable(),
            ClientError::Connect { .. }
            | ClientError::TimedOut { .. }
            | ClientError::Transport { .. }
            | ClientError::Unusable => true,
            ClientError::NotASocket { .. }
            | ClientError::WrongPeer { .. }
            | ClientError::BadAnswer { .. }
            | ClientError::TooLarge { .. } => false,
        }
    }
}

impl WorkerClient {
    /// Connects to the worker's socket at `path`.
    ///
    /// The socket has to be served by root (as systemd creates it) or by one of `expected_peer_uids`. `deadline`
    /// bounds each later call; it should be longer than the worker's own, whose answer says more.
    ///
    /// # Errors
    /// `NotASocket`, `Connect` or `WrongPeer`.
    pub fn connect(path: &Path, expected_peer_uids: &[u32], deadline: Duration) -> Result<Self, ClientError> {
        let connect = |source| ClientError::Connect { path: path.to_owned(), source };
        // Not followed: whoever could plant a link could otherwise pick which socket is trusted.
        let metadata = path.symlink_metadata().map_err(connect)?;
        if !metadata.file_type().is_socket() {
            return Err(ClientError::NotASocket { path: path.to_owned() });
        }
        let stream = UnixStream::connect(path).map_err(connect)?;
        let peer = getsockopt(&stream, PeerCredentials).map_err(|error| connect(error.into()))?;
        if peer.uid() != 0 && !expected_peer_uids.contains(&peer.uid()) {
            return Err(ClientError::WrongPeer { path: path.to_owned(), uid: peer.uid() });
        }
        Ok(WorkerClient { stream: Some(stream), deadline })
    }

    /// Whether an earlier error ended this connection.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.stream.is_some()
    }

    /// How the worker, its module and its token are.
    ///
    /// # Errors
    /// As all calls: `Worker` for the worker's own answer, anything else for the way to it.
    pub fn status(&mut self) -> Result<Status, ClientError> {
        match self.call(&Request::Status {})? {
            Reply::Status(status) => Ok(status),
            other => Err(self.unexpected(&other)),
        }
    }

    /// All keys of the token that can sign.
    ///
    /// # Errors
    /// As `status`; also `BadAnswer` if a key's digest is not that of its public key.
    pub fn list(&mut self) -> Result<KeyList, ClientError> {
        match self.call(&Request::List {})? {
            Reply::Keys(list) => {
                for key in &list.keys {
                    self.check(key)?;
                }
                Ok(list)
            }
            other => Err(self.unexpected(&other)),
        }
    }

    /// The public half of the key `uri`.
    ///
    /// # Errors
    /// As `list`.
    pub fn public(&mut self, uri: &KeyUri) -> Result<KeyInfo, ClientError> {
        match self.call(&Request::Public { uri: uri.clone() })? {
            Reply::Key(key) => {
                self.check(&key)?;
                Ok(key)
            }
            other => Err(self.unexpected(&other)),
        }
    }

    /// A signature; for ECDSA raw r and s, see `ecdsa_raw_to_der`.
    ///
    /// # Errors
    /// As `status`.
    pub fn sign(&mut self, request: &SignRequest) -> Result<Vec<u8>, ClientError> {
        match self.call(&Request::Sign(request.clone()))? {
            Reply::Signature { signature } => Ok(signature),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Lets the token check a signature; a bad one is `Worker(KeyError::SignatureInvalid)`.
    ///
    /// # Errors
    /// As `status`.
    pub fn verify(&mut self, request: &VerifyRequest) -> Result<(), ClientError> {
        match self.call(&Request::Verify(request.clone()))? {
            Reply::Verified {} => Ok(()),
            other => Err(self.unexpected(&other)),
        }
    }

    /// A new key pair; the private half stays in the token.
    ///
    /// # Errors
    /// As `list`. Making a large RSA key takes seconds: allow for it in the deadline.
    pub fn generate(&mut self, request: &GenerateRequest) -> Result<KeyInfo, ClientError> {
        match self.call(&Request::Generate(request.clone()))? {
            Reply::Key(key) => {
                self.check(&key)?;
                Ok(key)
            }
            other => Err(self.unexpected(&other)),
        }
    }

    fn call(&mut self, request: &Request) -> Result<Reply, ClientError> {
        // Taken out, and put back only after a whole answer: a late answer must never meet the next request.
        let mut stream = self.stream.take().ok_or(ClientError::Unusable)?;
        let frame = encode_request(request).map_err(|error| bad_answer(&error))?;
        let started = Instant::now();
        match write_frame(&mut stream, &frame, self.deadline) {
            Ok(()) => {}
            // A worker that refuses says so before it closes: what it said can still be read.
            Err(FrameError::Closed) => {}
            Err(FrameError::TooLarge { bytes }) => {
                self.stream = Some(stream);
                return Err(ClientError::TooLarge { bytes });
            }
            Err(error) => return Err(self.transport(error)),
        }
        let left = self.deadline.saturating_sub(started.elapsed());
        let answer = read_frame(&mut stream, left, left).map_err(|error| self.transport(error))?;
        match decode_answer(&answer) {
            Ok(answer) => {
                self.stream = Some(stream);
                answer.map_err(ClientError::Worker)
            }
            Err(error) => Err(bad_answer(&error)),
        }
    }

    fn transport(&self, error: FrameError) -> ClientError {
        match error {
            FrameError::TimedOut => ClientError::TimedOut { limit_ms: self.deadline.as_millis() },
            other => ClientError::Transport { why: other.to_string() },
        }
    }

    fn unexpected(&mut self, reply: &Reply) -> ClientError {
        self.stream = None;
        let what = match reply {
            Reply::Status(_) => "a status",
            Reply::Keys(_) => "a list of keys",
            Reply::Key(_) => "a key",
            Reply::Signature { .. } => "a signature",
            Reply::Verified {} => "a verification",
        };
        ClientError::BadAnswer { why: format!("{what} was not asked for") }
    }

    fn check(&mut self, key: &KeyInfo) -> Result<(), ClientError> {
        if <[u8; 32]>::from(Sha256::digest(&key.spki)) == key.spki_sha256 {
            return Ok(());
        }
        self.stream = None;
        Err(ClientError::BadAnswer { why: format!("digest of {} is not that of its public key", key.uri) })
    }
}

fn bad_answer(why: &dyn std::fmt::Display) -> ClientError {
    ClientError::BadAnswer { why: why.to_string() }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;
    use std::time::Duration;

    use super::{ClientError, WorkerClient};

    /// A worker that gives one fixed answer to whatever it is asked.
    fn answering(answer: &'static [u8]) -> (tempfile::TempDir, Result<WorkerClient, ClientError>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key.sock");
        let listener = UnixListener::bind(&path).unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).unwrap();
            stream.write_all(&u32::try_from(answer.len()).unwrap().to_be_bytes()).unwrap();
            stream.write_all(answer).unwrap();
            let _ = stream.read(&mut request);
        });
        let own = nix::unistd::getuid().as_raw();
        let client = WorkerClient::connect(&path, &[own], Duration::from_millis(500));
        (directory, client)
    }

    #[test]
    fn an_answer_to_another_question_ends_the_connection() {
        let (_directory, client) = answering(br#"{"v":1,"answer":{"done":{"reply":"verified"}}}"#);
        let mut client = client.unwrap();
        assert!(matches!(client.status(), Err(ClientError::BadAnswer { why }) if why.contains("verification")));
        assert!(matches!(client.status(), Err(ClientError::Unusable)));
    }

    #[test]
    fn a_public_key_with_a_foreign_digest_is_refused() {
        let (_directory, client) = answering(
            br#"{"v":1,"answer":{"done":{"reply":"key","uri":"pkcs11:object=k","kind":{"type":"p256"},"spki":"AAAA","spki-sha256":"0000000000000000000000000000000000000000000000000000000000000000"}}}"#,
        );
        let error = client.unwrap().public(&"pkcs11:object=k".parse().unwrap());
        assert!(matches!(error, Err(ClientError::BadAnswer { .. })));
    }

    #[test]
    fn a_link_in_place_of_the_socket_is_refused() {
        let (directory, _client) = answering(b"{}");
        let link = directory.path().join("link.sock");
        std::os::unix::fs::symlink(directory.path().join("key.sock"), &link).unwrap();
        match WorkerClient::connect(&link, &[], Duration::from_secs(1)) {
            Err(ClientError::NotASocket { path }) => assert_eq!(path, link),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn silence_ends_with_the_deadline_and_the_connection() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key.sock");
        let _listener = UnixListener::bind(&path).unwrap();
        let own = nix::unistd::getuid().as_raw();
        let mut client = WorkerClient::connect(&path, &[own], Duration::from_millis(50)).unwrap();
        assert!(matches!(client.status(), Err(ClientError::TimedOut { limit_ms: 50 })));
        assert!(!client.is_usable());
    }
}
