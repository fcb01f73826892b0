//! The backend on a real disk: lifecycle, refusals, crashes, full disks, deep stacks, and a model it must agree with.
#![expect(clippy::unwrap_used, reason = "tests")]

mod crash;
mod full;
mod model;

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    process::Command,
    time::Duration,
};

use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
use tempfile::TempDir;

use super::*;

pub(super) fn open() -> (TempDir, Overlay) {
    let root = tempfile::tempdir().unwrap();
    let overlay = Overlay::open(root.path()).unwrap();
    (root, overlay)
}

pub(super) fn chain(n: u64) -> Digest {
    Digest::sha256(&n.to_be_bytes())
}

/// Prepares and commits a layer as containerd does, and gives its name.
pub(super) fn layer(overlay: &Overlay, n: u64, parent: Option<&str>) -> String {
    let chain = chain(n);
    let (key, name) = (format!("default/1/extract-{n} {chain}"), format!("default/2/{chain}"));
    overlay.create(NewKind::Active, &key, parent, BTreeMap::new(), Admission::Layer(chain)).unwrap();
    overlay.commit(&name, &key, BTreeMap::new(), None).unwrap();
    name
}

fn active(overlay: &Overlay, key: &str, parent: Option<&str>) -> Result<Vec<Mount>, OverlayError> {
    overlay.create(NewKind::Active, key, parent, BTreeMap::new(), Admission::Other)
}

fn option<'a>(mounts: &'a [Mount], name: &str) -> Option<&'a str> {
    let [mount] = mounts else { panic!("one mount expected: {mounts:?}") };
    mount.options.iter().find_map(|option| option.strip_prefix(name)?.strip_prefix('='))
}

/// What is in `snapshots/`, sorted.
pub(super) fn folders(root: &Path) -> Vec<String> {
    let entries = fs::read_dir(root.join("snapshots")).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    names
}

/// No record without folder, no folder without record.
pub(super) fn assert_in_step(root: &Path, overlay: &Overlay) {
    let mut ids = Vec::new();
    overlay.metadata.read(|tables| tables.each(|_, record| ids.push(record.id.to_string()))).unwrap();
    ids.sort_unstable();
    assert_eq!(folders(root), ids);
    for id in ids {
        assert!(root.join("snapshots").join(id).join("fs").is_dir());
    }
}

#[test]
fn one_layer_is_a_bind_mount_and_several_are_an_overlay() {
    let (root, overlay) = open();
    let upper = |id: u64| root.path().join(format!("snapshots/{id}/fs")).to_str().unwrap().to_owned();
    let bind =
        |id, access: &str| Mount { kind: "bind", source: upper(id), options: vec![access.into(), "rbind".into()] };
    assert_eq!(active(&overlay, "default/1/base", None).unwrap(), [bind(1, "rw")]);
    let a = layer(&overlay, 0, None);
    let b = layer(&overlay, 1, Some(&a));
    let view = |key, parent| overlay.create(NewKind::View, key, parent, BTreeMap::new(), Admission::Other).unwrap();
    assert_eq!(view("default/5/v", Some(&a)), [bind(2, "ro")]);
    assert_eq!(view("default/5/none", None), [bind(5, "ro")]);
    let mounts = active(&overlay, "default/6/c", Some(&b)).unwrap();
    assert_eq!(mounts.first().unwrap().kind, "overlay");
    assert_eq!(option(&mounts, "lowerdir"), Some(format!("{}:{}", upper(3), upper(2)).as_str()));
    assert_eq!(option(&mounts, "upperdir"), Some(upper(6).as_str()));
    assert_eq!(option(&mounts, "workdir"), Some(upper(6).replace("/fs", "/work").as_str()));
    assert_eq!(overlay.mounts("default/6/c").unwrap(), mounts);
    let mounts = view("default/7/v", Some(&b));
    assert_eq!((option(&mounts, "upperdir"), mounts.first().unwrap().kind), (None, "overlay"));
    assert_in_step(root.path(), &overlay);
}

