//! Finds what belongs to an image in an OCI layout (image-spec image-layout.md), as `cosign save`, `oras copy --to-oci-layout`
//! and skopeo write it. Reads regular files below the given folder alone, each up to a cap, and hashes every one.

use std::path::{Path, PathBuf};

use assay_admission::{Digest, Document, MAX_DOCUMENT_BYTES, MediaType};
use serde_json::Value;

use crate::{
    bounded_file,
    failure::{Exit, Failure},
    registry,
};

use super::{
    belongings::{Attached, Belongings, Child, children},
    decoded,
};

/// Entries of `index.json` that are looked at: an image with its referrers has tens.
const MAX_ENTRIES: usize = 1024;
/// Manifests attached to one image that are looked at, as in a registry.
const MAX_ATTACHED: usize = 64;
const REFERENCE: &str = "org.opencontainers.image.ref.name";

/// A folder with a layout.
struct Layout {
    folder: PathBuf,
    problems: Vec<String>,
}

/// An entry of `index.json`, or of a fallback index.
#[derive(Clone, Debug)]
struct Entry {
    media_type: MediaType,
    digest: Digest,
    name: Option<String>,
    /// `kind`, which `cosign save` writes.
    kind: Option<String>,
}

/// Reads everything that belongs to the image `DIR[:TAG][@DIGEST]`.
///
/// # Errors
/// Exit code 2 if several images fit, 11 if none does, others if the layout cannot be read.
pub(super) fn read(place: &str) -> Result<Belongings, Failure> {
    let (folder, tag, digest) = parse(place)?;
    let mut layout = Layout { folder, problems: Vec::new() };
    layout.check_version()?;
    let entries = layout.index()?;
    let entry = choose(place, &entries, tag.as_deref(), digest.as_ref())?;
    let top = layout.document(&entry).map_err(|problem| unreadable(&layout.folder, &problem))?;
    let children = children(&top, &mut layout.problems);
    let subjects: Vec<Digest> =
        std::iter::once(*top.digest()).chain(children.iter().map(|child: &Child| child.digest)).collect();
    let attached = layout.attached(&entries, &subjects);
    Ok(Belongings { name: format!("oci:{place}"), top, children, attached, problems: layout.problems })
}

/// Folder, tag and digest. A folder's name may hold colons, a tag no slash.
fn parse(place: &str) -> Result<(PathBuf, Option<String>, Option<Digest>), Failure> {
    let (place, digest) = match place.rsplit_once('@') {
        Some((place, text)) if text.starts_with("sha256:") || text.starts_with("sha512:") => {
            let digest =
                text.parse().map_err(|error| usage(format!("failed to parse the digest in {place:?}: {error}")))?;
            (place, Some(digest))
        }
        _ => (place, None),
    };
    match place.rsplit_once(':') {
        Some((folder, tag)) if !tag.contains('/') && !tag.is_empty() => {
            Ok((folder.into(), Some(tag.to_owned()), digest))
        }
        _ if place.is_empty() => Err(usage("an OCI layout needs a folder".to_owned())),
        _ => Ok((place.into(), None, digest)),
    }
}

fn usage(message: String) -> Failure {
    Failure::new("USAGE", message, "write it as oci:DIR[:TAG][@sha256:…]").exits(Exit::Usage)
}

fn unreadable(folder: &Path, problem: &str) -> Failure {
    let message = format!("failed to read the OCI layout {}: {problem}", folder.display());
    Failure::new("MALFORMED", message, "write the layout again, with `cosign save` or `oras copy --to-oci-layout`, say")
}

/// The image that is meant: the one with the tag or digest, or the only one.
fn choose(place: &str, entries: &[Entry], tag: Option<&str>, digest: Option<&Digest>) -> Result<Entry, Failure> {
    let fits = |entry: &&Entry| {
        tag.is_none_or(|tag| entry.name.as_deref() == Some(tag)) && digest.is_none_or(|digest| entry.digest == *digest)
    };
    let is_named = tag.is_some() || digest.is_some();
    let mut fitting: Vec<&Entry> = entries.iter().filter(fits).filter(|entry| is_named || is_image(entry)).collect();
    fitting.dedup_by_key(|entry| entry.digest);
    match fitting.as_slice() {
        [one] => Ok((*one).clone()),
        [] => Err(registry::of_kind(assay_fetch::ProblemKind::NotFound, &format!("oci:{place} was not found"))),
        several => {
            let names: Vec<&str> = several.iter().filter_map(|entry| entry.name.as_deref()).collect();
            let message = format!("oci:{place} holds {} images, tagged {}", several.len(), names.join(", "));
            Err(usage(message))
        }
    }
}

