//! A repository of a registry, as the OCI distribution specification has it: names and digests go out, documents and
//! blobs come back, each hashed against the digest that was asked for. No other claim of a server counts.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use assay_admission::{Descriptor, Digest, Document, ImageRef, MediaType, Repository};
use hyper::header::{self, HeaderValue};

use crate::{
    auth,
    budget::Budget,
    caps,
    config::Config,
    error::{AuthFailure, Error, Limit, Malformation},
    hosts::{Endpoint, endpoints},
    origin::{Origin, Url},
    transport::{Answer, Ask, Transport},
};

/// A client of registries within one configuration. Cheap to clone; connections are shared and kept for seconds.
#[derive(Clone, Debug)]
pub struct Client {
    transport: Arc<Transport>,
}

/// What a repository is opened for: the scope of the tokens that are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading, from mirrors too.
    Pull,
    /// Reading and writing, both at the registry itself.
    Push,
}

/// One repository, with the requests, bytes and time that may be spent on it. Cheap to clone; clones share what is left.
#[derive(Clone, Debug)]
pub struct Remote {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    transport: Arc<Transport>,
    repository: Repository,
    access: Access,
    endpoints: Vec<Endpoint>,
    budget: Budget,
    /// `Authorization` values, or why there is none, by the origin they are for; held for a look-up, never across a wait.
    authorizations: Mutex<HashMap<Origin, Result<HeaderValue, Error>>>,
    /// Held while a challenge is answered: requests that were refused together log in once, not each.
    login: tokio::sync::Mutex<()>,
}

/// Everything that may stand for an image: a registry that has another type answers with it, and is refused.
const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
                      application/vnd.docker.distribution.manifest.list.v2+json, \
                      application/vnd.docker.distribution.manifest.v2+json";

impl Client {
    /// A client that has `config` and no other state. Nothing is opened or read yet.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self { transport: Arc::new(Transport::new(config)) }
    }

    pub(crate) fn transport(&self) -> &Transport {
        &self.transport
    }

    /// The ports of `host` that the configuration names.
    pub(crate) fn ports_of(&self, host: &str) -> Vec<u16> {
        self.transport.config().ports_of(host)
    }

    pub(crate) fn config(&self) -> &Config {
        self.transport.config()
    }

    /// Opens a repository for at most `time` (60 s at most).
    ///
    /// # Errors
    /// [`Error::Configuration`] or [`Error::Forbidden`] if the registry's `hosts.toml` cannot be honoured.
    pub fn open(&self, repository: &Repository, access: Access, time: Duration) -> Result<Remote, Error> {
        let mut endpoints = endpoints(self.transport.config(), repository.host())?;
        if access == Access::Push {
            // What is written is not yet in any mirror, and a mirror's tag is not what is signed.
            endpoints.drain(..endpoints.len().saturating_sub(1));
        }
        Ok(Remote {
            inner: Arc::new(Inner {
                transport: self.transport.clone(),
                repository: repository.clone(),
                access,
                endpoints,
                budget: Budget::new(time),
                authorizations: Mutex::new(HashMap::new()),
                login: tokio::sync::Mutex::new(()),
            }),
        })
    }
}

impl Remote {
    /// The top document of `image`: by its digest if it has one, else by its tag.
    ///
    /// # Errors
    /// [`Error`]; [`Error::Malformed`] also if the reference has neither tag nor digest.
    pub async fn resolve(&self, image: &ImageRef) -> Result<Document, Error> {
        match (image.digest(), image.tag()) {
            (Some(digest), _) => self.manifest(digest).await,
            (None, Some(tag)) => self.tagged(tag.as_str()).await,
            (None, None) => {
                Err(Error::malformed(image.to_string(), Malformation::Rule("the reference has neither tag nor digest")))
            }
        }
    }

    /// The index or manifest with this digest, from the first server that has it.
    ///
    /// # Errors
    /// [`Error`] of the last server that was asked.
    pub async fn manifest(&self, digest: &Digest) -> Result<Document, Error> {
        let mut last = self.no_server("pull");
        for endpoint in self.endpoints().iter().filter(|endpoint| endpoint.pull) {
            match self.manifest_at(endpoint, &digest.to_string(), Some(digest)).await {
                Err(error) if !error.ends_collection() => last = error,
                done => return done,
            }
        }
        Err(last)
    }

    /// The index or manifest that `descriptor` describes: type and size must be its own too.
    ///
    /// # Errors
    /// [`Error`]; [`Error::Malformed`] if digest, media type or size differ.
    pub async fn described(&self, descriptor: &Descriptor) -> Result<Document, Error> {
        let what = self.name(&descriptor.digest.to_string());
        refuse_size(&what, descriptor.size, caps::MAX_DOCUMENT_BYTES)?;
        let document = self.manifest(&descriptor.digest).await?;
        if document.media_type() != &descriptor.media_type {
            return Err(Error::malformed(
                what,
                Malformation::MediaType {
                    expected: descriptor.media_type.to_string(),
                    found: document.media_type().to_string(),
                    place: "descriptor and Content-Type",
                },
            ));
        }
        compare_size(&what, descriptor.size, document.bytes().len())?;
        Ok(document)
    }

