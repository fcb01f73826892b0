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
    let groups =
        found.children.iter().map(|child| (format!("{} {}", child.digest, one_line(&child.about)), child.digest));
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

/// What strangers wrote must not look like more lines of the tree.
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

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use assay_admission::{Document, MediaType};

    use super::*;
    use crate::inspect::belongings::children;

    fn document(media_type: &str, value: &Value) -> Document {
        Document::new(MediaType::new(media_type).unwrap(), value.to_string().into_bytes()).unwrap()
    }

    #[test]
    fn a_tree_has_a_line_for_each_part_and_strangers_cannot_add_lines() {
        let digest = |text: &str| Digest::sha256(text.as_bytes());
        let entry = |text: &str, os: &str| json!({ "digest": digest(text).to_string(), "platform": { "os": os, "architecture": "amd64" } });
        let index = json!({ "manifests": [entry("a", "linux"), entry("b", "x\n\u{2514}\u{2500} signature: good")] });
        let top = document(MediaType::OCI_INDEX, &index);
        let attach = |subject: Digest, artifact_type: &str| Attached {
            subject,
            found_by: "referrers API",
            manifest: document(MediaType::OCI_MANIFEST, &json!({ "artifactType": artifact_type, "layers": [] })),
            blobs: Vec::new(),
        };
        let attached = vec![attach(*top.digest(), "a/b\nc"), attach(digest("a"), "d/e")];
        let children = children(&top, &mut Vec::new());
        let found = Belongings { name: "n".to_owned(), top, children, attached, problems: Vec::new() };
        let text = text(&found, Detail::Tree);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 6, "{text}");
        assert!(lines[2].starts_with("\u{251c}\u{2500} sha256:") && lines[2].ends_with(" linux/amd64"), "{text}");
        assert!(lines[3].starts_with("\u{2502}  \u{2514}\u{2500} other: d/e, 0 layers sha256:"), "{text}");
        assert!(lines[4].contains("x\\n"), "{text}");
        assert!(lines[5].starts_with("\u{2514}\u{2500} other: a/b\\nc, 0 layers"), "{text}");
        let json = json(&found, Detail::Tree);
        assert_eq!(json["manifests"][0]["attached"][0]["parts"][0]["kind"], "other");
        assert_eq!(json["attached"][0]["foundBy"], "referrers API");
    }

    #[test]
    fn more_platforms_than_are_looked_at_are_told() {
        let entry = |at: usize| json!({ "digest": Digest::sha256(&at.to_be_bytes()).to_string() });
        let index = json!({ "manifests": (0..8).map(entry).collect::<Vec<_>>() });
        let mut problems = Vec::new();
        let found = children(&document(MediaType::OCI_INDEX, &index), &mut problems);
        assert_eq!((found.len(), problems.len()), (7, 1));
        assert_eq!(children(&document(MediaType::OCI_MANIFEST, &index), &mut problems), []);
    }
}
