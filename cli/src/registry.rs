//! The command line's own way to registries, for signing and for verifying without an agent: the fetcher's library with
//! the node's fetch.toml, the caller's docker credentials, and what the flags allow.

use std::path::PathBuf;

use assay_admission::Repository;
use assay_fetch::{Client, Config, Error, ProblemKind};
use clap::Args;

use crate::{
    Context,
    failure::{Exit, Failure},
};

/// How the registry may be reached.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct RegistryArgs {
    /// Reach the image's registry over plain HTTP (fetch.toml can allow it for good)
    #[arg(long, visible_alias = "allow-http-registry", alias = "insecure-registry")]
    plain_http: bool,
    /// A docker config.json with credentials [default: fetch.toml's, else the caller's own]
    #[arg(long, value_name = "FILE")]
    docker_config: Option<PathBuf>,
}

impl RegistryArgs {
    /// Nothing, unless a flag is given, which the agent would not hear of: it reaches registries through the fetcher.
    ///
    /// # Errors
    /// Exit code 2, with where to say it instead.
    pub(crate) fn refuse_for_agent(&self) -> Result<(), Failure> {
        let (flag, field) = match (self.plain_http, &self.docker_config) {
            (true, _) => ("--plain-http", "plain-http = [\"HOST:PORT\"]"),
            (false, Some(_)) => ("--docker-config", "docker-config = \"FILE\""),
            (false, None) => return Ok(()),
        };
        Err(Failure::new(
            "USAGE",
            format!("{flag} has no meaning for the agent: how registries are reached is in its fetcher's configuration"),
            format!(
                "write {field} into /etc/assay/fetch.toml and send SIGHUP to assay-fetch; or leave the agent out: --policy FILE or --key KEY"
            ),
        )
        .exits(Exit::Usage))
    }
}

/// A client that may reach `repository`'s registry as the arguments and the node's configuration allow.
///
/// # Errors
/// If a configuration file is broken.
pub(crate) fn client(context: &Context, arguments: &RegistryArgs, repository: &Repository) -> Result<Client, Failure> {
    let path = context.path("etc/assay/fetch.toml");
    let mut config =
        if path.exists() { Config::load(&path).map_err(|error| failed(&error))? } else { Config::default() };
    if arguments.plain_http {
        let host = repository.host().parse().map_err(|error| {
            Failure::new("USAGE", format!("failed to allow plain HTTP for {}: {error}", repository.host()), "")
                .exits(Exit::Usage)
        })?;
        config.plain_http.push(host);
    }
    if let Some(file) = &arguments.docker_config {
        config.docker_config = Some(file.clone());
    } else if config.docker_config.is_none() {
        config.docker_config = own_docker_config();
    }
    Ok(Client::new(config))
}

/// Where docker, cosign and notation look for the caller's credentials.
fn own_docker_config() -> Option<PathBuf> {
    let folder = std::env::var_os("DOCKER_CONFIG")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".docker")))?;
    Some(folder.join("config.json")).filter(|file| file.exists())
}

/// A registry's failure, with what to do about it.
pub(crate) fn failed(error: &Error) -> Failure {
    of_kind(error.kind(), &error.to_string())
}

/// The same for a problem that was collected.
pub(crate) fn of_kind(kind: ProblemKind, message: &str) -> Failure {
    let (code, remedy) = match kind {
        ProblemKind::NotFound => ("NO_IMAGE", "check name and tag; list them with the registry's own tools"),
        ProblemKind::Unreachable => ("REGISTRY_UNREACHABLE", "check the registry and the way to it, then try again"),
        ProblemKind::Auth => ("REGISTRY_AUTH", "log in (`docker login`), or give --docker-config FILE"),
        ProblemKind::Limit => ("LIMIT", "remove surplus signatures from the registry, or ask its publisher"),
        ProblemKind::Malformed => ("MALFORMED", "push the image again with an up-to-date tool, or ask its publisher"),
        ProblemKind::Forbidden => {
            ("FORBIDDEN", "allow it in /etc/assay/fetch.toml (plain-http, allow-local-addresses), or give --plain-http")
        }
        ProblemKind::Deadline => ("DEADLINE", "try again with a longer --timeout"),
    };
    let failure = Failure::new(code, message, remedy);
    match kind {
        ProblemKind::NotFound => failure.exits(Exit::NoImage),
        ProblemKind::Unreachable
        | ProblemKind::Auth
        | ProblemKind::Limit
        | ProblemKind::Malformed
        | ProblemKind::Forbidden
        | ProblemKind::Deadline => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_image_ends_with_cosigns_code_and_other_failures_do_not() {
        assert_eq!(of_kind(ProblemKind::NotFound, "x").exit.number(), 11);
        assert_eq!(of_kind(ProblemKind::Unreachable, "x").exit.number(), 1);
        assert_eq!(of_kind(ProblemKind::Auth, "x").code, "REGISTRY_AUTH");
    }
}
