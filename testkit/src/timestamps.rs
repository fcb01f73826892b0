//! A time-stamping authority (RFC 3161) on a free port of 127.0.0.1, plain HTTP; `openssl ts` makes the tokens. In: a key with a
//! chain for time-stamping. Out: its address. Ends when dropped.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::certificates::Identity;
use crate::command::finish;

const LIMIT: Duration = Duration::from_secs(20);
/// More than any request for a time-stamp has.
const MAX_REQUEST: u64 = 64 << 10;

/// A running authority.
#[derive(Debug)]
pub struct TimestampServer {
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl TimestampServer {
    /// Starts an authority that signs with that key and sends the whole chain along.
    pub fn start(identity: &Identity) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("assay-timestamps-").tempdir()?;
        configure(folder.path(), identity)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let is_over = Arc::new(AtomicBool::new(false));
        let ends = is_over.clone();
        let thread = thread::spawn(move || serve(&listener, &folder, &ends));
        Ok(Self { address, is_over, thread: Some(thread) })
    }

    /// Where requests are posted to.
    pub fn url(&self) -> String {
        format!("http://{}/timestamp", self.address)
    }
}

impl Drop for TimestampServer {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        // Wakes the thread, which waits for a connection.
        let _ = TcpStream::connect_timeout(&self.address, LIMIT);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(listener: &TcpListener, folder: &TempDir, is_over: &AtomicBool) {
    for stream in listener.incoming() {
        if is_over.load(Ordering::SeqCst) {
            return;
        }
        // Who asks sees a connection that breaks off, and its own test fails with that.
        let _ = stream.map_err(anyhow::Error::from).and_then(|stream| answer(stream, folder.path()));
    }
}

fn answer(mut stream: TcpStream, folder: &Path) -> Result<()> {
    stream.set_read_timeout(Some(LIMIT))?;
    let mut reader = BufReader::new(stream.try_clone()?).take(MAX_REQUEST);
    let mut length = 0;
    loop {
        let mut line = String::new();
        ensure!(reader.read_line(&mut line)? > 0, "the request breaks off");
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
    }
    let mut query = vec![0; length];
    reader.read_exact(&mut query)?;
    fs::write(folder.join("query"), query)?;
    let words = ["ts", "-reply", "-config", "ts.cnf", "-queryfile", "query", "-out", "reply"];
    finish(Command::new("openssl").args(words).current_dir(folder), LIMIT)?.success()?;
    let reply = fs::read(folder.join("reply"))?;
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/timestamp-reply\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        reply.len()
    );
    stream.write_all(head.as_bytes())?;
    Ok(stream.write_all(&reply)?)
}

fn configure(folder: &Path, identity: &Identity) -> Result<()> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    let next = identity.chain_pem.rfind(BEGIN).filter(|at| *at > 0).context("the chain has a leaf and a root")?;
    let second = identity.chain_pem.get(1..).and_then(|rest| rest.find(BEGIN)).map_or(next, |at| at + 1);
    let (leaf, above) = identity.chain_pem.split_at_checked(second).context("the chain is text")?;
    for (name, text) in
        [("signer.pem", leaf), ("chain.pem", above), ("signer.key", &identity.key_pem), ("serial", "01\n")]
    {
        fs::write(folder.join(name), text)?;
    }
    let text = "[tsa]\ndefault_tsa = authority\n[authority]\nserial = serial\ncrypto_device = builtin\nsigner_cert = signer.pem\n\
        certs = chain.pem\nsigner_key = signer.key\nsigner_digest = sha256\ndefault_policy = 1.2.3.4.1\n\
        digests = sha256,sha384,sha512\naccuracy = secs:1\ness_cert_id_chain = no\ness_cert_id_alg = sha256\n";
    Ok(fs::write(folder.join("ts.cnf"), text)?)
}
