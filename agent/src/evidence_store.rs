//! Evidence on disk, by digest: what an image was judged by, so that it can be judged again without a registry.
//! Blobs lie as in an OCI layout. Every byte is hashed again when it is read; no verdict is kept.

mod revocation;

use std::{
    collections::HashSet,
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use assay_admission::{Digest, Document, MAX_DOCUMENT_BYTES, MediaType};
use assay_verify::{Artifact, FoundBy};
use serde::{Deserialize, Serialize};

pub(crate) use revocation::{Brought, RevocationStore};

/// Artifacts kept for one subject; the verifier looks at no more.
const MAX_ARTIFACTS: usize = 64;

/// The store. Writers are serialised; readers need no lock, because files appear whole and by rename.
#[derive(Debug)]
pub(crate) struct EvidenceStore {
    folder: PathBuf,
    limit: u64,
    /// Protects the count of bytes and keeps writers and the eviction apart.
    used: Mutex<u64>,
    revocation: RevocationStore,
}

/// What one subject's file says: which artifacts were found for it. Only digests and types; the bytes are blobs.
#[derive(Default, Serialize, Deserialize)]
struct SubjectFile {
    artifacts: Vec<ArtifactEntry>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct ArtifactEntry {
    found_by: String,
    manifest: Entry,
    blobs: Vec<Entry>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    media_type: String,
    digest: String,
}

/// How full the store is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    pub(crate) subjects: u64,
    pub(crate) bytes: u64,
    pub(crate) limit: u64,
}

impl EvidenceStore {
    /// Opens the store in `folder`, made if missing, and counts what is there. Leftovers of a crash are removed.
    pub(crate) fn open(folder: &Path, limit: u64) -> io::Result<Self> {
        for part in ["blobs/sha256", "subjects", "types"] {
            fs::create_dir_all(folder.join(part))?;
        }
        fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
        let revocation = RevocationStore::open(&folder.join("revocation"))?;
        let store = Self { folder: folder.to_owned(), limit, used: Mutex::new(0), revocation };
        let mut used = 0;
        for part in ["blobs/sha256", "subjects", "types"] {
            for entry in fs::read_dir(folder.join(part))? {
                let entry = entry?;
                if entry.file_name().to_string_lossy().starts_with('.') {
                    fs::remove_file(entry.path())?;
                } else {
                    used += entry.metadata()?.len();
                }
            }
        }
        *store.used.lock().unwrap_or_else(PoisonError::into_inner) = used;
        Ok(store)
    }

    /// Revocation lists and OCSP answers.
    pub(crate) const fn revocation(&self) -> &RevocationStore {
        &self.revocation
    }

    /// The artifacts kept for `subject`. What is missing, changed or unreadable is left out: it can only deny.
    pub(crate) fn artifacts(&self, subject: &Digest) -> Vec<Artifact> {
        let Some(file) = self.subject_file(subject) else { return Vec::new() };
        file.artifacts.iter().take(MAX_ARTIFACTS).filter_map(|entry| self.artifact(*subject, entry)).collect()
    }

    /// The document with this digest, if it is kept.
    pub(crate) fn document(&self, digest: &Digest) -> Option<Document> {
        let media_type = fs::read_to_string(self.folder.join("types").join(digest.hex())).ok()?;
        self.blob(MediaType::new(&media_type)?, digest)
    }

    /// Keeps image documents and the artifacts found for each subject. Earlier artifacts of a subject stay.
    pub(crate) fn keep(&self, documents: &[Document], artifacts: &[Artifact]) -> io::Result<()> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        for document in documents {
            *used += self.write_blob(document)?;
            *used += self.write("types", &document.digest().hex(), document.media_type().as_str().as_bytes())?;
        }
        let subjects: HashSet<Digest> = artifacts.iter().map(|artifact| artifact.subject).collect();
        for subject in subjects {
            let mut file = self.subject_file(&subject).unwrap_or_default();
            for artifact in artifacts.iter().filter(|artifact| artifact.subject == subject) {
                *used += self.write_blob(&artifact.manifest)?;
                for blob in &artifact.blobs {
                    *used += self.write_blob(blob)?;
                }
                let entry = ArtifactEntry {
                    found_by: found_by_word(artifact.found_by).to_owned(),
                    manifest: Entry::of(&artifact.manifest),
                    blobs: artifact.blobs.iter().map(Entry::of).collect(),
                };
                file.artifacts.retain(|other| other.manifest.digest != entry.manifest.digest);
                file.artifacts.insert(0, entry);
            }
            file.artifacts.truncate(MAX_ARTIFACTS);
            let text = serde_json::to_vec(&file).map_err(io::Error::other)?;
            let name = format!("{}.json", subject.hex());
            let _ = fs::remove_file(self.folder.join("subjects").join(&name));
            *used += self.write("subjects", &name, &text)?;
        }
        if *used > self.limit {
            *used = self.evict()?;
        }
        Ok(())
    }

    /// Subjects, bytes and limit.
    pub(crate) fn usage(&self) -> Usage {
        let subjects = fs::read_dir(self.folder.join("subjects")).map_or(0, Iterator::count);
        let bytes = *self.used.lock().unwrap_or_else(PoisonError::into_inner);
        Usage { subjects: u64::try_from(subjects).unwrap_or(u64::MAX), bytes, limit: self.limit }
    }

    fn subject_file(&self, subject: &Digest) -> Option<SubjectFile> {
        let path = self.folder.join("subjects").join(format!("{}.json", subject.hex()));
        let bytes = read_bounded(&path).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    fn artifact(&self, subject: Digest, entry: &ArtifactEntry) -> Option<Artifact> {
        let load = |entry: &Entry| self.blob(MediaType::new(&entry.media_type)?, &entry.digest.parse().ok()?);
        Some(Artifact {
            subject,
            found_by: found_by_of(&entry.found_by)?,
            manifest: load(&entry.manifest)?,
            // Without one of its blobs it would only stand in the way of a whole copy from the registry.
            blobs: entry.blobs.iter().map(load).collect::<Option<_>>()?,
        })
    }

    fn blob(&self, media_type: MediaType, digest: &Digest) -> Option<Document> {
        let path = self.folder.join("blobs/sha256").join(digest.hex());
        let document = Document::new(media_type, read_bounded(&path).ok()?).ok()?;
        if document.digest() == digest {
            return Some(document);
        }
        // A changed blob is worth nothing and would stand in the way of the right one.
        let _ = fs::remove_file(&path);
        None
    }

    fn write_blob(&self, document: &Document) -> io::Result<u64> {
        self.write("blobs/sha256", &document.digest().hex(), document.bytes())
    }

    /// Writes a file that is there whole or not at all, also after a power cut. Gives the bytes that were added.
    fn write(&self, part: &str, name: &str, bytes: &[u8]) -> io::Result<u64> {
        let folder = self.folder.join(part);
        let path = folder.join(name);
        if path.exists() {
            return Ok(0);
        }
        let hidden = folder.join(format!(".{name}"));
        let written = fs::File::create(&hidden)
            .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_data()))
            .and_then(|()| fs::rename(&hidden, &path))
            .and_then(|()| fs::File::open(&folder)?.sync_data());
        if written.is_err() {
            let _ = fs::remove_file(&hidden);
        }
        written.map(|()| u64::try_from(bytes.len()).unwrap_or(u64::MAX))
    }

    /// Forgets the subjects and image documents that were written longest ago, until nine tenths of the limit are used,
    /// and removes every blob that nothing names any more. Gives the bytes left.
    fn evict(&self) -> io::Result<u64> {
        let mut oldest_first: Vec<(SystemTime, PathBuf)> = Vec::new();
        for part in ["subjects", "types"] {
            for entry in fs::read_dir(self.folder.join(part))? {
                let entry = entry?;
                oldest_first.push((entry.metadata()?.modified()?, entry.path()));
            }
        }
        oldest_first.sort_unstable();
        // A tenth at a time keeps the number of sweeps small.
        let batch = oldest_first.len().div_ceil(10).max(1);
        let mut left = self.sweep()?;
        for batch in oldest_first.chunks(batch) {
            if left <= self.limit / 10 * 9 {
                break;
            }
            for (_, path) in batch {
                fs::remove_file(path)?;
            }
            left = self.sweep()?;
        }
        Ok(left)
    }

    /// Removes blobs that nothing names and counts what is left.
    fn sweep(&self) -> io::Result<u64> {
        let mut named = HashSet::new();
        let mut left = 0;
        for entry in fs::read_dir(self.folder.join("subjects"))? {
            let entry = entry?;
            left += entry.metadata()?.len();
            let file: SubjectFile = read_bounded(&entry.path())
                .ok()
                .and_then(|bytes| serde_json::from_slice(&bytes).ok())
                .unwrap_or_default();
            for artifact in file.artifacts {
                named.extend(artifact.blobs.into_iter().chain([artifact.manifest]).map(|entry| entry.digest));
            }
        }
        for entry in fs::read_dir(self.folder.join("types"))? {
            let entry = entry?;
            left += entry.metadata()?.len();
            named.insert(format!("sha256:{}", entry.file_name().to_string_lossy()));
        }
        for entry in fs::read_dir(self.folder.join("blobs/sha256"))? {
            let entry = entry?;
            if named.contains(&format!("sha256:{}", entry.file_name().to_string_lossy())) {
                left += entry.metadata()?.len();
            } else {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(left)
    }
}

impl Entry {
    fn of(document: &Document) -> Self {
        Self { media_type: document.media_type().to_string(), digest: document.digest().to_string() }
    }
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let length = fs::metadata(path)?.len();
    if usize::try_from(length).map_or(true, |length| length > MAX_DOCUMENT_BYTES) {
        return Err(io::Error::other("larger than a document can be"));
    }
    fs::read(path)
}

const fn found_by_word(found_by: FoundBy) -> &'static str {
    match found_by {
        FoundBy::ReferrersApi => "referrers-api",
        FoundBy::ReferrersTag => "referrers-tag",
        FoundBy::CosignTag => "cosign-tag",
        FoundBy::Given => "given",
    }
}

