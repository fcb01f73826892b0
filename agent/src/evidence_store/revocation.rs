//! Revocation lists and OCSP answers on disk, and when the newest of each was made that was ever seen. What is proved to be its issuer's
//! is kept by itself; what a person imported lies beside it and is judged like anything that was fetched. Nothing here is believed.

use std::{
    collections::BTreeMap,
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use assay_admission::{Digest, UnixTime};
use assay_verify::{RevocationEvidence, RevocationList, RevocationSource, SeenAnswer, SeenAt};

/// Files kept of each kind: one for each list of each CA, one for each certificate that has an OCSP responder.
const MAX_FILES: usize = 1_024;
/// Imported answers: all of them are tried for every certificate, and the verifier reads no more.
const MAX_IMPORTED_ANSWERS: usize = 48;
/// Things whose newest statement is remembered. Only issuers below an anchor of the policy add to it.
const MAX_MARKS: usize = 65_536;
/// Largest file that is read.
const MAX_FILE_BYTES: u64 = 4 << 20;
/// Largest file of marks: each has about 90 bytes.
const MAX_MARKS_BYTES: u64 = 16 << 20;

/// Lists, and answers, for one judgement: the verifier reads no more.
const MAX_EACH: usize = 64;
/// Largest answer for a judgement.
const MAX_ANSWER_BYTES: usize = 64 << 10;
/// All lists of one judgement: eight of the largest.
const MAX_LIST_BYTES: usize = 32 << 20;

/// Lists and answers for one judgement, bounded as the verifier is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Brought {
    lists: Vec<RevocationList>,
    answers: Vec<Vec<u8>>,
}

/// The store.
#[derive(Debug)]
pub(crate) struct RevocationStore {
    folder: PathBuf,
    /// When the newest statement about each thing was made; replaced whole, locked for a copy or a write.
    newest: Mutex<Arc<BTreeMap<Digest, UnixTime>>>,
    /// Rises with everything that can change a verdict.
    revision: AtomicU64,
}

impl Brought {
    /// Adds what is not there yet, as far as there is room; says whether anything was added.
    pub(crate) fn add(&mut self, other: Self) -> bool {
        let before = (self.lists.len(), self.answers.len());
        for list in other.lists {
            let bytes: usize = self.lists.iter().chain([&list]).map(|list| list.der.len()).sum();
            if !self.lists.contains(&list) && self.lists.len() < MAX_EACH && bytes <= MAX_LIST_BYTES {
                self.lists.push(list);
            }
        }
        for answer in other.answers {
            if !self.answers.contains(&answer) && self.answers.len() < MAX_EACH && answer.len() <= MAX_ANSWER_BYTES {
                self.answers.push(answer);
            }
        }
        before != (self.lists.len(), self.answers.len())
    }

    pub(crate) fn list(url: String, der: Vec<u8>) -> Self {
        Self { lists: vec![RevocationList { url, der }], answers: Vec::new() }
    }

    pub(crate) fn answer(der: Vec<u8>) -> Self {
        Self { lists: Vec::new(), answers: vec![der] }
    }

    /// What the verifier gets. Past its caps it gets nothing, which can only deny.
    pub(crate) fn evidence(&self, newest: Arc<BTreeMap<Digest, UnixTime>>) -> RevocationEvidence {
        RevocationEvidence::new(self.lists.clone(), self.answers.clone()).unwrap_or_default().knowing(newest)
    }

    fn bytes_of(&self, seen: &SeenAnswer) -> Option<&[u8]> {
        let all = match &seen.source {
            SeenAt::List(_) => self.lists.iter().map(|list| list.der.as_slice()).collect::<Vec<_>>(),
            SeenAt::Answer(_) => self.answers.iter().map(Vec::as_slice).collect(),
        };
        all.into_iter().find(|bytes| seen.content.matches(bytes))
    }
}

