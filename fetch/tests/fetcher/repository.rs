//! Files of TUF repositories: bounded, only where the configuration allows, without credentials.

use std::time::Duration;

use assay_fetch::{Client, Config, Error, Forbidden, Limit, RepositoryFile};

use crate::{
    plain,
    registry::{Answer, Registry, trap, was_touched},
};

async fn fetch(config: Config, repository: &str, path: &str) -> Result<Option<Vec<u8>>, Error> {
    let file = RepositoryFile::new(repository, path, 1_000).unwrap();
    Client::new(config).repository_file(&file, Duration::from_secs(5)).await
}

#[tokio::test]
async fn a_file_is_fetched_and_one_that_is_not_there_is_told_from_one_that_failed() {
    let server = Registry::start(|seen, _| match seen.path() {
        "/tuf/1.root.json" => Answer::ok("application/json", "root"),
        "/tuf/2.root.json" => Answer::status(404),
        "/tuf/3.root.json" => Answer::status(403),
        _ => Answer::status(500),
    });
    let (config, base) = (plain(&[&server.host]), format!("http://{}/tuf/", server.host));
    assert_eq!(fetch(config.clone(), &base, "1.root.json").await.unwrap().as_deref(), Some(b"root".as_slice()));
    assert_eq!(fetch(config.clone(), &base, "2.root.json").await.unwrap(), None);
    assert_eq!(fetch(config.clone(), &base, "3.root.json").await.unwrap(), None);
    let failed = fetch(config, &base, "timestamp.json").await;
    assert!(matches!(failed, Err(Error::Status { status: 500, .. })), "{failed:?}");
    assert!(server.seen().iter().all(|seen| seen.header("authorization").is_none()));
}

#[tokio::test]
async fn a_file_over_its_cap_or_without_end_is_a_limit() {
    let server = Registry::start(|seen, _| match seen.path() {
        "/exact" => Answer::ok("text/plain", vec![b'x'; 1_000]),
        "/over" => Answer::ok("text/plain", vec![b'x'; 1_001]),
        _ => Answer::endless("text/plain"),
    });
    let (config, base) = (plain(&[&server.host]), format!("http://{}", server.host));
    assert_eq!(fetch(config.clone(), &base, "exact").await.unwrap().map(|bytes| bytes.len()), Some(1_000));
    for path in ["over", "endless"] {
        let refused = fetch(config.clone(), &base, path).await;
        assert!(matches!(refused, Err(Error::Limit(Limit::Size { cap: 1_000, .. }))), "{path}: {refused:?}");
    }
}

#[tokio::test]
async fn no_file_is_larger_than_the_fetchers_own_cap_whatever_is_asked_for() {
    const CAP: usize = 4 << 20;
    let server =
        Registry::start(|seen, _| Answer::ok("", vec![b'x'; if seen.path() == "/exact" { CAP } else { CAP + 1 }]));
    let client = Client::new(plain(&[&server.host]));
    let fetch = async |path| {
        let file = RepositoryFile::new(&format!("http://{}", server.host), path, usize::MAX).unwrap();
        client.repository_file(&file, Duration::from_secs(5)).await
    };
    assert_eq!(fetch("exact").await.unwrap().map(|bytes| bytes.len()), Some(CAP));
    let refused = fetch("over").await;
    assert!(matches!(refused, Err(Error::Limit(Limit::Size { cap: CAP, .. }))), "{refused:?}");
}

#[tokio::test]
async fn redirects_end_and_lead_to_no_plain_http_that_nothing_names() {
    let circle = Registry::start(|seen, _| Answer::redirect(&seen.target));
    let refused = fetch(plain(&[&circle.host]), &format!("http://{}", circle.host), "timestamp.json").await;
    assert!(matches!(refused, Err(Error::Limit(Limit::Redirects { .. }))), "{refused:?}");

    let (listener, port) = trap();
    let to = format!("http://127.0.0.1:{port}/timestamp.json");
    let server = Registry::start(move |_, _| Answer::redirect(&to));
    let refused = fetch(plain(&[&server.host]), &format!("http://{}", server.host), "timestamp.json").await;
    assert!(matches!(refused, Err(Error::Forbidden(Forbidden::PlainHttp(_)))), "{refused:?}");
    assert!(!was_touched(&listener));
}

#[tokio::test]
async fn plain_http_this_machine_and_redirects_to_it_are_refused_where_nothing_names_them() {
    let (listener, port) = trap();
    let refused = fetch(Config::default(), &format!("http://127.0.0.1:{port}"), "timestamp.json").await;
    assert!(matches!(refused, Err(Error::Forbidden(Forbidden::PlainHttp(_)))), "{refused:?}");
    let refused = fetch(Config::default(), &format!("https://localhost:{port}"), "timestamp.json").await;
    assert!(matches!(refused, Err(Error::Forbidden(Forbidden::LocalAddress { .. }))), "{refused:?}");

    let to = format!("https://127.0.0.1:{port}/latest");
    let server = Registry::start(move |_, _| Answer::redirect(&to));
    let refused = fetch(plain(&[&server.host]), &format!("http://{}", server.host), "timestamp.json").await;
    assert!(matches!(refused, Err(Error::Forbidden(Forbidden::LocalAddress { .. }))), "{refused:?}");
    assert!(!was_touched(&listener));
}

#[tokio::test]
async fn a_server_that_stalls_costs_no_more_than_the_deadline() {
    let server = Registry::start(|_, _| Answer::stalled());
    let file = RepositoryFile::new(&format!("http://{}", server.host), "timestamp.json", 1_000).unwrap();
    let begin = std::time::Instant::now();
    let ended = Client::new(plain(&[&server.host])).repository_file(&file, Duration::from_millis(300)).await;
    assert!(matches!(ended, Err(Error::Deadline { .. })), "{ended:?}");
    assert!(begin.elapsed() < Duration::from_secs(3));
}