#[test]
fn each_misuse_has_the_error_that_containerd_expects() {
    let (_root, overlay) = open();
    let a = layer(&overlay, 0, None);
    active(&overlay, "default/3/c", Some(&a)).unwrap();
    assert!(matches!(active(&overlay, "default/3/c", None), Err(OverlayError::Exists(key)) if key == "default/3/c"));
    assert!(matches!(active(&overlay, "default/4/c", Some("default/9/x")), Err(OverlayError::NoParent(_))));
    assert!(matches!(active(&overlay, "default/4/c", Some("default/3/c")), Err(OverlayError::ParentNotCommitted(_))));
    assert!(matches!(overlay.mounts(&a), Err(OverlayError::Committed(_))));
    assert!(matches!(overlay.mounts("default/9/x"), Err(OverlayError::NotFound(_))));
    assert!(matches!(overlay.stat("default/9/x"), Err(OverlayError::NotFound(_))));
    assert!(matches!(overlay.usage("default/9/x"), Err(OverlayError::NotFound(_))));
    assert!(matches!(overlay.remove("default/9/x"), Err(OverlayError::NotFound(_))));
    assert!(matches!(overlay.remove(&a), Err(OverlayError::HasChildren(_))));
    let commit = |name: &str, key: &str, parent| overlay.commit(name, key, BTreeMap::new(), parent);
    assert!(matches!(commit("default/5/n", "default/9/x", None), Err(OverlayError::NotFound(_))));
    assert!(matches!(commit("default/5/n", "default/3/c", Some("default/9/x")), Err(OverlayError::Rebase(_))));
    commit("default/5/n", "default/3/c", Some(&a)).unwrap();
    active(&overlay, "default/6/d", None).unwrap();
    assert!(matches!(commit("default/5/n", "default/6/d", None), Err(OverlayError::Exists(_))));
    overlay.create(NewKind::View, "default/7/v", Some(&a), BTreeMap::new(), Admission::Other).unwrap();
    assert!(matches!(commit("default/8/n", "default/7/v", None), Err(OverlayError::NotActive(_))));
    assert!(matches!(active(&overlay, "", None), Err(OverlayError::Name)));
    assert!(matches!(active(&overlay, &"x".repeat(MAX_NAME_BYTES + 1), None), Err(OverlayError::Name)));
}

#[test]
fn a_layer_can_become_only_the_chain_that_was_admitted() {
    let (_root, overlay) = open();
    let (admitted, other) = (chain(1), chain(2));
    let key = format!("default/1/extract-1 {admitted}");
    overlay.create(NewKind::Active, &key, None, BTreeMap::new(), Admission::Layer(admitted)).unwrap();
    for name in
        [format!("default/2/{other}"), format!("other/2/{admitted}"), "default/2/n".into(), format!("{admitted}")]
    {
        assert!(matches!(
            overlay.commit(&name, &key, BTreeMap::new(), None),
            Err(OverlayError::ForeignName { name: refused, .. }) if refused == name
        ));
    }
    overlay.commit(&format!("default/2/{admitted}"), &key, BTreeMap::new(), None).unwrap();
}

#[test]
fn what_is_no_layer_cannot_become_one_even_after_a_restart() {
    let (root, overlay) = open();
    active(&overlay, "default/1/c", None).unwrap();
    drop(overlay);
    let overlay = Overlay::open(root.path()).unwrap();
    let name = format!("default/2/{}", chain(1));
    let refused = overlay.commit(&name, "default/1/c", BTreeMap::new(), None);
    assert!(matches!(refused, Err(OverlayError::ForeignName { .. })));
    overlay.commit(&format!("{name}-0-1000"), "default/1/c", BTreeMap::new(), None).unwrap();
}

