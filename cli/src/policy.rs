//! `assay policy check FILE`: whether a policy can be put in force, and if not, every reason with line and column.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::json;

use crate::{
    Context,
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
    if file.unread().is_empty() {
        let policy = file.compile()?;
        let (version, mode) = (policy.version(), policy.mode());
        let json = json!({
            "file": path,
            "valid": true,
            "complete": true,
            "version": version,
            "mode": mode.as_str(),
            "sha256": policy.sha256(),
            "unchecked": [],
        });
        context.console.print(&format!("{shown} is valid: version {version}, mode {mode}"), &json)?;
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
    let mut text = format!("{shown} is well-formed. Not checked, because the token could not be asked:");
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
