//! `assay trust-root`: Sigstore roots of trust that TUF repositories keep up to date. The agent verifies; without one, `update --dir`
//! does the same by itself.

mod copy;
mod offline;
mod shown;

use std::path::PathBuf;

use assay_proto::assay as wire;
use clap::{Args, Subcommand};
use serde_json::json;

use crate::{
    Context,
    agent::Agent,
    failure::{Exit, Failure},
};

#[derive(Debug, Subcommand)]
pub(crate) enum TrustRootVerb {
    /// Ask the repositories for what is new
    Update(UpdateArgs),
    /// Take a copy of a repository that was carried here: a folder or a .tar with timestamp.json, by the same rules
    Import {
        /// The copy
        copy: PathBuf,
        /// Which trust root of assayd.toml [default: the only one]
        name: Option<String>,
    },
    /// Show versions, ends, keys, and whom the root of trust names
    Show {
        /// Which one [default: all]
        name: Option<String>,
    },
}

/// What is updated: the agent's, or a folder.
#[derive(Args, Debug)]
pub(crate) struct UpdateArgs {
    /// Which trust root of assayd.toml [default: all that have repositories]
    #[arg(conflicts_with = "dir")]
    name: Option<String>,
    /// Without an agent: keep trusted_root.json, and what is needed to go on, in DIR
    #[arg(long, value_name = "DIR", requires_all = ["repository", "tuf_root"])]
    dir: Option<PathBuf>,
    /// Without an agent: the repository's address, or a copy of it
    #[arg(long, value_name = "URL|DIR|TAR", requires = "dir")]
    repository: Option<String>,
    /// Without an agent: the repository's root that you trust
    #[arg(long, value_name = "FILE", requires = "dir")]
    tuf_root: Option<PathBuf>,
    /// Without an agent: reach the repository over plain HTTP (fetch.toml can allow it for good)
    #[arg(long, requires = "dir")]
    plain_http: bool,
}

pub(crate) async fn run(context: &Context, verb: TrustRootVerb) -> Result<Exit, Failure> {
    match verb {
        TrustRootVerb::Update(UpdateArgs {
            dir: Some(dir),
            repository: Some(repository),
            tuf_root: Some(root),
            plain_http,
            ..
        }) => offline::update(context, &dir, &repository, &root, plain_http).await,
        TrustRootVerb::Update(UpdateArgs { name, .. }) => update(context, name).await,
        TrustRootVerb::Import { copy, name } => import(context, &copy, name).await,
        TrustRootVerb::Show { name } => show(context, name).await,
    }
}

async fn show(context: &Context, name: Option<String>) -> Result<Exit, Failure> {
    let agent = Agent::admin(context).await?;
    let roots = roots(&agent, name).await?;
    let text: Vec<String> = roots.iter().map(shown::text).collect();
    let text = if text.is_empty() {
        "no trust root is configured ([trust-roots.NAME] of assayd.toml)".to_owned()
    } else {
        text.join("\n\n")
    };
    context.console.print(&text, &json!({ "trust_roots": roots.iter().map(shown::json).collect::<Vec<_>>() }))?;
    Ok(Exit::Success)
}

async fn update(context: &Context, name: Option<String>) -> Result<Exit, Failure> {
    let agent = Agent::admin(context).await?;
    let names = match name {
        Some(name) => vec![name],
        None => {
            let all = roots(&agent, None).await?;
            all.into_iter().filter(|root| !root.repositories.is_empty()).map(|root| root.name).collect()
        }
    };
    if names.is_empty() {
        return Err(Failure::new(
            "NOT_FOUND",
            "no trust root with repositories is configured",
            "add one to assayd.toml",
        ));
    }
    let (mut lines, mut documents) = (Vec::new(), Vec::new());
    for name in names {
        let _progress = context.console.progress("asking the repository");
        let answer =
            agent.ask(agent.trust_roots().update(agent.request(wire::UpdateTrustRootRequest { name }))).await?;
        let (line, document) = updated(&answer);
        lines.push(line);
        documents.push(document);
    }
    context.console.print(&lines.join("\n"), &json!({ "trust_roots": documents }))?;
    Ok(Exit::Success)
}

async fn import(context: &Context, copy: &std::path::Path, name: Option<String>) -> Result<Exit, Failure> {
    let files = copy::read(copy)?;
    let agent = Agent::admin(context).await?;
    let name = match name {
        Some(name) => name,
        None => only(roots(&agent, None).await?)?,
    };
    let files = files.into_iter().map(|(path, content)| wire::RepositoryFile { path, content }).collect();
    let request = agent.request(wire::ImportTrustRootRequest { name, files });
    let answer = agent.ask(agent.trust_roots().import(request)).await?;
    let (line, document) = updated(&answer);
    context.console.print(&line, &json!({ "trust_roots": [document] }))?;
    Ok(Exit::Success)
}

async fn roots(agent: &Agent, name: Option<String>) -> Result<Vec<wire::TrustRoot>, Failure> {
    let request = agent.request(wire::ShowTrustRootsRequest { name: name.unwrap_or_default() });
    Ok(agent.ask(agent.trust_roots().show(request)).await?.roots)
}

/// The `trusted_root.json` that the agent trusts under `name`, if there is an agent and it has one.
pub(crate) async fn trusted(context: &Context, name: &str) -> Option<Vec<u8>> {
    let agent = Agent::admin(context).await.ok()?;
    let root = roots(&agent, Some(name.to_owned())).await.ok()?.into_iter().next()?;
    (!root.trusted_root.is_empty()).then_some(root.trusted_root)
}

/// The name, where there is no choice.
fn only(roots: Vec<wire::TrustRoot>) -> Result<String, Failure> {
    let mut names = roots.into_iter().map(|root| root.name);
    match (names.next(), names.next()) {
        (Some(name), None) => Ok(name),
        (None, _) => {
            Err(Failure::new("NOT_FOUND", "no trust root is configured", "add [trust-roots.NAME] to assayd.toml"))
        }
        (Some(_), Some(_)) => {
            Err(Failure::new("USAGE", "several trust roots are configured", "name one behind the copy")
                .exits(Exit::Usage))
        }
    }
}

fn updated(answer: &wire::UpdateTrustRootResponse) -> (String, serde_json::Value) {
    let root = answer.root.clone().unwrap_or_default();
    let what = if answer.changed { "is a new one" } else { "is as it was" };
    let line = format!("{}: the root of trust {what}, {}", root.name, root.revision);
    let mut document = shown::json(&root);
    if let Some(object) = document.as_object_mut() {
        object.insert("changed".to_owned(), answer.changed.into());
    }
    (line, document)
}
