#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::{fs, path::PathBuf};

use assay_audit::Record;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use super::*;
use crate::{
    active::{ActivePolicy, LoadError},
    key_worker::KeyWorker,
};

/// The name in the record that a test writes to have written all before it.
const LAST: &str = "last";

/// A repository whose one key signs everything, which is enough here: the verifier has its own tests.
struct Repository {
    key: Ed25519KeyPair,
    files: Mutex<BTreeMap<String, Vec<u8>>>,
    is_up: std::sync::atomic::AtomicBool,
}

impl Repository {
    fn new() -> Arc<Self> {
        let key = Ed25519KeyPair::generate().unwrap();
        let public =
            json!({ "keytype": "ed25519", "scheme": "ed25519", "keyval": { "public": hex::encode(key.public_key()) } });
        let role = json!({ "keyids": ["k"], "threshold": 1 });
        let root = json!({
            "keys": { "k": public }, "consistent_snapshot": true,
            "roles": { "root": role, "timestamp": role, "snapshot": role, "targets": role },
        });
        let repository = Self { key, files: Mutex::default(), is_up: true.into() };
        repository.put("1.root.json", "root", 1, root);
        repository.publish(1);
        Arc::new(repository)
    }

    fn put(&self, path: &str, role: &str, version: u64, mut content: Value) -> Vec<u8> {
        let head = [("_type", json!(role)), ("version", json!(version)), ("spec_version", json!("1.0.0"))];
        let expires = ("expires", json!("2100-01-01T00:00:00Z"));
        for (key, value) in head.into_iter().chain([expires]) {
            content[key] = value;
        }
        // serde_json's maps are sorted and nothing here needs escapes, so its text is canonical.
        let signature = hex::encode(self.key.sign(content.to_string().as_bytes()));
        let file = json!({ "signed": content, "signatures": [{ "keyid": "k", "sig": signature }] });
        let bytes = file.to_string().into_bytes();
        self.files.lock().unwrap().insert(path.to_owned(), bytes.clone());
        bytes
    }

    /// Everything at this version; each version has a root of trust of its own.
    fn publish(&self, version: u64) {
        let trusted_root = trusted_root(version);
        let hash = Digest::sha256(&trusted_root).hex();
        let target = json!({ "length": trusted_root.len(), "hashes": { "sha256": hash } });
        self.put(
            &format!("{version}.targets.json"),
            "targets",
            version,
            json!({ "targets": { "trusted_root.json": target } }),
        );
        let meta = json!({ "meta": { "targets.json": { "version": version } } });
        self.put(&format!("{version}.snapshot.json"), "snapshot", version, meta);
        self.put(
            "timestamp.json",
            "timestamp",
            version,
            json!({ "meta": { "snapshot.json": { "version": version } } }),
        );
        self.files.lock().unwrap().insert(format!("targets/{hash}.trusted_root.json"), trusted_root);
    }

    fn copy(&self) -> BTreeMap<String, Vec<u8>> {
        self.files.lock().unwrap().clone()
    }
}

