//! Revocation lists and OCSP answers from where a certificate says that they are: by plain HTTP, as both are made to be carried (they are
//! signed), at public addresses unless the configuration names the host. No credentials, no mirrors; what comes back is untrusted.

use std::time::Duration;

use http_body_util::Full;
use hyper::{
    Method, Request, StatusCode,
    body::Bytes,
    header::{self, HeaderValue},
};

use crate::{
    budget::Budget,
    caps,
    connect::Connector,
    error::{Error, Forbidden, Limit, Malformation},
    origin::{Scheme, Url},
    registry::Client,
    tls::plain_client_over,
    transport::{is_redirect, not_sent, read},
};

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RevocationRequest {
    /// The list at the address (RFC 5280 §4.2.1.13).
    List,
    /// The responder's answer to this `OCSPRequest` in DER (RFC 6960 §A.1).
    Answer(Vec<u8>),
}

enum Step {
    Done(Vec<u8>),
    Redirect(Url),
}

impl Client {
    /// The bytes of a revocation list or OCSP answer, within `time` and 10 s at most.
    ///
    /// # Errors
    /// [`Error`]; [`Forbidden`] if the address, or one that it redirects to, is not plain HTTP or not at a public address.
    pub async fn revocation(&self, url: &str, request: &RevocationRequest, time: Duration) -> Result<Vec<u8>, Error> {
        let shown: String = url.split('?').next().unwrap_or_default().to_owned();
        let mut at = Url::parse(url)
            .map_err(|_| Error::malformed(shown.clone(), Malformation::Rule("it is no http address")))?;
        let budget = Budget::new(time.min(caps::REQUEST_TIMEOUT));
        let asked = async {
            for _ in 0..=caps::MAX_REVOCATION_REDIRECTS {
                match self.revocation_step(&budget, &at, request).await? {
                    Step::Done(bytes) => return Ok(bytes),
                    Step::Redirect(to) => at = to,
                }
            }
            Err(Limit::Redirects { at: shown.clone() }.into())
        };
        match tokio::time::timeout(budget.time_for(caps::REQUEST_TIMEOUT), asked).await {
            Ok(done) => done,
            Err(_) => Err(Error::Deadline { at: shown }),
        }
    }

    async fn revocation_step(&self, budget: &Budget, url: &Url, request: &RevocationRequest) -> Result<Step, Error> {
        if url.origin().scheme() != Scheme::Http {
            return Err(Forbidden::RevocationScheme(url.to_string()).into());
        }
        budget.spend_request()?;
        let is_named = self.config().names_revocation_host(url.origin());
        let connector = if is_named { Connector::anywhere() } else { Connector::public() };
        // A client for one request: no connection is shared with what other rules allow.
        let client = plain_client_over(connector);
        let response = client.request(message(url, request)?).await.map_err(|error| not_sent(url, &error))?;
        let status = response.status();
        if is_redirect(status) {
            let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
            return match location.map(|location| url.join(location)) {
                Some(Ok(to)) => Ok(Step::Redirect(to)),
                Some(Err(_)) | None => Err(Error::malformed(url.to_string(), Malformation::Header("Location"))),
            };
        }
        if status != StatusCode::OK {
            return Err(Error::Status { at: url.to_string(), status: status.as_u16(), code: None });
        }
        let cap = match request {
            RevocationRequest::List => caps::MAX_LIST_BYTES,
            RevocationRequest::Answer(_) => caps::MAX_ANSWER_BYTES,
        };
        read(budget, url, response, cap).await.map(Step::Done)
    }
}

fn message(url: &Url, request: &RevocationRequest) -> Result<Request<Full<Bytes>>, Error> {
    let uri = url.uri().map_err(|_| Error::malformed(url.to_string(), Malformation::Header("Location")))?;
    let builder = Request::builder().uri(uri).header(header::USER_AGENT, "assay-fetch");
    let built = match request {
        RevocationRequest::List => builder.method(Method::GET).body(Full::default()),
        RevocationRequest::Answer(der) => builder
            .method(Method::POST)
            .header(header::CONTENT_TYPE, HeaderValue::from_static("application/ocsp-request"))
            .body(Full::from(der.clone())),
    };
    built.map_err(|error| Error::Unreachable { at: url.to_string(), why: error.to_string() })
}
