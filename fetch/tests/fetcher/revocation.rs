//! Revocation lists and OCSP answers: fetched by plain HTTP from hosts that are named, and from nowhere that a certificate could have
//! asked on this machine or in its network.

use std::time::Duration;

use assay_fetch::{Client, Config, Problem, ProblemKind, RevocationRequest};

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
async fn other_schemes_circles_and_long_lists_are_refused_by_name() {
    for url in
        ["https://ca.example/ca.crl", "ldap://ca.example/cn=ca", "file:///etc/passwd", "http://u@ca.example/", "x"]
    {
        let problem = ask(Config::default(), url, &RevocationRequest::List).await.unwrap_err();
        assert!(matches!(problem.kind, ProblemKind::Forbidden | ProblemKind::Malformed), "{url}: {problem:?}");
    }
    let circle = Registry::start(|seen, _| Answer::redirect(&seen.target));
    let url = format!("http://{}/ca.crl", circle.host);
    let problem = ask(naming(&[&circle.host]), &url, &RevocationRequest::List).await.unwrap_err();
    assert_eq!(problem.kind, ProblemKind::Limit);

    for (length, cap_is_kept) in [(64 << 10, true), ((64 << 10) + 1, false)] {
        let server = Registry::start(move |_, _| Answer::ok("", vec![0; length]));
        let url = format!("http://{}/ocsp", server.host);
        let found = ask(naming(&[&server.host]), &url, &RevocationRequest::Answer(vec![1])).await;
        assert_eq!(found.is_ok(), cap_is_kept, "{length}");
    }
    let missing = Registry::start(|_, _| Answer::status(404));
    let url = format!("http://{}/ca.crl", missing.host);
    let problem = ask(naming(&[&missing.host]), &url, &RevocationRequest::List).await.unwrap_err();
    assert_eq!(problem.kind, ProblemKind::Unreachable);
}