fn found_by_of(word: &str) -> Option<FoundBy> {
    [FoundBy::ReferrersApi, FoundBy::ReferrersTag, FoundBy::CosignTag, FoundBy::Given]
        .into_iter()
        .find(|found_by| found_by_word(*found_by) == word)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn document(bytes: &[u8]) -> Document {
        Document::new(MediaType::new("application/json").unwrap(), bytes.to_vec()).unwrap()
    }

    fn artifact(subject: Digest, manifest: &[u8], blob: &[u8]) -> Artifact {
        Artifact { subject, found_by: FoundBy::ReferrersTag, manifest: document(manifest), blobs: vec![document(blob)] }
    }

    #[test]
    fn evidence_is_read_back_as_it_was_kept_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let subject = Digest::sha256(b"image");
        let kept = artifact(subject, b"manifest", b"bundle");
        EvidenceStore::open(folder.path(), 1 << 20)
            .unwrap()
            .keep(&[document(b"{}")], std::slice::from_ref(&kept))
            .unwrap();
        let store = EvidenceStore::open(folder.path(), 1 << 20).unwrap();
        assert_eq!(store.artifacts(&subject), [kept]);
        assert_eq!(store.document(&Digest::sha256(b"{}")), Some(document(b"{}")));
        assert_eq!(store.artifacts(&Digest::sha256(b"other")), []);
    }

    #[test]
    fn a_blob_changed_by_one_byte_on_disk_is_not_read_back_and_makes_room_for_the_right_one() {
        let folder = tempfile::tempdir().unwrap();
        let store = EvidenceStore::open(folder.path(), 1 << 20).unwrap();
        let subject = Digest::sha256(b"image");
        let kept = artifact(subject, b"manifest", b"bundle");
        store.keep(&[], std::slice::from_ref(&kept)).unwrap();
        let path = folder.path().join("blobs/sha256").join(kept.manifest.digest().hex());
        fs::write(&path, b"manifesT").unwrap();
        assert_eq!(store.artifacts(&subject), []);
        store.keep(&[], std::slice::from_ref(&kept)).unwrap();
        assert_eq!(store.artifacts(&subject), [kept]);
    }

    #[test]
    fn an_unfinished_file_of_a_crash_is_removed_and_never_read() {
        let folder = tempfile::tempdir().unwrap();
        drop(EvidenceStore::open(folder.path(), 1 << 20).unwrap());
        let torn = folder.path().join("blobs/sha256/.abc");
        fs::write(&torn, b"half").unwrap();
        assert_eq!(EvidenceStore::open(folder.path(), 1 << 20).unwrap().usage().bytes, 0);
        assert!(!torn.exists());
    }

    #[test]
    fn the_store_stays_within_its_limit_and_keeps_the_newest() {
        let folder = tempfile::tempdir().unwrap();
        let limit = 64 << 10;
        let store = EvidenceStore::open(folder.path(), limit).unwrap();
        for n in 0..40_u32 {
            let subject = Digest::sha256(&n.to_be_bytes());
            let blob = [n.to_be_bytes().as_slice(), &[0; 4096]].concat();
            store.keep(&[document(&blob)], &[artifact(subject, &n.to_le_bytes(), &blob)]).unwrap();
            assert!(store.usage().bytes <= limit, "{:?}", store.usage());
            assert_eq!(store.artifacts(&subject).len(), 1);
        }
        assert_eq!(store.artifacts(&Digest::sha256(&0_u32.to_be_bytes())), []);
    }

    #[test]
    fn a_later_artifact_joins_the_earlier_ones() {
        let folder = tempfile::tempdir().unwrap();
        let store = EvidenceStore::open(folder.path(), 1 << 20).unwrap();
        let subject = Digest::sha256(b"image");
        store.keep(&[], &[artifact(subject, b"one", b"1")]).unwrap();
        store.keep(&[], &[artifact(subject, b"two", b"2")]).unwrap();
        assert_eq!(store.artifacts(&subject).len(), 2);
    }
}
