//! A bundle's `config.json` (OCI runtime-spec, config.md), as far as it says where the root file system is and what is mounted
//! over it. containerd writes there what its client sent: whatever Go could read otherwise than it is read here is refused.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    path::{Component, Path, PathBuf},
};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, SeqAccess, Visitor},
};

use crate::mapping::folded;

/// Largest `config.json` that is read. Those of Kubernetes have some ten thousand bytes.
const MAX_SPEC_BYTES: u64 = 4 << 20;

/// What is known of a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bundle {
    /// Where its root file system is, below the bundle.
    pub(super) root: PathBuf,
    annotations: Vec<(String, String)>,
}

/// Why a bundle is refused. Fits after "failed to read the bundle: ".
#[derive(Debug, thiserror::Error)]
pub(super) enum BundleError {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    /// The file is too large.
    #[error("{0} has more than {MAX_SPEC_BYTES} bytes")]
    TooLarge(PathBuf),
    /// It is no JSON, or ambiguous.
    #[error("{path}: {source}")]
    Json { path: PathBuf, source: serde_json::Error },
    /// A member is missing or has another type.
    #[error("{path}: {member} is {wrong}")]
    Member { path: PathBuf, member: &'static str, wrong: &'static str },
    /// The root file system is elsewhere.
    #[error("root.path is {0:?}, which is not in the container's bundle: a folder of the host is no image")]
    ForeignRoot(String),
    /// Something is mounted over all of the image.
    #[error("a mount has the destination {0:?}: it would hide the image's root file system")]
    MountOnRoot(String),
}

impl BundleError {
    /// Whether the bundle is understood and asks for something that is no image.
    pub(super) const fn is_foreign(&self) -> bool {
        match self {
            Self::ForeignRoot(_) | Self::MountOnRoot(_) => true,
            Self::Io { .. } | Self::TooLarge(_) | Self::Json { .. } | Self::Member { .. } => false,
        }
    }
}

impl Bundle {
    /// Reads the bundle in this folder.
    pub(super) fn read(folder: &Path) -> Result<Self, BundleError> {
        let path = folder.join("config.json");
        let failed = |source| BundleError::Io { path: path.clone(), source };
        let mut bytes = Vec::new();
        File::open(&path).map_err(failed)?.take(MAX_SPEC_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
        if u64::try_from(bytes.len()).is_ok_and(|length| length > MAX_SPEC_BYTES) {
            return Err(BundleError::TooLarge(path));
        }
        Self::parse(&path, &bytes)
    }

    fn parse(path: &Path, bytes: &[u8]) -> Result<Self, BundleError> {
        let spec: Node =
            serde_json::from_slice(bytes).map_err(|source| BundleError::Json { path: path.to_owned(), source })?;
        let wrong = |member, wrong| BundleError::Member { path: path.to_owned(), member, wrong };
        let member = |node: &Node, name: &'static str| match node.member(name) {
            Ok(found) => Ok(found.cloned()),
            Err(is) => Err(wrong(name, is)),
        };
        let root = member(&spec, "root")?.ok_or_else(|| wrong("root", MISSING))?;
        let root = match member(&root, "path")? {
            Some(Node::Text(text)) => below(&text).ok_or(BundleError::ForeignRoot(text))?,
            Some(_) => return Err(wrong("root.path", "no text")),
            None => return Err(wrong("root.path", MISSING)),
        };
        let mounts = match member(&spec, "mounts")? {
            Some(Node::List(mounts)) => mounts,
            Some(Node::Other) | None => Vec::new(),
            Some(Node::Text(_) | Node::Object(_)) => return Err(wrong("mounts", "no list")),
        };
        for mount in &mounts {
            match member(mount, "destination")? {
                Some(Node::Text(text)) if is_root(&text) => return Err(BundleError::MountOnRoot(text)),
                Some(Node::Text(_)) => {}
                Some(_) | None => return Err(wrong("a mount's destination", "no text")),
            }
        }
        let annotations = match member(&spec, "annotations")? {
            Some(Node::Object(members)) => members,
            Some(_) | None => Vec::new(),
        };
        let texts = annotations.into_iter().filter_map(|(key, node)| match node {
            Node::Text(text) => Some((key, text)),
            Node::List(_) | Node::Object(_) | Node::Other => None,
        });
        Ok(Self { root, annotations: texts.collect() })
    }

    /// The value of an annotation.
    pub(super) fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.iter().find(|(candidate, _)| candidate == key).map(|(_, value)| value.as_str())
    }
}

const MISSING: &str = "missing";

/// The path below a bundle; nothing if it leads out of it or nowhere.
fn below(text: &str) -> Option<PathBuf> {
    let path = Path::new(text);
    let mut below = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => below.push(name),
            Component::CurDir => {}
            Component::RootDir | Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    (!below.as_os_str().is_empty()).then_some(below)
}

