//! The snapshotter under real containerd daemons, with an agent that says yes or no to everything.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use assay_admission::Digest;
use assay_proto::assay::{
    AdmitRequest, AdmitResponse, Decision, Mode, Reason,
    gate_server::{Gate, GateServer},
};
use assay_shim::{Config, serve_on};
use tempfile::TempDir;
use tonic::{Request, Response, Status, transport::Server};

#[derive(Clone, Default)]
struct Agent {
    admits: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    images: Arc<AtomicUsize>,
}

#[tonic::async_trait]
impl Gate for Agent {
    async fn admit(&self, request: Request<AdmitRequest>) -> Result<Response<AdmitResponse>, Status> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if let Some(assay_proto::assay::admit_request::Subject::Chain(chain)) = request.into_inner().subject {
            self.images.fetch_max(chain.images.len(), Ordering::SeqCst);
        }
        let (decision, reasons) = match self.admits.load(Ordering::SeqCst) {
            true => (Decision::Allow, Vec::new()),
            false => (Decision::Deny, vec![Reason { code: "NO_SIGNATURE".into(), detail: String::new() }]),
        };
        Ok(Response::new(AdmitResponse {
            decision: decision.into(),
            mode: Mode::Enforce.into(),
            reasons,
            record: Some(1),
            ..AdmitResponse::default()
        }))
    }
}

struct Host {
    folder: TempDir,
    binaries: PathBuf,
    daemon: Child,
    agent: Agent,
    _runtime: tokio::runtime::Runtime,
}

