//! The pull gate as containerd runs it, beside an agent that does as it is told: exit code and words for all that an agent can do.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Command, Output, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use assay_proto::assay::{
    AdmitRequest, AdmitResponse, Decision, GateKind, Mode, Reason, ReportRequest, ReportResponse,
    admit_request::Subject,
    gate_server::{Gate, GateServer},
    refusals_server::{Refusals, RefusalsServer},
};
use tempfile::TempDir;
use tonic::{Request, Response, Status};

const NAME: &str = "127.0.0.1:5000/prod/app:1";
const DIGEST: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000001";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

#[derive(Clone)]
enum Behaviour {
    Answer(AdmitResponse),
    Hang,
}

/// What the agent was asked and told.
#[derive(Clone, Default)]
struct Heard {
    questions: Arc<Mutex<Vec<AdmitRequest>>>,
    reports: Arc<Mutex<Vec<ReportRequest>>>,
}

struct Agent {
    behaviour: Behaviour,
    heard: Heard,
}

#[tonic::async_trait]
impl Gate for Agent {
    async fn admit(&self, request: Request<AdmitRequest>) -> Result<Response<AdmitResponse>, Status> {
        self.heard.questions.lock().unwrap().push(request.into_inner());
        match &self.behaviour {
            Behaviour::Answer(answer) => Ok(Response::new(answer.clone())),
            Behaviour::Hang => std::future::pending().await,
        }
    }
}

struct Listener(Heard);

#[tonic::async_trait]
impl Refusals for Listener {
    async fn report(&self, request: Request<ReportRequest>) -> Result<Response<ReportResponse>, Status> {
        self.0.reports.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ReportResponse::default()))
    }
}

/// A node of its own root, with the program where containerd would find it.
struct Node {
    root: TempDir,
    program: PathBuf,
    heard: Heard,
}

impl Node {
    fn without_agent() -> Self {
        let root = tempfile::tempdir().unwrap();
        for folder in ["usr/lib/assay/image-verifier.d", "run/assay", "etc/assay"] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        let program = root.path().join("usr/lib/assay/image-verifier.d/assay-image-verifier");
        fs::copy(env!("CARGO_BIN_EXE_assay-image-verifier"), &program).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let node = Self { root, program, heard: Heard::default() };
        node.configure("verdict-timeout-ms = 800\n");
        node
    }

    fn with(behaviour: Behaviour) -> Self {
        let node = Self::without_agent();
        let listener = assay_proto::bind(&node.root.path().join("run/assay/gate.sock"), 0o600).unwrap();
        let gate = GateServer::new(Agent { behaviour, heard: node.heard.clone() });
        let refusals = RefusalsServer::new(Listener(node.heard.clone()));
        let router = tonic::transport::Server::builder().add_service(gate).add_service(refusals);
        tokio::spawn(router.serve_with_incoming(assay_proto::accept(listener, |_| true)));
        node
    }

    fn configure(&self, text: &str) {
        fs::write(self.root.path().join("etc/assay/image-verifier.toml"), text).unwrap();
    }

    /// Runs the program as containerd does.
    async fn call(&self) -> Output {
        self.call_with(&["-name", NAME, "-digest", DIGEST], &descriptor(INDEX)).await
    }