/// Whether a destination is the container's root, however it is spelled: `/`, `//`, `/.`, `/x/..`, and also nothing at all.
fn is_root(text: &str) -> bool {
    let mut depth = 0_usize;
    for component in Path::new(text).components() {
        match component {
            Component::Normal(_) => depth += 1,
            Component::ParentDir => depth = depth.saturating_sub(1),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    depth == 0
}

/// JSON without what is not asked for. No object has a key twice.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Text(String),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
    /// A number, a truth or nothing.
    Other,
}

impl Node {
    /// A member of an object; an error tells how it is ambiguous.
    fn member(&self, name: &str) -> Result<Option<&Self>, &'static str> {
        let Self::Object(members) = self else { return Err("in something that is no object") };
        // Go takes `Root` for `root`, and the last of the two.
        let mut alike = members.iter().filter(|(key, _)| folded(key) == name);
        match (alike.next(), alike.next()) {
            (None, _) => Ok(None),
            (Some((key, node)), None) if key == name => Ok(Some(node)),
            (Some(_), None) => Err("written in another case"),
            (Some(_), Some(_)) => Err("there more than once"),
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.to_owned()))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = list.next_element()? {
            nodes.push(node);
        }
        Ok(Node::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Node, A::Error> {
        let mut seen = std::collections::HashSet::new();
        let mut nodes = Vec::new();
        while let Some((key, node)) = members.next_entry::<String, Node>()? {
            if !seen.insert(key.clone()) {
                return Err(A::Error::custom(format!("the key {key:?} is there twice")));
            }
            nodes.push((key, node));
        }
        Ok(Node::Object(nodes))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Bundle, BundleError> {
        Bundle::parse(Path::new("config.json"), text.as_bytes())
    }

    fn with(root: &str, destinations: &[&str]) -> Result<Bundle, BundleError> {
        let mounts: Vec<_> = destinations
            .iter()
            .map(|destination| serde_json::json!({ "destination": destination, "source": "/x", "options": ["ro"] }))
            .collect();
        let spec = serde_json::json!({
            "ociVersion": "1.0.2", "process": { "args": ["sh"], "terminal": false, "oomScoreAdj": -1, "x": 1.5, "y": null },
            "root": { "path": root, "readonly": true }, "mounts": mounts, "annotations": { "a": "b" },
        });
        parse(&spec.to_string())
    }

    #[test]
    fn a_root_below_the_bundle_is_taken_and_any_other_refused() {
        assert_eq!(with("rootfs", &["/proc"]).unwrap().root, Path::new("rootfs"));
        assert_eq!(with("./rootfs/", &[]).unwrap().root, Path::new("rootfs"));
        assert_eq!(with("rootfs", &[]).unwrap().annotation("a"), Some("b"));
        for foreign in ["/", "/srv/root", "../x", "rootfs/../../x", "", ".", "./"] {
            assert!(
                matches!(with(foreign, &[]), Err(BundleError::ForeignRoot(found)) if found == foreign),
                "{foreign}"
            );
        }
    }

    #[test]
    fn nothing_is_mounted_over_the_root_however_it_is_spelled() {
        for root in ["/", "//", "/.", "/./", "/x/..", "/x/y/../..", "/..", "", ".", "x/..", "../.."] {
            assert!(matches!(with("rootfs", &["/proc", root]), Err(BundleError::MountOnRoot(_))), "{root}");
        }
        for other in ["/proc", "/x/../y", "/...", "/x/.", "data"] {
            assert!(with("rootfs", &[other]).is_ok(), "{other}");
        }
    }

    #[test]
    fn what_go_could_read_otherwise_is_refused() {
        let honest = r#"{"root":{"path":"rootfs"},"mounts":[{"destination":"/proc"}],"annotations":{}}"#;
        assert!(parse(honest).is_ok());
        for (from, to) in [
            (r#""root":{"#, r#""Root":{"path":"/evil"},"root":{"#),
            (r#""root":{"#, r#""root":{"path":"/evil"},"root":{"#),
            (r#""path":"#, r#""PATH":"/evil","path":"#),
            (r#""path":"#, r#""Path":"#),
            (r#""mounts":"#, r#""Mounts":[{"destination":"/"}],"mounts":"#),
            (r#""mounts":"#, "\"mount\u{17f}\":[{\"destination\":\"/\"}],\"mounts\":"),
            (r#""destination":"#, r#""Destination":"/","destination":"#),
            (r#""destination":"/proc""#, r#""destination":7"#),
            (r#""destination":"/proc""#, ""),
            (r#""path":"rootfs""#, r#""path":["rootfs"]"#),
            (r#""path":"rootfs""#, ""),
            (r#""annotations":{"#, r#""annotations":{"a":"1","a":"2""#),
            (r#""root":{"path":"rootfs"},"#, ""),
            (r#"[{"destination":"/proc"}]"#, r#"{"destination":"/"}"#),
            (r#"{"destination":"/proc"}"#, r#""/""#),
        ] {
            let changed = honest.replacen(from, to, 1);
            assert_ne!(changed, honest);
            assert!(matches!(parse(&changed), Err(BundleError::Member { .. } | BundleError::Json { .. })), "{changed}");
        }
        assert!(parse("[]").is_err() && parse("").is_err());
    }

    #[test]
    fn a_file_that_is_absent_or_too_large_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(Bundle::read(folder.path()), Err(BundleError::Io { .. })));
        let path = folder.path().join("config.json");
        let size = usize::try_from(MAX_SPEC_BYTES).unwrap();
        let mut text = r#"{"root":{"path":"rootfs"}}"#.to_owned();
        text.push_str(&" ".repeat(size - text.len()));
        std::fs::write(&path, &text).unwrap();
        assert!(Bundle::read(folder.path()).is_ok());
        std::fs::write(&path, text + " ").unwrap();
        assert!(matches!(Bundle::read(folder.path()), Err(BundleError::TooLarge(_))));
    }
}
