//! The program itself: who it serves, what it says, and that a broken configuration, a signal or a lost caller is no end.

use std::{
    os::fd::OwnedFd,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use assay_proto::assay::{
    CollectRequest, FetchStatusRequest, ProblemKind, RepositoryFileRequest, RevocationRequest, collect_response::Item,
    fetch_client::FetchClient,
};
use command_fds::{CommandFdExt, FdMapping};
use tempfile::TempDir;
use tokio_stream::StreamExt;
use tonic::{Code, transport::Channel};

use crate::{
    registry::{Answer, Registry},
    store::{BUNDLE, Store},
};

struct Fetcher {
    root: TempDir,
    child: Child,
}

impl Drop for Fetcher {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn own_uid() -> u32 {
    nix::unistd::geteuid().as_raw()
}

impl Fetcher {
    fn start(config: &str, inherited: Option<OwnedFd>) -> Self {
        let root = tempfile::tempdir().unwrap();
        for folder in ["etc/assay", "run/assay"] {
            std::fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        std::fs::write(root.path().join("etc/assay/fetch.toml"), config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_assay-fetch"));
        command.arg("--root").arg(root.path()).env_remove("JOURNAL_STREAM").env_remove("NOTIFY_SOCKET");
        let log = std::fs::File::create(root.path().join("log")).unwrap();
        command.stderr(log).stdout(Stdio::null());
        if let Some(parent_fd) = inherited {
            command.env("LISTEN_FDS", "1").env_remove("LISTEN_PID");
            command.fd_mappings(vec![FdMapping { parent_fd, child_fd: 3 }]).unwrap();
        }
        let child = command.spawn().unwrap();
        Self { root, child }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.root.path().join("log")).unwrap()
    }

    async fn logs(&self, text: &str) {
        for _ in 0..200 {
            if self.log().contains(text) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("{text:?} is not in the log:\n{}", self.log());
    }

    async fn connect(&self) -> FetchClient<Channel> {
        self.logs("ready").await;
        connect(&self.root.path().join("run/assay/fetch.sock")).await
    }

    fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(self.child.id().try_into().unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    }
}

async fn connect(path: &Path) -> FetchClient<Channel> {
    let channel = assay_proto::connect(path, &[own_uid()]).await.unwrap();
    FetchClient::new(channel).max_decoding_message_size(assay_proto::MAX_MESSAGE_BYTES)
}

fn request(host: &str) -> CollectRequest {
    CollectRequest {
        reference: format!("{host}/app:1"),
        want_image: true,
        platform: "linux/amd64".into(),
        subjects: vec![],
        deadline_ms: 5_000,
        want_attestations: false,
    }
}

/// The number of documents and the problems' kinds; a stream without summary fails.
async fn collect(client: &mut FetchClient<Channel>, request: CollectRequest) -> (usize, Vec<ProblemKind>) {
    let mut stream = client.collect(request).await.unwrap().into_inner();
    let mut documents = 0;
    let mut summary = None;
    while let Some(message) = stream.next().await {
        assert!(summary.is_none(), "something came after the summary");
        match message.unwrap().item.unwrap() {
            Item::Collected(_) => documents += 1,
            Item::Summary(last) => summary = Some(last),
        }
    }
    (documents, summary.unwrap().problems.iter().map(|problem| problem.kind()).collect())
}

fn registry() -> Registry {
    let mut store = Store::default();
    let (index, _) = store.image();
    let signature = store.signature(BUNDLE, "bundle", Some(BUNDLE));
    store.list_by_api(&index, &[signature]);
    Registry::start(move |seen, _| store.answer(seen))
}

fn config(uid: u32, host: &str) -> String {
    format!("agent-uid = {uid}\nplain-http = ['{host}']\n")
}

#[tokio::test]
async fn the_agent_is_served_and_the_stream_ends_with_a_summary() {
    let registry = registry();
    let fetcher = Fetcher::start(&config(own_uid(), &registry.host), None);
    let mut client = fetcher.connect().await;
    assert_eq!(collect(&mut client, request(&registry.host)).await, (5, vec![]));
    let mut missing = request(&registry.host);
    missing.reference.push('2');
    assert_eq!(collect(&mut client, missing).await, (0, vec![ProblemKind::NotFound]));
    let status = client.status(FetchStatusRequest {}).await.unwrap().into_inner();
    assert_eq!((status.collections, status.failures), (2, 1));
    assert!(status.last_problem.contains("/app:12 was not found"), "{}", status.last_problem);
    // An HTTPS registry that is not configured to be local: the system's CAs are read, and nobody is asked.
    assert_eq!(collect(&mut client, request("127.0.0.1:1")).await, (0, vec![ProblemKind::Forbidden]));
    // At rest after work, CAs included; the limit of the released program is the design's.
    let memory = std::fs::read_to_string(format!("/proc/{}/status", fetcher.child.id())).unwrap();
    let line = memory.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    let kilobytes: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    println!("resident: {kilobytes} KiB");
    let limit = if cfg!(debug_assertions) { 40 << 10 } else { 12 << 10 };
    assert!(kilobytes < limit, "{line}");
}

#[tokio::test]
async fn requests_that_are_malformed_are_refused_before_any_network() {
    let registry = registry();
    let fetcher = Fetcher::start(&config(own_uid(), &registry.host), None);
    let mut client = fetcher.connect().await;
    let changes: [fn(&mut CollectRequest); 6] = [
        |request| request.reference.clear(),
        |request| request.reference.push_str("@sha256:../x"),
        |request| request.platform.clear(),
        |request| request.subjects.push("sha256:00".into()),
        |request| request.subjects = vec![assay_admission::Digest::sha256(b"").to_string(); 9],
        |request| request.deadline_ms = 0,
    ];
    for change in changes {
        let mut request = request(&registry.host);
        change(&mut request);
        assert_eq!(client.collect(request).await.unwrap_err().code(), Code::InvalidArgument);
    }
    assert_eq!(registry.seen().len(), 0);
}

#[tokio::test]
async fn another_uid_is_not_served() {
    let fetcher = Fetcher::start(&config(own_uid() + 1, "r.example"), None);
    let mut client = fetcher.connect().await;
    assert!(client.status(FetchStatusRequest {}).await.is_err());
    fetcher.logs("refused a connection").await;
}

#[tokio::test]
async fn an_inherited_socket_is_used_without_a_listen_pid() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fetch.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let fetcher = Fetcher::start(&config(own_uid(), "r.example"), Some(listener.into()));
    fetcher.logs("ready").await;
    let mut client = connect(&path).await;
    assert_eq!(client.status(FetchStatusRequest {}).await.unwrap().into_inner().version, env!("CARGO_PKG_VERSION"));
    assert!(!fetcher.root.path().join("run/assay/fetch.sock").exists());
}

#[tokio::test]
async fn a_broken_configuration_keeps_the_last_good_one_and_says_where() {
    let registry = registry();
    let fetcher = Fetcher::start(&config(own_uid(), &registry.host), None);
    let mut client = fetcher.connect().await;
    let path = fetcher.root.path().join("etc/assay/fetch.toml");
    std::fs::write(&path, format!("{}plain = 1\n", config(own_uid(), "r.example"))).unwrap();
    fetcher.signal(nix::sys::signal::Signal::SIGHUP);
    fetcher.logs("line 3 column 1").await;
    assert_eq!(collect(&mut client, request(&registry.host)).await, (5, vec![]));
    std::fs::write(&path, config(own_uid(), "r.example")).unwrap();
    fetcher.signal(nix::sys::signal::Signal::SIGHUP);
    fetcher.logs("configuration read again").await;
    assert_eq!(collect(&mut client, request(&registry.host)).await, (0, vec![ProblemKind::Forbidden]));
}

#[tokio::test]
async fn it_stops_in_order_and_does_not_start_without_the_agents_uid() {
    let mut fetcher = Fetcher::start(&config(own_uid(), "r.example"), None);
    fetcher.connect().await;
    fetcher.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(fetcher.child.wait().unwrap().success());

    let mut fetcher = Fetcher::start("plain-http = []", None);
    assert!(!fetcher.child.wait().unwrap().success());
    assert!(fetcher.log().contains("agent-uid is missing"), "{}", fetcher.log());
}

#[tokio::test]
async fn a_caller_that_goes_away_frees_its_place() {
    // More callers than places, each gone at once, while the registry stalls.
    let registry = Registry::start(|_, _| Answer::stalled());
    let fetcher = Fetcher::start(&config(own_uid(), &registry.host), None);
    let mut client = fetcher.connect().await;
    for _ in 0..12 {
        let stream = client.collect(request(&registry.host)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(30)).await;
        drop(stream);
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let status = client.status(FetchStatusRequest {}).await.unwrap().into_inner();
    assert_eq!((status.collections, status.failures), (12, 0));
}

#[tokio::test]
async fn addresses_that_are_too_long_and_paths_that_leave_are_no_questions() {
    let fetcher = Fetcher::start(&format!("agent-uid = {}", own_uid()), None);
    let mut client = fetcher.connect().await;
    let url = |length: usize| format!("http://127.0.0.1/{}", "x".repeat(length - 17));
    let mut revocation = async |url: String, ocsp_request: Vec<u8>| {
        let asked = client.revocation(RevocationRequest { url, ocsp_request, deadline_ms: 1_000 }).await;
        asked.map(|answer| answer.into_inner().answer.is_some()).map_err(|status| status.code())
    };
    assert_eq!(revocation(url(2_048), vec![1]).await, Ok(true));
    assert_eq!(revocation(url(2_049), vec![1]).await, Err(Code::InvalidArgument));
    // The message itself is too long.
    assert_eq!(revocation(url(100), vec![0; 64 << 10]).await, Err(Code::OutOfRange));
    for (repository, path) in [("http://127.0.0.1", "../x"), ("http://127.0.0.1/?x", "x"), ("file:///", "x")] {
        let file = RepositoryFileRequest {
            repository: repository.into(),
            path: path.into(),
            most_bytes: 1,
            deadline_ms: 1_000,
        };
        assert_eq!(
            client.repository_file(file).await.unwrap_err().code(),
            Code::InvalidArgument,
            "{repository} {path}"
        );
    }
}
