//! Redirects and names that lead to this machine or its link are not followed, in any of their disguises.

use assay_fetch::{Config, ProblemKind};

use crate::{
    collect, image, kinds, plain,
    registry::{Answer, Registry, trap, was_touched},
    store::Store,
};

#[tokio::test]
async fn a_redirect_to_this_machine_or_its_link_is_not_followed() {
    for target in [
        "https://127.0.0.1:PORT/",
        "https://localhost:PORT/",
        "https://[::ffff:127.0.0.1]:PORT/",
        "https://0.0.0.0:PORT/",
        "https://169.254.169.254/latest/",
        "http://127.0.0.1:PORT/",
        "http://169.254.169.254/latest/",
        "http://localhost:PORT/",
    ] {
        let (listener, port) = trap();
        let to = target.replace("PORT", &port.to_string());
        let registry = Registry::start(move |_, _| Answer::redirect(&to));
        let (_, problems) = collect(plain(&[&registry.host]), &image(&format!("{}/app:1", registry.host))).await;
        assert_eq!(kinds(&problems), [ProblemKind::Forbidden], "{target}: {problems:?}");
        assert!(!was_touched(&listener), "{target}");
    }
}

#[tokio::test]
async fn an_image_on_this_machine_is_fetched_only_if_its_registry_is_configured() {
    let (listener, port) = trap();
    let (_, problems) = collect(Config::default(), &image(&format!("127.0.0.1:{port}/app:1"))).await;
    assert_eq!(kinds(&problems), [ProblemKind::Forbidden]);
    let (_, problems) = collect(Config::default(), &image(&format!("localhost:{port}/app:1"))).await;
    assert_eq!(kinds(&problems), [ProblemKind::Forbidden]);
    assert!(!was_touched(&listener));

    let mut store = Store::default();
    store.image();
    let registry = Registry::start(move |seen, _| store.answer(seen));
    let (all, problems) = collect(plain(&["127.0.0.1"]), &image(&format!("{}/app:1", registry.host))).await;
    assert_eq!((all.len(), problems), (3, vec![]));
}

#[tokio::test]
async fn a_redirect_within_what_is_configured_is_followed() {
    let mut store = Store::default();
    store.image();
    let storage = Registry::start(move |seen, _| store.answer(seen));
    let to = storage.host.clone();
    let registry = Registry::start(move |seen, _| Answer::redirect(&format!("http://{to}{}", seen.target)));
    let config = plain(&[&registry.host, &storage.host]);
    let (all, problems) = collect(config, &image(&format!("{}/app:1", registry.host))).await;
    assert_eq!((all.len(), problems), (3, vec![]));
}

#[tokio::test]
async fn redirects_in_a_circle_are_a_limit() {
    let registry = Registry::start(|seen, _| Answer::redirect(&seen.target));
    let (_, problems) = collect(plain(&[&registry.host]), &image(&format!("{}/app:1", registry.host))).await;
    assert_eq!(kinds(&problems), [ProblemKind::Limit]);
    assert_eq!(registry.seen().len(), 6);
}

#[tokio::test]
async fn a_registry_that_nobody_serves_is_unreachable() {
    let (listener, port) = trap();
    drop(listener);
    let host = format!("127.0.0.1:{port}");
    let (_, problems) = collect(plain(&[&host]), &image(&format!("{host}/app:1"))).await;
    assert_eq!(kinds(&problems), [ProblemKind::Unreachable]);
    assert!(problems[0].detail.contains(&host), "{problems:?}");
}
