//! The way to the agent: finds its sockets below the root, checks who serves them, bounds every call in time, and turns
//! what goes wrong into failures that a person understands. Starts no agent and never goes around one.

use std::{
    error::Error as _,
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use assay_proto::{
    MAX_MESSAGE_BYTES, SocketError,
    assay::{
        audit_client::AuditClient, evidence_client::EvidenceClient, gate_client::GateClient, keys_client::KeysClient,
        node_client::NodeClient, policy_client::PolicyClient, trust_roots_client::TrustRootsClient,
    },
    remedy_of,
};
use tonic::{Code, Request, Response, Status, transport::Channel};

use crate::{
    Context,
    failure::{Exit, Failure},
};

/// A checked connection to the agent.
#[derive(Debug)]
pub(crate) struct Agent {
    channel: Channel,
    socket: PathBuf,
    timeout: Duration,
    until: Instant,
}

impl Agent {
    /// Connects to `admin.sock`.
    ///
    /// # Errors
    /// Exit code 4, if there is no agent or the socket is not to be trusted.
    pub(crate) async fn admin(context: &Context) -> Result<Self, Failure> {
        Self::connect(context, "admin.sock").await
    }

    /// Connects to `sign.sock`, or to `admin.sock` where that one is missing or closed to the caller.
    ///
    /// # Errors
    /// As [`Agent::admin`].
    pub(crate) async fn signing(context: &Context) -> Result<Self, Failure> {
        match Self::connect(context, "sign.sock").await {
            Ok(agent) => Ok(agent),
            Err(first) => Self::connect(context, "admin.sock").await.map_err(|_| first),
        }
    }

    /// Connects to `admin.sock`, or to `sign.sock` where the caller is no administrator.
    ///
    /// # Errors
    /// As [`Agent::admin`].
    pub(crate) async fn any(context: &Context) -> Result<Self, Failure> {
        match Self::connect(context, "admin.sock").await {
            Ok(agent) => Ok(agent),
            Err(first) => Self::connect(context, "sign.sock").await.map_err(|_| first),
        }
    }

    async fn connect(context: &Context, name: &str) -> Result<Self, Failure> {
        let socket = context.path("run/assay").join(name);
        // Root and systemd make the sockets; a person who runs an agent for trial makes them as themselves.
        let accepted = [0, nix::unistd::geteuid().as_raw()];
        let channel =
            assay_proto::connect(&socket, &accepted).await.map_err(|error| connection_failed(&socket, &error))?;
        Ok(Self { channel, socket, timeout: context.timeout, until: Instant::now() + context.left() })
    }

    /// The agent's own state.
    pub(crate) fn node(&self) -> NodeClient<Channel> {
        NodeClient::new(self.channel.clone())
    }

    /// The policy in force.
    pub(crate) fn policy(&self) -> PolicyClient<Channel> {
        PolicyClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// Verdicts.
    pub(crate) fn gate(&self) -> GateClient<Channel> {
        GateClient::new(self.channel.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// Keys in the token.
    pub(crate) fn keys(&self) -> KeysClient<Channel> {
        KeysClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// Roots of trust.
    pub(crate) fn trust_roots(&self) -> TrustRootsClient<Channel> {
        TrustRootsClient::new(self.channel.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// The service that takes in evidence.
    pub(crate) fn evidence(&self) -> EvidenceClient<Channel> {
        EvidenceClient::new(self.channel.clone())
    }

    /// The log.
    pub(crate) fn audit(&self) -> AuditClient<Channel> {
        AuditClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// Waits for `call` at most until the time that `--timeout` gives the whole command is over.
    ///
    /// # Errors
    /// What the agent answered, as a failure; exit code 4 if it did not answer.
    pub(crate) async fn ask<T>(&self, call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Failure> {
        match tokio::time::timeout(self.left(), call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(call_failed(&self.socket, &status)),
            Err(_) => Err(no_answer(&self.socket, &format!("no answer within {:?}", self.timeout))),
        }
    }

    /// A request that tells the agent how long the caller waits.
    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.left());
        request
    }

    fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }
}

fn connection_failed(socket: &Path, error: &SocketError) -> Failure {
    let remedy = match error {
        SocketError::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
            if socket.ends_with("sign.sock") {
                "run it as root, or join the socket's group: `sign-socket-group` in /etc/assay/assayd.toml"
            } else {
                "run it as root, or as a user who may open this socket"
            }
        }
        SocketError::Io { .. } => {
            "start the agent (`systemctl start assayd`, or `assay node up` for trial); a node elsewhere needs --root DIR"
        }
        SocketError::Symlink(_) | SocketError::NotASocket(_) | SocketError::ForeignPeer { .. } => {
            "find out who put it there: only root or the agent may serve this socket"
        }
    };
    let code = match error {
        SocketError::Io { .. } => "AGENT_UNREACHABLE",
        SocketError::Symlink(_) | SocketError::NotASocket(_) | SocketError::ForeignPeer { .. } => "AGENT_NOT_TRUSTED",
    };
    let message = match error {
        SocketError::Io { source, .. } => format!("failed to reach the agent at {}: {source}", socket.display()),
        SocketError::Symlink(_) | SocketError::NotASocket(_) | SocketError::ForeignPeer { .. } => {
            format!("failed to reach the agent: {error}")
        }
    };
    Failure::new(code, message, remedy).exits(Exit::AgentUnreachable)
}

fn no_answer(socket: &Path, why: &str) -> Failure {
    Failure::new(
        "AGENT_UNREACHABLE",
        format!("the agent at {} did not answer: {why}", socket.display()),
        "look at assayd's log; a longer --timeout may help",
    )
    .exits(Exit::AgentUnreachable)
}

/// sign.sock ends the connection of whomever no key lists, without a word.
fn not_listed(socket: &Path) -> Failure {
    let uid = nix::unistd::geteuid();
    Failure::new(
        "AGENT_UNREACHABLE",
        format!(
            "the agent at {} ended the connection: it serves root, admin-uids, and the uids that are `peers` of a key",
            socket.display()
        ),
        format!(
            "add {uid} to `peers` of a [[keys]] table in /etc/assay/assayd.toml and restart assayd; if it stands there, look at assayd's \
             log"
        ),
    )
    .exits(Exit::AgentUnreachable)
}

/// The agent's refusals: its own word on what can be done goes before ours.
fn call_failed(socket: &Path, status: &Status) -> Failure {
    let failure = by_code(socket, status);
    match remedy_of(status) {
        Some(remedy) => Failure { remedy: remedy.to_owned(), ..failure },
        None => failure,
    }
}

/// The agent's status codes, in one place. Its message is a sentence that says what and why.
fn by_code(socket: &Path, status: &Status) -> Failure {
    let message = status.message();
    // A status that came over the wire has no source: one that has is the connection's own end.
    if status.source().is_some() {
        return if socket.ends_with("sign.sock") { not_listed(socket) } else { no_answer(socket, message) };
    }
    match status.code() {
        Code::Unavailable => Failure::new("UNAVAILABLE", message, "look at `assay node status`, then try again"),
        Code::DeadlineExceeded | Code::Cancelled => no_answer(socket, message),
        Code::PermissionDenied | Code::Unauthenticated => Failure::new(
            "NOT_ALLOWED",
            format!("the agent refuses: {message}"),
            "run it as a user whom assayd.toml admits (admin-uids, or peers of the key)",
        ),
        Code::NotFound => Failure::new("NOT_FOUND", message, "see what there is: `assay keys list`"),
        Code::AlreadyExists => Failure::new("ALREADY_EXISTS", message, "choose another name"),
        Code::InvalidArgument | Code::OutOfRange => Failure::new("INVALID", message, "correct the argument"),
        Code::FailedPrecondition => {
            Failure::new("NOT_POSSIBLE", message, "look at `assay node status` and at assayd.toml")
        }
        Code::ResourceExhausted => Failure::new("LIMIT", message, "try again in a moment"),
        Code::Unimplemented => Failure::new(
            "UNSUPPORTED",
            format!("the agent does not know this call: {message}"),
            "use an assay of the agent's version (`assay node status` shows it)",
        ),
        Code::Ok | Code::Unknown | Code::Aborted | Code::Internal | Code::DataLoss => {
            Failure::new("AGENT_FAILED", format!("the agent failed: {message}"), "look at assayd's log")
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_missing_agent_is_exit_code_4_and_says_how_to_start_it() {
        let socket = Path::new("/run/assay/admin.sock");
        let source = io::Error::from(io::ErrorKind::NotFound);
        let failure = connection_failed(socket, &SocketError::Io { path: socket.into(), source });
        assert_eq!((failure.exit, failure.code), (Exit::AgentUnreachable, "AGENT_UNREACHABLE"));
        assert!(failure.message.contains("/run/assay/admin.sock") && failure.remedy.contains("assay node up"));
    }

    #[test]
    fn a_foreign_server_is_not_taken_for_an_agent_that_is_down() {
        let socket = Path::new("/run/assay/admin.sock");
        let error = SocketError::ForeignPeer { path: socket.into(), found: 7, accepted: vec![0] };
        assert_eq!(connection_failed(socket, &error).code, "AGENT_NOT_TRUSTED");
    }

    #[test]
    fn refusals_and_time_outs_of_the_agent_end_differently() {
        let socket = Path::new("/s");
        let exit = |status: Status| call_failed(socket, &status).exit;
        assert_eq!(exit(Status::permission_denied("uid 7 is no admin")), Exit::Failed);
        assert_eq!(exit(Status::unavailable("the key worker does not answer")), Exit::Failed);
        let closed = Status::from_error(Box::new(io::Error::from(io::ErrorKind::ConnectionReset)));
        assert_eq!(exit(closed), Exit::AgentUnreachable);
        assert_eq!(exit(Status::deadline_exceeded("")), Exit::AgentUnreachable);
    }

    #[test]
    fn what_the_agent_says_to_do_goes_before_what_its_code_suggests() {
        let refused = |status: Status| call_failed(Path::new("/s"), &status).remedy;
        let code = tonic::Code::PermissionDenied;
        assert_eq!(refused(assay_proto::status_with_remedy(code, "uid 7 may not", "add 7")), "add 7");
        assert!(refused(Status::permission_denied("uid 7 may not")).contains("admin-uids"));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_socket_that_nobody_serves_is_reported_with_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let context = Context::for_tests(folder.path());
        let failure = Agent::admin(&context).await.unwrap_err();
        assert_eq!(failure.exit, Exit::AgentUnreachable);
        assert!(failure.message.contains("run/assay"), "{}", failure.message);
    }
}
