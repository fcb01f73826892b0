//! `assay audit`: what the node decided and did with its keys, read back from its log, and the log's signed head.

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
        AuditVerb::Head => head(context).await,
    }
}

async fn show(context: &Context, arguments: &ShowArgs) -> Result<Exit, Failure> {
    let agent = Agent::admin(context).await?;
    let mut size = read(&agent, 0, 1).await?.size;
    let first = size.saturating_sub(arguments.last);
    let mut records = Vec::new();
    let mut next = first;
    while next < size {
        let page = read(&agent, next, PAGE).await?;
        let Ok(1..) = u64::try_from(page.records.len()) else { break };
        for record in &page.records {
            records.push((next, parsed(record)));
            next += 1;
        }
        // Records that are added meanwhile are shown by the next call.
        size = size.min(page.size);
    }
    let lines: Vec<String> = records.iter().map(|(index, record)| line(*index, record)).collect();
    let text = if lines.is_empty() { "the log is empty".to_owned() } else { lines.join("\n") };
    let json: Vec<Value> =
        records.into_iter().map(|(index, record)| json!({ "index": index, "record": record })).collect();
    context.console.print(&text, &json!({ "size": size, "records": json }))?;
    Ok(Exit::Success)
}

async fn read(agent: &Agent, start: u64, count: u32) -> Result<wire::AuditReadResponse, Failure> {
    agent.ask(agent.audit().read(agent.request(wire::AuditReadRequest { start, count }))).await
}

async fn head(context: &Context) -> Result<Exit, Failure> {
    let agent = Agent::admin(context).await?;
    let note = agent.ask(agent.audit().head(agent.request(wire::AuditHeadRequest {}))).await?.checkpoint;
    context.console.print(note.trim_end_matches('\n'), &json!({ "checkpoint": note }))?;
    Ok(Exit::Success)
}

/// A record that is no JSON is shown as it is: the log's own check says what that means.
fn parsed(record: &[u8]) -> Value {
    serde_json::from_slice(record).unwrap_or_else(|_| Value::from(String::from_utf8_lossy(record)))
}

fn line(index: u64, record: &Value) -> String {
    format!("{index:>6}  {record}")
}
