//! The policy in force, swapped whole. A file that is broken, older, changed without a new version or names what cannot be
//! read leaves the last good one in force and says why. A root of trust that changed changes it without its file being read again.

use std::{
    collections::BTreeMap,
    fs,
    io::Read as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwapOption;
use assay_admission::{Digest, UnixTime};
use assay_hsm::KeyUri;
use assay_policy::{Material, Policy, PolicyDocument, PolicyErrors};

use crate::{key_worker::KeyWorker, trust_roots::TrustRoots};

/// Largest policy file, and largest file that a policy names.
const MAX_FILE_BYTES: u64 = 8 << 20;

/// A policy and since when it is in force.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) policy: Policy,
    pub(crate) since: UnixTime,
    /// What it was made of, beside its text.
    material: Material,
}

/// The policy in force and what became of the newest attempt to replace it.
#[derive(Debug)]
pub(crate) struct ActivePolicy {
    path: PathBuf,
    /// Folder of public keys that were read from the token once and matched their pin.
    pinned: PathBuf,
    /// Where roots of trust that a policy names come from.
    trust_roots: Option<Arc<TrustRoots>>,
    current: ArcSwapOption<Loaded>,
    /// Held while a policy is made, so that none takes the place of one that was begun later.
    turn: tokio::sync::Mutex<()>,
    /// Why the newest file is not in force; locked for a copy only.
    refused: Mutex<Option<Refused>>,
}

/// The newest file's refusal: in one line for denials and records, and as a report with the lines themselves.
#[derive(Clone, Debug)]
struct Refused {
    line: String,
    report: String,
    /// Whether it named a root of trust that nothing was trusted of: when that changes it is worth another look.
    lacked_a_root: bool,
}

/// Why a policy file is not put in force.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// A file cannot be read.
    #[error("{path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    /// The file is larger than a policy can be.
    #[error("{path}: {bytes} bytes, at most {MAX_FILE_BYTES} are read")]
    TooLarge { path: PathBuf, bytes: u64 },
    /// Others could have written it.
    #[error("{path}: {why}")]
    Unsafe { path: PathBuf, why: String },
    /// It is no text.
    #[error("{path}: byte {at} is not UTF-8")]
    NotText { path: PathBuf, at: usize },
    /// The policy says something wrong, or may not follow the one in force.
    #[error("{0}")]
    Policy(PolicyErrors),
}

/// Errors of a policy that stand in one line; the report has all.
const SHOWN_ERRORS: usize = 3;

impl LoadError {
    /// The same without line breaks: `/etc/assay/policy.toml:2:8: …`.
    fn line(&self) -> String {
        match self {
            Self::Policy(errors) => {
                let mut lines: Vec<String> = errors
                    .iter()
                    .take(SHOWN_ERRORS)
                    .map(|(line, column, message)| format!("{}:{line}:{column}: {message}", errors.name()))
                    .collect();
                let more = errors.iter().count().saturating_sub(SHOWN_ERRORS);
                if more > 0 {
                    lines.push(format!("and {more} more errors"));
                }
                lines.join("; ")
            }
            Self::Read { .. } | Self::TooLarge { .. } | Self::Unsafe { .. } | Self::NotText { .. } => self.to_string(),
        }
    }
}

impl ActivePolicy {
    /// Nothing in force yet.
    pub(crate) fn new(path: PathBuf, state: &Path) -> Self {
        Self {
            path,
            pinned: state.join("token-keys"),
            trust_roots: None,
            current: ArcSwapOption::empty(),
            turn: tokio::sync::Mutex::new(()),
            refused: Mutex::new(Some(Refused {
                line: "not loaded yet".into(),
                report: "not loaded yet".into(),
                lacked_a_root: false,
            })),
        }
    }

    /// The same with roots of trust that policies can name.
    pub(crate) fn with_trust_roots(self, roots: Arc<TrustRoots>) -> Self {
        Self { trust_roots: Some(roots), ..self }
    }

