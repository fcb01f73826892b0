//! Mirrors of containerd's `hosts.toml`: asked first, bound by digest, and never trusted with more than they are for.

use assay_fetch::{Config, ProblemKind};
use tempfile::TempDir;

use crate::{
    collect, image, kinds, plain,
    registry::{Answer, Registry},
    store::{Store, digest},
};

/// A configuration whose registry `r.example` is served as `hosts.toml` says; `M` and `S` stand for mirror and server.
fn mirrored(hosts: &str, mirror: &Registry, server: &Registry) -> (Config, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("r.example")).unwrap();
    let text = hosts
        .replace("http://M", &format!("http://{}", mirror.host))
        .replace("http://S", &format!("http://{}", server.host));
    std::fs::write(folder.path().join("r.example/hosts.toml"), text).unwrap();
    (Config { certs_d: Some(folder.path().into()), ..Config::default() }, folder)
}

const BOTH: &str =
    "server = 'http://S'\n[host.'http://M']\ncapabilities = ['pull', 'resolve']\nheader = { X-Key = 'k' }";

fn store() -> Store {
    let mut store = Store::default();
    store.image();
    store
}

#[tokio::test]
async fn a_mirror_is_asked_first_with_its_headers_and_the_registrys_name() {
    let (of_mirror, of_server) = (store(), store());
    let mirror = Registry::start(move |seen, _| of_mirror.answer(seen));
    let server = Registry::start(move |seen, _| of_server.answer(seen));
    let (config, _folder) = mirrored(BOTH, &mirror, &server);
    let (all, problems) = collect(config, &image("r.example/app:1")).await;
    assert_eq!((all.len(), problems), (3, vec![]));
    assert_eq!(mirror.targets()[0], "/v2/app/manifests/1?ns=r.example");
    assert!(mirror.seen().iter().all(|seen| seen.header("X-Key") == Some("k")));
    // The server is asked only for what the mirror does not have: signatures.
    assert!(server.targets().iter().all(|target| target.contains("sha256-") || target.contains("/referrers/")));
    assert!(server.seen().iter().all(|seen| seen.header("X-Key").is_none()));
}

#[tokio::test]
async fn a_mirror_that_lies_fails_or_is_missing_is_passed_over() {
    let (index, _) = Store::default().image();
    let answers: [fn() -> Answer; 6] = [
        || Answer::status(404),
        || Answer::status(500),
        || Answer::status(401),
        || Answer::redirect("https://169.254.169.254/"),
        || Answer::ok("application/vnd.oci.image.index.v1+json", "{\"manifests\":[]}"),
        || Answer::endless("application/vnd.oci.image.index.v1+json"),
    ];
    for answer in answers {
        let store = store();
        let mirror = Registry::start(move |_, _| answer());
        let server = Registry::start(move |seen, _| store.answer(seen));
        let (config, _folder) =
            mirrored("server = 'http://S'\n[host.'http://M']\ncapabilities = ['pull']", &mirror, &server);
        let (all, problems) = collect(config, &image(&format!("r.example/app@{}", digest(&index)))).await;
        assert_eq!((all.len(), problems), (3, vec![]));
        assert!(!mirror.seen().is_empty());
    }
}

#[tokio::test]
async fn a_mirror_without_resolve_chooses_no_tag_and_lists_no_signatures() {
    let store = store();
    let mirror = Registry::start(|_, _| Answer::status(404));
    let server = Registry::start(move |seen, _| store.answer(seen));
    let (config, _folder) =
        mirrored("server = 'http://S'\n[host.'http://M']\ncapabilities = ['pull']", &mirror, &server);
    let (all, problems) = collect(config, &image("r.example/app:1")).await;
    assert_eq!((all.len(), problems), (3, vec![]));
    assert!(mirror.targets().iter().all(|target| target.contains("sha256:") && !target.contains("referrers")));
}

#[tokio::test]
async fn a_file_that_cannot_be_honoured_is_a_problem_and_nobody_is_asked() {
    let mirror = Registry::start(|_, _| Answer::status(404));
    for text in ["[host.'http://M']\nskip_verify = true", "[host.'http://M'\n", "[host.'http://M']\nca = 'none.pem'"] {
        let (config, _folder) = mirrored(text, &mirror, &mirror);
        let (all, problems) = collect(config, &image("r.example/app:1")).await;
        assert_eq!((all.len(), kinds(&problems)), (0, vec![ProblemKind::Forbidden]), "{problems:?}");
    }
    assert_eq!(mirror.seen().len(), 0);
}

#[tokio::test]
async fn what_the_file_allows_is_allowed_for_its_own_origin_alone() {
    // The file names the mirror, so it may be local and plain; where it redirects to is not named.
    let target = Registry::start(|_, _| Answer::status(404));
    let to = target.host.clone();
    let mirror = Registry::start(move |_, _| Answer::redirect(&format!("http://{to}/")));
    let (config, _folder) = mirrored("server = 'http://M'", &mirror, &target);
    let (_, problems) = collect(config, &image("r.example/app:1")).await;
    assert_eq!(kinds(&problems), [ProblemKind::Forbidden]);
    assert_eq!((mirror.seen().len(), target.seen().len()), (1, 0));

    let (_, problems) = collect(plain(&["127.0.0.1"]), &image(&format!("{}/app:1", mirror.host))).await;
    assert_eq!(kinds(&problems), [ProblemKind::NotFound]);
    assert_eq!(target.seen().len(), 1);
}
