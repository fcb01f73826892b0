//! A root of trust as people and scripts see it: the repository's roles, and whom the root itself names.

use assay_admission::UnixTime;
use assay_proto::assay as wire;
use assay_verify::{RootMember, SigstoreRoot};
use serde_json::{Value, json};

/// Several lines, without a line feed at the end.
pub(super) fn text(root: &wire::TrustRoot) -> String {
    let mut lines = vec![match root.revision.as_str() {
        "" => format!("{}: NOTHING IS TRUSTED YET", root.name),
        revision => format!("{}: {revision}, refreshed {}", root.name, time(root.refreshed_at)),
    }];
    if !root.problem.is_empty() {
        lines.push(format!("  PROBLEM      {}", root.problem));
    }
    lines.extend(root.repositories.iter().map(|repository| format!("  repository   {repository}")));
    let roles = [
        ("root", &root.root),
        ("timestamp", &root.timestamp),
        ("snapshot", &root.snapshot),
        ("targets", &root.targets),
    ];
    for (name, role) in roles.into_iter().filter_map(|(name, role)| Some((name, role.as_ref()?))) {
        let (until, of) = (UnixTime::from_seconds(role.expires), role.keys.len());
        lines.push(format!("  {name:<11}  version {} until {until}, {} of {of} keys", role.version, role.threshold));
        lines.extend(role.keys.iter().map(|key| format!("               {key}")));
    }
    for member in members(root) {
        let window = match (member.start, member.end) {
            (Some(start), Some(end)) => format!("{start} to {end}"),
            (Some(start), None) => format!("from {start} on"),
            (None, Some(end)) => format!("until {end}"),
            (None, None) => "at any time".to_owned(),
        };
        lines.push(format!("  {}: {}, {window}", member.role, member.operator));
        lines.push(format!("               {}", member.identity));
    }
    lines.join("\n")
}

/// The same for scripts.
pub(super) fn json(root: &wire::TrustRoot) -> Value {
    let role = |role: &Option<wire::TrustRole>| {
        role.as_ref()
            .map(|role| role_json(role.version, UnixTime::from_seconds(role.expires), role.threshold, &role.keys))
    };
    let members = members(root).into_iter().map(|member| {
        json!({
            "role": member.role,
            "operator": member.operator,
            "identity": member.identity,
            "start": member.start.map(|time| time.to_string()),
            "end": member.end.map(|time| time.to_string()),
        })
    });
    json!({
        "name": root.name,
        "repositories": root.repositories,
        "revision": (!root.revision.is_empty()).then_some(&root.revision),
        "refreshed_at": (root.refreshed_at > 0).then_some(root.refreshed_at),
        "attempted_at": (root.attempted_at > 0).then_some(root.attempted_at),
        "problem": (!root.problem.is_empty()).then_some(&root.problem),
        "root": role(&root.root),
        "timestamp": role(&root.timestamp),
        "snapshot": role(&root.snapshot),
        "targets": role(&root.targets),
        "members": members.collect::<Vec<_>>(),
    })
}

pub(super) fn role_json(version: u64, expires: UnixTime, threshold: u64, keys: &[String]) -> Value {
    json!({ "version": version, "expires": expires.to_string(), "threshold": threshold, "keys": keys })
}

fn members(root: &wire::TrustRoot) -> Vec<RootMember> {
    SigstoreRoot::from_json(&root.trusted_root).map(|root| root.members()).unwrap_or_default()
}

fn time(seconds: u64) -> String {
    i64::try_from(seconds).map_or_else(|_| String::new(), |seconds| UnixTime::from_seconds(seconds).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_of_trust_that_was_never_refreshed_is_told_apart() {
        let role = wire::TrustRole { version: 16, expires: 0, threshold: 3, keys: vec!["P-256 sha256:ab".into()] };
        let mut root = wire::TrustRoot { name: "public-good".into(), root: Some(role), ..Default::default() };
        let shown = text(&root);
        assert!(
            shown.contains("public-good: NOTHING IS TRUSTED YET") && shown.contains("version 16 until 1970"),
            "{shown}"
        );
        (root.revision, root.problem) = ("sha256:00".into(), "timestamp.json expired".into());
        let shown = text(&root);
        assert!(
            shown.contains("sha256:00, refreshed") && shown.contains("PROBLEM      timestamp.json expired"),
            "{shown}"
        );
    }
}
