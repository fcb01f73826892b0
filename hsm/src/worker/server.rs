//! Connections: who may have one, how many there are, and what goes over them.
//!
//! In: frames from the agent's uid. Out: one answer for each. Whatever a peer sends, the worker goes on serving.

use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

use super::pool::Pool;
use crate::protocol::{
    FrameError, KeyError, MAX_FRAME, Reply, Request, decode_request, encode_answer, read_frame, write_frame,
};

const MAX_CONNECTIONS: u32 = 8;
/// How long a connection may be silent.
const IDLE: Duration = Duration::from_secs(600);
/// How long a frame may take from first to last byte, either way.
const WHOLE_FRAME: Duration = Duration::from_secs(2);
/// Enough for JSON of bounded size; the module runs on other threads.
const STACK: usize = 256 * 1024;

/// Serves `listener` on threads of its own.
pub(super) fn start(listener: UnixListener, agent_uid: u32, pool: Arc<Pool>) -> std::io::Result<()> {
    let accept = move || {
        let open = Arc::new(AtomicU32::new(0));
        loop {
            match listener.accept() {
                Ok((stream, _)) => admit(stream, agent_uid, &open, &pool),
                Err(error) => {
                    // Out of file descriptors, most likely: others have to end first.
                    tracing::warn!(%error, "failed to accept a connection");
                    thread::sleep(Duration::from_millis(100));
                }
            }
        }
    };
    thread::Builder::new().name("accept".to_owned()).stack_size(STACK).spawn(accept).map(drop)
}

fn admit(mut stream: UnixStream, agent_uid: u32, open: &Arc<AtomicU32>, pool: &Arc<Pool>) {
    let refusal = match getsockopt(&stream, PeerCredentials) {
        Ok(peer) if peer.uid() == agent_uid => None,
        Ok(peer) => {
            tracing::warn!(uid = peer.uid(), pid = peer.pid(), agent_uid, "refused a peer that is not the agent");
            Some(KeyError::NotAllowed { uid: peer.uid() })
        }
        Err(error) => Some(KeyError::Internal { why: format!("peer credentials: {error}") }),
    };
    if let Some(refusal) = refusal {
        answer(&mut stream, Err(refusal));
        return;
    }
    let Some(place) = Place::take(open) else {
        tracing::warn!(limit = MAX_CONNECTIONS, "refused a connection: too many are open");
        answer(&mut stream, Err(KeyError::Busy { limit: MAX_CONNECTIONS, what: "connections".to_owned() }));
        return;
    };
    let pool = Arc::clone(pool);
    let serve = move || {
        let _place = place;
        serve(stream, &pool);
    };
    if let Err(error) = thread::Builder::new().name("connection".to_owned()).stack_size(STACK).spawn(serve) {
        tracing::error!(%error, "failed to start a thread for a connection");
    }
}

fn serve(mut stream: UnixStream, pool: &Pool) {
    loop {
        let frame = match read_frame(&mut stream, IDLE, WHOLE_FRAME) {
            Ok(frame) => frame,
            Err(FrameError::Closed) => return,
            Err(FrameError::TooLarge { bytes }) => {
                tracing::warn!(bytes, "refused a frame that is too large");
                let limit = u64::try_from(MAX_FRAME).unwrap_or(u64::MAX);
                answer(&mut stream, Err(KeyError::TooLarge { bytes, limit }));
                return;
            }
            Err(error @ (FrameError::Truncated | FrameError::TimedOut | FrameError::Io(_))) => {
                tracing::debug!(%error, "closed a connection");
                return;
            }
        };
        let result = decode_request(&frame).and_then(|request| perform(request, pool));
        if !answer(&mut stream, result) {
            return;
        }
    }
}

fn perform(request: Request, pool: &Pool) -> Result<Reply, KeyError> {
    if request == (Request::Status {}) {
        // Status tells of a failure instead of failing.
        return Ok(Reply::Status(pool.status()));
    }
    let what = describe(&request);
    let result = pool.call(request);
    match &result {
        Ok(_) => tracing::info!("{what}: done"),
        Err(error) => tracing::warn!("{what}: {error}"),
    }
    result
}

fn describe(request: &Request) -> String {
    match request {
        Request::Status {} => "status".to_owned(),
        Request::List {} => "list".to_owned(),
        Request::Public { uri } => format!("public {uri}"),
        Request::Sign(sign) => format!("sign {} {}", sign.scheme, sign.uri),
        Request::Verify(verify) => format!("verify {} {}", verify.scheme, verify.uri),
        Request::Generate(generate) => format!("generate {} {:?}", generate.kind, generate.label),
    }
}

/// Sends an answer; `false` when the connection is done with.
fn answer(stream: &mut UnixStream, result: Result<Reply, KeyError>) -> bool {
    let frame = match encode_answer(result) {
        Ok(frame) => frame,
        Err(error) => {
            tracing::error!(%error, "failed to encode an answer");
            return false;
        }
    };
    match write_frame(stream, &frame, WHOLE_FRAME) {
        Ok(()) => true,
        Err(error) => {
            tracing::debug!(%error, "failed to send an answer");
            false
        }
    }
}

/// One of the connections that may be open at a time; given back when dropped.
struct Place(Arc<AtomicU32>);

impl Place {
    fn take(open: &Arc<AtomicU32>) -> Option<Self> {
        let more = |open: u32| (open < MAX_CONNECTIONS).then_some(open + 1);
        open.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).ok()?;
        Some(Place(Arc::clone(open)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