    /// The policy in force, if any was ever good.
    pub(crate) fn current(&self) -> Option<Arc<Loaded>> {
        self.current.load_full()
    }

    /// Why the newest file is not in force, in one line with file, line and column.
    pub(crate) fn error(&self) -> Option<String> {
        self.refused().map(|refused| refused.line)
    }

    /// The same as a report that shows the lines themselves.
    pub(crate) fn report(&self) -> Option<String> {
        self.refused().map(|refused| refused.report)
    }

    fn refused(&self) -> Option<Refused> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The policy file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file and everything it names, and puts it in force if all of it is good.
    pub(crate) async fn reload(&self, keys: &KeyWorker, now: UnixTime) -> Result<Arc<Loaded>, LoadError> {
        let _turn = self.turn.lock().await;
        self.load_file(keys, now).await
    }

    /// Makes roots of trust count that changed: the policy in force gets them as it is, whatever its file says by now. Only a file
    /// that was refused while it had none of its root is read again. `None`: nothing names what changed.
    pub(crate) async fn follow_trust_roots(
        &self,
        keys: &KeyWorker,
        now: UnixTime,
    ) -> Option<Result<Arc<Loaded>, LoadError>> {
        let _turn = self.turn.lock().await;
        let followed = self.current().and_then(|current| self.with_roots_of_now(&current, now).transpose());
        if let Some(Err(error)) = &followed {
            // By a root that was replaced nothing may be admitted, and there is no policy by the new one.
            self.refuse(error, true);
            self.current.store(None);
        }
        let lacked_a_root = self.refused().is_some_and(|refused| refused.lacked_a_root);
        if lacked_a_root { Some(self.load_file(keys, now).await) } else { followed }
    }

    async fn load_file(&self, keys: &KeyWorker, now: UnixTime) -> Result<Arc<Loaded>, LoadError> {
        let mut lacked_a_root = false;
        let outcome = self.load(keys, now, &mut lacked_a_root).await;
        match &outcome {
            Ok(_) => *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = None,
            Err(error) => self.refuse(error, lacked_a_root),
        }
        outcome
    }

    fn refuse(&self, error: &LoadError, lacked_a_root: bool) {
        let refused = Refused { line: error.line(), report: error.to_string(), lacked_a_root };
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(refused);
    }

    async fn load(&self, keys: &KeyWorker, now: UnixTime, lacked_a_root: &mut bool) -> Result<Arc<Loaded>, LoadError> {
        let bytes = read_bounded(&self.path)?;
        let text = String::from_utf8(bytes)
            .map_err(|error| LoadError::NotText { path: self.path.clone(), at: error.utf8_error().valid_up_to() })?;
        let name = self.path.display().to_string();
        let document = PolicyDocument::parse(&name, &text).map_err(LoadError::Policy)?;
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        let mut material = Material::default();
        for file in document.files() {
            material.files.insert(file.to_owned(), read_bounded(&folder.join(file))?);
        }
        for key in document.token_keys() {
            // What is wrong with a key is told at the line that names it.
            match self.pinned_key(key.uri, &key.sha256, keys).await {
                Ok(spki) => drop(material.token_keys.insert(key.uri.to_owned(), spki)),
                Err(why) => drop(material.unread_keys.insert(key.uri.to_owned(), why)),
            }
        }
        material.trust_roots = self.roots_for(&document);
        // One that has nothing yet is an error at the line that names it: `compile` says so.
        *lacked_a_root = material.trust_roots.len() < document.trust_roots().len();
        let policy = document.compile(&material).map_err(LoadError::Policy)?;
        if let Some(current) = self.current() {
            policy.may_follow(&current.policy).map_err(LoadError::Policy)?;
        }
        Ok(self.put_in_force(Loaded { policy, since: now, material }))
    }

