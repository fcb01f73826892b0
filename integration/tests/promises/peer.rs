//! Who is on the other side of a socket: work done under another uid, and agents that are none. In: uids, paths. Out: what
//! was answered. A thread's uid ends with the thread.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener as StdListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use assay_proto::assay::gate_server::{Gate, GateServer};
use assay_proto::assay::{AdmitRequest, AdmitResponse, Decision, Mode};
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::sync::oneshot;
use tonic::{Request, Response, Status};

/// A uid that no program of a node has.
pub(crate) const STRANGER: u32 = 4711;

/// What an HTTP/2 client sends first (RFC 9113 §3.4): its preface and an empty SETTINGS frame.
pub(crate) const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";

/// Does the work on a thread of its own whose uid and gid are these. The kernel's calls change the calling thread alone,
/// and that is what a socket's other side is told.
pub(crate) fn as_user<T: Send>(uid: u32, gid: u32, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let (uid, gid) = (rustix::thread::Uid::from_raw(uid), rustix::thread::Gid::from_raw(gid));
            rustix::thread::set_thread_groups(&[])?;
            rustix::thread::set_thread_res_gid(gid, gid, gid)?;
            rustix::thread::set_thread_res_uid(uid, uid, uid)?;
            work()
        });
        worker.join().unwrap_or_else(|_| Err(anyhow!("the other user's thread panicked")))
    })
}

/// Runs a future to its end on this thread, so that it connects under this thread's uid.
pub(crate) fn here<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future)
}

/// What the server behind the socket answers first to these bytes; nothing if it closes the connection.
pub(crate) fn first_answer(socket: &Path, greeting: &[u8]) -> Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    // The server may have closed the connection already; then reading says so as well.
    let _ = stream.write_all(greeting);
    let mut answer = vec![0; 4096];
    match stream.read(&mut answer) {
        Ok(count) => answer.truncate(count),
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => answer.clear(),
        Err(error) => return Err(error).context("neither an answer nor the end of the connection"),
    }
    Ok(answer)
}

/// An agent that admits everything, served under a uid of the test's choice until dropped.
pub(crate) struct FakeAgent {
    folder: TempDir,
    stop: Option<oneshot::Sender<()>>,
    server: Option<std::thread::JoinHandle<Result<()>>>,
}

impl FakeAgent {
    /// Starts to listen; the socket is in nobody's way yet.
    pub(crate) fn start(uid: u32) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777))?;
        let path = folder.path().join("gate.sock");
        // Whoever calls listen(2) is the peer that a client sees, whoever serves the connection later.
        let listener = as_user(uid, uid, || Ok(StdListener::bind(&path)?))?;
        listener.set_nonblocking(true)?;
        let (stop, stopped) = oneshot::channel::<()>();
        let server = std::thread::spawn(move || {
            here(async move {
                let connections = assay_proto::accept(UnixListener::from_std(listener)?, |_| true);
                let server = tonic::transport::Server::builder().add_service(GateServer::new(AdmitsAll));
                tokio::select! {
                    served = server.serve_with_incoming(connections) => Ok(served?),
                    _ = stopped => Ok(()),
                }
            })
        });
        Ok(Self { folder, stop: Some(stop), server: Some(server) })
    }

    /// Puts its socket in that place, over whatever is there.
    pub(crate) fn take_the_place_of(&self, socket: &Path) -> Result<()> {
        Ok(std::fs::rename(self.folder.path().join("gate.sock"), socket)?)
    }
}

impl Drop for FakeAgent {
    fn drop(&mut self) {
        // Without its sender the server ends.
        drop(self.stop.take());
        if let Some(server) = self.server.take() {
            let _ = server.join();
        }
    }
}

struct AdmitsAll;

#[tonic::async_trait]
impl Gate for AdmitsAll {
    async fn admit(&self, _: Request<AdmitRequest>) -> Result<Response<AdmitResponse>, Status> {
        Ok(Response::new(AdmitResponse {
            decision: Decision::Allow.into(),
            mode: Mode::Enforce.into(),
            rule: "production".to_owned(),
            record: Some(1),
            ..AdmitResponse::default()
        }))
    }
}
