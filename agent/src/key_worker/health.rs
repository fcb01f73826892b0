//! What is known of the key worker without asking it: the last remark, and for how long it has owed an answer. Written by the
//! thread that talks to it, read by whoever wants to know; nobody waits here.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::watch;

/// The state; one for each worker.
#[derive(Debug)]
pub(super) struct Health {
    /// Locked for a copy only.
    known: Mutex<Known>,
    /// Whether a probe waits or is under way.
    probing: AtomicBool,
    /// Changes whenever a probe has ended.
    ended: watch::Sender<()>,
}

#[derive(Debug)]
struct Known {
    remark: Result<String, String>,
    /// When the question was asked that is not answered yet.
    asked: Option<Instant>,
}

/// A question that is under way; dropped when it is answered or given up.
pub(super) struct Question<'a>(&'a Health);

impl Default for Health {
    fn default() -> Self {
        Self {
            known: Mutex::new(Known { remark: Err("not connected yet".to_owned()), asked: None }),
            probing: AtomicBool::new(false),
            ended: watch::Sender::new(()),
        }
    }
}

impl Health {
    /// The last remark, or how long the worker has owed an answer if that is `silence` or more.
    pub(super) fn now(&self, silence: Duration) -> Result<String, String> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match known.asked.map(|asked| asked.elapsed()).filter(|silent| *silent >= silence) {
            Some(silent) => Err(format!(
                "it has not answered for {} s: it hangs, is stopped, or waits for its token",
                silent.as_secs()
            )),
            None => known.remark.clone(),
        }
    }

    /// Notes what was learned.
    pub(super) fn set(&self, remark: Result<String, String>) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remark = remark;
    }

    /// Notes that it answered, if the last remark was a complaint.
    pub(super) fn set_reachable(&self) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.remark.is_err() {
            known.remark = Ok("reachable".to_owned());
        }
    }

    /// A question begins.
    pub(super) fn question(&self) -> Question<'_> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).asked = Some(Instant::now());
        Question(self)
    }

    /// Whether a probe may be asked for now: one at a time, so that a silent worker's queue is not filled with them.
    pub(super) fn begin_probe(&self) -> bool {
        !self.probing.swap(true, Ordering::AcqRel)
    }

    /// The probe was answered or given up.
    pub(super) fn end_probe(&self) {
        self.probing.store(false, Ordering::Release);
        self.ended.send_replace(());
    }

    /// Changes whenever a probe has ended from now on.
    pub(super) fn probes(&self) -> watch::Receiver<()> {
        self.ended.subscribe()
    }
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner).asked = None;
    }
}
