//! `assay policy check FILE`: whether a policy can be put in force, and if not, every reason with line and column.

use std::path::PathBuf;

use assay_policy::Policy;
use assay_proto::assay as wire;
use clap::Subcommand;
use serde_json::json;

use crate::{
    Context,
    agent::Agent,
    failure::{Exit, Failure},
    policy_file::PolicyFile,
};

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyVerb {
    /// Check a policy and everything that it names, without putting it in force
    ///
    /// Public keys in the token are read through the agent. Where no agent runs, their pins are checked by form only, and
    /// the answer says so.
    Check {
        /// The policy
        file: PathBuf,
    },
}

pub(crate) async fn run(context: &Context, verb: PolicyVerb) -> Result<Exit, Failure> {
    match verb {
        PolicyVerb::Check { file } => check(context, file).await,
    }
}

async fn check(context: &Context, path: PathBuf) -> Result<Exit, Failure> {
    let file = PolicyFile::read(context, &path).await?;
    let shown = path.display();
    if file.unread().is_empty() || file.has_missing_keys() {
        let policy = file.compile()?;
        let (version, mode) = (policy.version(), policy.mode());
        let in_force = in_force(context).await;
        let obstacle = in_force.and_then(|in_force| obstacle(&policy, &in_force));
        let json = json!({
            "file": path,
            "valid": true,
            "complete": true,
            "version": version,
            "mode": mode.as_str(),
            "sha256": policy.sha256(),
            "unchecked": [],
            "note": obstacle,
        });
        context.console.print(&format!("{shown} is valid: version {version}, mode {mode}"), &json)?;
        if let Some(obstacle) = obstacle {
            context.console.remark(&format!("note: {obstacle}"));
        }
        return Ok(Exit::Success);
    }
    let missing = file.missing_files();
    if let Some(name) = missing.first() {
        return Err(Failure::new(
            "POLICY_INVALID",
            format!("{shown} names {}, which is not there", name.display()),
            "paths are relative to the policy's own folder",
        ));
    }
    let mut text =
        format!("{shown} is well-formed. Its keys in the token were not looked up, so these are not checked:");
    for key in file.unread() {
        text.push_str(&format!("\n  - key {} ({}): its pin has the right form; {}", key.name, key.uri, key.why));
    }
    text.push_str("\n  - keys, certificates and thresholds: they are checked together with it");
    let unchecked: Vec<_> =
        file.unread().iter().map(|key| json!({ "key": key.name, "uri": key.uri, "why": key.why })).collect();
    let json = json!({ "file": path, "valid": true, "complete": false, "files": file.document().files(), "unchecked": unchecked });
    context.console.print(&text, &json)?;
    Ok(Exit::Success)
}

/// What this node's agent has in force, if there is an agent that can be asked.
async fn in_force(context: &Context) -> Option<wire::ShowPolicyResponse> {
    let agent = Agent::admin(context).await.ok()?;
    agent.ask(agent.policy().show(agent.request(wire::ShowPolicyRequest {}))).await.ok()
}

/// Why this node's agent would not take a policy that is valid. It may be meant for another node, so this is no failure.
fn obstacle(policy: &Policy, in_force: &wire::ShowPolicyResponse) -> Option<String> {
    let (version, current) = (policy.version(), in_force.version);
    if version < current {
        Some(format!("version {current} is in force on this node, and versions only rise"))
    } else if version == current && policy.source() != in_force.source {
        Some(format!(
            "version {version} is in force on this node with other content: raise the version before you reload"
        ))
    } else {
        None
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;

    async fn check_text(text: &str) -> Result<Exit, Failure> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.toml");
        std::fs::write(&path, text).unwrap();
        check(&Context::for_tests(folder.path()), path).await
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_small_policy_is_valid_and_its_misspelt_twin_is_refused_with_line_and_column() {
        assert_eq!(check_text("version = 1\nmode = \"observe\"\n").await, Ok(Exit::Success));
        let failure = check_text("version = 1\nmodi = \"observe\"\n").await.unwrap_err();
        assert_eq!((failure.code, failure.exit), ("POLICY_INVALID", Exit::Failed));
        let json = failure.json();
        let problem = &json["error"]["problems"][0];
        assert!(problem["line"].is_u64() && problem["column"].is_u64() && problem["message"].is_string(), "{json}");
    }

    #[test]
    fn a_valid_policy_that_this_node_would_not_take_is_told_so() {
        let text = "version = 2\nmode = \"observe\"\n";
        let document = assay_policy::PolicyDocument::parse("policy.toml", text).unwrap();
        let policy = document.compile(&assay_policy::Material::default()).unwrap();
        let told =
            |source: &str, version| obstacle(&policy, &wire::ShowPolicyResponse { source: source.to_owned(), version });
        assert_eq!((told(text, 2), told("version = 1", 1)), (None, None));
        assert!(told("version = 2", 2).is_some_and(|note| note.contains("raise the version")));
        assert!(told(text, 3).is_some_and(|note| note.contains("only rise")));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_key_file_that_is_missing_is_named() {
        let text = "version = 1\nmode = \"enforce\"\n[keys.ci]\npublic = \"ci.pub\"\n";
        let failure = check_text(text).await.unwrap_err();
        assert!(failure.message.contains("ci.pub"), "{}", failure.message);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn without_an_agent_a_token_key_is_checked_by_form_only() {
        let text = |pin: &str| {
            format!(
                "version = 1\nmode = \"enforce\"\n[keys.ci]\npublic = \"pkcs11:token=t;object=ci\"\nsha256 = \"{pin}\"\n"
            )
        };
        assert_eq!(check_text(&text(&"ab".repeat(32))).await, Ok(Exit::Success));
        assert_eq!(check_text(&text("abcd")).await.unwrap_err().code, "POLICY_INVALID");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn the_policy_that_a_new_node_starts_with_is_valid() {
        assert_eq!(check_text(crate::node::FIRST_POLICY).await, Ok(Exit::Success));
    }
}
