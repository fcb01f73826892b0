//! The fetcher against registries that lie, stall, flood and redirect. Each is a hand-written HTTP/1.1 server on loopback
//! (`registry`), so that every byte on the wire is the test's own; real registries are asked in the workspace's `integration/`.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod addresses;
mod at_once;
mod caps;
mod collects;
mod credentials;
mod mirrors;
mod process;
mod push;
mod registry;
mod repository;
mod revocation;
mod store;
mod tls;

use std::time::Duration;

use assay_fetch::{Client, CollectRequest, Collected, Config, Problem, ProblemKind, Wanted};

/// A configuration that names `registries` (`host:port`) as plain HTTP.
fn plain(registries: &[&str]) -> Config {
    Config { plain_http: registries.iter().map(|text| text.parse().unwrap()).collect(), ..Config::default() }
}

/// A request for an image with its documents for linux/amd64, and ten seconds.
fn image(reference: &str) -> CollectRequest {
    CollectRequest {
        image: reference.parse().unwrap(),
        platform: Some("linux/amd64".parse().unwrap()),
        subjects: vec![],
        wanted: Wanted::Signatures,
        time: Duration::from_secs(10),
    }
}

async fn collect(config: Config, request: &CollectRequest) -> (Vec<Collected>, Vec<Problem>) {
    Client::new(config).collect_all(request).await
}

/// The kinds of all problems, in their order.
fn kinds(problems: &[Problem]) -> Vec<ProblemKind> {
    problems.iter().map(|problem| problem.kind).collect()
}
