//! A token in SoftHSM and a real `assay-keyd` over it, in a directory of their own, gone when dropped.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{Permissions, create_dir_all, read_to_string, set_permissions, write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use assay_hsm::{ClientError, GenerateRequest, KeyInfo, KeyKind, Scheme, SignRequest, WorkerClient};

pub(crate) const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
pub(crate) const PIN: &str = "pin-7Hq2-of-test";

/// A root directory as `--root` takes it, with a token "assay" and a configuration.
pub(crate) struct Node {
    pub(crate) directory: tempfile::TempDir,
    worker: Option<Child>,
}

impl Node {
    /// A node whose worker runs.
    pub(crate) fn started() -> Self {
        let mut node = Node::new();
        node.start();
        node
    }

    /// A node with a token, whose worker does not run yet.
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let node = Node { directory, worker: None };
        for part in ["etc/assay", "run/assay", "tokens"] {
            create_dir_all(node.path(part)).unwrap();
        }
        let conf = format!("directories.tokendir = {}\nlog.level = ERROR\n", node.path("tokens").display());
        write(node.path("softhsm2.conf"), conf).unwrap();
        node.init_token("assay");
        node.write_pin(format!("{PIN}\n").as_bytes(), 0o400);
        node.write_config(MODULE, "");
        node
    }

    pub(crate) fn path(&self, part: &str) -> PathBuf {
        self.directory.path().join(part)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path("run/assay/key.sock")
    }

    pub(crate) fn log(&self) -> String {
        read_to_string(self.path("log")).unwrap()
    }

    pub(crate) fn write_pin(&self, content: &[u8], mode: u32) {
        let path = self.path("etc/assay/pin");
        let _ = std::fs::remove_file(&path);
        write(&path, content).unwrap();
        set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    }

    /// `more` comes before the table of variables.
    pub(crate) fn write_config(&self, module: &str, more: &str) {
        let uid = nix::unistd::geteuid();
        let conf = self.path("softhsm2.conf");
        let text = format!(
            "module = {module:?}\ntoken = \"assay\"\nagent-uid = {uid}\npin-file = \"/etc/assay/pin\"\n{more}\n\
             [environment]\nSOFTHSM2_CONF = {conf:?}\n"
        );
        write(self.path("etc/assay/keyd.toml"), text).unwrap();
    }

    pub(crate) fn init_token(&self, label: &str) {
        let made = Command::new("softhsm2-util")
            .args(["--init-token", "--free", "--label", label, "--so-pin", "so-pin-of-test", "--pin", PIN])
            .env("SOFTHSM2_CONF", self.path("softhsm2.conf"))
            .stdout(Stdio::null())
            .status();
        assert!(made.unwrap().success());
    }

    /// Runs `pkcs11-tool` on the token, as the operator could.
    pub(crate) fn pkcs11_tool(&self, arguments: &[&str]) {
        let done = Command::new("pkcs11-tool")
            .args(["--module", MODULE, "--token-label", "assay", "--login", "--pin", PIN])
            .args(arguments)
            .env("SOFTHSM2_CONF", self.path("softhsm2.conf"))
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    /// Compiles SoftHSM's faulty double, owned and writable by its owner alone as a module has to be.
    pub(crate) fn compile_odd_module(&self) -> PathBuf {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/worker/odd_module.c");
        let module = self.path("odd_module.so");
        let mut compiler = Command::new("cc");
        compiler.args(["-std=gnu11", "-shared", "-fPIC", "-o"]).arg(&module).arg(source);
        assert!(compiler.status().unwrap().success());
        set_mode(&module, 0o755);
        module
    }

    /// The worker's command, not started.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_assay-keyd"));
        // Where a core dump would land.
        command.arg("--root").arg(self.directory.path()).current_dir(self.directory.path());
        for name in ["SOFTHSM2_CONF", "NOTIFY_SOCKET", "JOURNAL_STREAM", "LISTEN_FDS", "LISTEN_PID"] {
            command.env_remove(name);
        }
        command
    }

    /// Runs a worker that is expected to end by itself.
    pub(crate) fn run_to_end(&mut self) -> Output {
        let child = self.command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // Kept, so that one that does not end is killed with the node.
        wait_for_end(self.worker.insert(child));
        self.worker.take().unwrap().wait_with_output().unwrap()
    }

    pub(crate) fn start(&mut self) {
        self.start_as(nix::unistd::geteuid().as_raw());
    }

    /// Starts the worker under a uid, which gets all of the node's files; other uids than one's own need root.
    pub(crate) fn start_as(&mut self, uid: u32) {
        let mut command = self.command();
        if uid != nix::unistd::geteuid().as_raw() {
            let all = Command::new("chown").arg("-R").arg(uid.to_string()).arg(self.directory.path()).status();
            assert!(all.unwrap().success());
            command.uid(uid).gid(uid);
        }
        let log = std::fs::File::options().create(true).append(true).open(self.path("log")).unwrap();
        self.worker = Some(command.stderr(log).spawn().unwrap());
        eventually("the worker serves", || UnixStream::connect(self.socket()).is_ok());
    }

    pub(crate) fn pid(&self) -> u32 {
        self.worker.as_ref().unwrap().id()
    }

    pub(crate) fn worker(&mut self) -> &mut Child {
        self.worker.as_mut().unwrap()
    }

    /// Sends a signal to the worker.
    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(self.pid().try_into().unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    pub(crate) fn client(&self) -> WorkerClient {
        let own = nix::unistd::geteuid().as_raw();
        WorkerClient::connect(&self.socket(), &[own], Duration::from_secs(60)).unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut worker) = self.worker.take() {
            let _ = worker.kill();
            let _ = worker.wait();
        }
        if std::thread::panicking() {
            eprintln!("log of the worker:\n{}", read_to_string(self.path("log")).unwrap_or_default());
        }
    }
}

/// Makes a key and returns what the worker says of it.
pub(crate) fn generate(client: &mut WorkerClient, label: &str, kind: KeyKind) -> Result<KeyInfo, ClientError> {
    client.generate(&GenerateRequest { token: Some("assay".into()), label: label.into(), kind, id: None })
}

pub(crate) fn sign(
    client: &mut WorkerClient,
    uri: &str,
    scheme: Scheme,
    message: &[u8],
) -> Result<Vec<u8>, ClientError> {
    client.sign(&SignRequest { uri: uri.parse().unwrap(), scheme, message: message.to_vec() })
}

/// Waits, a bounded time, for something to become true.
pub(crate) fn eventually(what: &str, mut is_true: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !is_true() {
        assert!(Instant::now() < until, "{what}: not within 20 s");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub(crate) fn wait_for_end(child: &mut Child) {
    eventually("the worker ends", || child.try_wait().unwrap().is_some());
}

pub(crate) fn set_mode(path: &Path, mode: u32) {
    set_permissions(path, Permissions::from_mode(mode)).unwrap();
}