    /// The policy in force by the roots of trust as they are now; nothing if it is by them already.
    fn with_roots_of_now(&self, current: &Loaded, now: UnixTime) -> Result<Option<Arc<Loaded>>, LoadError> {
        let document =
            PolicyDocument::parse(current.policy.name(), current.policy.source()).map_err(LoadError::Policy)?;
        let trust_roots = self.roots_for(&document);
        if trust_roots == current.material.trust_roots {
            return Ok(None);
        }
        let material = Material { trust_roots, ..current.material.clone() };
        let policy = document.compile_again(&material).map_err(LoadError::Policy)?;
        Ok(Some(self.put_in_force(Loaded { policy, since: now, material })))
    }

    fn roots_for(&self, document: &PolicyDocument) -> BTreeMap<String, Vec<u8>> {
        let root = |name: &str| Some((name.to_owned(), self.trust_roots.as_ref()?.get(name)?.bytes.to_vec()));
        document.trust_roots().into_iter().filter_map(root).collect()
    }

    fn put_in_force(&self, loaded: Loaded) -> Arc<Loaded> {
        let loaded = Arc::new(loaded);
        self.current.store(Some(Arc::clone(&loaded)));
        loaded
    }

    /// A key's SubjectPublicKeyInfo: the kept copy that hashes to its pin, else what the token says, which is kept if it does. The
    /// policy refuses one that does not.
    async fn pinned_key(&self, uri: &str, pin: &str, keys: &KeyWorker) -> Result<Vec<u8>, String> {
        let pin: Digest = format!("sha256:{pin}").parse().map_err(|error| format!("sha256: {error}"))?;
        let kept = self.pinned.join(format!("{}.spki", pin.hex()));
        if let Ok(spki) = read_bounded(&kept)
            && pin.matches(&spki)
        {
            return Ok(spki);
        }
        let parsed: KeyUri = uri.parse().map_err(|error: assay_hsm::KeyUriError| error.to_string())?;
        let key = keys.public(parsed).await.map_err(|error| error.to_string())?;
        if !pin.matches(&key.spki) {
            return Ok(key.spki);
        }
        // Not being able to keep the copy costs a question to the token at the next start, nothing else.
        if let Err(error) = fs::create_dir_all(&self.pinned).and_then(|()| fs::write(&kept, &key.spki)) {
            tracing::warn!(path = %kept.display(), %error, "cannot keep a copy of a public key");
        }
        Ok(key.spki)
    }
}

