//! What the agent says of a key worker that is silent.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{os::unix::net::UnixListener, time::Instant};

use super::*;

/// A worker that takes connections and answers nothing, as one that was stopped does.
fn silent() -> (tempfile::TempDir, UnixListener, KeyWorker) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let own = nix::unistd::geteuid().as_raw();
    let worker = KeyWorker::start(path, own).unwrap();
    (folder, listener, worker)
}

#[tokio::test]
async fn silent_worker_is_told_within_the_patience_and_not_taken_for_what_it_was() {
    let (_folder, _listener, worker) = silent();
    worker.health.set(Ok("well".into()));
    let started = Instant::now();
    let why = worker.health().await.unwrap_err();
    assert!(why.starts_with("it has not answered for "), "{why}");
    assert!(started.elapsed() < HEALTH_PATIENCE + Duration::from_secs(1), "{:?}", started.elapsed());
}

#[tokio::test]
async fn asking_how_a_silent_worker_is_takes_no_place_from_those_who_need_a_key() {
    let (_folder, _listener, worker) = silent();
    for _ in 0..QUEUE * 2 {
        worker.probe();
    }
    let request = worker.list();
    let answer = tokio::time::timeout(Duration::from_millis(100), request).await;
    assert!(answer.is_err(), "it waits in the queue: {answer:?}");
}

#[tokio::test]
async fn worker_that_is_not_there_is_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let worker = KeyWorker::start(folder.path().join("key.sock"), 0).unwrap();
    let started = Instant::now();
    let why = worker.health().await.unwrap_err();
    assert!(why.contains("key.sock"), "{why}");
    assert!(started.elapsed() < HEALTH_PATIENCE, "{:?}", started.elapsed());
}