#[test]
fn the_nearest_chain_is_found_below_what_is_no_layer() {
    let (_root, overlay) = open();
    let a = layer(&overlay, 0, None);
    active(&overlay, "moby/3/c-init-key", Some(&a)).unwrap();
    overlay.commit("moby/4/c-init", "moby/3/c-init-key", BTreeMap::new(), None).unwrap();
    assert_eq!(overlay.nearest_chain("moby/4/c-init").unwrap(), Some(chain(0)));
    active(&overlay, "default/5/x", None).unwrap();
    overlay.commit("default/6/base", "default/5/x", BTreeMap::new(), None).unwrap();
    assert_eq!(overlay.nearest_chain("default/6/base").unwrap(), None);
    assert!(matches!(overlay.nearest_chain("default/9/x"), Err(OverlayError::NoParent(_))));
}

#[test]
fn the_upper_folder_follows_owner_and_mode_of_its_parent() {
    let (root, overlay) = open();
    let a = layer(&overlay, 0, None);
    let parent = root.path().join("snapshots/1/fs");
    chown(&parent, Some(123), Some(456)).unwrap();
    fs::set_permissions(&parent, fs::Permissions::from_mode(0o2751)).unwrap();
    active(&overlay, "default/3/c", Some(&a)).unwrap();
    let upper = fs::metadata(root.path().join("snapshots/2/fs")).unwrap();
    assert_eq!((upper.uid(), upper.gid(), upper.mode() & 0o7777), (123, 456, 0o2751));
    assert_eq!(fs::metadata(root.path().join("snapshots/2")).unwrap().mode() & 0o7777, 0o700);
    assert_eq!(fs::metadata(root.path().join("snapshots/2/work")).unwrap().mode() & 0o7777, 0o711);
}

#[test]
fn a_folder_made_ahead_is_used_once_like_any_other_and_is_not_left_behind() {
    let (root, overlay) = open();
    let a = layer(&overlay, 0, None);
    let parent = root.path().join("snapshots/1/fs");
    chown(&parent, Some(123), Some(456)).unwrap();
    fs::set_permissions(&parent, fs::Permissions::from_mode(0o2751)).unwrap();
    overlay.provide();
    overlay.provide();
    assert_eq!(folders(root.path()), ["1", "spare-0"]);
    overlay.create(NewKind::View, "default/3/v", Some(&a), BTreeMap::new(), Admission::Other).unwrap();
    assert_eq!(folders(root.path()), ["1", "2", "spare-0"]);
    active(&overlay, "default/4/c", Some(&a)).unwrap();
    active(&overlay, "default/5/c", None).unwrap();
    assert_in_step(root.path(), &overlay);
    let mode = |path: &str| fs::metadata(root.path().join("snapshots").join(path)).unwrap().mode() & 0o7777;
    let upper = fs::metadata(root.path().join("snapshots/3/fs")).unwrap();
    assert_eq!((upper.uid(), upper.gid(), mode("3"), mode("3/fs"), mode("3/work")), (123, 456, 0o700, 0o2751, 0o711));
    overlay.provide();
    overlay.cleanup().unwrap();
    assert_in_step(root.path(), &overlay);
    overlay.provide();
    drop(overlay);
    let overlay = Overlay::open(root.path()).unwrap();
    assert_in_step(root.path(), &overlay);
}

#[test]
fn usage_counts_a_file_with_two_names_once() {
    let (root, overlay) = open();
    active(&overlay, "default/1/c", None).unwrap();
    let upper = root.path().join("snapshots/1/fs");
    let empty = overlay.usage("default/1/c").unwrap();
    assert_eq!(empty.inodes, 1);
    fs::create_dir(upper.join("d")).unwrap();
    fs::write(upper.join("d/a"), vec![1; 8192]).unwrap();
    fs::hard_link(upper.join("d/a"), upper.join("b")).unwrap();
    std::os::unix::fs::symlink("/", upper.join("l")).unwrap();
    let used = overlay.usage("default/1/c").unwrap();
    assert_eq!(used.inodes, 4);
    let du = Command::new("du").args(["-s", "-B1"]).arg(&upper).output().unwrap();
    let du = String::from_utf8(du.stdout).unwrap();
    assert_eq!(used.bytes.to_string(), du.split_whitespace().next().unwrap());
    overlay.commit("default/2/n", "default/1/c", BTreeMap::new(), None).unwrap();
    fs::write(upper.join("later"), b"x").unwrap();
    assert_eq!(overlay.usage("default/2/n").unwrap(), used);
}

