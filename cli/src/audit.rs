//! `assay audit`: what the node decided and did with its keys, read back from its log; the log's signed head; and the
//! check, without an agent, that nobody changed the log.

mod line;
mod verify;

use assay_audit::Record;
use assay_proto::assay as wire;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::{
    Context,
    agent::Agent,
    failure::{Exit, Failure},
};

#[derive(Debug, Subcommand)]
pub(crate) enum AuditVerb {
    /// Show the newest records, oldest first
    Show(ShowArgs),
    Verify(verify::VerifyArgs),
    /// Make the agent sign the log's head, and print it: keep it where this node cannot reach it
    Head,
}

#[derive(Args, Debug)]
pub(crate) struct ShowArgs {
    /// How many records
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    last: u64,
}

/// Most records that the agent gives at once.
const PAGE: u32 = 256;

pub(crate) async fn run(context: &Context, verb: AuditVerb) -> Result<Exit, Failure> {
    match verb {
        AuditVerb::Show(arguments) => show(context, &arguments).await,
        AuditVerb::Verify(arguments) => verify::run(context, &arguments),
        AuditVerb::Head => head(context).await,
    }
}

async fn show(context: &Context, arguments: &ShowArgs) -> Result<Exit, Failure> {
    let agent = Agent::admin(context).await?;
    let size = read(&agent, 0, 1).await?.size;
    let mut next = size.saturating_sub(arguments.last);
    let (mut lines, mut records) = (Vec::new(), Vec::new());
    // Records that are added meanwhile are shown by the next call.
    while next < size {
        let page = read(&agent, next, PAGE.min(u32::try_from(size - next).unwrap_or(PAGE))).await?;
        if page.records.is_empty() {
            break;
        }
        for entry in &page.records {
            lines.push(match Record::parse(entry) {
                Ok(record) => line::of(next, &record),
                Err(error) => format!("{next:>6}  {error}"),
            });
            records.push(json!({ "index": next, "record": raw(entry) }));
            next += 1;
        }
    }
    let text = if lines.is_empty() { "the log is empty".to_owned() } else { lines.join("\n") };
    context.console.print(&text, &json!({ "size": size, "records": records }))?;
    Ok(Exit::Success)
}

/// A record as it is hashed. One that is no JSON is shown as text: `audit verify` says what that means.
fn raw(entry: &[u8]) -> Value {
    serde_json::from_slice(entry).unwrap_or_else(|_| Value::from(String::from_utf8_lossy(entry)))
}

async fn read(agent: &Agent, start: u64, count: u32) -> Result<wire::AuditReadResponse, Failure> {
    agent.ask(agent.audit().read(agent.request(wire::AuditReadRequest { start, count }))).await
}

async fn head(context: &Context) -> Result<Exit, Failure> {
    let agent = Agent::admin(context).await?;
    let note = agent.ask(agent.audit().head(agent.request(wire::AuditHeadRequest {}))).await?.checkpoint;
    // As it is: the note's own line break is part of what tools read.
    context.console.print(note.strip_suffix('\n').unwrap_or(&note), &json!({ "checkpoint": note }))?;
    Ok(Exit::Success)
}
