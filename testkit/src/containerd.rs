//! A real containerd of either version, with folders, socket and configuration of its own, with Assay's snapshotter or
//! stock overlayfs. Out: what `ctr` says. Leaves no container, mount or process behind when dropped.

mod leftovers;

pub(crate) use leftovers::unmount_below;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::command::{Finished, finish};
use crate::daemon::Daemon;
use crate::tools::Tools;

const START_LIMIT: Duration = Duration::from_secs(20);
const STOP_LIMIT: Duration = Duration::from_secs(5);
const CTR_LIMIT: Duration = Duration::from_secs(60);

/// The two ends of what Assay supports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// 2.1 or newer: pulls by the transfer service unless told otherwise.
    V2,
    /// 1.6.20 as Debian 12 has it: pulls by the client.
    V1_6,
}

impl Version {
    pub(crate) fn folder(self) -> &'static str {
        match self {
            Self::V2 => "containerd-2",
            Self::V1_6 => "containerd-1.6",
        }
    }
}

/// Who keeps the snapshots.
#[derive(Debug, Clone)]
pub enum Snapshotter {
    /// containerd's own overlayfs.
    Stock,
    /// The proxy snapshotter that listens on this socket; containerd's own ones are disabled.
    Assay(PathBuf),
}

impl Snapshotter {
    /// The name `ctr --snapshotter` takes.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Stock => "overlayfs",
            Self::Assay(_) => "assay",
        }
    }
}

/// Who does the work of a pull.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullBy {
    /// What the version does by default: the transfer service in 2.x, the client in 1.6.
    Default,
    /// The client, in every version.
    Client,
}

/// A containerd daemon.
#[derive(Debug)]
pub struct Containerd {
    daemon: Option<Daemon>,
    folder: TempDir,
    version: Version,
    snapshotter: Snapshotter,
    opt: PathBuf,
    keeps_stock: bool,
    verifiers: Verifiers,
    cri: Option<String>,
}

/// containerd's image verifier directory, which 1.6 does not have.
#[derive(Debug, Clone)]
pub struct Verifiers {
    /// The folder whose programs are asked before a pull.
    pub folder: PathBuf,
    /// How many of them at most; -1 is all.
    pub most: i32,
}

impl Containerd {
    /// Starts a daemon and waits until it answers.
    pub fn start(version: Version, snapshotter: Snapshotter) -> Result<Self> {
        let mut containerd = Self::reserve(version, snapshotter)?;
        containerd.resume()?;
        Ok(containerd)
    }

