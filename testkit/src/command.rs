//! Runs one program to its end within a time limit. In: a command. Out: its status and what it wrote.
//! Never waits longer than the limit: the program is killed then.

use std::ffi::OsStr;
use std::io::Read;
use std::process::{Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// A program that has ended.
#[derive(Debug)]
pub struct Finished {
    line: String,
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to its standard output, as text.
    pub stdout: String,
    /// What it wrote to its standard error, as text.
    pub stderr: String,
    /// How long it ran.
    pub took: Duration,
}

impl Finished {
    /// Itself if the program ended with 0, else an error with everything the program said.
    pub fn success(self) -> Result<Self> {
        if self.status.success() { Ok(self) } else { bail!("was to succeed: {self}") }
    }

    /// Itself if the program ended with another status than 0, else an error with everything the program said.
    pub fn failure(self) -> Result<Self> {
        if self.status.success() { bail!("was to fail: {self}") } else { Ok(self) }
    }

    /// The program and its arguments.
    pub fn command_line(&self) -> &str {
        &self.line
    }

    /// Whether the text stands in either output.
    pub fn said(&self, text: &str) -> bool {
        self.stdout.contains(text) || self.stderr.contains(text)
    }
}

impl std::fmt::Display for Finished {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}\n  {} after {:?}\n{}{}", self.line, self.status, self.took, self.stdout, self.stderr)
    }
}

/// Runs the command with empty standard input; kills it and fails after `limit`.
pub fn finish(command: &mut Command, limit: Duration) -> Result<Finished> {
    let line = command_line(command);
    let started = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("failed to start {line}"))?;
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    let mut killed = false;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if started.elapsed() > limit {
            killed = true;
            child.kill()?;
            break child.wait()?;
        }
        thread::sleep(Duration::from_millis(2));
    };
    let finished = Finished { line, status, stdout: text(stdout), stderr: text(stderr), took: started.elapsed() };
    if killed {
        bail!("did not end within {limit:?}: {finished}");
    }
    Ok(finished)
}

type Collector = JoinHandle<Vec<u8>>;

/// A thread per stream, so that a program that fills one pipe is never stuck behind the other.
fn collect(stream: Option<impl Read + Send + 'static>) -> Option<Collector> {
    const CAP: u64 = 64 << 20;
    stream.map(|stream| {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            // A stream that breaks off ends the text there; the exit status tells the rest.
            let _ = stream.take(CAP).read_to_end(&mut bytes);
            bytes
        })
    })
}

fn text(collector: Option<Collector>) -> String {
    let bytes = collector.and_then(|thread| thread.join().ok()).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn command_line(command: &Command) -> String {
    let words: Vec<_> =
        [command.get_program()].into_iter().chain(command.get_args()).map(OsStr::to_string_lossy).collect();
    words.join(" ")
}
