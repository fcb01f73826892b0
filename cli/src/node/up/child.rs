//! One program of the node: its uid, its sockets, and how it is started: with an environment of its own, listening
//! sockets passed the way systemd does (sd_listen_fds(3)), in its own process group, and with no terminal.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, BufRead, BufReader, Read, Write},
    os::{fd::OwnedFd, unix::process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use assay_proto::SocketAccess;
use command_fds::{CommandFdExt, FdMapping};

use crate::{console::printable, failure::Failure};

use super::UpArgs;

/// The first descriptor that is passed (sd_listen_fds(3), SD_LISTEN_FDS_START).
const FIRST_FD: i32 = 3;
/// Longest log line that is passed on whole.
const MAX_LINE: u64 = 16 << 10;

/// The programs of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Agent,
    KeyWorker,
    Fetcher,
    Snapshotter,
}

/// How far the node is to be stopped. The gates go first, so that nothing is asked any more; then the agent, which signs
/// its log's last head with a key of the worker; then the workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stop {
    /// Nothing.
    None,
    /// What asks the agent.
    Gates,
    /// The agent too.
    Agent,
    /// What the agent asks too.
    All,
}

/// A socket that a program listens on.
#[derive(Clone, Copy, Debug)]
pub(super) struct SocketPlan {
    /// Its name in the folder of sockets.
    pub(super) file: &'static str,
    /// Its name in LISTEN_FDNAMES.
    pub(super) role: &'static str,
    /// Its permission bits.
    pub(super) mode: u32,
    /// Who may connect, beside root.
    pub(super) owner: u32,
    /// The group to which the mode may open it.
    pub(super) group: u32,
}

/// A program that belongs to the node.
#[derive(Clone, Debug)]
pub(super) struct Program {
    role: Role,
    path: PathBuf,
    uid: u32,
    sockets: Vec<SocketPlan>,
}

/// The folder in which Assay's programs are.
///
/// # Errors
/// If it cannot be found.
pub(super) fn programs(arguments: &UpArgs) -> Result<PathBuf, Failure> {
    match &arguments.bin_dir {
        Some(folder) => std::path::absolute(folder).map_err(|error| Failure::io("find", folder, &error)),
        None => own_folder(),
    }
}

/// The failure for want of a program.
pub(super) fn no_program(path: &Path) -> Failure {
    Failure::new(
        "NO_PROGRAM",
        format!("{} is not there", path.display()),
        "install or build all of Assay, or give --bin-dir DIR",
    )
}

impl Program {
    /// The programs that `arguments` ask for, each found as an executable.
    ///
    /// # Errors
    /// If one is missing.
    pub(super) fn wanted(arguments: &UpArgs) -> Result<Vec<Self>, Failure> {
        let folder = programs(arguments)?;
        let plan = |file, role, mode, owner| SocketPlan { file, role, mode, owner, group: owner };
        let agent = arguments.uid_agent;
        let mut programs = vec![(Role::Fetcher, arguments.uid_fetch, vec![plan("fetch.sock", "fetch", 0o600, agent)])];
        if !arguments.no_keyd {
            programs.push((Role::KeyWorker, arguments.uid_keyd, vec![plan("key.sock", "key", 0o600, agent)]));
        }
        let sockets = vec![
            plan("gate.sock", "gate", 0o600, 0),
            plan("admin.sock", "admin", 0o600, 0),
            plan("sign.sock", "sign", 0o660, 0),
        ];
        programs.push((Role::Agent, agent, sockets));
        if !arguments.no_snapshotter {
            programs.push((Role::Snapshotter, 0, vec![plan("snapshotter.sock", "snapshotter", 0o600, 0)]));
        }
        programs
            .into_iter()
            .map(|(role, uid, sockets)| {
                let path = folder.join(role.name());
                if path.is_file() {
                    return Ok(Self { role, path, uid, sockets });
                }
                Err(no_program(&path))
            })
            .collect()
    }