    /// Makes folder and configuration, so that the socket's path is known, and starts nothing.
    pub fn reserve(version: Version, snapshotter: Snapshotter) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("assay-cd-").tempdir()?;
        let opt = folder.path().join("opt");
        // The transfer service needs the plugin; in a folder of its own it finds no verifier of the machine's.
        let verifiers = Verifiers { folder: folder.path().join("verifiers"), most: -1 };
        let containerd =
            Self { daemon: None, folder, version, snapshotter, opt, keeps_stock: false, cri: None, verifiers };
        fs::write(containerd.configuration_file(), containerd.configuration())?;
        Ok(containerd)
    }

    /// Has these verifiers asked before each pull, from the next start on.
    pub fn ask_verifiers(&mut self, verifiers: Verifiers) -> Result<()> {
        self.verifiers = verifiers;
        Ok(fs::write(self.configuration_file(), self.configuration())?)
    }

    /// Has the daemon, from its next start on, look for `runc` and shims in the folder `bin` below `folder` first.
    pub fn prefer_runtimes_of(&mut self, folder: &Path) -> Result<()> {
        folder.clone_into(&mut self.opt);
        Ok(fs::write(self.configuration_file(), self.configuration())?)
    }

    /// Leaves containerd's own overlayfs enabled beside Assay's snapshotter, from the daemon's next start on.
    pub fn keep_stock_snapshotter(&mut self) -> Result<()> {
        self.keeps_stock = true;
        Ok(fs::write(self.configuration_file(), self.configuration())?)
    }

    /// Has the daemon serve CRI too, from its next start on: sandboxes of the image `pause`, images from that registry by plain HTTP.
    pub fn serve_cri(&mut self, pause: &str, registry: &str) -> Result<()> {
        let hosts = self.folder.path().join("certs.d").join(registry);
        fs::create_dir_all(&hosts)?;
        let capabilities = "capabilities = [\"pull\", \"resolve\"]";
        let text = format!("server = \"http://{registry}\"\n[host.\"http://{registry}\"]\n{capabilities}\n");
        fs::write(hosts.join("hosts.toml"), text)?;
        self.cri = Some(pause.to_owned());
        Ok(fs::write(self.configuration_file(), self.configuration())?)
    }

    /// Starts the daemon after [`Containerd::reserve`], [`Containerd::stop`] or [`Containerd::kill`].
    pub fn resume(&mut self) -> Result<()> {
        let tools = Tools::find()?;
        let mut command = Command::new(tools.containerd(self.version, "containerd"));
        command.arg("--config").arg(self.configuration_file()).env("PATH", tools.search_path(self.version)?);
        let mut daemon = Daemon::start("containerd", &mut command, &self.folder.path().join("log"))?;
        daemon.wait_until(START_LIMIT, || {
            self.socket().exists() && self.ctr(&["version"]).is_ok_and(|done| done.status.success())
        })?;
        self.daemon = Some(daemon);
        Ok(())
    }

    /// Ends the daemon; containers go on, as they do on a real host.
    pub fn stop(&mut self) -> Result<()> {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.stop(STOP_LIMIT)?;
        }
        Ok(())
    }

    /// Kills the daemon with SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill()?;
        }
        Ok(())
    }

    /// The version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// What the daemon says of itself.
    pub fn program_version(&self) -> Result<String> {
        let mut command = Command::new(Tools::find()?.containerd(self.version, "containerd"));
        Ok(finish(command.arg("--version"), CTR_LIMIT)?.success()?.stdout.trim().to_owned())
    }

    /// The socket of its API.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("c.sock")
    }

    /// Where its content, metadata and snapshots lie.
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    /// Everything the daemon wrote so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Runs `ctr` of the daemon's version against it. An error means that it did not start or did not end.
    pub fn ctr(&self, words: &[&str]) -> Result<Finished> {
        let tools = Tools::find()?;
        let mut command = Command::new(tools.containerd(self.version, "ctr"));
        command.arg("--address").arg(self.socket()).args(words).env("PATH", tools.search_path(self.version)?);
        finish(&mut command, CTR_LIMIT)
    }

    /// Pulls and unpacks an image over plain HTTP.
    pub fn pull(&self, reference: &str, by: PullBy) -> Result<Finished> {
        let mut words = vec!["images", "pull", "--plain-http", "--snapshotter", self.snapshotter.name()];
        match (by, self.version) {
            (PullBy::Client, Version::V2) => words.push("--local"),
            // 1.6 knows no other way and has no flag for this one.
            (PullBy::Client, Version::V1_6) | (PullBy::Default, Version::V2 | Version::V1_6) => {}
        }
        words.push(reference);
        self.ctr(&words)
    }

    /// Runs a container of a pulled image to its end and removes it. No words: the image's own command.
    pub fn run(&self, reference: &str, words: &[&str]) -> Result<Finished> {
        let id = container_id();
        let mut all = vec!["run", "--rm", "--snapshotter", self.snapshotter.name(), reference, &id];
        all.extend(words);
        self.ctr(&all)
    }

    /// Starts a container that goes on, and returns its id.
    pub fn run_detached(&self, reference: &str, words: &[&str]) -> Result<String> {
        let id = container_id();
        let mut all = vec!["run", "--detach", "--snapshotter", self.snapshotter.name(), reference, &id];
        all.extend(words);
        self.ctr(&all)?.success()?;
        Ok(id)
    }

    /// The names of the image records.
    pub fn images(&self) -> Result<Vec<String>> {
        Ok(lines(&self.ctr(&["images", "ls", "-q"])?.success()?))
    }

    /// The digests in the content store.
    pub fn content(&self) -> Result<Vec<String>> {
        Ok(lines(&self.ctr(&["content", "ls", "-q"])?.success()?))
    }

    /// The keys of the snapshots.
    pub fn snapshots(&self) -> Result<Vec<String>> {
        let listed = self.ctr(&["snapshots", "--snapshotter", self.snapshotter.name(), "ls"])?.success()?;
        // The first line is the header of the table; the first column is the key.
        Ok(lines(&listed).iter().skip(1).filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect())
    }

    /// Removes an image record and waits until garbage collection took away what only it held.
    pub fn remove_image(&self, reference: &str) -> Result<()> {
        self.ctr(&["images", "rm", "--sync", reference])?.success()?;
        Ok(())
    }

    /// Collects garbage now, and returns when it is gone.
    pub fn collect_garbage(&self) -> Result<()> {
        // Only the end of a lease can be waited for.
        self.ctr(&["leases", "create", "--id", "collect-garbage"])?.success()?;
        self.ctr(&["leases", "delete", "--sync", "collect-garbage"])?.success()?;
        Ok(())
    }

    fn configuration_file(&self) -> PathBuf {
        self.folder.path().join("config.toml")
    }

    fn configuration(&self) -> String {
        let folder = self.folder.path();
        let format = match self.version {
            Version::V2 => 3,
            Version::V1_6 => 2,
        };
        let mut text = format!(
            "version = {format}\n\
             root = {root:?}\n\
             state = {state:?}\n\
             disabled_plugins = {disabled:?}\n\
             [grpc]\naddress = {socket:?}\n\
             [ttrpc]\naddress = {ttrpc:?}\n\
             [plugins.\"io.containerd.internal.v1.opt\"]\npath = {opt:?}\n",
            root = self.root(),
            state = folder.join("state"),
            disabled = self.disabled_plugins(),
            socket = self.socket(),
            ttrpc = folder.join("c.sock.ttrpc"),
            opt = self.opt,
        );
        if self.version == Version::V2 {
            let Verifiers { folder, most } = &self.verifiers;
            text.push_str(&format!(
                "[plugins.\"io.containerd.image-verifier.v1.bindir\"]\nbin_dir = {folder:?}\nmax_verifiers = {most}\n\
                 per_verifier_timeout = \"10s\"\n"
            ));
        }
        if let Snapshotter::Assay(socket) = &self.snapshotter {
            text.push_str(&proxy_configuration(self.version, socket));
        }
        if let Some(pause) = &self.cri {
            text.push_str(&self.cri_configuration(pause));
        }
        text
    }

    fn cri_configuration(&self, pause: &str) -> String {
        let (registries, nothing) = (self.folder.path().join("certs.d"), self.folder.path().join("cni"));
        let snapshotter = self.snapshotter.name();
        match self.version {
            Version::V2 => format!(
                "[plugins.\"io.containerd.cri.v1.images\"]\nsnapshotter = \"{snapshotter}\"\n\
                 use_local_image_pull = false\ndisable_snapshot_annotations = true\n\
                 [plugins.\"io.containerd.cri.v1.images\".pinned_images]\nsandbox = \"{pause}\"\n\
                 [plugins.\"io.containerd.cri.v1.images\".registry]\nconfig_path = {registries:?}\n\
                 [plugins.\"io.containerd.cri.v1.runtime\"]\nrestrict_oom_score_adj = true\n\
                 [plugins.\"io.containerd.cri.v1.runtime\".cni]\nbin_dirs = [{nothing:?}]\nconf_dir = {nothing:?}\n"
            ),
            Version::V1_6 => format!(
                "[plugins.\"io.containerd.grpc.v1.cri\"]\nsandbox_image = \"{pause}\"\nrestrict_oom_score_adj = true\n\
                 [plugins.\"io.containerd.grpc.v1.cri\".containerd]\nsnapshotter = \"{snapshotter}\"\n\
                 [plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = {registries:?}\n\
                 [plugins.\"io.containerd.grpc.v1.cri\".cni]\nbin_dir = {nothing:?}\nconf_dir = {nothing:?}\n"
            ),
        }
    }

    /// What these tests do not use, and with Assay every way around it.
    fn disabled_plugins(&self) -> Vec<&'static str> {
        let mut disabled = vec![
            "io.containerd.nri.v1.nri",
            "io.containerd.snapshotter.v1.aufs",
            "io.containerd.snapshotter.v1.blockfile",
            "io.containerd.snapshotter.v1.btrfs",
            "io.containerd.snapshotter.v1.devmapper",
            "io.containerd.snapshotter.v1.erofs",
            "io.containerd.snapshotter.v1.zfs",
        ];
        if self.cri.is_none() {
            disabled.extend([
                "io.containerd.grpc.v1.cri",
                "io.containerd.cri.v1.images",
                "io.containerd.cri.v1.runtime",
            ]);
        }
        if let (Snapshotter::Assay(_), false) = (&self.snapshotter, self.keeps_stock) {
            disabled.extend(["io.containerd.snapshotter.v1.native", "io.containerd.snapshotter.v1.overlayfs"]);
        }
        disabled
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        // Each step is tried whatever became of the one before; a test that passed has nothing left to clean.
        let _ = self.stop();
        leftovers::end_containers(&self.folder.path().join("state"));
        leftovers::end_shims(&self.socket());
        leftovers::unmount_below(self.folder.path());
    }
}

/// The part of the configuration that an operator adds for Assay.
fn proxy_configuration(version: Version, socket: &Path) -> String {
    let proxy = format!("[proxy_plugins.assay]\ntype = \"snapshot\"\naddress = {socket:?}\n");
    match version {
        Version::V1_6 => proxy,
        Version::V2 => format!(
            "{proxy}[[plugins.\"io.containerd.transfer.v1.local\".unpack_config]]\n\
             platform = \"linux/{}\"\nsnapshotter = \"assay\"\ndiffer = \"walking\"\n",
            if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
        ),
    }
}

/// runc keeps its state by namespace and id for all daemons of a host: ids are unique across daemons, too.
fn container_id() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("t{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

fn lines(finished: &Finished) -> Vec<String> {
    finished.stdout.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// Reads a number that a daemon left in a file.
fn read_pid(file: &Path) -> Result<i32> {
    let text = fs::read_to_string(file)?;
    text.trim().parse().with_context(|| format!("no process id in {}", file.display()))
}
