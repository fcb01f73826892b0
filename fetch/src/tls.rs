//! TLS clients: the CAs that count and the certificate that is shown, as PEM text, become ready HTTP clients.
//! There is no switch that turns verification off.

use std::{path::Path, sync::Arc};

use http_body_util::Full;
use hyper::body::Bytes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Builder, Client},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use crate::{
    caps,
    config::read_bounded,
    connect::{Connector, LocalAddresses},
    error::Error,
};

/// A client that speaks plain HTTP.
pub(crate) type PlainClient = Client<Connector, Full<Bytes>>;
/// A client that speaks TLS, and nothing else.
pub(crate) type TlsClient = Client<HttpsConnector<Connector>, Full<Bytes>>;

/// PEM text that came from a file, which errors name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PemFile {
    path: std::path::PathBuf,
    text: Vec<u8>,
}

impl PemFile {
    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        match read_bounded(path) {
            Ok(text) => Ok(Self { path: path.to_owned(), text }),
            Err(error) => Err(Error::Configuration { path: path.to_owned(), why: error.to_string() }),
        }
    }

    fn unusable(&self, why: impl ToString) -> Error {
        Error::Configuration { path: self.path.clone(), why: why.to_string() }
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, Error> {
        let found = CertificateDer::pem_slice_iter(&self.text).collect::<Result<Vec<_>, _>>();
        match found.map_err(|error| self.unusable(error))? {
            empty if empty.is_empty() => Err(self.unusable("there is no PEM certificate in it")),
            certificates => Ok(certificates),
        }
    }
}

/// What one server's TLS set-up is made of: two that are equal share their clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsProfile {
    /// CAs beside the system's.
    pub(crate) authorities: Vec<PemFile>,
    /// Certificate chain and key that are shown to the server.
    pub(crate) identity: Option<(PemFile, PemFile)>,
}

/// The clients of one profile. Connections to hosts that may be local are never shared with those that may not.
#[derive(Debug)]
pub(crate) struct TlsClients {
    refusing_local: TlsClient,
    allowing_local: TlsClient,
}

impl TlsClients {
    pub(crate) fn new(profile: &TlsProfile) -> Result<Self, Error> {
        let config = client_config(profile)?;
        let client = |local| {
            let connector = HttpsConnectorBuilder::new()
                .with_tls_config(config.clone())
                .https_only()
                .enable_http1()
                .wrap_connector(Connector::from(local));
            builder().build(connector)
        };
        Ok(Self { refusing_local: client(LocalAddresses::Refused), allowing_local: client(LocalAddresses::Allowed) })
    }

    pub(crate) const fn get(&self, local: LocalAddresses) -> &TlsClient {
        match local {
            LocalAddresses::Refused => &self.refusing_local,
            LocalAddresses::Allowed => &self.allowing_local,
        }
    }
}

/// The client for hosts without TLS. Only hosts that the configuration names come here, so they may be local.
pub(crate) fn plain_client() -> PlainClient {
    plain_client_over(Connector::anywhere())
}

/// A client that speaks plain HTTP over the connections of `connector`.
pub(crate) fn plain_client_over(connector: Connector) -> PlainClient {
    builder().build(connector)
}

/// HTTP/1.1 alone: every registry speaks it, and it has no streams, windows or continuation frames to bound.
fn builder() -> Builder {
    let mut builder = Client::builder(TokioExecutor::new());
    builder
        .http1_max_buf_size(caps::MAX_HEADER_BYTES)
        .http1_max_headers(caps::MAX_HEADERS)
        .pool_idle_timeout(caps::IDLE_TIMEOUT)
        .pool_max_idle_per_host(caps::CONCURRENCY)
        .pool_timer(TokioTimer::new());
    builder
}

fn client_config(profile: &TlsProfile) -> Result<ClientConfig, Error> {
    let mut roots = RootCertStore::empty();
    // A broken file among the system's certificates takes away one CA, which can only deny.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for file in &profile.authorities {
        for certificate in file.certificates()? {
            roots.add(certificate).map_err(|error| file.unusable(error))?;
        }
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has cipher suites for TLS 1.2 and 1.3")
        .with_root_certificates(roots);
    match &profile.identity {
        None => Ok(builder.with_no_client_auth()),
        Some((chain, key)) => {
            let private = PrivateKeyDer::from_pem_slice(&key.text).map_err(|error| key.unusable(error))?;
            builder.with_client_auth_cert(chain.certificates()?, private).map_err(|error| key.unusable(error))
        }
    }
}