impl RevocationStore {
    /// Opens the store in `folder`, made if missing.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        for part in ["lists", "answers", "imported-lists", "imported-answers"] {
            fs::create_dir_all(folder.join(part))?;
            for entry in fs::read_dir(folder.join(part))? {
                let entry = entry?;
                if entry.file_name().to_string_lossy().starts_with('.') {
                    fs::remove_file(entry.path())?;
                }
            }
        }
        let marks = folder.join("newest.json");
        // Without its marks the store would believe what is long replaced: a broken file is no empty one.
        let newest = match read_bounded(&marks, MAX_MARKS_BYTES) {
            Ok(bytes) => parse_marks(&bytes)
                .map_err(|problem| io::Error::other(format!("{}: {problem}; restore it", marks.display())))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error),
        };
        let newest = Mutex::new(Arc::new(newest));
        Ok(Self { folder: folder.to_owned(), newest, revision: AtomicU64::new(0) })
    }

    /// A number that rises with everything that can change a verdict.
    pub(crate) fn revision(&self) -> u64 {
        self.revision.load(Ordering::SeqCst)
    }

    /// When the newest statement about each thing was made.
    pub(crate) fn newest(&self) -> Arc<BTreeMap<Digest, UnixTime>> {
        Arc::clone(&self.newest.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What is kept or was imported for these sources.
    pub(crate) fn kept_for<'s>(&self, sources: impl IntoIterator<Item = &'s RevocationSource>) -> Brought {
        let mut kept = Brought::default();
        let read = |part: &str, name: &str| read_bounded(&self.folder.join(part).join(name), MAX_FILE_BYTES).ok();
        let mut has_responder = false;
        for source in sources {
            match source {
                RevocationSource::List { urls } => {
                    for url in urls {
                        let name = list_name(url);
                        for der in ["lists", "imported-lists"].into_iter().filter_map(|part| read(part, &name)) {
                            kept.add(Brought::list(url.clone(), der));
                        }
                    }
                }
                RevocationSource::Responder { request, .. } => {
                    has_responder = true;
                    if let Some(der) = read("answers", &Digest::sha256(request).hex()) {
                        kept.add(Brought::answer(der));
                    }
                }
            }
        }
        if has_responder {
            for entry in fs::read_dir(self.folder.join("imported-answers")).into_iter().flatten().flatten() {
                if let Ok(der) = read_bounded(&entry.path(), MAX_FILE_BYTES) {
                    kept.add(Brought::answer(der));
                }
            }
        }
        kept
    }

    /// Keeps what was proved to be its issuer's, and that nothing older about the same counts from now on.
    ///
    /// # Errors
    /// If it cannot be written: then a verdict must not rest on it, for after a restart an older one would count again.
    pub(crate) fn note<'s>(&self, seen: impl IntoIterator<Item = &'s SeenAnswer>, brought: &Brought) -> io::Result<()> {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let mut marks: Option<BTreeMap<Digest, UnixTime>> = None;
        for seen in seen {
            let mark = marks.as_ref().unwrap_or(&newest).get(&seen.about).copied();
            let (part, name) = match &seen.source {
                SeenAt::List(url) => ("lists", list_name(url)),
                SeenAt::Answer(request) => ("answers", Digest::sha256(request).hex()),
            };
            let is_newer = mark.is_none_or(|mark| seen.made > mark);
            let is_missing = || mark == Some(seen.made) && !self.folder.join(part).join(&name).exists();
            if !is_newer && !is_missing() {
                continue;
            }
            if let Some(bytes) = brought.bytes_of(seen) {
                self.write(part, &name, bytes)?;
            }
            if is_newer {
                let marks = marks.get_or_insert_with(|| BTreeMap::clone(&newest));
                marks.insert(seen.about, seen.made);
                if marks.len() > MAX_MARKS {
                    return Err(io::Error::other(format!("more than {MAX_MARKS} lists and answers were seen")));
                }
            }
        }
        let Some(marks) = marks else { return Ok(()) };
        let text: BTreeMap<String, i64> =
            marks.iter().map(|(about, made)| (about.to_string(), made.seconds())).collect();
        // In memory first: what was seen was seen, whether or not there is room to write it down.
        *newest = Arc::new(marks);
        self.revision.fetch_add(1, Ordering::SeqCst);
        replace(&self.folder, "newest.json", &serde_json::to_vec(&text).map_err(io::Error::other)?)
    }

    /// Takes in a list that a person brought, for the address that certificates name.
    pub(crate) fn import_list(&self, url: &str, der: &[u8]) -> io::Result<()> {
        self.write("imported-lists", &list_name(url), der)?;
        self.revision.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    /// Takes in an OCSP answer that a person brought; of more than 48 the oldest goes.
    pub(crate) fn import_answer(&self, der: &[u8]) -> io::Result<()> {
        self.write("imported-answers", &Digest::sha256(der).hex(), der)?;
        self.trim("imported-answers", MAX_IMPORTED_ANSWERS)?;
        self.revision.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn write(&self, part: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
        replace(&self.folder.join(part), name, bytes)?;
        self.trim(part, MAX_FILES)
    }

    /// Forgets what was written longest ago. Its mark stays, so that this can only deny.
    fn trim(&self, part: &str, most: usize) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(self.folder.join(part))? {
            let entry = entry?;
            files.push((entry.metadata()?.modified()?, entry.path()));
        }
        let surplus = files.len().saturating_sub(most);
        if surplus > 0 {
            files.sort_unstable();
        }
        files.iter().take(surplus).try_for_each(|(_, path)| fs::remove_file(path))
    }
}

