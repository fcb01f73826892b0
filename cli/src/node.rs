//! `assay node`: the agent's state as people read it, reload, and a whole node for trial (`up`).

mod up;

use assay_proto::assay as wire;
use clap::Subcommand;
use serde_json::{Value, json};

#[cfg(test)]
pub(crate) use self::up::config::POLICY as FIRST_POLICY;

use crate::{
    Context,
    agent::Agent,
    failure::{Exit, Failure},
};

#[derive(Debug, Subcommand)]
pub(crate) enum NodeVerb {
    /// Show what the agent runs with: policy, key worker, fetcher, log, counts
    Status,
    /// Make the agent read its policy and trust again; a broken file changes nothing and is shown with line and column
    Reload,
    Up(Box<up::UpArgs>),
}

pub(crate) async fn run(context: &Context, verb: NodeVerb) -> Result<Exit, Failure> {
    match verb {
        NodeVerb::Status => status(context).await,
        NodeVerb::Reload => reload(context).await,
        NodeVerb::Up(arguments) => up::run(context, &arguments).await,
    }
}

async fn status(context: &Context) -> Result<Exit, Failure> {
    let agent = Agent::admin(context).await?;
    let status = agent.ask(agent.node().status(agent.request(wire::NodeStatusRequest {}))).await?;
    context.console.print(&status_text(&status), &status_json(&status))?;
    // The answer is the same either way; scripts see by the code that this node admits nothing.
    let is_in_force = status.policy.as_ref().is_some_and(|policy| policy.loaded);
    Ok(if is_in_force { Exit::Success } else { Exit::Failed })
}

async fn reload(context: &Context) -> Result<Exit, Failure> {
    let agent = Agent::admin(context).await?;
    let answer = agent.ask(agent.node().reload(agent.request(wire::ReloadRequest {}))).await?;
    let policy = answer.policy.unwrap_or_default();
    if !answer.configuration.is_empty() {
        context.console.remark(&format!("note: {}", answer.configuration));
    }
    if !answer.applied {
        return Err(not_applied(&answer.message, &policy));
    }
    let text = format!("reloaded: policy version {} ({}), {}", policy.version, policy.mode, policy.path);
    let json = json!({
        "applied": true,
        "message": answer.message,
        "policy": policy_json(&policy),
        "configuration": (!answer.configuration.is_empty()).then_some(&answer.configuration),
    });
    context.console.print(&text, &json)?;
    Ok(Exit::Success)
}

fn not_applied(message: &str, policy: &wire::PolicyStatus) -> Failure {
    let message = if message.is_empty() { &policy.error } else { message };
    Failure::new(
        "POLICY_REFUSED",
        format!("the policy was not applied\n{message}"),
        "correct the file (`assay policy check FILE`) and reload again",
    )
}

fn status_text(status: &wire::NodeStatusResponse) -> String {
    let policy = match &status.policy {
        Some(policy) if policy.loaded => format!("version {}, {}, {}", policy.version, policy.mode, policy.path),
        _ => "none is loaded: everything is denied".to_owned(),
    };
    let mut lines = vec![
        format!("agent        {}, up {}", status.version, uptime(status.uptime_seconds)),
        format!("policy       {policy}"),
    ];
    if let Some(error) = status.policy.as_ref().map(|policy| &policy.error).filter(|error| !error.is_empty()) {
        lines.push("             THE NEWEST FILE IS NOT IN FORCE:".to_owned());
        lines.extend(error.lines().map(|line| format!("             {line}")));
    }
    if !status.configuration.is_empty() {
        lines.push(format!("             {}", status.configuration));
    }
    lines.push(format!("key worker   {}", component(status.key_worker.as_ref())));
    lines.push(format!("fetcher      {}", component(status.fetcher.as_ref())));
    let log = status.log.clone().unwrap_or_default();
    let detail = if log.detail.is_empty() { String::new() } else { format!("; {}", log.detail) };
    lines.push(format!("log          {} records, {} of them under a signed head{detail}", log.size, log.signed_size));
    let evidence = status.evidence.unwrap_or_default();
    lines.push(format!(
        "evidence     {} images, {} of {}",
        evidence.subjects,
        bytes(evidence.bytes),
        bytes(evidence.limit_bytes)
    ));
    for root in &status.trust_roots {
        let revision = if root.revision.is_empty() { "NOTHING IS TRUSTED YET" } else { &root.revision };
        let refreshed = i64::try_from(root.refreshed_at).map(assay_admission::UnixTime::from_seconds);
        let refreshed = match refreshed {
            Ok(at) if root.refreshed_at > 0 => format!(", refreshed {at}"),
            Ok(_) | Err(_) => String::new(),
        };
        lines.push(format!("trust root   {}: {revision}{refreshed}", root.name));
        if !root.problem.is_empty() {
            lines.push(format!("             NOT UPDATED: {}", root.problem));
        }
    }
    lines.push(format!(
        "verdicts     {} allowed, {} denied, {} of them from the cache",
        status.allowed, status.denied, status.cache_hits
    ));
    lines.join("\n")
}