fn trusted_root(version: u64) -> Vec<u8> {
    let spki = [b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00".as_slice(), &[7; 32]].concat();
    json!({
        "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
        "tlogs": [{
            "baseUrl": format!("https://log{version}.example"), "hashAlgorithm": "SHA2_256",
            "publicKey": {
                "rawBytes": BASE64_STANDARD.encode(spki), "keyDetails": "PKIX_ED25519",
                "validFor": { "start": "2023-01-01T00:00:00Z" },
            },
            "logId": { "keyId": BASE64_STANDARD.encode([7; 32]) },
        }],
    })
    .to_string()
    .into_bytes()
}

#[tonic::async_trait]
impl Source for Repository {
    async fn file(&self, _: &str, path: &str, _: usize) -> Result<Option<Vec<u8>>, String> {
        if !self.is_up.load(std::sync::atomic::Ordering::Relaxed) {
            return Err("connection refused".into());
        }
        Ok(self.files.lock().unwrap().get(path).cloned())
    }
}

struct Node {
    folder: tempfile::TempDir,
    repository: Arc<Repository>,
    log: Arc<Log>,
    roots: TrustRoots,
}

const NAME: &str = "test";

impl Node {
    fn new() -> Self {
        let (folder, repository) = (tempfile::tempdir().unwrap(), Repository::new());
        fs::write(folder.path().join("root.json"), &repository.copy()["1.root.json"]).unwrap();
        let (log, _) = Log::open(&folder.path().join("log"), "test.example/log").unwrap();
        let log = Arc::new(log);
        let roots = open(&folder, &repository, &log);
        Self { folder, repository, log, roots }
    }

    /// The agent is started anew.
    fn restart(&mut self) {
        self.roots = open(&self.folder, &self.repository, &self.log);
    }

    fn kept(&self) -> PathBuf {
        self.folder.path().join("state/trust-roots/test.json")
    }

    fn trusted(&self) -> Option<u64> {
        let current = self.roots.get(NAME)?;
        assert_eq!(current.revision, Digest::sha256(&current.bytes));
        (1..9).find(|version| *current.bytes == *trusted_root(*version))
    }

    fn problem(&self) -> Option<String> {
        self.roots.roots[NAME].state().problem
    }

    fn records(&self) -> Vec<TrustRootOutcome> {
        // Refusals are not waited for. The log takes records in order: once this one is there, all before it are.
        let outcome = TrustRootOutcome::Refused(String::new());
        let last = TrustRootRecord { time: now(), name: LAST.to_owned(), source: String::new(), outcome };
        self.log.append_wait(last.into(), Durability::Synced).unwrap();
        let read = self.log.read(0, 256).unwrap();
        let outcome = |entry: &Vec<u8>| match Record::parse(entry) {
            Ok(Record::TrustRoot(record)) if record.name != LAST => Some(record.outcome),
            _ => None,
        };
        read.iter().filter_map(outcome).collect()
    }
}

fn open(folder: &tempfile::TempDir, repository: &Arc<Repository>, log: &Arc<Log>) -> TrustRoots {
    let config = TrustRootConfig {
        root: folder.path().join("root.json"),
        repositories: vec!["https://tuf.example".into()],
        refresh: std::time::Duration::from_secs(3_600),
    };
    let name = TrustRootName::try_from(NAME.to_owned()).unwrap();
    let network: Arc<dyn Source> = repository.clone();
    TrustRoots::open(&BTreeMap::from([(name, config)]), &folder.path().join("state"), network, Arc::clone(log))
}

#[tokio::test]
async fn what_a_refresh_brings_is_recorded_and_outlives_restarts_without_network() {
    let mut node = Node::new();
    assert_eq!(node.trusted(), None);
    assert!(node.roots.update(NAME).await.unwrap());
    assert_eq!(node.trusted(), Some(1));
    assert!(!node.roots.update(NAME).await.unwrap());

    node.repository.is_up.store(false, std::sync::atomic::Ordering::Relaxed);
    node.restart();
    assert_eq!((node.trusted(), node.problem()), (Some(1), None));
    assert!(matches!(node.roots.update(NAME).await, Err(UpdateError::Refused { .. })));
    assert_eq!(node.trusted(), Some(1));
    assert!(node.problem().unwrap().contains("connection refused"));
    let sha256 = Digest::sha256(&trusted_root(1)).hex();
    assert_eq!(node.records(), [TrustRootOutcome::Updated { sha256, root_version: 1 }]);
}

#[tokio::test]
async fn a_rollback_is_refused_after_a_restart_too_and_recorded_once() {
    let mut node = Node::new();
    let old = node.repository.copy();
    node.repository.publish(2);
    node.roots.update(NAME).await.unwrap();
    *node.repository.files.lock().unwrap() = old.clone();
    node.restart();
    for _ in 0..3 {
        let refused = node.roots.update(NAME).await.unwrap_err().to_string();
        assert!(refused.contains("https://tuf.example: ") && refused.contains("rollback"), "{refused}");
    }
    let by_hand = node.roots.import(NAME, old).await.unwrap_err().to_string();
    assert!(by_hand.contains("rollback"), "{by_hand}");
    assert_eq!(node.trusted(), Some(2));
    let refusals = node.records().into_iter().filter(|outcome| matches!(outcome, TrustRootOutcome::Refused(_)));
    assert_eq!(refusals.count(), 2);
}

#[tokio::test]
async fn a_policy_in_force_follows_its_root_of_trust_whatever_its_file_says_by_now() {
    let node = Node::new();
    let file = node.folder.path().join("policy.toml");
    let text = |version: u64, mode: &str| {
        format!(
            "version = {version}\nmode = \"{mode}\"\n[sigstore.public]\ntrust-root = \"{NAME}\"\n[signers.ci]\n\
             sigstore = \"public\"\nissuer = \"https://i.example\"\nidentity = \"https://c.example/x\"\n\
             [[rules]]\nname = \"all\"\nimages = [\"r.example/**\"]\nrequire = [{{ signatures = 1, of = [\"ci\"] }}]\n"
        )
    };
    let keys = KeyWorker::start(node.folder.path().join("key.sock"), 0).unwrap();
    let roots = Arc::new(open(&node.folder, &node.repository, &node.log));
    let policy = ActivePolicy::new(file.clone(), node.folder.path()).with_trust_roots(Arc::clone(&roots));

    // Without a root there is no policy; with it, the file is looked at again.
    fs::write(&file, text(1, "enforce")).unwrap();
    policy.reload(&keys, now()).await.unwrap_err();
    assert!(policy.error().unwrap().contains("policy.toml:4:14: the trust root test has nothing that is trusted yet"));
    assert!(policy.current().is_none());
    roots.update(NAME).await.unwrap();
    tokio::time::timeout(std::time::Duration::from_secs(5), roots.changed()).await.unwrap();
    policy.follow_trust_roots(&keys, now()).await.unwrap().unwrap();
    let in_force = || policy.current().unwrap().policy.digest_of_all();
    let first = in_force();
    assert!(policy.follow_trust_roots(&keys, now()).await.is_none());
    assert_eq!((in_force(), policy.error()), (first, None));

    // What somebody wrote and nobody put in force stays out of force.
    for (version, written) in [(2, text(2, "observe")), (3, "mode = ".to_owned())] {
        let before = in_force();
        fs::write(&file, written).unwrap();
        node.repository.publish(version);
        roots.update(NAME).await.unwrap();
        let loaded = policy.follow_trust_roots(&keys, now()).await.unwrap().unwrap();
        assert_eq!((loaded.policy.version(), loaded.policy.mode().as_str()), (1, "enforce"));
        assert_ne!(in_force(), before);
    }
    policy.reload(&keys, now()).await.unwrap_err();
    assert_eq!(policy.current().unwrap().policy.version(), 1);
}

#[tokio::test]
async fn a_root_of_trust_that_is_gone_leaves_no_policy_in_force() {
    let node = Node::new();
    let file = node.folder.path().join("policy.toml");
    fs::write(&file, format!("version = 1\nmode = \"enforce\"\n[sigstore.public]\ntrust-root = \"{NAME}\"\n")).unwrap();
    let keys = KeyWorker::start(node.folder.path().join("key.sock"), 0).unwrap();
    let roots = Arc::new(open(&node.folder, &node.repository, &node.log));
    roots.update(NAME).await.unwrap();
    let policy = ActivePolicy::new(file, node.folder.path()).with_trust_roots(Arc::clone(&roots));
    policy.reload(&keys, now()).await.unwrap();
    roots.roots[NAME].change(|state| state.current = None);
    assert!(matches!(policy.follow_trust_roots(&keys, now()).await, Some(Err(LoadError::Policy(_)))));
    assert!(policy.current().is_none());
    assert!(policy.error().unwrap().contains("the trust root test has nothing that is trusted yet"));
}

#[tokio::test]
async fn a_root_of_trust_whose_files_expired_stays_and_the_status_says_so() {
    let node = Node::new();
    node.roots.update(NAME).await.unwrap();
    let summary = node.roots.roots[NAME].state().trust.unwrap().summary();
    let end = summary.root.expires;
    assert_eq!(service::expired(&summary, UnixTime::from_seconds(end.seconds() - 1)), None);
    let told = service::expired(&summary, end).unwrap();
    assert!(told.starts_with(&format!("root expired {end}, timestamp expired {end}, ")), "{told}");
    assert_eq!(node.roots.status()[0].problem, "");
}

#[tokio::test]
async fn a_copy_is_imported_by_the_same_rules() {
    let node = Node::new();
    node.repository.is_up.store(false, std::sync::atomic::Ordering::Relaxed);
    node.repository.publish(3);
    let mut changed = node.repository.copy();
    changed.get_mut("timestamp.json").unwrap()[20] ^= 1;
    assert!(matches!(node.roots.import(NAME, changed).await, Err(UpdateError::Refused { .. })));
    assert_eq!(node.trusted(), None);
    assert!(node.roots.import(NAME, node.repository.copy()).await.unwrap());
    assert_eq!((node.trusted(), node.problem()), (Some(3), None));
    assert!(matches!(node.roots.import("other", BTreeMap::new()).await, Err(UpdateError::Unknown(_))));
}

#[tokio::test]
async fn what_cannot_be_stored_is_not_used_and_a_torn_write_changes_nothing() {
    let mut node = Node::new();
    node.roots.update(NAME).await.unwrap();
    node.repository.publish(2);
    // A folder stands where the new file is to be written.
    fs::create_dir(node.kept().with_extension("new")).unwrap();
    let refused = node.roots.update(NAME).await.unwrap_err().to_string();
    assert!(refused.contains("cannot be stored"), "{refused}");
    assert_eq!(node.trusted(), Some(1));
    fs::remove_dir(node.kept().with_extension("new")).unwrap();

    // Killed while the new file was being written: the old one is whole.
    fs::write(node.kept().with_extension("new"), &fs::read(node.kept()).unwrap()[..100]).unwrap();
    node.restart();
    assert_eq!((node.trusted(), node.problem()), (Some(1), None));
    assert!(node.roots.update(NAME).await.unwrap());
    node.restart();
    assert_eq!(node.trusted(), Some(2));
}

#[tokio::test]
async fn a_file_that_was_changed_on_disk_is_left_aside_and_told() {
    let mut node = Node::new();
    node.roots.update(NAME).await.unwrap();
    let text = fs::read_to_string(node.kept()).unwrap();
    let mut document: Value = serde_json::from_str(&text).unwrap();
    document["complete"]["target"] = json!(BASE64_STANDARD.encode(trusted_root(5)));
    for changed in [document.to_string(), text[..text.len() / 2].to_owned(), "{\"version\":9}".into()] {
        fs::write(node.kept(), changed).unwrap();
        node.restart();
        assert_eq!(node.trusted(), None);
        let problem = node.problem().unwrap();
        assert!(problem.contains("test.json is left aside"), "{problem}");
    }
    assert!(node.roots.update(NAME).await.unwrap());
    assert_eq!((node.trusted(), node.problem()), (Some(1), None));
}

#[tokio::test]
async fn without_a_usable_configured_root_nothing_is_trusted_whatever_was_kept() {
    let mut node = Node::new();
    node.roots.update(NAME).await.unwrap();
    let other = Repository::new();
    fs::write(node.folder.path().join("root.json"), &other.copy()["1.root.json"]).unwrap();
    node.restart();
    assert_eq!(node.trusted(), None);
    for bad in [&b"{}"[..], b""] {
        fs::write(node.folder.path().join("root.json"), bad).unwrap();
        node.restart();
        assert_eq!(node.trusted(), None);
        assert!(node.problem().unwrap().contains("the configured root is malformed"));
        assert!(matches!(node.roots.update(NAME).await, Err(UpdateError::Unusable(_))));
    }
}
