//! A whole Assay node below one folder: the real programs, started by `assay node up`. In: configuration files, a policy,
//! containerd's socket. Out: pids to kill, the CLI to ask. Never shares a path with another node.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::command::{Finished, finish};
use crate::containerd::unmount_below;
use crate::daemon::{Daemon, eventually};
use crate::policy::PolicyText;

const START_LIMIT: Duration = Duration::from_secs(20);
const STOP_LIMIT: Duration = Duration::from_secs(10);
const CLI_LIMIT: Duration = Duration::from_secs(60);

/// The programs of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// `assayd`
    Agent,
    /// `assay-keyd`
    KeyWorker,
    /// `assay-fetch`
    Fetcher,
    /// `containerd-assay-grpc`
    Snapshotter,
}

impl Program {
    /// The name of the binary, which is also its name in `pids.json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Agent => "assayd",
            Self::KeyWorker => "assay-keyd",
            Self::Fetcher => "assay-fetch",
            Self::Snapshotter => "containerd-assay-grpc",
        }
    }
}

/// A node.
#[derive(Debug)]
pub struct Node {
    up: Option<Daemon>,
    root: TempDir,
}

impl Node {
    /// Makes the folder, so that every path is known, and starts nothing.
    pub fn reserve() -> Result<Self> {
        let root = tempfile::Builder::new().prefix("assay-node-").tempdir()?;
        // The programs run under uids of their own and must get through to their folders.
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755))?;
        fs::create_dir_all(root.path().join("etc/assay"))?;
        Ok(Self { up: None, root })
    }

    /// The folder that `--root` names.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// A socket of this node: `gate`, `admin`, `sign`, `key`, `fetch` or `snapshotter`.
    pub fn socket(&self, role: &str) -> PathBuf {
        self.root.path().join("run/assay").join(format!("{role}.sock"))
    }

    /// The folder in whose `bin` the run gate is, called `runc`.
    pub fn run_gate_folder(&self) -> PathBuf {
        self.root.path().join("usr/lib/assay")
    }

    /// The image verifier directory, which is filled when the node starts.
    pub fn verifiers(&self) -> PathBuf {
        self.root.path().join("usr/lib/assay/image-verifier.d")
    }

    /// A file below `etc/assay`.
    pub fn configuration_file(&self, name: &str) -> PathBuf {
        self.root.path().join("etc/assay").join(name)
    }

    /// Writes a file below `etc/assay`, such as `policy.toml`, as a whole or not at all.
    pub fn write(&self, name: &str, text: &str) -> Result<()> {
        let (file, new) = (self.configuration_file(name), self.configuration_file(&format!("{name}.new")));
        fs::write(&new, text)?;
        Ok(fs::rename(new, file)?)
    }

    /// Starts the node in front of that containerd and waits until it says that it is ready. `more` are further options of
    /// `assay node up`.
    pub fn start(&mut self, containerd: &Path, more: &[&str]) -> Result<()> {
        let log = self.root.path().join("node.log");
        let said_before = ready_lines(&fs::read_to_string(&log).unwrap_or_default());
        let mut command = Command::new(assay_program("assay")?);
        command.args(["node", "up", "--root"]).arg(self.root.path()).arg("--containerd-address").arg(containerd);
        command.arg("--bin-dir").arg(self.reachable_programs()?).args(more);
        let mut up = Daemon::start("assay node up", &mut command, &log)?;
        up.wait_until(START_LIMIT, || ready_lines(&fs::read_to_string(&log).unwrap_or_default()) > said_before)?;
        self.up = Some(up);
        Ok(())
    }

    /// Ends all programs of the node in order.
    pub fn stop(&mut self) -> Result<()> {
        if let Some(mut up) = self.up.take() {
            up.stop(STOP_LIMIT)?;
        }
        Ok(())
    }

    /// The process id of one program, as the node wrote it down last.
    pub fn pid(&self, program: Program) -> Result<Pid> {
        let file = self.root.path().join("run/assay/pids.json");
        let pids: Value = serde_json::from_slice(&fs::read(&file).with_context(|| file.display().to_string())?)?;
        let pid = pids
            .get(program.name())
            .and_then(Value::as_i64)
            .with_context(|| format!("{} is not running", program.name()))?;
        Ok(Pid::from_raw(i32::try_from(pid)?))
    }

    /// Sends a signal to one program.
    pub fn signal(&self, program: Program, signal: Signal) -> Result<()> {
        kill(self.pid(program)?, signal).with_context(|| format!("failed to send {signal} to {}", program.name()))
    }

    /// Kills one program with SIGKILL; the node starts it again by itself.
    pub fn kill(&self, program: Program) -> Result<()> {
        self.signal(program, Signal::SIGKILL)
    }

    /// Waits until the program runs under another pid than `before` and its socket is there.
    pub fn wait_for_restart(&self, program: Program, before: Pid, limit: Duration) -> Result<()> {
        eventually(&format!("{} runs again", program.name()), limit, || {
            self.pid(program).is_ok_and(|pid| pid != before && kill(pid, None).is_ok())
        })
    }

    /// Runs the CLI against this node. An error means that it did not start or did not end.
    pub fn assay(&self, words: &[&str]) -> Result<Finished> {
        let mut command = Command::new(assay_program("assay")?);
        command.arg("--root").arg(self.root.path()).args(words);
        finish(&mut command, CLI_LIMIT)
    }

    /// The same as another user of this machine, in that one group.
    pub fn assay_as(&self, uid: u32, gid: u32, words: &[&str]) -> Result<Finished> {
        let mut command = Command::new(self.reachable_programs()?.join("assay"));
        command.uid(uid).gid(gid).current_dir("/").arg("--root").arg(self.root.path()).args(words);
        finish(&mut command, CLI_LIMIT)
    }

    /// Writes a policy and the files it names, for the agent to read at its next start or reload.
    pub fn write_policy(&self, policy: &PolicyText) -> Result<()> {
        for (name, content) in policy.files() {
            self.write(name, content)?;
        }
        self.write("policy.toml", &policy.document())
    }

    /// Writes the policy and makes the agent take it; fails with the agent's complaint if it does not.
    pub fn apply_policy(&self, policy: &PolicyText) -> Result<()> {
        self.write_policy(policy)?;
        self.assay(&["node", "reload"])?.success()?;
        Ok(())
    }

    /// The folder of our programs, or a copy of it where their own uids could not get through to it, as below /root.
    fn reachable_programs(&self) -> Result<PathBuf> {
        let built = assay_program("assay")?.parent().context("a program lies in a folder")?.to_owned();
        let closed = |folder: &Path| fs::metadata(folder).is_ok_and(|data| data.permissions().mode() & 0o001 == 0);
        if !built.ancestors().any(closed) {
            return Ok(built);
        }
        let folder = self.root.path().join("bin");
        fs::create_dir_all(&folder)?;
        for name in [
            "assay",
            "assayd",
            "assay-keyd",
            "assay-fetch",
            "containerd-assay-grpc",
            "assay-runc",
            "assay-image-verifier",
        ] {
            let (from, to) = (assay_program(name)?, folder.join(name));
            if !to.exists() && fs::hard_link(&from, &to).is_err() {
                fs::copy(&from, &to)?;
            }
        }
        Ok(folder)
    }

    /// Everything the programs wrote so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.root.path().join("node.log")).unwrap_or_default()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            use std::io::Write as _;
            let _ = writeln!(std::io::stderr(), "--- log of the node\n{}", self.log());
        }
        // A failure leaves a process that its own parent has lost already.
        let _ = self.stop();
        unmount_below(self.root.path());
    }
}

/// The path of one of our own programs: in ASSAY_BIN, or beside the test that runs.
pub(crate) fn assay_program(name: &str) -> Result<PathBuf> {
    let folder = match env::var_os("ASSAY_BIN") {
        Some(folder) => PathBuf::from(folder),
        None => {
            let own = env::current_exe()?;
            // A test lies in target/debug/deps, a program in target/debug.
            let folder = own.parent().context("a program lies in a folder")?;
            if folder.ends_with("deps") { folder.parent().unwrap_or(folder).to_owned() } else { folder.to_owned() }
        }
    };
    let program = folder.join(name);
    ensure!(program.is_file(), "{} is missing: run make build", program.display());
    Ok(program)
}

fn ready_lines(log: &str) -> usize {
    log.lines().filter(|line| line.trim() == "ready").count()
}
