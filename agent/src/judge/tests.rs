//! The whole way with real signatures, policy, log and evidence store; only the fetcher is played, because it must fail.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod chains;
mod faults;
mod full;
mod panics;
mod pulled;
mod revocation;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use assay_admission::{
    AdmissionRequest, CandidateName, DenyCode, Digest, Document, Documents, Gate, ImageClaim, MediaType, NameSource,
    Outcome, Purpose, Reason, Subject, Verdict,
};
use assay_audit::{Log, Record, RecordedOutcome};
use assay_verify::{Artifact, FoundBy, signing};
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};

use super::{Judge, Stages, Waits, now};
use crate::{
    active::ActivePolicy,
    collect::{Collect, Collected, Wanted},
    evidence_store::EvidenceStore,
    key_worker::KeyWorker,
};

const WAITS: Waits = Waits { verdict: Duration::from_millis(400), collection: Duration::from_secs(5) };

/// What the fetcher does when it is asked.
#[derive(Clone)]
enum Fetcher {
    Brings(Vec<Artifact>),
    BringsAfter(Duration, Vec<Artifact>),
    /// Also the image's own documents, the manifest first.
    Resolves(Vec<Document>, Vec<Artifact>),
    Fails(DenyCode),
    Panics,
}

struct Played {
    does: Mutex<Fetcher>,
    asked: AtomicUsize,
    /// What every revocation address answers.
    list: Mutex<Option<Vec<u8>>>,
    /// The revocation addresses that were asked.
    urls: Mutex<Vec<String>>,
    /// What OCSP responders were asked.
    questions: Mutex<Vec<Vec<u8>>>,
}

#[tonic::async_trait]
impl Collect for Played {
    async fn collect(&self, _: Wanted, _: Duration) -> Collected {
        self.asked.fetch_add(1, Ordering::SeqCst);
        // Cloned out: a panic must not happen under the lock.
        let does = self.does.lock().unwrap().clone();
        let (pause, outcome) = match does {
            Fetcher::Brings(artifacts) => (Duration::ZERO, Ok(artifacts)),
            Fetcher::BringsAfter(pause, artifacts) => (pause, Ok(artifacts)),
            Fetcher::Resolves(documents, artifacts) => {
                let top = documents.first().map(|document| *document.digest());
                let documents = documents.into_iter().map(|document| (*document.digest(), document)).collect();
                return Collected { documents, top, artifacts, problems: vec![] };
            }
            Fetcher::Fails(code) => (Duration::ZERO, Err(Reason::new(code, "played"))),
            Fetcher::Panics => panic!("the stage that collects panics"),
        };
        tokio::time::sleep(pause).await;
        match outcome {
            Ok(artifacts) => Collected { artifacts, ..Collected::default() },
            Err(reason) => Collected { problems: vec![reason], ..Collected::default() },
        }
    }

    async fn revocation(&self, url: String, request: Option<Vec<u8>>, _: Duration) -> Result<Vec<u8>, Reason> {
        self.urls.lock().unwrap().push(url.clone());
        self.questions.lock().unwrap().extend(request);
        self.list.lock().unwrap().clone().ok_or_else(|| Reason::new(DenyCode::EvidenceUnavailable, url))
    }

    async fn health(&self) -> Result<String, String> {
        Ok(String::new())
    }
}

struct Scene {
    folder: tempfile::TempDir,
    key: EcdsaKeyPair,
    fetcher: Arc<Played>,
    policy: Arc<ActivePolicy>,
    log: Arc<Log>,
    judge: Arc<Judge>,
}