/// Reads a file that nobody but root and the agent's own user may have written.
pub(crate) fn read_bounded(path: &Path) -> Result<Vec<u8>, LoadError> {
    let read = |source| LoadError::Read { path: path.to_owned(), source };
    // Opened without waiting: a pipe in the file's place would hold up every later reload.
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, rustix::fs::Mode::empty()).map_err(|error| read(error.into()))?;
    let file = fs::File::from(file);
    let metadata = file.metadata().map_err(read)?;
    if !metadata.is_file() {
        return Err(LoadError::Unsafe { path: path.to_owned(), why: "is not a file".into() });
    }
    let (owner, mode) = (metadata.uid(), metadata.mode() & 0o7777);
    if owner != 0 && owner != rustix::process::geteuid().as_raw() {
        let why = format!("belongs to uid {owner}; `chown root` it, or whoever that is decides what runs here");
        return Err(LoadError::Unsafe { path: path.to_owned(), why });
    }
    if mode & 0o022 != 0 {
        let why = format!("has mode {mode:04o}; `chmod go-w` it, or others decide what runs here");
        return Err(LoadError::Unsafe { path: path.to_owned(), why });
    }
    let bytes = metadata.len();
    if bytes > MAX_FILE_BYTES {
        return Err(LoadError::TooLarge { path: path.to_owned(), bytes });
    }
    let mut content = Vec::new();
    file.take(MAX_FILE_BYTES).read_to_end(&mut content).map_err(read)?;
    Ok(content)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    struct Node {
        folder: tempfile::TempDir,
        policy: ActivePolicy,
        keys: KeyWorker,
    }

    impl Node {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let policy = ActivePolicy::new(folder.path().join("policy.toml"), folder.path());
            let keys = KeyWorker::start(folder.path().join("key.sock"), 0).unwrap();
            Self { folder, policy, keys }
        }

        async fn reload(&self, text: &str) -> Result<Arc<Loaded>, LoadError> {
            fs::write(self.folder.path().join("policy.toml"), text).unwrap();
            self.policy.reload(&self.keys, UnixTime::from_seconds(0)).await
        }
    }

    #[tokio::test]
    async fn a_version_that_is_in_force_with_other_content_stays_and_the_file_is_named_with_its_line() {
        let node = Node::new();
        node.reload("version = 2\nmode = \"enforce\"\n").await.unwrap();
        node.reload("version = 2\nmode = \"enforce\"\n").await.unwrap();
        for text in ["mode = \"observe\"\nversion = 2\n", "mode = \"observe\"\nversion = 1\n"] {
            assert!(matches!(node.reload(text).await, Err(LoadError::Policy(_))), "{text}");
            assert_eq!(node.policy.current().unwrap().policy.mode().as_str(), "enforce");
            let line = node.policy.error().unwrap();
            assert!(line.contains("policy.toml:2:11: version ") && line.contains(" in force"), "{line}");
        }
        node.reload("mode = \"observe\"\nversion = 3\n").await.unwrap();
        assert_eq!((node.policy.current().unwrap().policy.version(), node.policy.error()), (3, None));
    }

    #[tokio::test]
    async fn a_broken_file_with_nothing_in_force_is_told_in_one_line_and_in_full() {
        let node = Node::new();
        node.reload("version = 1\nmode = \"enforced\"\nfail-open = true\n").await.unwrap_err();
        assert!(node.policy.current().is_none());
        let line = node.policy.error().unwrap();
        assert!(line.contains("policy.toml:2:8: `mode` cannot be \"enforced\"; "), "{line}");
        assert!(line.contains("policy.toml:3:1: ") && !line.contains('\n'), "{line}");
        assert!(node.policy.report().unwrap().contains("2 | mode = \"enforced\""));
    }

    #[tokio::test]
    async fn a_key_that_cannot_be_read_from_its_token_is_told_at_its_line() {
        let node = Node::new();
        let key = "[keys.ci]\npublic = \"pkcs11:token=t;object=ci\"\nsha256 = \"";
        let rule = "[[rules]]\nname = \"a\"\nimages = [\"**\"]\nrequire = [{ signatures = 1, of = [\"ci\"] }]\n";
        let text = format!("version = 1\nmode = \"enforce\"\n{key}{}\"\n{rule}", "ab".repeat(32));
        assert!(matches!(node.reload(&text).await, Err(LoadError::Policy(_))));
        let line = node.policy.error().unwrap();
        assert!(line.contains("policy.toml:4:10: key ci was not read from its token: "), "{line}");
        assert!(node.policy.current().is_none());
    }

    #[test]
    fn a_policy_that_others_may_write_or_that_is_no_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("policy.toml");
        fs::write(&file, "version = 1").unwrap();
        let mode = |mode| fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        mode(0o644);
        assert_eq!(read_bounded(&file).unwrap(), b"version = 1");
        for lax in [0o666, 0o664, 0o646] {
            mode(lax);
            assert!(matches!(read_bounded(&file), Err(LoadError::Unsafe { .. })), "{lax:o}");
        }
        mode(0o644);
        std::os::unix::fs::chown(&file, Some(12_345), None).unwrap();
        assert!(matches!(read_bounded(&file), Err(LoadError::Unsafe { .. })));
        assert!(matches!(read_bounded(folder.path()), Err(LoadError::Unsafe { .. })));
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert!(matches!(read_bounded(&pipe), Err(LoadError::Unsafe { .. })));
    }
}
