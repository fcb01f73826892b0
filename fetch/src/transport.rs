//! One HTTP exchange: bounded in header, body, redirects and time; private headers leave only for the origin they are
//! for; plain HTTP and local addresses only where configured. Knows nothing of registries.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use http_body_util::{BodyExt, Full};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header,
};

use crate::{
    budget::Budget,
    caps,
    config::Config,
    connect::{ConnectError, LocalAddresses},
    error::{Error, Forbidden, Limit, Malformation},
    origin::{Origin, Scheme, Url},
    tls::{PemFile, PlainClient, TlsClients, TlsProfile, plain_client},
};

/// Makes requests within one configuration.
#[derive(Debug)]
pub(crate) struct Transport {
    config: Config,
    plain: PlainClient,
    /// The system's CAs and those of `ca-files`; read at the first use, because a node with a plain local registry needs none.
    standard: OnceLock<Arc<TlsClients>>,
    /// Guards the list of set-ups with CAs or certificates of their own; held for a comparison, never across a wait.
    special: Mutex<Vec<(TlsProfile, Arc<TlsClients>)>>,
}

/// A server as the configuration names it: permissions and TLS set-up that hold for its origin alone.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) origin: Origin,
    /// CAs and certificate of its own.
    pub(crate) tls: Option<TlsProfile>,
    /// Whether a file of the operator names exactly this origin, scheme included.
    pub(crate) named: bool,
}

/// What to do with a redirect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Redirects {
    Follow,
    /// The redirect itself is the answer.
    Return,
}

/// A request. `private` headers are sent only while the origin is still that of `url`.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) private: HeaderMap,
    pub(crate) body: Bytes,
    /// Most bytes of a successful answer's body.
    pub(crate) cap: usize,
    pub(crate) redirects: Redirects,
}

impl Ask {
    /// A GET of at most `cap` bytes that follows redirects.
    pub(crate) fn get(url: Url, cap: usize) -> Self {
        Self {
            method: Method::GET,
            url,
            headers: HeaderMap::new(),
            private: HeaderMap::new(),
            body: Bytes::new(),
            cap,
            redirects: Redirects::Follow,
        }
    }
}

/// An answer whose body was read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Who answered, after redirects.
    pub(crate) url: Url,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

enum Step {
    Done(Answer),
    Redirect(Url),
}

impl Transport {
    pub(crate) fn new(config: Config) -> Self {
        Self { config, plain: plain_client(), standard: OnceLock::new(), special: Mutex::new(Vec::new()) }
    }

    pub(crate) const fn config(&self) -> &Config {
        &self.config
    }

    /// Sends `ask` to `peer` and wherever it redirects to.
    pub(crate) async fn send(&self, budget: &Budget, peer: &Peer, ask: &Ask) -> Result<Answer, Error> {
        let mut url = ask.url.clone();
        let mut private = *url.origin() == peer.origin;
        for _ in 0..=caps::MAX_REDIRECTS {
            match self.step(budget, peer, ask, &url, private).await? {
                Step::Done(answer) => return Ok(answer),
                Step::Redirect(to) => {
                    // Once left, an origin does not get the headers back: what comes after was chosen by another server.
                    private &= to.origin() == ask.url.origin();
                    url = to;
                }
            }
        }
        Err(Limit::Redirects { at: ask.url.to_string() }.into())
    }

    async fn step(&self, budget: &Budget, peer: &Peer, ask: &Ask, url: &Url, private: bool) -> Result<Step, Error> {
        let is_peer = *url.origin() == peer.origin;
        if url.origin().scheme() == Scheme::Http
            && !(self.config.allows_plain_http(url.origin()) || is_peer && peer.named)
        {
            return Err(Forbidden::PlainHttp(url.origin().to_string()).into());
        }
        let Some(_turn) = budget.turn().await else { return Err(Error::Deadline { at: url.to_string() }) };
        budget.spend_request()?;
        let mut request = Request::builder()
            .method(ask.method.clone())
            .uri(url.uri().map_err(|_| Error::malformed(ask.url.to_string(), Malformation::Header("Location")))?);
        if let Some(headers) = request.headers_mut() {
            headers.extend(ask.headers.clone());
            if private {
                headers.extend(ask.private.clone());
            }
            headers.insert(header::USER_AGENT, header::HeaderValue::from_static(USER_AGENT));
        }
        let request = request.body(Full::new(ask.body.clone())).map_err(|error| unreachable(url, &error))?;
        let time = budget.time_for(caps::REQUEST_TIMEOUT);
        match tokio::time::timeout(time, self.exchange(budget, peer, ask, url, request)).await {
            Ok(step) => step,
            Err(_) if budget.is_over() => Err(Error::Deadline { at: url.to_string() }),
            Err(_) => Err(Error::Unreachable {
                at: url.to_string(),
                why: format!("no complete answer within {} s", caps::REQUEST_TIMEOUT.as_secs()),
            }),
        }
    }