fn status_json(status: &wire::NodeStatusResponse) -> Value {
    let component = |component: &Option<wire::ComponentStatus>| {
        component.as_ref().map(|part| json!({ "healthy": part.healthy, "detail": part.detail }))
    };
    json!({
        "version": status.version,
        "uptime_seconds": status.uptime_seconds,
        "configuration": (!status.configuration.is_empty()).then_some(&status.configuration),
        "policy": status.policy.as_ref().map(policy_json),
        "key_worker": component(&status.key_worker),
        "fetcher": component(&status.fetcher),
        "log": status.log.as_ref().map(|log| {
            json!({ "size": log.size, "signed_size": log.signed_size, "root": log.root, "detail": log.detail })
        }),
        "evidence": status.evidence.as_ref().map(|evidence| {
            json!({ "subjects": evidence.subjects, "bytes": evidence.bytes, "limit_bytes": evidence.limit_bytes })
        }),
        "trust_roots": status.trust_roots.iter().map(|root| {
            json!({
                "name": root.name,
                "revision": (!root.revision.is_empty()).then_some(&root.revision),
                "refreshed_at": (root.refreshed_at > 0).then_some(root.refreshed_at),
                "problem": (!root.problem.is_empty()).then_some(&root.problem),
            })
        }).collect::<Vec<_>>(),
        "allowed": status.allowed,
        "denied": status.denied,
        "cache_hits": status.cache_hits,
    })
}

fn policy_json(policy: &wire::PolicyStatus) -> Value {
    json!({
        "loaded": policy.loaded,
        "version": policy.version,
        "sha256": policy.sha256,
        "mode": policy.mode,
        "path": policy.path,
        "loaded_at": policy.loaded_at,
        "error": (!policy.error.is_empty()).then_some(&policy.error),
    })
}

fn component(status: Option<&wire::ComponentStatus>) -> String {
    match status {
        Some(part) if part.healthy && part.detail.is_empty() => "healthy".to_owned(),
        Some(part) if part.healthy => format!("healthy; {}", part.detail),
        Some(part) => format!("NOT HEALTHY: {}", part.detail),
        None => "unknown".to_owned(),
    }
}

fn uptime(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

fn bytes(count: u64) -> String {
    match count {
        0..10_240 => format!("{count} B"),
        10_240..10_485_760 => format!("{} KiB", count >> 10),
        _ => format!("{} MiB", count >> 20),
    }
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;

    fn status() -> wire::NodeStatusResponse {
        wire::NodeStatusResponse {
            version: "0.1.0".into(),
            policy: Some(wire::PolicyStatus {
                loaded: true,
                version: 7,
                mode: "enforce".into(),
                path: "/etc/assay/policy.toml".into(),
                error: "policy.toml:3:1: unknown field".into(),
                ..Default::default()
            }),
            key_worker: Some(wire::ComponentStatus { healthy: false, detail: "the token is absent".into() }),
            fetcher: Some(wire::ComponentStatus { healthy: true, detail: String::new() }),
            log: Some(wire::LogStatus { size: 9, signed_size: 4, ..Default::default() }),
            uptime_seconds: 7_300,
            allowed: 5,
            ..Default::default()
        }
    }

    #[test]
    fn status_shows_what_is_in_force_and_what_is_broken() {
        let text = status_text(&status());
        assert!(text.contains("version 7, enforce, /etc/assay/policy.toml"), "{text}");
        assert!(text.contains("NOT IN FORCE") && text.contains("policy.toml:3:1"), "{text}");
        assert!(text.contains("key worker   NOT HEALTHY: the token is absent"), "{text}");
        assert!(text.contains("9 records, 4 of them") && text.contains("up 2 h"), "{text}");
    }

    #[test]
    fn a_configuration_that_waits_for_a_restart_is_shown() {
        let configuration = "assayd.toml was changed (log-key) and counts from the next start".to_owned();
        let changed = wire::NodeStatusResponse { configuration, ..status() };
        assert!(status_text(&changed).contains("\n             assayd.toml was changed (log-key)"));
        assert_eq!(status_json(&status())["configuration"], Value::Null);
        assert!(status_json(&changed)["configuration"].is_string());
    }

    #[test]
    fn a_refused_policy_is_not_said_to_leave_one_in_force_where_none_is() {
        let failure = not_applied(
            "policy.toml:2:8: wrong\nno policy is in force: everything is refused",
            &wire::PolicyStatus::default(),
        );
        assert_eq!((failure.code, failure.exit), ("POLICY_REFUSED", Exit::Failed));
        assert!(failure.message.ends_with("no policy is in force: everything is refused"), "{}", failure.message);
        assert!(!failure.message.contains("stays"), "{}", failure.message);
    }

    #[test]
    fn an_agent_without_policy_is_said_to_deny_everything() {
        let text = status_text(&wire::NodeStatusResponse { policy: None, ..status() });
        assert!(text.contains("none is loaded: everything is denied"), "{text}");
    }

    #[test]
    fn json_has_no_error_where_there_is_none() {
        let mut status = status();
        assert_eq!(status_json(&status)["policy"]["error"], "policy.toml:3:1: unknown field");
        status.policy.get_or_insert_default().error.clear();
        assert_eq!(status_json(&status)["policy"]["error"], Value::Null);
        assert_eq!(status_json(&status)["key_worker"]["healthy"], false);
    }
}