/// Whether an entry may be an image: it has neither cosign's mark of something else nor a tag that belongs to another image.
fn is_image(entry: &Entry) -> bool {
    let belongs = |name: &str| name.starts_with("sha256-") && name.len() >= 71;
    !entry.kind.as_deref().is_some_and(|kind| kind.ends_with("/sigs") || kind.ends_with("/atts"))
        && !entry.name.as_deref().is_some_and(belongs)
        && (entry.name.is_some() || entry.kind.is_some() || entry.media_type.is_index())
}

impl Layout {
    fn check_version(&self) -> Result<(), Failure> {
        let marker = self.json("oci-layout").map_err(|problem| unreadable(&self.folder, &problem))?;
        match marker.get("imageLayoutVersion").and_then(Value::as_str) {
            Some("1.0.0") => Ok(()),
            other => {
                Err(unreadable(&self.folder, &format!("oci-layout has imageLayoutVersion {other:?}, not \"1.0.0\"")))
            }
        }
    }

    fn index(&mut self) -> Result<Vec<Entry>, Failure> {
        let index = self.json("index.json").map_err(|problem| unreadable(&self.folder, &problem))?;
        Ok(self.entries(&index))
    }

    fn entries(&mut self, index: &Value) -> Vec<Entry> {
        let entries = index.get("manifests").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        if entries.len() > MAX_ENTRIES {
            self.problems
                .push(format!("an index has {} entries, and the first {MAX_ENTRIES} are looked at", entries.len()));
        }
        entries.iter().take(MAX_ENTRIES).filter_map(entry).collect()
    }

    /// Whatever refers to one of `subjects`: by its own words, by cosign's tags or marks, or by the fallback tag.
    fn attached(&mut self, entries: &[Entry], subjects: &[Digest]) -> Vec<Attached> {
        let mut all: Vec<Attached> = Vec::new();
        let top = subjects.first().copied();
        for entry in entries.iter().filter(|entry| !subjects.contains(&entry.digest)) {
            let tagged = |end: &str| {
                let tag = |subject: &&Digest| format!("{}-{}{end}", subject.algorithm(), subject.hex());
                subjects.iter().find(|subject| entry.name.as_deref() == Some(tag(subject).as_str())).copied()
            };
            let marked = entry.kind.as_deref().filter(|kind| kind.ends_with("/sigs") || kind.ends_with("/atts"));
            if let Some(subject) = tagged(".sig").or_else(|| tagged(".att")) {
                self.attach(entry, Some(subject), "cosign tag", subjects, &mut all);
            } else if marked.is_some() {
                self.attach(entry, top, "cosign mark", subjects, &mut all);
            } else if tagged("").is_some() {
                match self.document(entry).map(|index| serde_json::from_slice(index.bytes()).unwrap_or_default()) {
                    Ok(index) => {
                        for referrer in self.entries(&index) {
                            self.attach(&referrer, None, "referrers tag", subjects, &mut all);
                        }
                    }
                    Err(problem) => self.problems.push(problem),
                }
            } else {
                self.attach(entry, None, "index.json", subjects, &mut all);
            }
        }
        all
    }