impl Scene {
    async fn new(fetcher: Fetcher) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        std::fs::create_dir(&log).unwrap();
        Self::with_log(folder, &log, fetcher).await
    }

    /// With other stages, or other patience.
    fn judge_with(&self, waits: Waits, stages: Stages) -> Arc<Judge> {
        let evidence = EvidenceStore::open(&self.folder.path().join("evidence"), 1 << 20).unwrap();
        let fetcher = Arc::clone(&self.fetcher);
        Judge::new(Arc::clone(&self.policy), Arc::new(evidence), fetcher, Arc::clone(&self.log), waits, stages)
    }

    async fn with_log(folder: tempfile::TempDir, log: &Path, fetcher: Fetcher) -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let fetcher = Arc::new(Played {
            does: Mutex::new(fetcher),
            asked: AtomicUsize::new(0),
            list: Mutex::default(),
            urls: Mutex::default(),
            questions: Mutex::default(),
        });
        let log = Arc::new(Log::open(log, "assay.test/node").unwrap().0);
        let policy = Arc::new(ActivePolicy::new(folder.path().join("policy.toml"), folder.path()));
        let judge = judge(folder.path(), &policy, &fetcher, &log);
        let scene = Self { folder, key, fetcher, policy, log, judge };
        scene.apply(1, "enforce", true).await;
        scene
    }

    /// Puts a policy in force that wants one signature of the scene's key, or of a key that nobody has.
    async fn apply(&self, version: u64, mode: &str, our_key: bool) {
        let rule =
            "[[rules]]\nname = \"r\"\nimages = [\"r.example/**\"]\nrequire = [{ signatures = 1, of = [\"ci\"] }]\n";
        self.apply_rules(version, mode, our_key, rule).await;
    }

    /// The same with other rules.
    async fn apply_rules(&self, version: u64, mode: &str, our_key: bool, rules: &str) {
        let spki = if our_key {
            spki(&self.key)
        } else {
            spki(&EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap())
        };
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", BASE64_STANDARD.encode(spki));
        let text = format!("version = {version}\nmode = \"{mode}\"\n[keys.ci]\npublic = \"\"\"\n{pem}\"\"\"\n{rules}");
        std::fs::write(self.folder.path().join("policy.toml"), text).unwrap();
        let keys = KeyWorker::start(self.folder.path().join("key.sock"), 0).unwrap();
        self.policy.reload(&keys, now()).await.unwrap();
    }

    /// A cosign bundle over the image's manifest, by the scene's key.
    fn signature(&self, image: &Image) -> Artifact {
        let to_sign = signing::cosign_bundle::pae_to_sign(&image.manifest.descriptor(), &BTreeMap::new());
        let signature = self.key.sign(&SystemRandom::new(), &to_sign.pae).unwrap();
        let bundle = signing::cosign_bundle::assemble(&to_sign, signature.as_ref(), &spki(&self.key));
        artifact(image, bundle)
    }

    fn restarted(&self) -> Arc<Judge> {
        judge(self.folder.path(), &self.policy, &self.fetcher, &self.log)
    }

    fn plays(&self, fetcher: Fetcher) {
        *self.fetcher.does.lock().unwrap() = fetcher;
    }

    fn asked(&self) -> usize {
        self.fetcher.asked.load(Ordering::SeqCst)
    }

    fn last_record(&self) -> Record {
        let size = self.log.head().size;
        Record::parse(self.log.read(size - 1, 1).unwrap().first().unwrap()).unwrap()
    }
}

fn judge(folder: &Path, policy: &Arc<ActivePolicy>, fetcher: &Arc<Played>, log: &Arc<Log>) -> Arc<Judge> {
    let evidence = EvidenceStore::open(&folder.join("evidence"), 1 << 20).unwrap();
    let fetcher = Arc::clone(fetcher);
    let collector: Arc<dyn Collect> = fetcher;
    Judge::new(Arc::clone(policy), Arc::new(evidence), collector, Arc::clone(log), WAITS, Stages::REAL)
}

struct Image {
    manifest: Document,
    config: Document,
    chain: Digest,
}

impl Image {
    fn new(name: &str) -> Self {
        Self::on(name, name)
    }