    /// The index or manifest that the tag `tag` names now.
    ///
    /// # Errors
    /// [`Error`] of the last server that was asked.
    pub async fn tagged(&self, tag: &str) -> Result<Document, Error> {
        let mut last = self.no_server("resolve");
        for endpoint in self.endpoints().iter().filter(|endpoint| endpoint.resolve) {
            match self.manifest_at(endpoint, tag, None).await {
                Err(error) if !error.ends_collection() => last = error,
                done => return done,
            }
        }
        Err(last)
    }

    /// The blob that `descriptor` describes, if it has at most `cap` bytes. `urls` in descriptors are never followed.
    ///
    /// # Errors
    /// [`Error`] of the last server that was asked.
    pub async fn blob(&self, descriptor: &Descriptor, cap: usize) -> Result<Vec<u8>, Error> {
        let what = self.name(&descriptor.digest.to_string());
        refuse_size(&what, descriptor.size, cap)?;
        let mut last = self.no_server("pull");
        for endpoint in self.endpoints().iter().filter(|endpoint| endpoint.pull) {
            match self.blob_at(endpoint, &what, descriptor, cap).await {
                Err(error) if !error.ends_collection() => last = error,
                done => return done,
            }
        }
        Err(last)
    }

    async fn blob_at(
        &self,
        endpoint: &Endpoint,
        what: &str,
        descriptor: &Descriptor,
        cap: usize,
    ) -> Result<Vec<u8>, Error> {
        let url = self.url(endpoint, &format!("blobs/{}", descriptor.digest));
        let answer = self.succeed(endpoint, Ask::get(url, cap), what).await?;
        if !descriptor.digest.matches(&answer.body) {
            return Err(Error::malformed(what, Malformation::Digest(descriptor.digest)));
        }
        compare_size(what, descriptor.size, answer.body.len())?;
        Ok(answer.body)
    }

    /// The document that one server has under `reference`, a tag or a digest.
    pub(crate) async fn manifest_at(
        &self,
        endpoint: &Endpoint,
        reference: &str,
        expected: Option<&Digest>,
    ) -> Result<Document, Error> {
        let what = self.name(reference);
        let mut ask = Ask::get(self.url(endpoint, &format!("manifests/{reference}")), caps::MAX_DOCUMENT_BYTES);
        ask.headers.insert(header::ACCEPT, HeaderValue::from_static(ACCEPT));
        let answer = self.succeed(endpoint, ask, &what).await?;
        // A `Docker-Content-Digest` header is only another claim: the bytes are hashed.
        if let Some(digest) = expected
            && !digest.matches(&answer.body)
        {
            return Err(Error::malformed(what, Malformation::Digest(*digest)));
        }
        let media_type = media_type(&answer).filter(|media_type| media_type.is_index() || media_type.is_manifest());
        let Some(media_type) = media_type else {
            let found = answer.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
            return Err(Error::malformed(what, Malformation::UnknownType(found.unwrap_or_default().to_owned())));
        };
        crate::document::parse(&what, &media_type, &answer.body)?;
        Document::new(media_type, answer.body).map_err(|_| Limit::Size { what, cap: caps::MAX_DOCUMENT_BYTES }.into())
    }

    /// Sends `ask` and makes an error of every status but 2xx.
    pub(crate) async fn succeed(&self, endpoint: &Endpoint, ask: Ask, what: &str) -> Result<Answer, Error> {
        let answer = self.send(endpoint, ask).await?;
        let at = answer.url.to_string();
        match answer.status.as_u16() {
            200..=299 => Ok(answer),
            status @ (401 | 403) => Err(Error::auth(at, AuthFailure::Refused(status))),
            404 => Err(Error::NotFound { what: what.to_owned() }),
            status => Err(Error::Status { at, status, code: error_code(&answer.body) }),
        }
    }

