//! `assay evidence import`: carries revocation lists and OCSP answers to the agent of a node that cannot fetch them.

use assay_proto::assay as wire;
use clap::Subcommand;
use serde_json::json;

use crate::{
    Context,
    agent::Agent,
    failure::{Exit, Failure},
    revocation::RevocationArgs,
};

#[derive(Debug, Subcommand)]
pub(crate) enum EvidenceVerb {
    /// Give the agent revocation lists and OCSP answers, for a node that cannot fetch them
    ///
    /// They count only if the issuer of a certificate made them, while they are fresh, and never beside a newer one that was seen.
    Import(RevocationArgs),
}

pub(crate) async fn run(context: &Context, verb: EvidenceVerb) -> Result<Exit, Failure> {
    let EvidenceVerb::Import(arguments) = verb;
    if arguments.is_empty() {
        let hint = "give --crl URL=FILE or --ocsp FILE, as often as there are files";
        return Err(Failure::new("USAGE", "there is nothing to import", hint).exits(Exit::Usage));
    }
    let evidence = arguments.read()?;
    let agent = Agent::admin(context).await?;
    let list =
        |list: &assay_verify::RevocationList| wire::ImportedList { url: list.url.clone(), der: list.der.clone() };
    let request = wire::ImportEvidenceRequest {
        lists: evidence.lists().iter().map(list).collect(),
        ocsp_answers: evidence.answers().to_vec(),
    };
    let kept = agent.ask(agent.evidence().import(agent.request(request))).await?;
    let text = format!("imported: {} revocation lists, {} OCSP answers", kept.lists, kept.ocsp_answers);
    context.console.print(&text, &json!({ "lists": kept.lists, "ocsp_answers": kept.ocsp_answers }))?;
    Ok(Exit::Success)
}