    /// The program's file name.
    pub(super) const fn name(&self) -> &'static str {
        self.role.name()
    }

    /// The executable.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Under which uid (and gid) it runs.
    pub(super) const fn uid(&self) -> u32 {
        self.uid
    }

    /// Its folder below /var/lib/assay.
    pub(super) const fn folder(&self) -> &'static str {
        match self.role {
            Role::Agent => "agent",
            Role::KeyWorker => "keyd",
            Role::Fetcher => "fetch",
            Role::Snapshotter => "snapshotter",
        }
    }

    /// The sockets it listens on.
    pub(super) fn sockets(&self) -> &[SocketPlan] {
        &self.sockets
    }

    /// Opens the signing socket, if it is this program's, as the agent's configuration says.
    pub(super) fn open_signing(&mut self, access: SocketAccess) {
        for socket in self.sockets.iter_mut().filter(|socket| socket.role == "sign") {
            socket.mode = access.mode();
            socket.group = access.gid().unwrap_or(socket.owner);
        }
    }

    /// When it is stopped.
    pub(super) const fn stops_at(&self) -> Stop {
        match self.role {
            Role::Snapshotter => Stop::Gates,
            Role::Agent => Stop::Agent,
            Role::KeyWorker | Role::Fetcher => Stop::All,
        }
    }

    /// Whether SIGHUP makes it read its configuration again. The others would end by it.
    pub(super) const fn reloads(&self) -> bool {
        match self.role {
            Role::Agent | Role::Fetcher => true,
            Role::KeyWorker | Role::Snapshotter => false,
        }
    }

    /// Starts it.
    ///
    /// # Errors
    /// If the program cannot be run, or a log file cannot be opened.
    pub(super) fn spawn(
        &self,
        root: &Path,
        listeners: &[OwnedFd],
        notify: &Path,
        logs: Option<&Path>,
    ) -> io::Result<tokio::process::Child> {
        let names: Vec<&str> = self.sockets.iter().map(|socket| socket.role).collect();
        let mut command = Command::new(&self.path);
        command
            .arg("--root")
            .arg(root)
            // `node up` may be killed; what it started must not go on without anybody who restarts and stops it. The
            // signal follows the thread that spawned: this runtime has one.
            .arg("--stop-with-parent")
            .env_clear()
            .envs(inherited_environment())
            .env("LISTEN_FDS", listeners.len().to_string())
            .env("LISTEN_FDNAMES", names.join(":"))
            .env("NOTIFY_SOCKET", notify)
            .current_dir("/")
            .stdin(Stdio::null())
            // Ctrl-C on the terminal is for `node up`, which then stops the programs in order.
            .process_group(0);
        if self.uid != 0 {
            command.uid(self.uid).gid(self.uid);
        }
        self.log_to(&mut command, logs)?;
        let mappings = (FIRST_FD..)
            .zip(listeners)
            .map(|(child_fd, listener)| Ok(FdMapping { parent_fd: listener.try_clone()?, child_fd }))
            .collect::<io::Result<Vec<_>>>()?;
        command.fd_mappings(mappings).map_err(io::Error::other)?;
        tokio::process::Command::from(command).kill_on_drop(true).spawn()
    }

    /// Sends both output streams to the program's log file, or line by line to standard error with the program's name.
    fn log_to(&self, command: &mut Command, logs: Option<&Path>) -> io::Result<()> {
        if let Some(folder) = logs {
            let path = folder.join(format!("{}.log", self.name()));
            let file = File::options().create(true).append(true).open(path)?;
            command.stdout(file.try_clone()?).stderr(file);
            return Ok(());
        }
        let (reader, writer) = io::pipe()?;
        command.stdout(writer.try_clone()?).stderr(writer);
        let name = self.name();
        // A thread, so that a terminal that was stopped holds up nothing but the log. Ends with the program.
        std::thread::Builder::new().name(format!("log {name}")).spawn(move || pass_on(name, reader))?;
        Ok(())
    }
}

impl Role {
    const fn name(self) -> &'static str {
        match self {
            Self::Agent => "assayd",
            Self::KeyWorker => "assay-keyd",
            Self::Fetcher => "assay-fetch",
            Self::Snapshotter => "containerd-assay-grpc",
        }
    }
}

fn own_folder() -> Result<PathBuf, Failure> {
    let own = std::env::current_exe().map_err(|error| {
        Failure::new("IO", format!("failed to find the folder of assay itself: {error}"), "give --bin-dir DIR")
    })?;
    Ok(own.parent().unwrap_or(Path::new("/")).to_owned())
}