    async fn exchange(
        &self,
        budget: &Budget,
        peer: &Peer,
        ask: &Ask,
        url: &Url,
        request: Request<Full<Bytes>>,
    ) -> Result<Step, Error> {
        let is_peer = *url.origin() == peer.origin;
        let sent = match url.origin().scheme() {
            Scheme::Http => self.plain.request(request).await,
            Scheme::Https => {
                let local = if self.config.allows_local_address(url.origin()) || is_peer && peer.named {
                    LocalAddresses::Allowed
                } else {
                    LocalAddresses::Refused
                };
                let tls = self.tls(peer.tls.as_ref().filter(|_| is_peer))?;
                tls.get(local).request(request).await
            }
        };
        let response = sent.map_err(|error| not_sent(url, &error))?;
        let status = response.status();
        if ask.redirects == Redirects::Follow && is_redirect(status) {
            let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
            return match location.map(|location| url.join(location)) {
                Some(Ok(to)) => Ok(Step::Redirect(to)),
                Some(Err(_)) | None => Err(Error::malformed(url.to_string(), Malformation::Header("Location"))),
            };
        }
        let headers = response.headers().clone();
        let body = if status.is_success() {
            read(budget, url, response, ask.cap).await?
        } else {
            // An error's body only explains: what is too long or broken is left unread.
            match read(budget, url, response, caps::MAX_ERROR_BYTES).await {
                Ok(body) => body,
                Err(error) if error.ends_collection() => return Err(error),
                Err(_) => Vec::new(),
            }
        };
        Ok(Step::Done(Answer { url: url.clone(), status, headers, body }))
    }

    /// The clients of a set-up. What a mirror's files hold is compared by content, so a changed CA counts at once.
    fn tls(&self, profile: Option<&TlsProfile>) -> Result<Arc<TlsClients>, Error> {
        let Some(profile) = profile else { return self.standard_tls() };
        let mut special = self.special.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, clients)) = special.iter().find(|(known, _)| known == profile) {
            return Ok(clients.clone());
        }
        let mut all = profile.clone();
        all.authorities.extend(self.authorities()?);
        let clients = Arc::new(TlsClients::new(&all)?);
        if special.len() >= caps::MAX_TLS_PROFILES {
            special.clear();
        }
        special.push((profile.clone(), clients.clone()));
        Ok(clients)
    }

    fn standard_tls(&self) -> Result<Arc<TlsClients>, Error> {
        if let Some(clients) = self.standard.get() {
            return Ok(clients.clone());
        }
        let profile = TlsProfile { authorities: self.authorities()?, identity: None };
        let clients = Arc::new(TlsClients::new(&profile)?);
        Ok(self.standard.get_or_init(|| clients).clone())
    }

    fn authorities(&self) -> Result<Vec<PemFile>, Error> {
        self.config.ca_files.iter().map(|path| PemFile::read(path)).collect()
    }
}

const USER_AGENT: &str = concat!("assay-fetch/", env!("CARGO_PKG_VERSION"));

pub(crate) const fn is_redirect(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    )
}

/// Reads a body to its end, or until it is longer than `cap`: `Content-Length` is believed in no direction.
pub(crate) async fn read(
    budget: &Budget,
    url: &Url,
    response: Response<Incoming>,
    cap: usize,
) -> Result<Vec<u8>, Error> {
    let mut incoming = response.into_body();
    let mut body = Vec::new();
    while let Some(frame) = incoming.frame().await {
        let frame = frame.map_err(|error| unreachable(url, &error))?;
        let Ok(data) = frame.into_data() else { continue };
        budget.spend_bytes(data.len())?;
        if body.len() + data.len() > cap {
            return Err(Limit::Size { what: url.to_string(), cap }.into());
        }
        body.extend_from_slice(&data);
    }
    Ok(body)
}

/// Finds out what lies under the HTTP client's own error.
pub(crate) fn not_sent(url: &Url, error: &hyper_util::client::legacy::Error) -> Error {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = cause {
        if let Some(ConnectError::Local(address)) = current.downcast_ref() {
            return Forbidden::LocalAddress { origin: url.origin().to_string(), address: *address }.into();
        }
        if let Some(ConnectError::Private(address)) = current.downcast_ref() {
            return Forbidden::PrivateAddress { origin: url.origin().to_string(), address: *address }.into();
        }
        if current.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse_too_large) {
            return Limit::Header { at: url.to_string() }.into();
        }
        cause = current.source();
    }
    unreachable(url, error)
}

/// The innermost cause says most: "connection refused", "UnknownIssuer".
fn unreachable(url: &Url, error: &(dyn std::error::Error + 'static)) -> Error {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    Error::Unreachable { at: url.to_string(), why: innermost.to_string() }
}