    /// Sends `ask`, and once more with credentials if `endpoint` itself asks for them.
    pub(crate) async fn send(&self, endpoint: &Endpoint, mut ask: Ask) -> Result<Answer, Error> {
        let inner = &self.inner;
        let origin = &endpoint.peer.origin;
        ask.private.extend(endpoint.headers.clone());
        let sent = self.authorizations().get(origin).and_then(|known| known.as_ref().ok()).cloned();
        if let Some(value) = &sent {
            ask.private.insert(header::AUTHORIZATION, value.clone());
        }
        let answer = inner.transport.send(&inner.budget, &endpoint.peer, &ask).await?;
        // After a redirect to another origin a challenge is that server's own, and it has no claim on credentials.
        if answer.status.as_u16() != 401 || answer.url.origin() != origin {
            return Ok(answer);
        }
        let mut login = Some(inner.login.lock().await);
        let known = self.known_authorization(origin, sent.as_ref())?;
        let value = match &known {
            Some(value) => value.clone(),
            None => self.log_in(endpoint, &answer).await?,
        };
        // A token was judged when it was made. A password is first tried by one request, so that a wrong one is sent once.
        let on_trial = known.is_none() && sent.is_none() && value.as_bytes().starts_with(b"Basic ");
        if !on_trial {
            login = None;
        }
        ask.private.insert(header::AUTHORIZATION, value);
        let answer = inner.transport.send(&inner.budget, &endpoint.peer, &ask).await?;
        if on_trial && answer.status.as_u16() == 401 && answer.url.origin() == origin {
            let refused = Error::auth(answer.url.to_string(), AuthFailure::Refused(401));
            self.authorizations().insert(origin.clone(), Err(refused));
        }
        drop(login);
        Ok(answer)
    }

    /// What another request was given since `sent` was sent, or why it was turned away for good.
    fn known_authorization(&self, origin: &Origin, sent: Option<&HeaderValue>) -> Result<Option<HeaderValue>, Error> {
        match self.authorizations().get(origin) {
            Some(Ok(value)) if Some(value) != sent => Ok(Some(value.clone())),
            Some(Err(error)) => Err(error.clone()),
            Some(Ok(_)) | None => Ok(None),
        }
    }

    /// Answers the challenge in `refusal`.
    async fn log_in(&self, endpoint: &Endpoint, refusal: &Answer) -> Result<HeaderValue, Error> {
        let inner = &self.inner;
        let actions = match inner.access {
            Access::Pull => "pull",
            Access::Push => "pull,push",
        };
        let scope = format!("repository:{}:{actions}", inner.repository.path());
        let value = auth::answer(&inner.transport, &inner.budget, &endpoint.peer, &scope, refusal).await;
        // What was not reached may be reached by the next request; what was refused is not asked for again.
        if matches!(value, Ok(_) | Err(Error::Auth { .. } | Error::Forbidden(_))) {
            self.authorizations().insert(endpoint.peer.origin.clone(), value.clone());
        }
        value
    }

    /// `<endpoint>/<repository>/<rest>`, with `ns=` for mirrors of several registries.
    pub(crate) fn url(&self, endpoint: &Endpoint, rest: &str) -> Url {
        let path = format!("{}/{}/{rest}", endpoint.path, self.inner.repository.path());
        let namespace = endpoint.namespace.as_deref().map(|namespace| ("ns", namespace));
        Url::new(endpoint.peer.origin.clone(), path).with_query(namespace)
    }

    pub(crate) fn endpoints(&self) -> &[Endpoint] {
        &self.inner.endpoints
    }

    /// The name of a document in this repository, for people.
    pub(crate) fn name(&self, reference: &str) -> String {
        let separator = if reference.contains(':') { '@' } else { ':' };
        format!("{}{separator}{reference}", self.inner.repository)
    }

    pub(crate) fn no_server(&self, capability: &str) -> Error {
        Error::Unreachable {
            at: self.inner.repository.to_string(),
            why: format!("its hosts.toml has no server with the capability {capability}"),
        }
    }

    fn authorizations(&self) -> MutexGuard<'_, HashMap<Origin, Result<HeaderValue, Error>>> {
        self.inner.authorizations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The answer's media type without parameters.
pub(crate) fn media_type(answer: &Answer) -> Option<MediaType> {
    let text = answer.headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    MediaType::new(text.split(';').next().unwrap_or_default().trim())
}

/// Before anything is asked for: what is promised to be too long is not fetched.
fn refuse_size(what: &str, size: u64, cap: usize) -> Result<(), Error> {
    match usize::try_from(size) {
        Ok(size) if size <= cap => Ok(()),
        Ok(_) | Err(_) => Err(Limit::Size { what: what.to_owned(), cap }.into()),
    }
}

fn compare_size(what: &str, expected: u64, found: usize) -> Result<(), Error> {
    if u64::try_from(found).is_ok_and(|found| found == expected) {
        return Ok(());
    }
    Err(Error::malformed(what, Malformation::Size { expected, found }))
}

/// The first code of a distribution error body. Only a code has no room for what somebody else should not read.
fn error_code(body: &[u8]) -> Option<String> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    let code = body.get("errors")?.get(0)?.get("code")?.as_str()?;
    let legal = code.len() <= 40 && code.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    legal.then(|| code.to_owned())
}