    /// Adds the manifest of `entry` if it is about `subject` or says itself that it is about one of `subjects`.
    fn attach(
        &mut self,
        entry: &Entry,
        subject: Option<Digest>,
        found_by: &'static str,
        subjects: &[Digest],
        all: &mut Vec<Attached>,
    ) {
        let manifest = match self.document(entry) {
            Ok(manifest) => manifest,
            Err(problem) => return self.problems.push(problem),
        };
        let value: Value = serde_json::from_slice(manifest.bytes()).unwrap_or_default();
        let own = value.pointer("/subject/digest").and_then(Value::as_str).and_then(|text| text.parse().ok());
        let Some(subject) = subject.or(own).filter(|subject| subjects.contains(subject)) else { return };
        if all.iter().any(|other| other.manifest.digest() == manifest.digest()) {
            return;
        }
        if all.len() >= MAX_ATTACHED {
            return self
                .problems
                .push(format!("{} is one more than the {MAX_ATTACHED} manifests that are looked at", entry.digest));
        }
        let mut blobs = Vec::new();
        for layer in decoded::layers(&value).into_iter().filter(|layer| decoded::is_envelope(&layer.media_type)) {
            let Some(media_type) = MediaType::new(&layer.media_type) else { continue };
            let found = self.bytes(&layer.digest).and_then(|bytes| {
                Document::new(media_type, bytes).map_err(|error| format!("{}: {error}", layer.digest))
            });
            match found {
                Ok(blob) => blobs.push(blob),
                Err(problem) => self.problems.push(problem),
            }
        }
        all.push(Attached { subject, found_by, manifest, blobs });
    }

    fn document(&self, entry: &Entry) -> Result<Document, String> {
        let bytes = self.bytes(&entry.digest)?;
        Document::new(entry.media_type.clone(), bytes).map_err(|error| format!("{}: {error}", entry.digest))
    }

    /// The blob with this digest, hashed.
    fn bytes(&self, digest: &Digest) -> Result<Vec<u8>, String> {
        let bytes = self.file(&format!("blobs/{}/{}", digest.algorithm(), digest.hex()))?;
        if digest.matches(&bytes) { Ok(bytes) } else { Err(format!("the file of {digest} has another digest")) }
    }

    fn json(&self, name: &str) -> Result<Value, String> {
        serde_json::from_slice(&self.file(name)?).map_err(|error| format!("{name}: {error}"))
    }

    fn file(&self, name: &str) -> Result<Vec<u8>, String> {
        let path = self.folder.join(name);
        let failed = |error: std::io::Error| format!("{}: {error}", path.display());
        // A link, a pipe or a device has no place in a layout, and might lead elsewhere or never end.
        if !path.symlink_metadata().map_err(failed)?.is_file() {
            return Err(format!("{} is no regular file", path.display()));
        }
        let most = u64::try_from(MAX_DOCUMENT_BYTES).unwrap_or(u64::MAX);
        bounded_file::read(&path, most).map_err(failed)
    }
}

