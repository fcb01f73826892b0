//! A disk that is really full: Prepare says so, Remove works, and after it Prepare works again.

use std::sync::Arc;

use redb::StorageBackend;

use super::*;
use crate::overlay::ballast::{Ballast, Cushioned, Syncs};

struct Small(TempDir);

impl Small {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=16m", "tmpfs"]).arg(folder.path()).status();
        assert!(mounted.unwrap().success());
        Self(folder)
    }

    /// Writes until not one more byte fits, from the outside as a container would.
    fn fill(&self, name: &str) {
        let mut file = fs::File::create(self.0.path().join(name)).unwrap();
        for size in [1 << 20, 4096, 1] {
            while std::io::Write::write_all(&mut file, &vec![7; size]).is_ok() {}
        }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn on_a_full_disk_snapshots_can_be_removed_and_then_made_again() {
    let disk = Small::new();
    let root = disk.0.path().join("s");
    fs::create_dir(&root).unwrap();
    let overlay = Overlay::open(&root).unwrap();
    let keys: Vec<String> = (0..200).map(|n| format!("default/1/c{n}")).collect();
    for key in &keys {
        active(&overlay, key, None).unwrap();
    }
    disk.fill("filler");
    let (last, others) = keys.split_last().unwrap();
    for key in others {
        overlay.remove(key).unwrap();
        // What is given up is taken at once by someone else: worse than that it cannot get.
        disk.fill("filler2");
    }
    // What is left over for Remove nobody else gets.
    let _ = fs::remove_file(root.join("ballast"));
    disk.fill("filler3");
    assert!(matches!(active(&overlay, "default/2/x", None), Err(OverlayError::NoSpace(_))));
    assert!(matches!(overlay.commit("default/2/n", last, BTreeMap::new(), None), Err(OverlayError::NoSpace(_))));
    assert_eq!(overlay.stat(last).unwrap().kind, Kind::Active);
    overlay.remove(last).unwrap();
    overlay.reap();
    fs::remove_file(disk.0.path().join("filler")).unwrap();
    active(&overlay, "default/2/x", None).unwrap();
    assert_in_step(&root, &overlay);
    drop(overlay);
    assert_eq!(Overlay::open(&root).unwrap().stat("default/2/x").unwrap().kind, Kind::Active);
}

#[test]
fn a_snapshotter_that_starts_on_a_full_disk_can_remove() {
    let disk = Small::new();
    let root = disk.0.path().join("s");
    fs::create_dir(&root).unwrap();
    let overlay = Overlay::open(&root).unwrap();
    active(&overlay, "default/1/c", None).unwrap();
    drop(overlay);
    disk.fill("filler");
    let overlay = Overlay::open(&root).unwrap();
    overlay.remove("default/1/c").unwrap();
    overlay.cleanup().unwrap();
    assert_eq!(folders(&root), Vec::<String>::new());
}

#[test]
fn a_write_that_finds_no_space_gets_that_of_the_ballast_once() {
    let disk = Small::new();
    let ballast = Arc::new(Ballast::new(disk.0.path()));
    ballast.make().unwrap();
    let file = fs::OpenOptions::new().read(true).write(true).create_new(true).open(disk.0.path().join("f")).unwrap();
    let file = Cushioned::new(file, ballast, Arc::default()).unwrap();
    disk.fill("filler");
    file.set_len(1 << 20).unwrap();
    assert!(!disk.0.path().join("ballast").exists());
    disk.fill("filler2");
    file.write(4096, &[7; 4096]).unwrap();
    file.set_len(8 << 20).unwrap();
    let refused = file.write(7 << 20, &[7; 4096]).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::StorageFull);
}

#[test]
fn a_sync_that_fails_behind_an_answer_stops_the_next_write_and_the_store_recovers() {
    let folder = tempfile::tempdir().unwrap();
    let file = fs::OpenOptions::new().read(true).write(true).create_new(true).open(folder.path().join("f")).unwrap();
    let syncs = Arc::new(Syncs::default());
    let file = Cushioned::new(file, Arc::new(Ballast::new(folder.path())), Arc::clone(&syncs)).unwrap();
    file.set_len(8192).unwrap();
    syncs.fail_behind();
    assert_eq!(file.write(0, &[7; 4096]).unwrap_err().to_string(), "the disk is gone");
    file.write(0, &[7; 4096]).unwrap();

    let overlay = Overlay::open(&folder.path().join("s")).unwrap();
    overlay.metadata.syncs().fail_behind();
    active(&overlay, "default/1/c", None).unwrap();
    overlay.stat("default/1/c").unwrap();
}