/// File names are our own digests, never an address.
fn list_name(url: &str) -> String {
    Digest::sha256(url.as_bytes()).hex()
}

fn parse_marks(bytes: &[u8]) -> Result<BTreeMap<Digest, UnixTime>, String> {
    let text: BTreeMap<String, i64> = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let mark = |(about, made): (String, i64)| {
        let about: Digest = about.parse().map_err(|error| format!("{about}: {error}"))?;
        Ok((about, UnixTime::from_seconds(made)))
    };
    text.into_iter().map(mark).collect()
}

fn read_bounded(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    if fs::metadata(path)?.len() > most {
        return Err(io::Error::other(format!("{}: larger than {most} bytes", path.display())));
    }
    fs::read(path)
}

/// Writes a file that is there whole, or as it was before, also after a power cut.
fn replace(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let hidden = folder.join(format!(".{name}"));
    let written = fs::File::create(&hidden)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_data()))
        .and_then(|()| fs::rename(&hidden, folder.join(name)))
        .and_then(|()| fs::File::open(folder)?.sync_data());
    if written.is_err() {
        let _ = fs::remove_file(&hidden);
    }
    written
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const URL: &str = "http://ca.example/ca.crl";

    fn seen(made: i64, der: &[u8]) -> SeenAnswer {
        SeenAnswer {
            about: Digest::sha256(b"the list of a CA"),
            made: UnixTime::from_seconds(made),
            content: Digest::sha256(der),
            source: SeenAt::List(URL.to_owned()),
        }
    }

    fn kept(store: &RevocationStore) -> Vec<Vec<u8>> {
        let source = RevocationSource::List { urls: vec![URL.to_owned()] };
        store.kept_for([&source]).lists.into_iter().map(|list| list.der).collect()
    }

    #[test]
    fn the_newest_that_was_seen_is_kept_and_never_replaced_by_an_older_one_also_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let store = RevocationStore::open(folder.path()).unwrap();
        let brought = |der: &[u8]| Brought::list(URL.to_owned(), der.to_vec());
        let before = store.revision();
        store.note([&seen(10, b"new")], &brought(b"new")).unwrap();
        let revision = store.revision();
        assert!(revision > before, "what was remembered would go on");
        store.note([&seen(9, b"old")], &brought(b"old")).unwrap();
        store.note([&seen(10, b"new")], &brought(b"new")).unwrap();
        assert_eq!((store.revision(), kept(&store)), (revision, vec![b"new".to_vec()]));
        let store = RevocationStore::open(folder.path()).unwrap();
        store.note([&seen(9, b"old")], &brought(b"old")).unwrap();
        assert_eq!(kept(&store), [b"new".to_vec()]);
        assert_eq!(store.newest().values().copied().collect::<Vec<_>>(), [UnixTime::from_seconds(10)]);
        store.note([&seen(11, b"newer")], &brought(b"newer")).unwrap();
        assert_eq!(kept(&store), [b"newer".to_vec()]);
    }

    #[test]
    fn the_newest_answer_of_each_request_is_kept_and_its_mark_outlives_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let store = RevocationStore::open(folder.path()).unwrap();
        let seen = |about: &[u8], made: i64, der: &[u8]| SeenAnswer {
            about: Digest::sha256(about),
            made: UnixTime::from_seconds(made),
            content: Digest::sha256(der),
            source: SeenAt::Answer(about.to_vec()),
        };
        let note = |store: &RevocationStore, about: &[u8], made: i64, der: &[u8]| {
            store.note([&seen(about, made, der)], &Brought::answer(der.to_vec())).unwrap();
        };
        let kept = |store: &RevocationStore, about: &[u8]| {
            let source = RevocationSource::Responder { url: String::new(), request: about.to_vec() };
            store.kept_for([&source]).answers
        };
        note(&store, b"one", 10, b"new");
        note(&store, b"other", 5, b"of another");
        note(&store, b"one", 9, b"old");
        assert_eq!(
            (kept(&store, b"one"), kept(&store, b"other")),
            (vec![b"new".to_vec()], vec![b"of another".to_vec()])
        );
        let store = RevocationStore::open(folder.path()).unwrap();
        note(&store, b"one", 9, b"old");
        assert_eq!(kept(&store, b"one"), [b"new".to_vec()]);
        assert_eq!(store.newest().get(&Digest::sha256(b"one")), Some(&UnixTime::from_seconds(10)));
        note(&store, b"one", 11, b"newer");
        assert_eq!(kept(&store, b"one"), [b"newer".to_vec()]);
    }

    #[test]
    fn what_was_imported_lies_beside_what_was_seen_and_changes_the_revision() {
        let folder = tempfile::tempdir().unwrap();
        let store = RevocationStore::open(folder.path()).unwrap();
        store.note([&seen(10, b"seen")], &Brought::list(URL.to_owned(), b"seen".to_vec())).unwrap();
        let revision = store.revision();
        store.import_list(URL, b"imported").unwrap();
        assert!(store.revision() > revision);
        assert_eq!(kept(&store), [b"seen".to_vec(), b"imported".to_vec()]);
        for number in 0..60_u8 {
            store.import_answer(&[number]).unwrap();
        }
        let source = RevocationSource::Responder { url: String::new(), request: vec![] };
        assert_eq!(store.kept_for([&source]).answers.len(), MAX_IMPORTED_ANSWERS);
    }

    #[test]
    fn marks_that_cannot_be_read_are_no_empty_marks() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("newest.json"), "{\"sha256:x\": 1}").unwrap();
        assert!(RevocationStore::open(folder.path()).unwrap_err().to_string().contains("newest.json"));
    }

    #[test]
    fn a_list_that_cannot_be_written_down_is_an_error_and_still_counts_as_seen() {
        let folder = tempfile::tempdir().unwrap();
        let store = RevocationStore::open(folder.path()).unwrap();
        fs::remove_dir_all(folder.path()).unwrap();
        let none = Brought::default();
        assert!(store.note([&seen(10, b"new")], &none).is_err());
        assert_eq!(store.newest().len(), 1);
    }
}
