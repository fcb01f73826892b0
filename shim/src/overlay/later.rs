//! A sync to the disk that goes on behind an answer. Nothing more is written to the file before it has ended, so what a
//! power cut leaves is what a shorter run would have left: the answered write may be missing, and nothing else is amiss.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
};

/// The sync that may be under way.
#[derive(Clone, Debug, Default)]
pub(super) struct Later {
    /// Protects the one thread that syncs; held while it is waited for.
    running: Arc<Mutex<Option<JoinHandle<io::Result<()>>>>>,
}

impl Later {
    /// Begins a sync, once the one before has ended.
    ///
    /// # Errors
    /// What the one before failed with; then nothing begins.
    pub(super) fn begin(&self, sync: impl FnOnce() -> io::Result<()> + Send + 'static) -> io::Result<()> {
        self.end()?;
        let thread = thread::Builder::new().name("sync".to_owned()).stack_size(128 << 10).spawn(sync)?;
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(())
    }

    /// Waits until no sync is under way.
    ///
    /// # Errors
    /// What it failed with; told once.
    pub(super) fn end(&self) -> io::Result<()> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(thread) = running.take() else { return Ok(()) };
        thread.join().unwrap_or_else(|_| Err(io::Error::other("syncing to the disk panicked")))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use super::*;

    #[test]
    fn what_comes_next_waits_for_the_sync_and_hears_of_its_failure_once() {
        let later = Later::default();
        let (go, gate) = mpsc::channel::<()>();
        later
            .begin(move || gate.recv().map_err(io::Error::other).and_then(|()| Err(io::Error::other("broken"))))
            .unwrap();
        let (done, ended) = mpsc::channel();
        let other = later.clone();
        let waiting = thread::spawn(move || done.send(other.end().map_err(|error| error.to_string())).unwrap());
        assert_eq!(ended.recv_timeout(Duration::from_millis(50)), Err(mpsc::RecvTimeoutError::Timeout));
        go.send(()).unwrap();
        assert_eq!(ended.recv_timeout(Duration::from_secs(10)).unwrap(), Err("broken".to_owned()));
        waiting.join().unwrap();
        later.end().unwrap();
        later.begin(|| Ok(())).unwrap();
        later.begin(|| Err(io::Error::other("late"))).unwrap();
        assert_eq!(later.begin(|| Ok(())).unwrap_err().to_string(), "late");
    }
}