    /// An image of one layer, which others may have too.
    fn on(name: &str, layer: &str) -> Self {
        let diff_id = Digest::sha256(layer.as_bytes());
        let config = format!(
            r#"{{"architecture":"amd64","os":"linux","author":"{name}","rootfs":{{"type":"layers","diff_ids":["{diff_id}"]}}}}"#
        );
        let config = document(MediaType::OCI_CONFIG, config.into_bytes());
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","config":{{"mediaType":"{}","digest":"{}","size":{}}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"{diff_id}","size":9}}]}}"#,
            MediaType::OCI_MANIFEST,
            MediaType::OCI_CONFIG,
            config.digest(),
            config.bytes().len()
        );
        Self { manifest: document(MediaType::OCI_MANIFEST, manifest.into_bytes()), config, chain: diff_id }
    }

    fn documents(&self) -> Vec<Document> {
        vec![self.manifest.clone(), self.config.clone()]
    }

    fn request(&self) -> AdmissionRequest {
        let name = CandidateName { reference: "r.example/app:1".parse().unwrap(), source: NameSource::ImageRecord };
        let claim = ImageClaim {
            manifest: *self.manifest.digest(),
            config: *self.config.digest(),
            indexes: vec![],
            names: vec![name],
        };
        let documents: Documents =
            [&self.manifest, &self.config].into_iter().map(|document| (*document.digest(), document.clone())).collect();
        let (chain, purpose) = (self.chain, Purpose::Extraction);
        let subject = Subject::Chain { chain, purpose, images: vec![claim], alike: vec![] };
        AdmissionRequest::new(
            Gate::Unpack,
            "default".parse().unwrap(),
            "linux/amd64".parse().unwrap(),
            subject,
            documents,
        )
        .unwrap()
    }
}

fn document(media_type: &str, bytes: Vec<u8>) -> Document {
    Document::new(MediaType::new(media_type).unwrap(), bytes).unwrap()
}

/// The signature artifact that holds `bundle`, as cosign 3 lays it out.
fn artifact(image: &Image, bundle: Vec<u8>) -> Artifact {
    let bundle = document(signing::cosign_bundle::MEDIA_TYPE, bundle);
    let descriptor = |document: &Document| {
        format!(
            r#"{{"mediaType":"{}","digest":"{}","size":{}}}"#,
            document.media_type(),
            document.digest(),
            document.bytes().len()
        )
    };
    let empty = document("application/vnd.oci.empty.v1+json", b"{}".to_vec());
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","artifactType":"{}","config":{},"layers":[{}],"subject":{}}}"#,
        MediaType::OCI_MANIFEST,
        signing::cosign_bundle::MEDIA_TYPE,
        descriptor(&empty),
        descriptor(&bundle),
        descriptor(&image.manifest)
    );
    Artifact {
        subject: *image.manifest.digest(),
        found_by: FoundBy::ReferrersTag,
        manifest: document(MediaType::OCI_MANIFEST, manifest.into_bytes()),
        blobs: vec![bundle],
    }
}

fn spki(key: &EcdsaKeyPair) -> Vec<u8> {
    // RFC 5480 §2.1.1: id-ecPublicKey over prime256v1, then the uncompressed point.
    let head = [
        0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
        0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
    ];
    [head.as_slice(), key.public_key().as_ref()].concat()
}

fn code(verdict: &Verdict) -> Option<DenyCode> {
    match verdict.outcome() {
        Outcome::Allow { .. } => None,
        Outcome::Deny { first, .. } => Some(first.code),
    }
}

#[tokio::test]
async fn a_signed_image_is_admitted_and_on_record_and_its_changed_twin_is_not() {
    let scene = Scene::new(Fetcher::Brings(vec![])).await;
    let image = Image::new("a");
    let signature = scene.signature(&image);
    let mut bundle = signature.blobs.first().unwrap().bytes().to_vec();
    scene.plays(Fetcher::Brings(vec![signature]));
    let verdict = scene.judge.admit(image.request(), None).await;
    assert_eq!(code(&verdict), None);
    let Record::Decision(record) = scene.last_record() else { panic!("not a decision") };
    assert_eq!((record.outcome, record.rule.as_deref()), (RecordedOutcome::Allow, Some("r")));

    let other = Image::new("b");
    let at = bundle.windows(6).position(|text| text == b"\"sig\":").unwrap() + 20;
    let byte = bundle.get_mut(at).unwrap();
    *byte = if *byte == b'A' { b'B' } else { b'A' };
    scene.plays(Fetcher::Brings(vec![artifact(&image, bundle), artifact(&other, b"{}".to_vec())]));
    let judge = scene.restarted();
    std::fs::remove_dir_all(scene.folder.path().join("evidence/subjects")).unwrap();
    std::fs::create_dir(scene.folder.path().join("evidence/subjects")).unwrap();
    assert_eq!(code(&judge.admit(image.request(), None).await), Some(DenyCode::NotSatisfied));
}

