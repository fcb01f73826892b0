//! What belongs to an image, as a tree for people and as JSON for scripts.

use assay_admission::Digest;
use serde_json::{Value, json};

use super::{
    Detail,
    belongings::{Attached, Belongings},
    decoded::{Part, parts},
};

/// Lines of decoded JSON printed for one part; the rest is in `-o json`.
const MAX_LINES: usize = 60;

/// The tree; with [`Detail::All`] everything that was decoded stands behind it.
pub(super) fn text(found: &Belongings, detail: Detail) -> String {
    let mut lines = vec![found.name.clone()];
    let kind = if found.top.media_type().is_index() { "index" } else { "manifest" };
    lines.push(format!("{} {kind}", found.top.digest()));
    let own = branches(found, found.top.digest());
    let groups = found.children.iter().map(|child| (format!("{} {}", child.digest, child.about), child.digest));
    let groups: Vec<(String, Vec<String>)> = groups.map(|(line, digest)| (line, branches(found, &digest))).collect();
    let count = groups.len() + own.len();
    let all = groups.into_iter().chain(own.into_iter().map(|line| (line, Vec::new())));
    for (at, (line, below)) in all.enumerate() {
        let (branch, trunk) = if at + 1 == count { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        lines.push(format!("{branch}{line}"));
        for (number, inner) in below.iter().enumerate() {
            let branch = if number + 1 == below.len() { "└─ " } else { "├─ " };
            lines.push(format!("{trunk}{branch}{inner}"));
        }
    }
    if detail == Detail::All {
        for attached in &found.attached {
            lines.extend(parts(attached).iter().flat_map(described));
        }
        lines.push("\nNothing of this is proved: `assay verify` says what counts.".to_owned());
    }
    lines.join("\n")
}

/// A line for each part that is attached to the document with this digest.
fn branches(found: &Belongings, digest: &Digest) -> Vec<String> {
    let attached = found.attached.iter().filter(|attached| attached.subject == *digest);
    attached
        .flat_map(|attached| {
            let line = |part: Part| {
                format!("{}: {} {} ({})", part.kind.as_str(), one_line(&part.title), part.digest, attached.found_by)
            };
            parts(attached).into_iter().map(line).collect::<Vec<_>>()
        })
        .collect()
}

/// A title that whoever attached it wrote must not look like more lines of the tree.
fn one_line(text: &str) -> String {
    text.replace('\n', "\\n")
}

fn described(part: &Part) -> Vec<String> {
    let mut lines = vec![format!("\n{} {}", part.kind.as_str(), part.digest), format!("  {}", one_line(&part.title))];
    let pretty = serde_json::to_string_pretty(&part.content).unwrap_or_default();
    lines.extend(pretty.lines().take(MAX_LINES).map(|line| format!("  {line}")));
    if pretty.lines().count() > MAX_LINES {
        lines.push("  … (all of it with -o json)".to_owned());
    }
    lines
}

/// The same as JSON.
pub(super) fn json(found: &Belongings, detail: Detail) -> Value {
    let of = |digest: &Digest| -> Vec<Value> {
        let attached = found.attached.iter().filter(|attached| attached.subject == *digest);
        attached.map(|attached| attached_json(attached, detail)).collect()
    };
    let children: Vec<Value> = found
        .children
        .iter()
        .map(|child| json!({ "digest": child.digest.to_string(), "about": child.about, "attached": of(&child.digest) }))
        .collect();
    json!({
        "image": found.name,
        "digest": found.top.digest().to_string(),
        "mediaType": found.top.media_type().as_str(),
        "manifests": children,
        "attached": of(found.top.digest()),
        "problems": found.problems,
    })
}

fn attached_json(attached: &Attached, detail: Detail) -> Value {
    let part = |part: Part| {
        let mut json = json!({ "kind": part.kind.as_str(), "title": part.title, "digest": part.digest });
        if let (Detail::All, Some(object)) = (detail, json.as_object_mut()) {
            object.insert("decoded".to_owned(), part.content);
        }
        json
    };
    json!({
        "manifest": attached.manifest.digest().to_string(),
        "foundBy": attached.found_by,
        "parts": parts(attached).into_iter().map(part).collect::<Vec<_>>(),
    })
}
