//! Connections that want everything: headers that never end, frames with nothing in them. They are cut off, the agent lives and
//! answers others as before.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use assay_testkit::{Program, PullBy, Version};

use crate::peer::HTTP2;
use crate::scene::{Scene, refused_cleanly};

/// Frames of HTTP/2 (RFC 9113 §6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

#[test]
fn frames_without_end_are_cut_off_and_the_agent_answers_others() -> Result<()> {
    let scene = Scene::enforcing(Version::V2)?;
    let (signed, unsigned) = (scene.signed("1")?, scene.unsigned("2")?);
    let agent = scene.host.node.pid(Program::Agent)?;
    let gate = scene.host.node.socket("gate");
    // Headers of 15 KiB, each decoded to the end.
    let header = [&[0, 1, b'a', 100], [b'x'; 100].as_slice()].concat().repeat(150);
    let floods: [(&str, Vec<u8>, Vec<u8>); 3] = [
        ("CONTINUATION with headers", frame(HEADERS, 0, &header), frame(CONTINUATION, 0, &header)),
        ("empty CONTINUATION", frame(HEADERS, 0, &[]), frame(CONTINUATION, 0, &[])),
        ("empty DATA", frame(HEADERS, END_HEADERS, &call()), frame(DATA, 0, &[])),
    ];
    let memory = resident(agent.as_raw())?;
    for (name, start, again) in floods {
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| flood(&gate, &start, &again))).collect();
            threads.into_iter().try_for_each(|thread| {
                let sent = thread.join().ok().context("a flooding thread panicked")??;
                ensure!(sent < FLOOD, "{name}: all {FLOOD} bytes were taken in");
                Ok(())
            })
        })?;
        let answer = scene.host.containerd.pull(&unsigned.by_tag(), PullBy::Default)?;
        refused_cleanly(&scene.host, answer, "NO_SIGNATURE")?;
        let grown = resident(agent.as_raw())?.saturating_sub(memory);
        ensure!(grown < 32 << 10, "{name}: the agent has {grown} KiB more");
    }
    scene.host.containerd.pull(&signed.by_tag(), PullBy::Default)?.success()?;
    ensure!(scene.host.node.pid(Program::Agent)? == agent, "the agent lives");
    Ok(())
}

/// Bytes after which a connection that still takes them is one without a limit.
const FLOOD: usize = 64 << 20;

fn greeted(socket: &Path) -> Result<UnixStream> {
    let mut stream = UnixStream::connect(socket)?;
    stream.write_all(HTTP2)?;
    Ok(stream)
}

/// Sends the same frame again and again; how many bytes were sent when the other side had enough of it.
fn flood(socket: &Path, start: &[u8], again: &[u8]) -> Result<usize> {
    let mut stream = greeted(socket)?;
    stream.set_write_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(start)?;
    // Many at once: it is the frames that are counted on the other side.
    let again = again.repeat((64 << 10) / again.len());
    let mut sent = 0;
    while sent < FLOOD {
        match stream.write_all(&again) {
            Ok(()) => sent += again.len(),
            Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => break,
            Err(error) => return Err(error).context("the connection was neither read nor closed"),
        }
    }
    let _ = stream.read(&mut [0; 1024]);
    Ok(sent)
}

/// A frame of the first stream.
fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let [.., high, middle, low] = payload.len().to_be_bytes();
    [&[high, middle, low, kind, flags, 0, 0, 0, 1], payload].concat()
}

/// The headers of a call of the gate (RFC 7541 §6.2.2): each name and value as it is.
fn call() -> Vec<u8> {
    let headers = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/assay.v1.Gate/Admit"),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap_or(0)], text.as_bytes()].concat();
    headers.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

/// The memory of a process in KiB.
fn resident(pid: i32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("the process has memory")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