#[tokio::test]
async fn a_slow_collection_is_refused_as_pending_and_admits_once_it_is_done() {
    let scene = Scene::new(Fetcher::Brings(vec![])).await;
    let image = Image::new("a");
    scene.plays(Fetcher::BringsAfter(Duration::from_millis(900), vec![scene.signature(&image)]));
    let started = Instant::now();
    let left = Some(Duration::from_millis(350));
    assert_eq!(code(&scene.judge.admit(image.request(), left).await), Some(DenyCode::EvidencePending));
    assert!(started.elapsed() < Duration::from_millis(350), "answered after the caller went");
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(code(&scene.judge.admit(image.request(), None).await), None);
    assert_eq!(scene.asked(), 1);
}

#[tokio::test]
async fn parallel_requests_for_one_image_are_judged_once() {
    let scene = Scene::new(Fetcher::Brings(vec![])).await;
    let image = Image::new("a");
    scene.plays(Fetcher::BringsAfter(Duration::from_millis(100), vec![scene.signature(&image)]));
    let asking: Vec<_> = (0..16)
        .map(|_| {
            let (judge, request) = (Arc::clone(&scene.judge), image.request());
            tokio::spawn(async move { judge.admit(request, None).await })
        })
        .collect();
    for asked in asking {
        assert_eq!(code(&asked.await.unwrap()), None);
    }
    assert_eq!(scene.asked(), 1);
}

#[tokio::test]
async fn kept_evidence_admits_after_a_restart_without_a_registry_and_not_under_another_policy() {
    let scene = Scene::new(Fetcher::Brings(vec![])).await;
    let image = Image::new("a");
    scene.plays(Fetcher::Brings(vec![scene.signature(&image)]));
    assert_eq!(code(&scene.judge.admit(image.request(), None).await), None);
    scene.plays(Fetcher::Fails(DenyCode::EvidenceUnavailable));
    // Evidence is kept behind the gate's back.
    let subject = scene.folder.path().join("evidence/subjects").join(format!("{}.json", image.manifest.digest().hex()));
    while !subject.exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let judge = scene.restarted();
    assert_eq!(code(&judge.admit(image.request(), None).await), None);
    assert_eq!(scene.asked(), 1);
    scene.apply(2, "enforce", false).await;
    assert_eq!(code(&judge.admit(image.request(), None).await), Some(DenyCode::EvidenceUnavailable));
}

#[tokio::test]
async fn a_refusal_is_not_remembered_and_a_changed_policy_forgets_an_admission() {
    let scene = Scene::new(Fetcher::Brings(vec![])).await;
    let image = Image::new("a");
    assert_eq!(code(&scene.judge.admit(image.request(), None).await), Some(DenyCode::NoSignature));
    scene.plays(Fetcher::Brings(vec![scene.signature(&image)]));
    assert_eq!(code(&scene.judge.admit(image.request(), None).await), None);
    scene.apply(2, "enforce", false).await;
    assert_eq!(code(&scene.judge.admit(image.request(), None).await), Some(DenyCode::NotSatisfied));
}

#[tokio::test]
async fn a_tag_that_moved_to_an_unsigned_image_is_not_answered_from_memory() {
    let scene = Scene::new(Fetcher::Brings(vec![])).await;
    let (signed, unsigned) = (Image::new("a"), Image::new("b"));
    let ask = || {
        let name = CandidateName { reference: "r.example/app:1".parse().unwrap(), source: NameSource::Requested };
        let (namespace, platform) = ("default".parse().unwrap(), "linux/amd64".parse().unwrap());
        let subject = Subject::Image { name, top: None };
        AdmissionRequest::new(Gate::Ask, namespace, platform, subject, Documents::new()).unwrap()
    };
    scene.plays(Fetcher::Resolves(signed.documents(), vec![scene.signature(&signed)]));
    assert_eq!(code(&scene.judge.admit(ask(), None).await), None);
    scene.plays(Fetcher::Resolves(unsigned.documents(), vec![]));
    assert_eq!(code(&scene.judge.admit(ask(), None).await), Some(DenyCode::NoSignature));
}

