//! TLS: only chains to a CA that is configured, only for the name that was asked for; there is no way around it.

use std::{path::PathBuf, sync::Arc};

use assay_fetch::{Config, ProblemKind};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::TempDir;

use crate::{collect, image, kinds, registry::Registry, store::Store};

struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, folder }
    }

    fn pem_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    fn issue(&self, name: &str, usage: ExtendedKeyUsagePurpose) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new([name.to_owned()]).unwrap();
        parameters.extended_key_usages = vec![usage];
        (parameters.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// A registry with an image, whose certificate is for `name`; it may want a certificate of this CA from its clients.
    fn registry(&self, name: &str, wants_client: bool) -> Registry {
        let (certificate, key) = self.issue(name, ExtendedKeyUsagePurpose::ServerAuth);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
        let builder = if wants_client {
            let mut roots = RootCertStore::empty();
            roots.add(self.issuer.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        } else {
            builder.with_no_client_auth()
        };
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = builder.with_single_cert(vec![certificate.der().clone()], key).unwrap();
        let mut store = Store::default();
        store.image();
        Registry::start_tls(Arc::new(config), move |seen, _| store.answer(seen))
    }
}

fn local(ca_files: Vec<PathBuf>) -> Config {
    Config { allow_local_addresses: vec!["127.0.0.1".parse().unwrap()], ca_files, ..Config::default() }
}

#[tokio::test]
async fn a_ca_of_the_configuration_counts_and_another_does_not() {
    let authority = Authority::new();
    let registry = authority.registry("127.0.0.1", false);
    let request = image(&format!("{}/app:1", registry.host));
    let (all, problems) = collect(local(vec![authority.pem_file()]), &request).await;
    assert_eq!((all.len(), problems), (3, vec![]));

    let asked = registry.seen().len();
    for config in [local(vec![Authority::new().pem_file()]), local(vec![])] {
        let (all, problems) = collect(config, &request).await;
        assert_eq!((all.len(), kinds(&problems)), (0, vec![ProblemKind::Unreachable]));
        assert!(problems[0].detail.contains("invalid peer certificate"), "{problems:?}");
    }
    assert_eq!(registry.seen().len(), asked);
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let authority = Authority::new();
    let registry = authority.registry("127.0.0.2", false);
    let request = image(&format!("{}/app:1", registry.host));
    let (all, problems) = collect(local(vec![authority.pem_file()]), &request).await;
    assert_eq!((all.len(), kinds(&problems)), (0, vec![ProblemKind::Unreachable]));
    assert_eq!(registry.seen().len(), 0);
}

#[tokio::test]
async fn a_local_registry_with_good_tls_still_has_to_be_configured() {
    let authority = Authority::new();
    let registry = authority.registry("127.0.0.1", false);
    let config = Config { ca_files: vec![authority.pem_file()], ..Config::default() };
    let (all, problems) = collect(config, &image(&format!("{}/app:1", registry.host))).await;
    assert_eq!((all.len(), kinds(&problems)), (0, vec![ProblemKind::Forbidden]));
}

#[tokio::test]
async fn an_unusable_ca_file_is_a_problem_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("empty.pem"), "no certificate").unwrap();
    for file in ["empty.pem", "missing.pem"] {
        let (_, problems) = collect(local(vec![folder.path().join(file)]), &image("127.0.0.1:1/app:1")).await;
        assert_eq!(kinds(&problems), [ProblemKind::Forbidden]);
        assert!(problems[0].detail.contains(file), "{problems:?}");
    }
}

#[tokio::test]
async fn a_mirror_of_a_private_ca_is_asked_first_and_one_of_another_ca_is_passed_over() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (mirror, server) = (authority.registry("127.0.0.1", false), authority.registry("127.0.0.1", false));
    let folder = tempfile::tempdir().unwrap();
    let host = folder.path().join("r.example");
    std::fs::create_dir(&host).unwrap();
    std::fs::copy(authority.pem_file(), host.join("ca.pem")).unwrap();
    std::fs::copy(other.pem_file(), host.join("other.pem")).unwrap();
    let config = Config { certs_d: Some(folder.path().into()), ..Config::default() };
    let hosts = |ca: &str| {
        let text = format!(
            "server = 'https://{}'\nca = 'ca.pem'\n[host.'https://{}']\ncapabilities = ['pull', 'resolve']\nca = '{ca}'\n",
            server.host, mirror.host
        );
        std::fs::write(host.join("hosts.toml"), text).unwrap();
    };
    hosts("ca.pem");
    let (all, problems) = collect(config.clone(), &image("r.example/app:1")).await;
    assert_eq!((all.len(), problems), (3, vec![]));
    assert!(mirror.targets().iter().any(|target| target.starts_with("/v2/app/manifests/1?ns=")));
    assert!(server.targets().iter().all(|target| !target.contains("/manifests/1")));

    // A chain that ends elsewhere gets no request at all; the registry itself serves the image, and what signatures the mirror
    // may have is not known.
    let asked = mirror.seen().len();
    hosts("other.pem");
    let (all, problems) = collect(config, &image("r.example/app:1")).await;
    assert_eq!(all.len(), 3);
    assert!(!problems.is_empty() && kinds(&problems).iter().all(|kind| *kind == ProblemKind::Unreachable));
    assert!(problems.iter().all(|problem| problem.detail.contains("invalid peer certificate")), "{problems:?}");
    assert_eq!(mirror.seen().len(), asked);
    assert!(server.targets().iter().any(|target| target.contains("/manifests/1")));
}

#[tokio::test]
async fn a_mirror_has_its_own_ca_and_is_shown_its_own_certificate() {
    let authority = Authority::new();
    let registry = authority.registry("127.0.0.1", true);
    let (certificate, key) = authority.issue("client", ExtendedKeyUsagePurpose::ClientAuth);
    let folder = tempfile::tempdir().unwrap();
    let host = folder.path().join("r.example");
    std::fs::create_dir(&host).unwrap();
    std::fs::copy(authority.pem_file(), host.join("ca.pem")).unwrap();
    std::fs::write(host.join("client.pem"), certificate.pem()).unwrap();
    std::fs::write(host.join("client.key"), key.serialize_pem()).unwrap();
    let config = Config { certs_d: Some(folder.path().into()), ..Config::default() };
    let server = format!("server = 'https://{}'\nca = 'ca.pem'\n", registry.host);

    std::fs::write(host.join("hosts.toml"), format!("{server}client = [['client.pem', 'client.key']]")).unwrap();
    let (all, problems) = collect(config.clone(), &image("r.example/app:1")).await;
    assert_eq!((all.len(), problems), (3, vec![]));

    std::fs::write(host.join("hosts.toml"), &server).unwrap();
    let (all, problems) = collect(config.clone(), &image("r.example/app:1")).await;
    assert_eq!((all.len(), kinds(&problems)), (0, vec![ProblemKind::Unreachable]));

    // A CA that changes in its file counts from the next collection on, with the same client.
    std::fs::write(host.join("hosts.toml"), format!("{server}client = [['client.pem', 'client.key']]")).unwrap();
    let client = assay_fetch::Client::new(config);
    assert_eq!(client.collect_all(&image("r.example/app:1")).await.1, []);
    std::fs::copy(Authority::new().pem_file(), host.join("ca.pem")).unwrap();
    assert_eq!(kinds(&client.collect_all(&image("r.example/app:1")).await.1), [ProblemKind::Unreachable]);
}
