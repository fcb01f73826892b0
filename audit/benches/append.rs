//! How long a caller waits for its record to be durable, alone and beside seven others: `cargo test --bench append`.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark")]

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use assay_admission::UnixTime;
use assay_audit::{Durability, Log, StartRecord};

fn main() {
    for callers in [1usize, 8] {
        let dir = tempfile::tempdir().unwrap();
        let log = Arc::new(Log::open(dir.path(), "bench.example/log").unwrap().0);
        let begun = Instant::now();
        let threads: Vec<_> = (0..callers)
            .map(|_| {
                let log = Arc::clone(&log);
                thread::spawn(move || wait(&log))
            })
            .collect();
        let mut waits: Vec<Duration> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        let rate = u32::try_from(waits.len()).map(f64::from).unwrap() / begun.elapsed().as_secs_f64();
        waits.sort();
        let (p50, p99) = (waits[waits.len() / 2], waits[waits.len() * 99 / 100]);
        println!("{callers} callers: p50 {p50:?}, p99 {p99:?}, {rate:.0} records a second");
    }
}

fn wait(log: &Log) -> Vec<Duration> {
    let one = |_| {
        let record = StartRecord {
            time: UnixTime::from_seconds(0),
            program_version: "x".repeat(900),
            log_size: 0,
            repaired_bytes: 0,
        };
        let begun = Instant::now();
        log.append_wait(record.into(), Durability::Synced).unwrap();
        begun.elapsed()
    };
    (0..2000).map(one).collect()
}