    async fn call_with(&self, words: &[&str], stdin: &str) -> Output {
        let mut command = Command::new(&self.program);
        command.args(words).args(["-stdin-media-type", "application/vnd.oci.descriptor.v1+json"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let stdin = stdin.to_owned();
        let run = move || {
            let mut child = command.spawn().unwrap();
            // It may be gone before it has read anything.
            let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
            child.wait_with_output().unwrap()
        };
        tokio::task::spawn_blocking(run).await.unwrap()
    }
}

fn descriptor(kind: &str) -> String {
    format!(r#"{{"mediaType":"{kind}","digest":"{DIGEST}","size":500}}"#)
}

fn allow() -> AdmitResponse {
    AdmitResponse {
        decision: Decision::Allow.into(),
        mode: Mode::Enforce.into(),
        rule: "production".into(),
        record: Some(7),
        ..AdmitResponse::default()
    }
}

fn because(code: &str) -> Vec<Reason> {
    vec![Reason { code: code.into(), detail: "seen".into() }]
}

/// Fails unless the image may not be fetched and standard output says why in one line.
fn refused(output: &Output, code: &str) {
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.starts_with(&format!("assay: {code}: ")) && said.lines().count() == 1, "{said}");
    assert!(output.stdout.len() <= 32 << 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admitted_image_may_be_fetched_and_the_agent_was_asked_for_its_name_as_given() {
    let node = Node::with(Behaviour::Answer(allow()));
    let output = node.call().await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said, format!("assay: {NAME} (requested) is admitted [rule \"production\"; record 7]\n"));
    let questions = node.heard.questions.lock().unwrap().clone();
    let [question] = questions.as_slice() else { panic!("{questions:?}") };
    assert_eq!((question.gate(), question.namespace.as_str()), (GateKind::Pull, "-"));
    let Some(Subject::Image(image)) = &question.subject else { panic!("{question:?}") };
    assert_eq!((image.name.as_ref().unwrap().reference.as_str(), image.top.as_str()), (NAME, DIGEST));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_image_may_not_be_fetched_and_the_reason_is_said() {
    let answer = AdmitResponse { decision: Decision::Deny.into(), reasons: because("NO_SIGNATURE"), ..allow() };
    let output = Node::with(Behaviour::Answer(answer)).call().await;
    refused(&output, "NO_SIGNATURE");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("sign it") && said.contains("[rule \"production\"; record 7]"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_only_observed_may_be_fetched_with_a_warning() {
    let answer = AdmitResponse { mode: Mode::Observe.into(), reasons: because("NO_SIGNATURE"), ..allow() };
    let output = Node::with(Behaviour::Answer(answer)).call().await;
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stdout).contains("only because the mode is observe: NO_SIGNATURE"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_empty_or_not_recorded_is_a_refusal() {
    for answer in [AdmitResponse::default(), AdmitResponse { record: None, ..allow() }] {
        refused(&Node::with(Behaviour::Answer(answer)).call().await, "INTERNAL");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_away_or_hangs_is_a_refusal_in_time() {
    refused(&Node::without_agent().call().await, "AGENT_UNAVAILABLE");
    let node = Node::with(Behaviour::Hang);
    let started = Instant::now();
    let output = node.call().await;
    refused(&output, "AGENT_UNAVAILABLE");
    assert!(String::from_utf8_lossy(&output.stdout).contains("no answer within 800 ms"));
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn standard_input_that_never_ends_is_a_refusal_in_time() {
    let node = Node::with(Behaviour::Answer(allow()));
    let mut command = Command::new(&node.program);
    command.args(["-name", NAME, "-digest", DIGEST, "-stdin-media-type", "application/vnd.oci.descriptor.v1+json"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let open = child.stdin.take();
    let started = Instant::now();
    let output = tokio::task::spawn_blocking(|| child.wait_with_output().unwrap()).await.unwrap();
    refused(&output, "EVIDENCE_PENDING");
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    drop(open);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admission_that_cannot_be_said_is_none() {
    let node = Node::with(Behaviour::Answer(allow()));
    let mut command = Command::new(&node.program);
    command.args(["-name", NAME, "-digest", DIGEST, "-stdin-media-type", "application/vnd.oci.descriptor.v1+json"]);
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut child = command.stdin(Stdio::piped()).stdout(full).spawn().unwrap();
    child.stdin.take().unwrap().write_all(descriptor(INDEX).as_bytes()).unwrap();
    let status = tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap();
    assert_eq!(status.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_gate_refuses_by_itself_is_told_to_the_agent_and_not_asked() {
    let node = Node::with(Behaviour::Answer(allow()));
    let config = descriptor("application/vnd.oci.image.config.v1+json");
    refused(&node.call_with(&["-name", NAME, "-digest", DIGEST], &config).await, "MALFORMED");
    refused(&node.call_with(&["-name", NAME, "-digest", DIGEST, "-platform", "x"], &config).await, "INTERNAL");
    assert!(node.heard.questions.lock().unwrap().is_empty());
    let reports = node.heard.reports.lock().unwrap().clone();
    let told: Vec<_> = reports
        .iter()
        .map(|report| (report.gate(), report.about.as_str(), report.reason.as_ref().unwrap().code.as_str()))
        .collect();
    assert_eq!(told, [(GateKind::Pull, NAME, "MALFORMED"), (GateKind::Pull, NAME, "INTERNAL")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_configuration_is_a_refusal_that_names_it() {
    let node = Node::with(Behaviour::Answer(allow()));
    node.configure("verdict-timeout = 800\n");
    let output = node.call().await;
    refused(&output, "INTERNAL");
    assert!(String::from_utf8_lossy(&output.stdout).contains("etc/assay/image-verifier.toml"));
}
