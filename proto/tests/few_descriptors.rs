//! A server whose process may open no more files: it waits until it may, and then serves whoever waited with it.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{env, fs::File, iter, os::unix::net::UnixStream, path::Path, process::Command, time::Duration};

use assay_proto::{accept, bind};
use tokio::time::timeout;
use tokio_stream::StreamExt as _;

/// Where the copy works.
const FOLDER: &str = "ASSAY_FEW_DESCRIPTORS_IN";

#[test]
fn a_server_without_a_free_file_descriptor_serves_again_when_it_has_one() {
    let folder = tempfile::tempdir().unwrap();
    let copy = "ulimit -n 64 && exec \"$0\" --exact the_copy_with_few_descriptors --test-threads=1";
    let status = Command::new("sh")
        .args(["-c", copy])
        .arg(env::current_exe().unwrap())
        .env(FOLDER, folder.path())
        .status()
        .unwrap();
    assert!(status.success());
}

#[tokio::test]
async fn the_copy_with_few_descriptors() {
    let Some(folder) = env::var_os(FOLDER) else { return };
    let socket = Path::new(&folder).join("socket");
    let mut accepted = accept(bind(&socket, 0o600).unwrap(), |_| true);
    // All but the one that the caller takes.
    let mut others: Vec<File> = iter::from_fn(|| File::open("/dev/null").ok()).take(1000).collect();
    drop(others.pop());
    let _caller = UnixStream::connect(&socket).unwrap();
    assert!(timeout(Duration::from_millis(300), accepted.next()).await.is_err());
    drop(others);
    let served = timeout(Duration::from_secs(5), accepted.next()).await.unwrap();
    assert!(matches!(served, Some(Ok(_))), "{served:?}");
}