#[tokio::test]
async fn what_the_registry_refuses_is_the_reason_and_never_an_admission() {
    let image = Image::new("a");
    for wrong in [DenyCode::RegistryAuth, DenyCode::EvidenceUnavailable, DenyCode::Limit] {
        let scene = Scene::new(Fetcher::Fails(wrong)).await;
        assert_eq!(code(&scene.judge.admit(image.request(), None).await), Some(wrong));
    }
}

#[tokio::test]
async fn a_chain_that_its_documents_do_not_contain_is_refused() {
    let scene = Scene::new(Fetcher::Brings(vec![])).await;
    let (image, other) = (Image::new("a"), Image::new("b"));
    scene.plays(Fetcher::Brings(vec![scene.signature(&image)]));
    let swapped = Image { manifest: image.manifest.clone(), config: image.config.clone(), chain: other.chain };
    assert_eq!(code(&scene.judge.admit(swapped.request(), None).await), Some(DenyCode::Malformed));
    let foreign = Image { manifest: image.manifest.clone(), config: other.config, chain: other.chain };
    assert_eq!(code(&scene.judge.admit(foreign.request(), None).await), Some(DenyCode::Malformed));
}

#[tokio::test]
async fn without_a_policy_everything_is_refused() {
    let scene = Scene::new(Fetcher::Brings(vec![])).await;
    let empty = Arc::new(ActivePolicy::new(scene.folder.path().join("none.toml"), scene.folder.path()));
    let judge = judge(scene.folder.path(), &empty, &scene.fetcher, &scene.log);
    assert_eq!(code(&judge.admit(Image::new("a").request(), None).await), Some(DenyCode::NoPolicy));
}

#[tokio::test]
async fn a_full_disk_under_the_log_admits_nothing_until_there_is_room_again() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    std::fs::create_dir(&log).unwrap();
    let mount = |words: &[&str]| {
        assert!(std::process::Command::new(words[0]).args(&words[1..]).arg(&log).status().unwrap().success());
    };
    mount(&["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs"]);
    let scene = Scene::with_log(folder, &log, Fetcher::Brings(vec![])).await;
    let remembered = Image::new("remembered");
    scene.plays(Fetcher::Brings(vec![scene.signature(&remembered)]));
    assert_eq!(code(&scene.judge.admit(remembered.request(), None).await), None);
    let filler = log.join("filler");
    std::fs::write(&filler, vec![0; 60 << 10]).unwrap();
    while std::fs::OpenOptions::new()
        .append(true)
        .open(&filler)
        .and_then(|mut file| std::io::Write::write_all(&mut file, &[0; 1024]))
        .is_ok()
    {}
    let mut refused = false;
    for n in 0..64 {
        let image = Image::new(&n.to_string());
        scene.plays(Fetcher::Brings(vec![scene.signature(&image)]));
        let verdict = scene.judge.admit(image.request(), None).await;
        refused |= code(&verdict) == Some(DenyCode::LogUnavailable);
        assert!(!refused || code(&verdict) == Some(DenyCode::LogUnavailable), "{verdict:?}");
    }
    assert!(refused, "the log was never full");
    // An answer from memory has a shorter record, for which there may be room a few times.
    let mut answers = 0;
    while code(&scene.judge.admit(remembered.request(), None).await).is_none() {
        answers += 1;
        assert!(answers < 64, "answers from memory go on without a record");
    }
    assert_eq!(code(&scene.judge.admit(remembered.request(), None).await), Some(DenyCode::LogUnavailable));
    std::fs::remove_file(&filler).unwrap();
    let image = Image::new("room");
    scene.plays(Fetcher::Brings(vec![scene.signature(&image)]));
    let again = code(&scene.judge.admit(image.request(), None).await);
    let Scene { judge, log: open, policy, folder, .. } = scene;
    drop((judge, open, policy));
    mount(&["umount", "-l"]);
    drop(folder);
    assert_eq!(again, None);
}