/// What a program needs of the caller's environment. Nothing else may steer a program that runs with another uid.
fn inherited_environment() -> impl Iterator<Item = (&'static str, OsString)> {
    ["PATH", "RUST_LOG", "RUST_BACKTRACE", "TZ"]
        .into_iter()
        .filter_map(|name| std::env::var_os(name).map(|value| (name, value)))
}

/// Writes one line to standard error with the name of who says it, in one piece: other threads and standard output may
/// write to the same file, and a line in the middle of another is one that its reader does not find.
pub(super) fn say(name: &str, text: &str) {
    let line = format!("{name:<21} | {}\n", printable(text));
    let _ = io::stderr().write_all(line.as_bytes());
}

fn pass_on(name: &str, reader: impl Read) {
    let mut reader = BufReader::new(reader);
    loop {
        let mut line = Vec::new();
        match reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut line) {
            Ok(1..) => {
                let text = String::from_utf8_lossy(&line);
                say(name, text.trim_end());
            }
            Ok(0) | Err(_) => return,
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        up: UpArgs,
    }

    fn wanted(more: &[&str]) -> Result<Vec<Program>, Failure> {
        Program::wanted(&Line::try_parse_from(std::iter::once(&"up").chain(more)).unwrap().up)
    }

    #[test]
    fn only_the_agents_uid_gets_the_sockets_of_worker_and_fetcher() {
        let folder = tempfile::tempdir().unwrap();
        let bin = format!("--bin-dir={}", folder.path().display());
        assert_eq!(wanted(&[&bin]).unwrap_err().code, "NO_PROGRAM");
        for name in ["assayd", "assay-keyd", "assay-fetch", "containerd-assay-grpc"] {
            File::create(folder.path().join(name)).unwrap();
        }
        let programs = wanted(&[&bin, "--uid-agent=7", "--uid-keyd=8", "--uid-fetch=9"]).unwrap();
        let owner = |name: &str| {
            programs.iter().flat_map(Program::sockets).find(|s| s.file == name).map(|s| (s.owner, s.mode)).unwrap()
        };
        assert_eq!(owner("key.sock"), (7, 0o600));
        assert_eq!(owner("fetch.sock"), (7, 0o600));
        assert_eq!(owner("gate.sock"), (0, 0o600));
        assert_eq!(owner("admin.sock"), (0, 0o600));
        assert_eq!(owner("sign.sock"), (0, 0o660));
        let uids: Vec<u32> = programs.iter().map(Program::uid).collect();
        assert_eq!(uids, [9, 8, 7, 0]);
        let stops: Vec<Stop> = programs.iter().map(Program::stops_at).collect();
        assert_eq!(stops, [Stop::All, Stop::All, Stop::Agent, Stop::Gates]);
        assert_eq!(wanted(&[&bin, "--no-keyd", "--no-snapshotter"]).unwrap().len(), 2);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_program_gets_its_sockets_and_nothing_of_the_callers_environment() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("assay-fetch");
        let out = folder.path().join("out");
        let text =
            format!("#!/bin/sh\n{{ env; ls -l /proc/$$/fd; echo \"$@\"; }} > {} 2>&1\nexec sleep 0\n", out.display());
        std::fs::write(&script, text).unwrap();
        std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let program = Program {
            role: Role::Fetcher,
            path: script,
            uid: 0,
            sockets: vec![SocketPlan { file: "fetch.sock", role: "fetch", mode: 0o600, owner: 0, group: 0 }],
        };
        let listener = std::os::unix::net::UnixListener::bind(folder.path().join("s")).unwrap();
        let mut child = program.spawn(Path::new("/r"), &[listener.into()], Path::new("/n"), None).unwrap();
        assert!(child.wait().await.unwrap().success());
        let seen = std::fs::read_to_string(out).unwrap();
        for needed in ["LISTEN_FDS=1", "LISTEN_FDNAMES=fetch", "NOTIFY_SOCKET=/n", "3 -> socket:", "--root /r"] {
            assert!(seen.contains(needed), "{needed} is missing in {seen}");
        }
        assert!(!seen.contains("CARGO"), "{seen}");
    }
}