impl Host {
    /// Starts a containerd of that folder of the tool cache, with the snapshotter as its only one.
    fn start(version: &str) -> Self {
        let tools =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cache/tools").canonicalize().expect("run ./setup.sh");
        let binaries = tools.join(version);
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let text = |name: &str| path(name).to_str().unwrap().to_owned();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let agent = Agent::default();
        let served = agent.clone();
        let config = Config {
            containerd: path("c.sock"),
            gate: path("gate.sock"),
            agent_uid: None,
            socket: path("s.sock"),
            snapshots: path("s"),
            verdict_timeout: Duration::from_secs(3),
        };
        runtime.block_on(async {
            let listener = assay_proto::bind(&config.gate, 0o600).unwrap();
            let server = Server::builder().add_service(GateServer::new(served));
            tokio::spawn(server.serve_with_incoming(assay_proto::accept(listener, |_| true)));
            let listener = assay_proto::bind(&config.socket, 0o600).unwrap();
            tokio::spawn(async move { serve_on(listener, &config, || (), std::future::pending()).await });
        });
        let toml = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = {:?}\n\
             [proxy_plugins.assay]\ntype = \"snapshot\"\naddress = {:?}\n\
             [[plugins.\"io.containerd.transfer.v1.local\".unpack_config]]\nplatform = \"linux/amd64\"\n\
             snapshotter = \"assay\"\ndiffer = \"walking\"\n",
            text("root"),
            text("state"),
            text("c.sock"),
            text("s.sock")
        );
        fs::write(path("config.toml"), toml).unwrap();
        let search =
            format!("{}:{}:{}", binaries.display(), tools.join("bin").display(), std::env::var("PATH").unwrap());
        let daemon = Command::new(binaries.join("containerd"))
            .arg("--config")
            .arg(path("config.toml"))
            .env("PATH", search)
            .stdout(Stdio::null())
            .stderr(fs::File::create(path("containerd.log")).unwrap())
            .spawn()
            .unwrap();
        let host = Self { folder, binaries, daemon, agent, _runtime: runtime };
        let start = Instant::now();
        while !host.ctr(&["version"]).status.success() {
            assert!(
                start.elapsed() < Duration::from_secs(30),
                "{}",
                fs::read_to_string(host.path("containerd.log")).unwrap()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
        host
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn ctr(&self, arguments: &[&str]) -> Output {
        Command::new(self.binaries.join("ctr")).arg("-a").arg(self.path("c.sock")).args(arguments).output().unwrap()
    }

    fn must(&self, arguments: &[&str]) -> String {
        let output = self.ctr(arguments);
        assert!(output.status.success(), "ctr {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The folders of snapshots that exist; removed ones are deleted in the background.
    fn snapshots(&self) -> usize {
        let names = fs::read_dir(self.path("s/snapshots")).unwrap();
        // What is being deleted and what was made ahead have other names.
        names.filter(|name| name.as_ref().unwrap().file_name().to_string_lossy().parse::<u64>().is_ok()).count()
    }

    /// An OCI archive with busybox and `layers - 1` layers of a file each.
    fn archive(&self, name: &str, layers: usize) -> String {
        let work = self.path(name);
        let blobs = work.join("oci/blobs/sha256");
        fs::create_dir_all(&blobs).unwrap();
        let put = |bytes: &[u8]| {
            let digest = Digest::sha256(bytes);
            fs::write(blobs.join(digest.hex()), bytes).unwrap();
            (digest, bytes.len())
        };
        let mut diff_ids = Vec::new();
        for n in 0..layers {
            let tree = work.join("tree");
            fs::create_dir_all(tree.join("bin")).unwrap();
            if n == 0 {
                let busybox = self.binaries.join("../bin/busybox");
                fs::copy(busybox, tree.join("bin/sh")).unwrap();
            } else {
                fs::write(tree.join(format!("layer-{n}")), name).unwrap();
            }
            let tar = Command::new("tar").arg("-C").arg(&tree).args(["-cf", "-", "."]).output().unwrap();
            diff_ids.push(put(&tar.stdout));
            fs::remove_dir_all(&tree).unwrap();
        }
        let list: Vec<String> = diff_ids.iter().map(|(digest, _)| format!("\"{digest}\"")).collect();
        let config = format!(
            "{{\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{{}},\"rootfs\":{{\"type\":\"layers\",\"diff_ids\":[{}]}}}}",
            list.join(",")
        );
        let (config, size) = put(config.as_bytes());
        let described: Vec<String> = diff_ids
            .iter()
            .map(|(digest, size)| {
                format!("{{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar\",\"digest\":\"{digest}\",\"size\":{size}}}")
            })
            .collect();
        let manifest = format!(
            "{{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"config\":{{\"mediaType\":\
             \"application/vnd.oci.image.config.v1+json\",\"digest\":\"{config}\",\"size\":{size}}},\"layers\":[{}]}}",
            described.join(",")
        );
        let (manifest, size) = put(manifest.as_bytes());
        let index = format!(
            "{{\"schemaVersion\":2,\"manifests\":[{{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"digest\":\
             \"{manifest}\",\"size\":{size},\"platform\":{{\"os\":\"linux\",\"architecture\":\"amd64\"}},\"annotations\":\
             {{\"io.containerd.image.name\":\"r.example/{name}:1\"}}}}]}}"
        );
        fs::write(work.join("oci/index.json"), index).unwrap();
        fs::write(work.join("oci/oci-layout"), "{\"imageLayoutVersion\":\"1.0.0\"}").unwrap();
        let archive = self.path(&format!("{name}.tar"));
        let packed = Command::new("tar").arg("-C").arg(work.join("oci")).arg("-cf").arg(&archive).arg(".").status();
        assert!(packed.unwrap().success());
        archive.to_str().unwrap().to_owned()
    }

    fn import(&self, archive: &str) -> Output {
        self.ctr(&["image", "import", "--snapshotter", "assay", archive])
    }

    fn run(&self, image: &str, id: &str, script: &str) -> Output {
        // runc keeps its containers by id for all daemons of a machine.
        let id = format!("{id}-{}", self.daemon.id());
        self.ctr(&["run", "--rm", "--snapshotter", "assay", image, &id, "/bin/sh", "-c", script])
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.daemon.id().to_string()).status();
        let _ = self.daemon.wait();
    }
}

fn the_whole_way(version: &str) {
    let host = Host::start(version);
    let archive = host.archive("app", 3);
    let refused = host.import(&archive);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned() + &String::from_utf8_lossy(&refused.stdout);
    assert!(said.contains("assay: NO_SIGNATURE: no signature was found for this image"), "{said}");
    assert_eq!(host.snapshots(), 0);

    host.agent.admits.store(true, Ordering::SeqCst);
    let imported = host.import(&archive);
    assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
    assert_eq!((host.snapshots(), host.agent.images.load(Ordering::SeqCst)), (3, 1));
    let ran = host.run("r.example/app:1", "web", "echo hello from");
    assert_eq!(String::from_utf8_lossy(&ran.stdout).trim(), "hello from", "{}", String::from_utf8_lossy(&ran.stderr));

    let deep = host.import(&host.archive("deep", 127));
    assert!(deep.status.success(), "{}", String::from_utf8_lossy(&deep.stderr));
    let ran = host.run("r.example/deep:1", "deep", "echo deep");
    assert_eq!(String::from_utf8_lossy(&ran.stdout).trim(), "deep", "{}", String::from_utf8_lossy(&ran.stderr));

    host.agent.admits.store(false, Ordering::SeqCst);
    let ran = host.run("r.example/app:1", "late", "echo late");
    assert!(
        String::from_utf8_lossy(&ran.stderr).contains("assay: NO_SIGNATURE"),
        "{}",
        String::from_utf8_lossy(&ran.stderr)
    );

    assert!(host.must(&["snapshots", "--snapshotter", "assay", "usage"]).lines().count() > 129);
    host.must(&["image", "rm", "--sync", "r.example/app:1", "r.example/deep:1"]);
    let start = Instant::now();
    while host.snapshots() > 0 {
        assert!(start.elapsed() < Duration::from_secs(10), "{} snapshots are left", host.snapshots());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn containerd_2_unpacks_runs_and_collects_what_is_admitted_and_nothing_else() {
    the_whole_way("containerd-2");
}

#[test]
fn containerd_1_6_unpacks_runs_and_collects_what_is_admitted_and_nothing_else() {
    the_whole_way("containerd-1.6");
}
