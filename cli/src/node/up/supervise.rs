//! Keeps the node's programs running: starts them, waits until each says that it is ready (sd_notify(3)), restarts what
//! dies with a growing pause, keeps pids.json true, and at the end stops all and removes the sockets.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::{
        fd::OwnedFd,
        unix::fs::{PermissionsExt, chown},
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{SigSet, Signal, kill},
    unistd::Pid,
};
use tokio::{
    net::UnixDatagram,
    process::Child,
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
    task::JoinSet,
};

use crate::failure::{Exit, Failure};

use super::{
    child::{Program, Stop, say},
    layout::Layout,
};

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A program that ran this long is restarted with the first pause again.
const STEADY: Duration = Duration::from_secs(10);
/// How long a program may take to stop before it is killed.
const GRACE: Duration = Duration::from_secs(5);

/// The running node.
#[derive(Debug)]
pub(super) struct Node {
    shared: Arc<Shared>,
    programs: Vec<Program>,
    events: mpsc::Receiver<Event>,
    signals: Signals,
    stop: watch::Sender<Stop>,
    keepers: JoinSet<()>,
    /// Keep their sockets until the last program is gone: it may still want to say that it stops.
    _notices: JoinSet<()>,
    pids: BTreeMap<&'static str, u32>,
    ready: BTreeSet<&'static str>,
}

#[derive(Debug)]
struct Shared {
    layout: Layout,
    logs: Option<PathBuf>,
}