#[test]
fn labels_change_as_the_mask_says() {
    let (_root, overlay) = open();
    let labels = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let first: BTreeMap<_, _> = labels(&[("a", "1"), ("b.c", "2"), ("empty", "")]);
    overlay.create(NewKind::Active, "default/1/c", None, first, Admission::Other).unwrap();
    assert_eq!(overlay.stat("default/1/c").unwrap().labels, labels(&[("a", "1"), ("b.c", "2")]));
    let update = |new: &[(&str, &str)], fields: &[&str]| {
        let fields: Vec<String> = fields.iter().map(ToString::to_string).collect();
        overlay.update("default/1/c", &labels(new), &fields).map(|info| info.labels)
    };
    assert_eq!(update(&[("b.c", "3"), ("z", "9")], &["labels.b.c"]).unwrap(), labels(&[("a", "1"), ("b.c", "3")]));
    assert_eq!(update(&[], &["labels.a"]).unwrap(), labels(&[("b.c", "3")]));
    assert!(matches!(update(&[], &["parent"]), Err(OverlayError::Field { field, .. }) if field == "parent"));
    assert!(matches!(update(&[], &["labelsx"]), Err(OverlayError::Field { .. })));
    assert_eq!(update(&[("y", "1")], &["labels"]).unwrap(), labels(&[("y", "1")]));
    assert_eq!(update(&[("x", "1")], &[]).unwrap(), labels(&[("x", "1")]));
    assert_eq!(overlay.stat("default/1/c").unwrap().labels, labels(&[("x", "1")]));
    let huge: BTreeMap<_, _> = labels(&[("x", &"v".repeat(MAX_LABEL_BYTES))]);
    assert!(matches!(overlay.update("default/1/c", &huge, &[]), Err(OverlayError::Labels(_))));
}

#[test]
fn lists_are_filtered_by_kind_parent_and_label() {
    let (_root, overlay) = open();
    let a = layer(&overlay, 0, None);
    let labels = BTreeMap::from([("containerd.io/snapshot.ref".to_owned(), "r".to_owned())]);
    overlay.create(NewKind::View, "default/3/v", Some(&a), labels, Admission::Other).unwrap();
    let names = |filter: &str| {
        let infos = overlay.list(&Filter::parse(&[filter.to_owned()]).unwrap()).unwrap();
        infos.into_iter().map(|info| info.name).collect::<Vec<_>>()
    };
    assert_eq!(names(""), [a.as_str(), "default/3/v"]);
    assert_eq!(names("kind==view"), ["default/3/v"]);
    assert_eq!(names(&format!("labels.\"containerd.io/snapshot.ref\"==r,parent==\"{a}\"")), ["default/3/v"]);
    assert_eq!(names("parent==\"\""), [a.as_str()]);
    assert_eq!(names("kind==active"), Vec::<String>::new());
}

#[test]
fn a_removed_snapshot_leaves_nothing_however_deep_its_tree_is() {
    let (root, overlay) = open();
    active(&overlay, "default/1/c", None).unwrap();
    let upper = root.path().join("snapshots/1/fs");
    // Deeper than any path, any stack and any number of open files.
    let flags = OFlags::DIRECTORY | OFlags::RDONLY;
    let mut folder = openat(CWD, &upper, flags, Mode::empty()).unwrap();
    for _ in 0..1500 {
        mkdirat(&folder, "d", Mode::RWXU).unwrap();
        openat(&folder, "f", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).unwrap();
        folder = openat(&folder, "d", flags, Mode::empty()).unwrap();
    }
    let outside = root.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("kept"), b"x").unwrap();
    std::os::unix::fs::symlink(&outside, upper.join("link")).unwrap();
    overlay.remove("default/1/c").unwrap();
    overlay.reap();
    assert_eq!(folders(root.path()), Vec::<String>::new());
    assert!(outside.join("kept").exists());
}

