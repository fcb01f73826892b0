//! Revocation lists and OCSP answers: fetched by plain HTTP from hosts that are named, and from nowhere that a certificate could have
//! asked on this machine or in its network.

use std::time::Duration;

use assay_fetch::{Client, Config, Error, Problem, ProblemKind, RevocationRequest};

use crate::registry::{Answer, Registry, trap, was_touched};

const TIME: Duration = Duration::from_secs(5);

fn naming(hosts: &[&str]) -> Config {
    Config { revocation_hosts: hosts.iter().map(|host| host.parse().unwrap()).collect(), ..Config::default() }
}

async fn ask(config: Config, url: &str, request: &RevocationRequest) -> Result<Vec<u8>, Problem> {
    Client::new(config).revocation(url, request, TIME).await.map_err(|error| Problem::from(&error))
}

#[tokio::test]
async fn a_list_and_an_answer_come_from_a_host_that_is_named() {
    let server = Registry::start(|seen, _| match seen.method.as_str() {
        "GET" => Answer::ok("", b"a list".to_vec()),
        _ => Answer::ok("", [b"an answer to ".as_slice(), seen.body.as_slice()].concat()),
    });
    let url = format!("http://{}/ca.crl?x=1", server.host);
    let config = naming(&[&server.host]);
    assert_eq!(ask(config.clone(), &url, &RevocationRequest::List).await.unwrap(), b"a list");
    let answer = ask(config, &url, &RevocationRequest::Answer(b"this".to_vec())).await.unwrap();
    assert_eq!(answer, b"an answer to this");
    assert_eq!(server.seen().first().unwrap().target, "/ca.crl?x=1");
}

#[tokio::test]
async fn an_address_of_this_machine_or_its_network_is_not_asked_for_a_list() {
    let (listener, port) = trap();
    let other = Config { plain_http: vec!["127.0.0.1".parse().unwrap()], ..naming(&["other.example"]) };
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0", "2130706433"] {
        let url = format!("http://{host}:{port}/ca.crl");
        let problem = ask(other.clone(), &url, &RevocationRequest::List).await.unwrap_err();
        assert_eq!(problem.kind, ProblemKind::Forbidden, "{host}: {problem:?}");
    }
    for url in ["http://169.254.169.254/latest/", "http://10.0.0.1/ca.crl", "http://192.168.0.1/ca.crl"] {
        let problem = ask(Config::default(), url, &RevocationRequest::List).await.unwrap_err();
        assert_eq!(problem.kind, ProblemKind::Forbidden, "{url}: {problem:?}");
    }
    assert!(!was_touched(&listener));
}

#[tokio::test]
async fn a_redirect_from_a_list_into_this_machine_is_not_followed() {
    for target in ["http://127.0.0.1:PORT/", "http://localhost:PORT/", "http://169.254.169.254/", "http://10.0.0.1/"] {
        let (listener, port) = trap();
        let to = target.replace("PORT", &port.to_string());
        let server = Registry::start(move |_, _| Answer::redirect(&to));
        let url = format!("http://{}/ca.crl", server.host);
        let problem = ask(naming(&[&server.host]), &url, &RevocationRequest::List).await.unwrap_err();
        assert_eq!(problem.kind, ProblemKind::Forbidden, "{target}: {problem:?}");
        assert!(!was_touched(&listener), "{target}");
    }
}

#[tokio::test]
async fn what_other_rules_name_may_not_be_asked_for_lists_and_no_redirect_leads_to_https() {
    let (listener, port) = trap();
    let host = format!("127.0.0.1:{port}");
    let named = || vec![host.parse().unwrap()];
    let others = Config { plain_http: named(), allow_local_addresses: named(), ..Config::default() };
    let problem = ask(others, &format!("http://{host}/ca.crl"), &RevocationRequest::List).await.unwrap_err();
    assert_eq!(problem.kind, ProblemKind::Forbidden, "{problem:?}");
    let to = format!("https://{host}/ca.crl");
    let server = Registry::start(move |_, _| Answer::redirect(&to));
    let config = naming(&[&server.host, &host]);
    let problem = ask(config, &format!("http://{}/ca.crl", server.host), &RevocationRequest::List).await.unwrap_err();
    assert_eq!(problem.kind, ProblemKind::Forbidden, "{problem:?}");
    assert!(!was_touched(&listener));
}

#[tokio::test]
async fn a_responder_that_stalls_costs_no_more_than_the_deadline() {
    let server = Registry::start(|_, _| Answer::stalled());
    let begin = std::time::Instant::now();
    let client = Client::new(naming(&[&server.host]));
    let url = format!("http://{}/ocsp", server.host);
    let ended = client.revocation(&url, &RevocationRequest::List, Duration::from_millis(300)).await;
    assert!(matches!(ended, Err(Error::Deadline { .. })), "{ended:?}");
    assert!(begin.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn other_schemes_circles_and_long_lists_are_refused_by_name() {
    for (url, kind) in [
        ("https://ca.example/ca.crl", ProblemKind::Forbidden),
        ("ldap://ca.example/cn=ca", ProblemKind::Malformed),
        ("file:///etc/passwd", ProblemKind::Malformed),
        ("http://u@ca.example/", ProblemKind::Malformed),
        ("x", ProblemKind::Malformed),
    ] {
        let problem = ask(Config::default(), url, &RevocationRequest::List).await.unwrap_err();
        assert_eq!(problem.kind, kind, "{url}: {problem:?}");
    }
    let circle = Registry::start(|seen, _| Answer::redirect(&seen.target));
    let url = format!("http://{}/ca.crl", circle.host);
    let problem = ask(naming(&[&circle.host]), &url, &RevocationRequest::List).await.unwrap_err();
    assert_eq!((problem.kind, circle.seen().len()), (ProblemKind::Limit, 4));

    for (request, cap) in [(RevocationRequest::Answer(vec![1]), 64 << 10), (RevocationRequest::List, 4 << 20)] {
        for (length, kept) in [(cap, Ok(cap)), (cap + 1, Err(ProblemKind::Limit))] {
            let server = Registry::start(move |_, _| Answer::ok("", vec![0; length]));
            let url = format!("http://{}/x", server.host);
            let found = ask(naming(&[&server.host]), &url, &request).await;
            assert_eq!(found.map(|bytes| bytes.len()).map_err(|problem| problem.kind), kept, "{length}");
        }
    }
    let missing = Registry::start(|_, _| Answer::status(404));
    let url = format!("http://{}/ca.crl", missing.host);
    let problem = ask(naming(&[&missing.host]), &url, &RevocationRequest::List).await.unwrap_err();
    assert_eq!(problem.kind, ProblemKind::Unreachable);
}