fn entry(value: &Value) -> Option<Entry> {
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str);
    let annotation = |key: &str| value.get("annotations")?.get(key)?.as_str().map(str::to_owned);
    Some(Entry {
        media_type: MediaType::new(text("/mediaType")?)?,
        digest: text("/digest")?.parse().ok()?,
        name: annotation(REFERENCE),
        kind: annotation("kind"),
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;

    /// Writes `bytes` as a blob and returns its descriptor.
    fn put(folder: &Path, media_type: &str, bytes: &[u8]) -> Value {
        let digest = Digest::sha256(bytes);
        let blobs = folder.join("blobs/sha256");
        std::fs::create_dir_all(&blobs).unwrap();
        std::fs::write(blobs.join(digest.hex()), bytes).unwrap();
        json!({ "mediaType": media_type, "digest": digest.to_string(), "size": bytes.len() })
    }

    fn write(folder: &Path, entries: &[Value]) {
        std::fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        let index = json!({ "schemaVersion": 2, "manifests": entries });
        std::fs::write(folder.join("index.json"), index.to_string()).unwrap();
    }

    fn manifest(folder: &Path, config: &str, layers: &[Value], subject: Option<&Value>) -> Value {
        let config = put(folder, config, b"{}");
        let mut manifest = json!({ "schemaVersion": 2, "config": config, "layers": layers });
        if let Some(subject) = subject {
            manifest.as_object_mut().unwrap().insert("subject".to_owned(), subject.clone());
        }
        put(folder, MediaType::OCI_MANIFEST, manifest.to_string().as_bytes())
    }

    fn named(mut descriptor: Value, key: &str, name: &str) -> Value {
        descriptor.as_object_mut().unwrap().insert("annotations".to_owned(), json!({ key: name }));
        descriptor
    }

    #[test]
    fn everything_that_refers_to_the_image_is_found_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        let image = manifest(at, MediaType::OCI_CONFIG, &[], None);
        let another = manifest(at, MediaType::OCI_CONFIG, &[put(at, "x/y", b"another")], None);
        let envelope = put(at, "application/vnd.dsse.envelope.v1+json", b"{}");
        let referrer = manifest(at, "application/vnd.oci.empty.v1+json", std::slice::from_ref(&envelope), Some(&image));
        let foreign = manifest(at, "application/vnd.oci.empty.v1+json", &[envelope], Some(&another));
        let signature = manifest(at, MediaType::OCI_CONFIG, &[put(at, "a/b", b"sig")], None);
        let tag = format!("{}.sig", image["digest"].as_str().unwrap().replace(':', "-"));
        let listed = manifest(at, "application/spdx+json", &[put(at, "c/d", b"sbom")], Some(&image));
        let fallback = put(at, MediaType::OCI_INDEX, json!({ "manifests": [listed] }).to_string().as_bytes());
        let fallback_tag = image["digest"].as_str().unwrap().replace(':', "-");
        write(
            at,
            &[
                named(image.clone(), REFERENCE, "1"),
                named(another, REFERENCE, "2"),
                referrer,
                foreign,
                named(signature, REFERENCE, &tag),
                named(fallback, REFERENCE, &fallback_tag),
            ],
        );
        let place = at.display().to_string();
        let found = read(&format!("{place}:1")).unwrap();
        assert_eq!(found.problems, Vec::<String>::new());
        let places: Vec<_> = found.attached.iter().map(|attached| (attached.found_by, attached.blobs.len())).collect();
        assert_eq!(places, [("index.json", 1), ("cosign tag", 0), ("referrers tag", 0)]);
        let digest = image["digest"].as_str().unwrap();
        assert_eq!(read(&format!("{place}@{digest}")).unwrap().attached.len(), 3);
        assert_eq!(read(&place).unwrap_err().exit, Exit::Usage);
        assert_eq!(read(&format!("{place}:3")).unwrap_err().exit, Exit::NoImage);
    }

    #[test]
    fn the_only_image_needs_no_tag_and_cosigns_marks_belong_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        let image = manifest(at, MediaType::OCI_CONFIG, &[], None);
        let signatures = manifest(at, MediaType::OCI_CONFIG, &[put(at, "a/b", b"sig")], None);
        write(
            at,
            &[
                named(image, "kind", "dev.cosignproject.cosign/image"),
                named(signatures, "kind", "dev.cosignproject.cosign/sigs"),
            ],
        );
        let found = read(&at.display().to_string()).unwrap();
        assert_eq!(found.attached.iter().map(|attached| attached.found_by).collect::<Vec<_>>(), ["cosign mark"]);
    }

    #[test]
    fn changed_bytes_links_and_other_versions_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        let image = manifest(at, MediaType::OCI_CONFIG, &[], None);
        write(at, &[named(image.clone(), REFERENCE, "1")]);
        let place = at.display().to_string();
        assert!(read(&place).is_ok());
        let blob = at.join("blobs").join(image["digest"].as_str().unwrap().replace(':', "/"));
        let bytes = std::fs::read(&blob).unwrap();
        std::fs::write(&blob, [bytes.as_slice(), b" "].concat()).unwrap();
        assert!(read(&place).unwrap_err().message.ends_with("has another digest"));
        std::fs::remove_file(&blob).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &blob).unwrap();
        assert!(read(&place).unwrap_err().message.ends_with("is no regular file"));
        std::fs::write(at.join("oci-layout"), r#"{"imageLayoutVersion":"2.0.0"}"#).unwrap();
        assert_eq!(read(&place).unwrap_err().code, "MALFORMED");
        assert_eq!(read("/nowhere").unwrap_err().code, "MALFORMED");
        assert_eq!(read("").unwrap_err().exit, Exit::Usage);
    }
}