#[test]
fn cleanup_deletes_what_no_record_owns_and_nothing_else() {
    let (root, overlay) = open();
    layer(&overlay, 0, None);
    for orphan in ["77/fs/x", "new-1/fs", "rm-5/fs/y", "01/fs"] {
        fs::create_dir_all(root.path().join("snapshots").join(orphan)).unwrap();
    }
    fs::write(root.path().join("snapshots/file"), b"x").unwrap();
    overlay.cleanup().unwrap();
    assert_eq!(folders(root.path()), ["1"]);
    assert_in_step(root.path(), &overlay);
}

#[test]
fn ids_of_removed_snapshots_are_never_given_again() {
    let (root, overlay) = open();
    active(&overlay, "default/1/c", None).unwrap();
    overlay.remove("default/1/c").unwrap();
    drop(overlay);
    let overlay = Overlay::open(root.path()).unwrap();
    active(&overlay, "default/2/c", None).unwrap();
    assert_eq!(folders(root.path()), ["2"]);
}

#[test]
fn a_store_in_use_or_of_another_version_is_refused() {
    let (root, overlay) = open();
    assert!(matches!(Overlay::open(root.path()), Err(OverlayError::Database(_))));
    drop(overlay);
    Overlay::open(root.path()).unwrap().metadata.write(|tables| tables.force_version(99)).unwrap();
    assert!(matches!(Overlay::open(root.path()), Err(OverlayError::Version { found: 99, known: 1 })));
}

#[test]
fn reads_do_not_wait_for_a_writer() {
    let (_root, overlay) = open();
    let a = layer(&overlay, 0, None);
    let (started, wait) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            overlay.metadata.alone(|_| {
                started.send(()).unwrap();
                std::thread::sleep(Duration::from_millis(500));
                Ok(())
            })
        });
        wait.recv().unwrap();
        let start = std::time::Instant::now();
        overlay.stat(&a).unwrap();
        overlay.usage(&a).unwrap();
        overlay.list(&Filter::parse(&[]).unwrap()).unwrap();
        assert!(start.elapsed() < Duration::from_millis(250), "{:?}", start.elapsed());
    });
}

#[test]
fn a_hundred_and_twenty_eight_layers_mount_as_containerd_mounts_them() {
    let (root, overlay) = open();
    let mut parent = None;
    for n in 0..128_u64 {
        let name = layer(&overlay, n, parent.as_deref());
        fs::write(root.path().join(format!("snapshots/{}/fs/{n}", n + 1)), b"").unwrap();
        parent = Some(name);
    }
    let mounts = active(&overlay, "default/9/c", parent.as_deref()).unwrap();
    let lower = option(&mounts, "lowerdir").unwrap();
    assert_eq!(lower.split(':').count(), 128);
    assert!(lower.len() > 4096, "{}", lower.len());
    // What does not fit into a page is shortened by the common folder, which becomes the working directory.
    let common = format!("{}/snapshots/", root.path().display());
    assert!(lower.split(':').all(|path| path.starts_with(&common)));
    let short: Vec<&str> = lower.split(':').map(|path| path.strip_prefix(&common).unwrap()).collect();
    let target = root.path().join("target");
    fs::create_dir(&target).unwrap();
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        short.join(":"),
        option(&mounts, "upperdir").unwrap(),
        option(&mounts, "workdir").unwrap()
    );
    assert!(options.len() < 4096, "{}", options.len());
    let script = "unshare -m sh -c 'cd \"$0\" && mount -i -t overlay overlay -o \"$1\" \"$2\" && ls \"$2\" | wc -l' \"$0\" \"$1\" \"$2\"";
    let mounted = Command::new("sh").args(["-c", script, &common, &options]).arg(&target).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&mounted.stdout).trim(), "128", "{}", String::from_utf8_lossy(&mounted.stderr));
}
