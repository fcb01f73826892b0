//! An HTTP/1.1 server on loopback that does what a closure says, and remembers what it was asked.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    sync::{Arc, Mutex},
    time::Duration,
};

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub(crate) fn path(&self) -> &str {
        self.target.split('?').next().unwrap()
    }
}

pub(crate) struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Body,
}

enum Body {
    Whole(Vec<u8>),
    /// Never ends, as fast as the other side takes it; `Content-Length` says 10.
    Endless,
    /// The header comes, the body never does.
    Stalled,
}

impl Answer {
    pub(crate) fn ok(content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::status(200).header("Content-Type", content_type).with(Body::Whole(body.into()))
    }

    pub(crate) fn status(status: u16) -> Self {
        Self { status, headers: vec![], body: Body::Whole(vec![]) }
    }

    pub(crate) fn redirect(to: &str) -> Self {
        Self::status(307).header("Location", to)
    }

    pub(crate) fn endless(content_type: &str) -> Self {
        Self::status(200).header("Content-Type", content_type).with(Body::Endless)
    }

    pub(crate) fn stalled() -> Self {
        Self::status(200).with(Body::Stalled)
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    fn with(mut self, body: Body) -> Self {
        self.body = body;
        self
    }
}

/// A running server. Its threads end with the test's process.
pub(crate) struct Registry {
    /// `127.0.0.1:PORT`
    pub(crate) host: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

type Handler = dyn Fn(&Seen, &str) -> Answer + Send + Sync;

impl Registry {
    /// A server without TLS; the closure gets the request and the server's own `host:port`.
    pub(crate) fn start(handler: impl Fn(&Seen, &str) -> Answer + Send + Sync + 'static) -> Self {
        Self::serve(Arc::new(handler), None)
    }

    pub(crate) fn start_tls(
        config: Arc<rustls::ServerConfig>,
        handler: impl Fn(&Seen, &str) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self::serve(Arc::new(handler), Some(config))
    }

    fn serve(handler: Arc<Handler>, tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (log, own) = (seen.clone(), host.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (handler, log, own, tls) = (handler.clone(), log.clone(), own.clone(), tls.clone());
                std::thread::spawn(move || match tls {
                    // An error is the other side's going away, which is what some tests are about.
                    None => drop(talk(stream, &*handler, &log, &own)),
                    Some(config) => {
                        let session = rustls::ServerConnection::new(config).unwrap();
                        drop(talk(rustls::StreamOwned::new(session, stream), &*handler, &log, &own));
                    }
                });
            }
        });
        Self { host, seen }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The targets of all requests, in their order.
    pub(crate) fn targets(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.target).collect()
    }
}

/// One request, one answer.
fn talk(stream: impl Read + Write, handler: &Handler, log: &Mutex<Vec<Seen>>, own: &str) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let mut words = line.split_whitespace().map(ToOwned::to_owned);
    let (Some(method), Some(target)) = (words.next(), words.next()) else { return Ok(()) };
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let mut seen = Seen { method, target, headers, body: vec![] };
    let length = seen.header("content-length").map_or(0, |text| text.parse().unwrap());
    seen.body.resize(length, 0);
    stream.read_exact(&mut seen.body)?;
    let answer = handler(&seen, own);
    let is_head = seen.method == "HEAD";
    log.lock().unwrap().push(seen);

    let stream = stream.get_mut();
    let length = match &answer.body {
        Body::Whole(body) => Some(body.len()),
        Body::Stalled => Some(10),
        Body::Endless => None,
    };
    let mut head = format!("HTTP/1.1 {} X\r\nConnection: close\r\n", answer.status);
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if let Some(length) = length {
        head.push_str(&format!("Content-Length: {length}\r\n"));
    }
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    match answer.body {
        Body::Whole(body) if !is_head => stream.write_all(&body)?,
        Body::Whole(_) => {}
        Body::Endless => loop {
            stream.write_all(&[b'x'; 64 << 10])?;
        },
        Body::Stalled => {
            stream.flush()?;
            std::thread::sleep(Duration::from_secs(60));
        }
    }
    stream.flush()
}

/// A port on loopback at which a test may listen for what must never come.
pub(crate) fn trap() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// Whether anything connected to the trap.
pub(crate) fn was_touched(trap: &TcpListener) -> bool {
    trap.accept().is_ok()
}