#[derive(Debug)]
enum Event {
    Started(&'static str, u32),
    Ready(&'static str),
    Ended(&'static str, String),
}

impl Node {
    /// Binds all sockets and starts all programs.
    ///
    /// # Errors
    /// If a socket cannot be bound.
    pub(super) fn start(layout: Layout, programs: Vec<Program>, logs: Option<PathBuf>) -> Result<Self, Failure> {
        // A caller's blocked signals would be blocked here and in every program, and nothing could be stopped in order.
        SigSet::all()
            .thread_unblock()
            .map_err(|error| Failure::new("IO", format!("failed to unblock signals: {error}"), ""))?;
        // Before the first program: from here on a signal stops the node in order.
        let signals = Signals::new()?;
        let shared = Arc::new(Shared { layout, logs });
        let (sender, events) = mpsc::channel(64);
        let (stop, stopped) = watch::channel(Stop::None);
        let (mut keepers, mut notices) = (JoinSet::new(), JoinSet::new());
        for program in &programs {
            let listeners = listeners(&shared.layout, program)?;
            let notify = shared.layout.run(&format!("{}.notify", program.folder()));
            let socket = bind_notify(&notify, program.uid())?;
            notices.spawn(listen_for_ready(program.name(), socket, sender.clone()));
            let keeper = Keeper { program: program.clone(), shared: Arc::clone(&shared), listeners, notify };
            keepers.spawn(keeper.keep(sender.clone(), stopped.clone()));
        }
        Ok(Self {
            shared,
            programs,
            events,
            signals,
            stop,
            keepers,
            _notices: notices,
            pids: BTreeMap::new(),
            ready: BTreeSet::new(),
        })
    }

    /// The pid of each program.
    pub(super) const fn pids(&self) -> &BTreeMap<&'static str, u32> {
        &self.pids
    }

    /// Waits until every program is ready. Gives an exit code if the node was told to stop before.
    ///
    /// # Errors
    /// If a program ends before it is ready, or is not ready in time; the others are stopped.
    pub(super) async fn wait_until_ready(&mut self, limit: Duration) -> Result<Option<Exit>, Failure> {
        let deadline = tokio::time::sleep(limit);
        tokio::pin!(deadline);
        while self.ready.len() < self.programs.len() {
            let failure = tokio::select! {
                Some(event) = self.events.recv() => match self.take(event)? {
                    Some((name, status)) => Failure::new(
                        "NOT_STARTED",
                        format!("{name} ended before it was ready: {status}"),
                        self.see_log(name),
                    ),
                    None => continue,
                },
                request = self.signals.next() => match request {
                    Requested::Stop => return self.stop().await.map(Some),
                    Requested::Reload => continue,
                },
                () = &mut deadline => {
                    let late: Vec<_> =
                        self.programs.iter().map(Program::name).filter(|name| !self.ready.contains(name)).collect();
                    let first = late.first().copied().unwrap_or_default();
                    Failure::new(
                        "NOT_STARTED",
                        format!("{} did not become ready within {limit:?}", late.join(", ")),
                        self.see_log(first),
                    )
                }
            };
            self.stop().await?;
            return Err(failure);
        }
        Ok(None)
    }

    /// Keeps the node running until SIGTERM or SIGINT, then stops it.
    ///
    /// # Errors
    /// If pids.json cannot be written.
    pub(super) async fn run(mut self) -> Result<Exit, Failure> {
        loop {
            tokio::select! {
                Some(event) = self.events.recv() => match self.take(event) {
                    Ok(Some((name, status))) => say("assay node up", &format!("{name} ended ({status}) and is started again")),
                    Ok(None) => {}
                    Err(failure) => {
                        self.stop().await?;
                        return Err(failure);
                    }
                },
                request = self.signals.next() => match request {
                    Requested::Stop => return self.stop().await,
                    Requested::Reload => self.reload(),
                },
            }
        }
    }

    /// Notes what happened. Gives name and status of a program that ended.
    fn take(&mut self, event: Event) -> Result<Option<(&'static str, String)>, Failure> {
        let ended = match event {
            Event::Started(name, pid) => {
                self.pids.insert(name, pid);
                None
            }
            Event::Ready(name) => {
                self.ready.insert(name);
                return Ok(None);
            }
            Event::Ended(name, status) => {
                self.pids.remove(name);
                Some((name, status))
            }
        };
        write_pids(&self.shared.layout, &self.pids)?;
        Ok(ended)
    }

    fn reload(&self) {
        for program in self.programs.iter().filter(|program| program.reloads()) {
            if let Some(pid) = self.pids.get(program.name()) {
                send(*pid, Signal::SIGHUP);
            }
        }
    }

    /// Stops every program, in order, and removes what was made in the folder of sockets.
    async fn stop(&mut self) -> Result<Exit, Failure> {
        for stage in [Stop::Gates, Stop::Agent, Stop::All] {
            let left = self.programs.iter().filter(|program| program.stops_at() > stage).count();
            self.stop.send_replace(stage);
            // Events are drained meanwhile, or a keeper could wait for room in the channel.
            while self.keepers.len() > left {
                tokio::select! {
                    _ = self.keepers.join_next() => {}
                    Some(_) = self.events.recv() => {}
                }
            }
        }
        for program in &self.programs {
            for socket in program.sockets() {
                let _ = fs::remove_file(self.shared.layout.run(socket.file));
            }
            let _ = fs::remove_file(self.shared.layout.run(&format!("{}.notify", program.folder())));
        }
        let _ = fs::remove_file(self.shared.layout.run("pids.json"));
        Ok(Exit::Success)
    }

    fn see_log(&self, name: &str) -> String {
        match &self.shared.logs {
            Some(folder) => format!("see {}", folder.join(format!("{name}.log")).display()),
            None => "see its messages above".to_owned(),
        }
    }
}

/// Owns one program's listening sockets, so that requests wait in them while it is started again.
struct Keeper {
    program: Program,
    shared: Arc<Shared>,
    listeners: Vec<OwnedFd>,
    notify: PathBuf,
}

impl Keeper {
    async fn keep(self, events: mpsc::Sender<Event>, mut stopped: watch::Receiver<Stop>) {
        let (name, stage) = (self.program.name(), self.program.stops_at());
        let mut pause = FIRST_PAUSE;
        while *stopped.borrow() < stage {
            let started = Instant::now();
            let status = match self.spawn() {
                Ok(mut child) => {
                    if let Some(pid) = child.id() {
                        let _ = events.send(Event::Started(name, pid)).await;
                    }
                    let ended = tokio::select! {
                        status = child.wait() => Some(status),
                        () = told_to_stop(&mut stopped, stage) => None,
                    };
                    match ended {
                        Some(Ok(status)) => status.to_string(),
                        Some(Err(error)) => error.to_string(),
                        None => return end(child).await,
                    }
                }
                Err(error) => format!("{} cannot be run: {error}", self.program.path().display()),
            };
            let _ = events.send(Event::Ended(name, status)).await;
            if started.elapsed() >= STEADY {
                pause = FIRST_PAUSE;
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
                () = told_to_stop(&mut stopped, stage) => return,
            }
        }
    }

    fn spawn(&self) -> std::io::Result<Child> {
        let logs = self.shared.logs.as_deref();
        self.program.spawn(self.shared.layout.root(), &self.listeners, &self.notify, logs)
    }
}

/// Also returns when the node is gone without having said anything.
async fn told_to_stop(stopped: &mut watch::Receiver<Stop>, stage: Stop) {
    let _ = stopped.wait_for(|stop| *stop >= stage).await;
}

/// Asks a program to stop, and kills it if it does not.
async fn end(mut child: Child) {
    if let Some(pid) = child.id() {
        send(pid, Signal::SIGTERM);
    }
    if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
        // Waits for its end, so that no stopped program is left behind.
        let _ = child.kill().await;
    }
}

/// The pid is that of a child that was not waited for yet, so no other process can have it.
fn send(pid: u32, what: Signal) {
    if let Ok(pid) = i32::try_from(pid) {
        let _ = kill(Pid::from_raw(pid), what);
    }
}

async fn listen_for_ready(name: &'static str, socket: UnixDatagram, events: mpsc::Sender<Event>) {
    let mut buffer = [0; 4096];
    // Ends with the node, or if the socket breaks.
    while let Ok(length) = socket.recv(&mut buffer).await {
        let message = buffer.get(..length).unwrap_or_default();
        if message.split(|byte| *byte == b'\n').any(|line| line == b"READY=1") {
            let _ = events.send(Event::Ready(name)).await;
        }
    }
}

fn listeners(layout: &Layout, program: &Program) -> Result<Vec<OwnedFd>, Failure> {
    program
        .sockets()
        .iter()
        .map(|socket| {
            let path = layout.run(socket.file);
            let failed = |error: std::io::Error| Failure::io("listen on", &path, &error);
            let listener = assay_proto::bind(&path, socket.mode).map_err(|error| {
                Failure::new("IO", format!("failed to listen: {error}"), "choose a shorter --root, or remove the file")
            })?;
            chown(&path, Some(socket.owner), Some(socket.group)).map_err(failed)?;
            let listener = listener.into_std().map_err(failed)?;
            // As systemd passes them: each program sets the mode it needs.
            listener.set_nonblocking(false).map_err(failed)?;
            Ok(OwnedFd::from(listener))
        })
        .collect()
}

/// A socket of each program's own: what says "ready" on it is that program's uid, or root.
fn bind_notify(path: &Path, uid: u32) -> Result<UnixDatagram, Failure> {
    let _ = fs::remove_file(path);
    let failed = |error: std::io::Error| Failure::io("listen on", path, &error);
    let socket = UnixDatagram::bind(path).map_err(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    chown(path, Some(uid), Some(uid)).map_err(failed)?;
    Ok(socket)
}

fn write_pids(layout: &Layout, pids: &BTreeMap<&'static str, u32>) -> Result<(), Failure> {
    let (path, new) = (layout.run("pids.json"), layout.run("pids.json.new"));
    let text = serde_json::to_string(pids).expect("a map of names and numbers is JSON");
    fs::write(&new, text).and_then(|()| fs::rename(&new, &path)).map_err(|error| Failure::io("write", &path, &error))
}

enum Requested {
    Stop,
    Reload,
}

#[derive(Debug)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| Failure::new("IO", format!("failed to listen for signals: {error}"), ""))
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Requested {
        tokio::select! {
            _ = self.terminate.recv() => Requested::Stop,
            _ = self.interrupt.recv() => Requested::Stop,
            _ = self.hang_up.recv() => Requested::Reload,
        }
    }
}
