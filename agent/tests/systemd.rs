//! What the agent tells systemd, on a socket of the test's own (sd_notify(3)): ready once it serves, alive as often as it was
//! asked to say so, and that it stops. Without systemd it says nothing.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    fs,
    os::unix::net::{UnixDatagram, UnixStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

const GOOD: &str = "key-worker-uid = 1\nfetcher-uid = 2\n";
/// Longest wait for something that comes at once on a machine with nothing else to do.
const PATIENCE: Duration = Duration::from_secs(30);

/// An agent and systemd's end of its socket.
struct Agent {
    process: Child,
    notify: UnixDatagram,
    root: tempfile::TempDir,
}

impl Agent {
    fn start(configuration: &str, watchdog: Option<Duration>) -> Self {
        let root = tempfile::tempdir().unwrap();
        for part in ["etc/assay", "run/assay", "var/lib/assay"] {
            fs::create_dir_all(root.path().join(part)).unwrap();
        }
        fs::write(root.path().join("etc/assay/assayd.toml"), configuration).unwrap();
        fs::write(root.path().join("etc/assay/policy.toml"), "version = 1\nmode = \"enforce\"\n").unwrap();
        let path = root.path().join("notify");
        let notify = UnixDatagram::bind(&path).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_assayd"));
        for name in ["WATCHDOG_PID", "WATCHDOG_USEC", "JOURNAL_STREAM", "LISTEN_FDS", "LISTEN_PID"] {
            command.env_remove(name);
        }
        if let Some(limit) = watchdog {
            command.env("WATCHDOG_USEC", limit.as_micros().to_string());
        }
        command.arg("--root").arg(root.path()).env("NOTIFY_SOCKET", &path).stderr(Stdio::null());
        Self { process: command.spawn().unwrap(), notify, root }
    }

    /// Whether the agent says `what` within this time; anything else is read and dropped.
    fn says(&self, what: &str, within: Duration) -> bool {
        let until = Instant::now() + within;
        let mut buffer = [0; 1024];
        while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            self.notify.set_read_timeout(Some(left)).unwrap();
            let Ok(length) = self.notify.recv(&mut buffer) else { continue };
            let said = String::from_utf8_lossy(buffer.get(..length).unwrap());
            if said.lines().any(|line| line == what) {
                return true;
            }
        }
        false
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.process.id().try_into().unwrap()), signal).unwrap();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn readiness_is_told_once_the_sockets_answer_and_never_with_a_broken_configuration() {
    let mut agent = Agent::start(GOOD, None);
    assert!(agent.says("READY=1", PATIENCE));
    for socket in ["gate.sock", "admin.sock", "sign.sock"] {
        UnixStream::connect(agent.root.path().join("run/assay").join(socket)).unwrap();
    }
    agent.signal(Signal::SIGTERM);
    assert!(agent.says("STOPPING=1", PATIENCE));
    assert!(agent.process.wait().unwrap().success());

    let mut broken = Agent::start(&format!("{GOOD}fail-open = true\n"), None);
    assert!(!broken.process.wait().unwrap().success());
    assert!(!broken.says("READY=1", Duration::from_millis(100)));
}

#[test]
fn the_watchdog_is_fed_as_long_as_the_agent_runs_and_only_if_there_is_one() {
    let agent = Agent::start(GOOD, Some(Duration::from_secs(1)));
    assert!(agent.says("READY=1", PATIENCE));
    for _ in 0..3 {
        assert!(agent.says("WATCHDOG=1", PATIENCE));
    }
    agent.signal(Signal::SIGSTOP);
    // What it said before it stood still.
    while agent.says("WATCHDOG=1", Duration::from_millis(50)) {}
    assert!(!agent.says("WATCHDOG=1", Duration::from_secs(2)));
    agent.signal(Signal::SIGCONT);
    assert!(agent.says("WATCHDOG=1", PATIENCE));

    let unwatched = Agent::start(GOOD, None);
    assert!(unwatched.says("READY=1", PATIENCE));
    assert!(!unwatched.says("WATCHDOG=1", Duration::from_secs(2)));
}
