//! Credentials reach the origin that they are for, after it has asked, and nobody else.

use std::{path::PathBuf, sync::OnceLock};

use assay_fetch::{Config, ProblemKind};
use tempfile::TempDir;

use crate::{
    collect, image, kinds, plain,
    registry::{Answer, Registry, Seen},
    store::Store,
};

/// `user:s3cret`
const BASIC: &str = "Basic dXNlcjpzM2NyZXQ=";

/// A configuration for `hosts` with the password above for the registry `host`.
fn with_password(host: &str, hosts: &[&str]) -> (Config, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join("config.json");
    std::fs::write(&path, format!(r#"{{"auths":{{"{host}":{{"auth":"dXNlcjpzM2NyZXQ="}}}}}}"#)).unwrap();
    (Config { docker_config: Some(path), ..plain(hosts) }, folder)
}

fn store() -> Store {
    let mut store = Store::default();
    store.image();
    store
}

fn challenge(text: &str) -> Answer {
    Answer::status(401).header("WWW-Authenticate", text)
}

fn shown(registry: &Registry) -> Vec<Option<String>> {
    registry.seen().iter().map(|seen| seen.header("Authorization").map(ToOwned::to_owned)).collect()
}

#[tokio::test]
async fn a_password_is_sent_only_after_a_challenge_and_then_kept() {
    let store = store();
    let registry = Registry::start(move |seen, _| match seen.header("Authorization") {
        Some(BASIC) => store.answer(seen),
        _ => challenge("Basic realm=\"x\""),
    });
    let (config, _folder) = with_password(&registry.host, &[&registry.host]);
    let (all, problems) = collect(config, &image(&format!("{}/app:1", registry.host))).await;
    assert_eq!((all.len(), problems), (3, vec![]));
    let shown = shown(&registry);
    assert_eq!((shown[0].as_deref(), shown[1].as_deref()), (None, Some(BASIC)));
    assert!(shown[1..].iter().all(|value| value.as_deref() == Some(BASIC)));
}

#[tokio::test]
async fn no_wrong_or_forbidden_credentials_are_an_auth_problem_that_names_no_secret() {
    let registry = Registry::start(|_, _| challenge("Basic realm=\"x\""));
    let (_, problems) = collect(plain(&[&registry.host]), &image(&format!("{}/app:1", registry.host))).await;
    assert_eq!(kinds(&problems), [ProblemKind::Auth]);
    assert!(problems[0].detail.contains(&format!("docker-config has none for http://{}", registry.host)));

    let (config, _folder) = with_password(&registry.host, &[&registry.host]);
    assert!(!format!("{config:?}").contains("s3cret"));
    let (_, problems) = collect(config, &image(&format!("{}/app:1", registry.host))).await;
    assert_eq!(kinds(&problems), [ProblemKind::Auth]);
    assert!(!problems[0].detail.contains("s3cret") && !problems[0].detail.contains("dXNlcj"), "{problems:?}");

    let registry = Registry::start(|_, _| Answer::status(403));
    let (_, problems) = collect(plain(&[&registry.host]), &image(&format!("{}/app:1", registry.host))).await;
    assert_eq!(kinds(&problems), [ProblemKind::Auth]);
}

#[tokio::test]
async fn requests_that_are_refused_together_try_a_wrong_password_once_and_use_a_right_one_at_once() {
    for right in [true, false] {
        let store = store();
        let digest = Store::default().image().0["digest"].as_str().unwrap().to_owned();
        let registry = Registry::start(move |seen, _| match seen.header("Authorization") {
            Some(BASIC) if right => store.answer(seen),
            Some(_) => challenge("Basic realm=\"x\""),
            None => {
                // All that are sent at once are on their way before the first is refused.
                std::thread::sleep(std::time::Duration::from_millis(100));
                challenge("Basic realm=\"x\"")
            }
        });
        let (config, _folder) = with_password(&registry.host, &[&registry.host]);
        let mut request = image(&format!("{}/app@{digest}", registry.host));
        if !right {
            // A digest that is asked for as a subject is looked for whatever becomes of the image.
            request.subjects = vec![digest.parse().unwrap()];
        }
        let (all, problems) = collect(config, &request).await;
        let shown = shown(&registry);
        let with_password = shown.iter().filter(|value| value.as_deref() == Some(BASIC)).count();
        match right {
            true => {
                assert_eq!((all.len(), problems, with_password), (3, vec![], 9));
                assert_eq!(shown.iter().filter(|value| value.is_none()).count(), 4, "{shown:?}");
            }
            // The image, its list of referrers and cosign's tag.
            false => assert_eq!((all.len(), kinds(&problems), with_password), (0, vec![ProblemKind::Auth; 3], 1)),
        }
    }
}

#[tokio::test]
async fn requests_that_are_refused_together_ask_for_one_token() {
    let registry = token_registry(|_| {
        std::thread::sleep(std::time::Duration::from_millis(100));
        Answer::ok("application/json", r#"{"token":"t0ken"}"#)
    });
    let digest = Store::default().image().0["digest"].as_str().unwrap().to_owned();
    let request = image(&format!("{}/app@{digest}", registry.host));
    let (all, problems) = collect(plain(&[&registry.host]), &request).await;
    assert_eq!((all.len(), problems), (3, vec![]));
    assert_eq!(registry.targets().iter().filter(|target| target.starts_with("/token")).count(), 1);

    // A token server that refuses is not asked again either.
    let registry = token_registry(|_| Answer::status(403));
    let request = image(&format!("{}/app@{digest}", registry.host));
    let (_, problems) = collect(plain(&[&registry.host]), &request).await;
    assert_eq!(kinds(&problems), [ProblemKind::Auth]);
    assert_eq!(registry.targets().iter().filter(|target| target.starts_with("/token")).count(), 1);
}

#[tokio::test]
async fn another_origin_gets_no_password_neither_by_redirect_nor_by_its_own_challenge() {
    let storage = Registry::start(|_, _| challenge("Basic realm=\"x\""));
    let to = storage.host.clone();
    let registry = Registry::start(move |seen, _| match seen.header("Authorization") {
        Some(_) => Answer::redirect(&format!("http://{to}/blob")),
        None => challenge("Basic realm=\"x\""),
    });
    let (config, _folder) = with_password(&registry.host, &[&registry.host, &storage.host]);
    let (_, problems) = collect(config, &image(&format!("{}/app:1", registry.host))).await;
    assert_eq!(kinds(&problems), [ProblemKind::Auth]);
    assert_eq!(shown(&storage), [None]);
}

#[tokio::test]
async fn a_challenge_behind_a_redirect_is_not_answered() {
    let storage = Registry::start(|_, _| challenge("Bearer realm=\"/token\",service=\"x\""));
    let to = storage.host.clone();
    let registry = Registry::start(move |_, _| Answer::redirect(&format!("http://{to}/blob")));
    let config = plain(&[&registry.host, &storage.host]);
    let (_, problems) = collect(config, &image(&format!("{}/app:1", registry.host))).await;
    assert_eq!(kinds(&problems), [ProblemKind::Auth]);
    assert_eq!(storage.targets(), ["/blob"]);
}

#[tokio::test]
async fn a_way_back_through_another_origin_does_not_bring_the_password_back() {
    let own: &'static OnceLock<String> = Box::leak(Box::default());
    let storage = Registry::start(|_, _| Answer::redirect(&format!("http://{}/back", own.get().unwrap())));
    let to = storage.host.clone();
    let registry = Registry::start(move |seen, _| match (seen.path(), seen.header("Authorization")) {
        ("/back", _) => Answer::status(404),
        (_, Some(_)) => Answer::redirect(&format!("http://{to}/blob")),
        (_, None) => challenge("Basic realm=\"x\""),
    });
    own.set(registry.host.clone()).unwrap();
    let (config, _folder) = with_password(&registry.host, &[&registry.host, &storage.host]);
    let (_, problems) = collect(config, &image(&format!("{}/app:1", registry.host))).await;
    assert_eq!(kinds(&problems), [ProblemKind::NotFound]);
    assert_eq!(shown(&storage), [None]);
    assert_eq!(shown(&registry), [None, Some(BASIC.into()), None]);
}

/// A registry whose token server is itself; `token` answers for it.
fn token_registry(token: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Registry {
    let store = store();
    Registry::start(move |seen, own| match (seen.path(), seen.header("Authorization")) {
        ("/token", _) => token(seen),
        (_, Some("Bearer t0ken")) => store.answer(seen),
        _ => challenge(&format!(
            "Bearer realm=\"http://{own}/token?x=1\",service=\"my service\",scope=\"repository:victim:push\""
        )),
    })
}

#[tokio::test]
async fn a_token_is_asked_for_our_own_scope_and_shown_to_the_registry() {
    let registry = token_registry(|_| Answer::ok("application/json", r#"{"token":"t0ken"}"#));
    let (config, _folder) = with_password(&registry.host, &[&registry.host]);
    let (all, problems) = collect(config, &image(&format!("{}/app:1", registry.host))).await;
    assert_eq!((all.len(), problems), (3, vec![]));
    let seen = registry.seen();
    assert_eq!(seen[1].target, "/token?x=1&service=my%20service&scope=repository%3Aapp%3Apull");
    assert_eq!(seen[1].header("Authorization"), Some(BASIC));
    assert_eq!(seen.iter().filter(|seen| seen.path() == "/token").count(), 1);

    let registry = token_registry(|_| Answer::ok("application/json", r#"{"access_token":"t0ken"}"#));
    let (all, problems) = collect(plain(&[&registry.host]), &image(&format!("{}/app:1", registry.host))).await;
    assert_eq!((all.len(), problems), (3, vec![]));
    assert_eq!(registry.seen()[1].header("Authorization"), None);
}

#[tokio::test]
async fn an_identity_token_goes_in_a_form_and_never_in_a_url() {
    let registry = token_registry(|_| Answer::ok("application/json", r#"{"access_token":"t0ken"}"#));
    let (config, folder) = with_password(&registry.host, &[&registry.host]);
    let text = format!(r#"{{"auths":{{"{}":{{"identitytoken":"i&d"}}}}}}"#, registry.host);
    std::fs::write(folder.path().join("config.json"), text).unwrap();
    let (all, problems) = collect(config, &image(&format!("{}/app:1", registry.host))).await;
    assert_eq!((all.len(), problems), (3, vec![]));
    let asked = &registry.seen()[1];
    assert_eq!((asked.method.as_str(), asked.target.as_str()), ("POST", "/token?x=1"));
    assert_eq!(
        String::from_utf8_lossy(&asked.body),
        "service=my%20service&scope=repository%3Aapp%3Apull&grant_type=refresh_token&client_id=assay&refresh_token=i%26d"
    );
}

#[tokio::test]
async fn a_token_server_that_refuses_floods_redirects_or_babbles_gives_no_access() {
    let answers: [(ProblemKind, fn() -> Answer); 9] = [
        (ProblemKind::Auth, || Answer::status(401)),
        (ProblemKind::Auth, || Answer::ok("application/json", "{}")),
        (ProblemKind::Auth, || Answer::ok("application/json", r#"{"token":""}"#)),
        (ProblemKind::Auth, || Answer::ok("application/json", "{\"token\":\"a\\r\\nX: y\"}")),
        (ProblemKind::Auth, || Answer::ok("text/html", "<p>")),
        (ProblemKind::Auth, || Answer::ok("application/json", r#"{"token":"another"}"#)),
        (ProblemKind::Limit, || Answer::endless("application/json")),
        (ProblemKind::Forbidden, || Answer::redirect("/token2")),
        (ProblemKind::Unreachable, || Answer::status(503)),
    ];
    for (kind, answer) in answers {
        let registry = token_registry(move |_| answer());
        let (config, _folder) = with_password(&registry.host, &[&registry.host]);
        let (_, problems) = collect(config, &image(&format!("{}/app:1", registry.host))).await;
        assert_eq!(kinds(&problems), [kind], "{problems:?}");
        assert!(!problems[0].detail.contains("t0ken") && !problems[0].detail.contains("another"), "{problems:?}");
    }
}

#[tokio::test]
async fn a_realm_at_another_host_gets_no_credentials() {
    let realm = Registry::start(|_, _| Answer::ok("application/json", r#"{"token":"t0ken"}"#));
    let to = realm.host.clone();
    let registry = Registry::start(move |_, _| challenge(&format!("Bearer realm=\"http://{to}/token\"")));
    let (config, _folder) = with_password(&registry.host, &[&registry.host, &realm.host]);
    let (_, problems) = collect(config, &image(&format!("{}/app:1", registry.host))).await;
    assert_eq!(kinds(&problems), [ProblemKind::Forbidden]);
    assert!(problems[0].detail.contains("add both to realms"), "{problems:?}");
    assert_eq!(realm.seen().len(), 0);
}

#[tokio::test]
async fn a_realm_at_this_machine_is_not_asked_even_without_credentials() {
    let (listener, port) = crate::registry::trap();
    for scheme in ["http", "https"] {
        let registry =
            Registry::start(move |_, _| challenge(&format!("Bearer realm=\"{scheme}://localhost:{port}/token\"")));
        let (_, problems) = collect(plain(&[&registry.host]), &image(&format!("{}/app:1", registry.host))).await;
        assert_eq!(kinds(&problems), [ProblemKind::Forbidden], "{problems:?}");
    }
    assert!(!crate::registry::was_touched(&listener));
}
