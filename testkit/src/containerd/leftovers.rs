//! Takes away what a containerd leaves when it ends: running containers, their shims, their mounts. In: the daemon's own
//! folder and socket. Never touches what belongs to another daemon.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::daemon::eventually;

/// Long enough for a busy machine; a process that was killed needs no more than to be scheduled once.
const END_LIMIT: Duration = Duration::from_secs(5);

/// Kills the first process of every container whose bundle lies below `state`, and waits until their shims reaped them.
pub(super) fn end_containers(state: &Path) {
    let bundles = state.join("io.containerd.runtime.v2.task");
    for bundle in children(&bundles).iter().flat_map(|namespace| children(namespace)) {
        let Ok(pid) = super::read_pid(&bundle.join("init.pid")) else { continue };
        let id = bundle.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // The number may belong to someone else by now; the container's id stands in the path of its cgroup.
        let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        if cgroups.contains(&id) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            let _ = eventually("a killed container ends", END_LIMIT, || !Path::new(&format!("/proc/{pid}")).exists());
        }
    }
}

/// Kills every shim that was started for the daemon on `socket`.
pub(super) fn end_shims(socket: &Path) {
    let socket = socket.to_string_lossy().into_owned();
    for process in children(Path::new("/proc")) {
        let Some(pid) = process.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok()) else {
            continue;
        };
        let line = fs::read(process.join("cmdline")).unwrap_or_default();
        let words: Vec<_> = line.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
        let is_shim = words.first().is_some_and(|program| program.contains("containerd-shim"));
        let is_ours =
            words.windows(2).any(|pair| matches!(pair, [flag, value] if flag == "-address" && *value == socket));
        if is_shim && is_ours {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// Detaches every mount below `folder`, the innermost first.
pub(crate) fn unmount_below(folder: &Path) {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points: Vec<_> = mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from).collect();
    for point in points.iter().rev().filter(|point| point.starts_with(folder)) {
        let _ = umount2(point, MntFlags::MNT_DETACH);
    }
}

fn children(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.flatten().map(|entry| entry.path()).collect()
}
