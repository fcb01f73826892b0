//! Roots of trust by TUF: what a repository may change, and what neither it nor whoever stands between can.

use std::{env::consts::ARCH, fs, path::Path, process::Command};

use assay_admission::{Digest, UnixTime};
use assay_verify::{LimitReached, TufError, TufFiles, TufTrust};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{
    support::vector,
    tuf_world::{NOW, Repository, Signer, canonical, signed},
};

fn open(repository: &Repository, files: &TufFiles) -> Result<TufTrust, TufError> {
    TufTrust::open(repository.configured(), files.clone())
}

#[test]
fn a_repository_brings_its_trusted_root_and_a_second_refresh_asks_for_nothing_twice() {
    let repository = Repository::new();
    let trust = repository.trusted();
    let (ended, trust, asked) = repository.refresh(trust, NOW);
    assert_eq!(ended, Ok(()));
    assert_eq!(asked, ["2.root.json", "timestamp.json"]);
    let summary = trust.summary();
    assert_eq!((summary.root.version, summary.root.threshold, summary.root.keys.len()), (1, 2, 3));
    assert_eq!(summary.timestamp.map(|role| role.version), Some(1));
}

#[test]
fn keys_of_every_scheme_count_and_those_of_unknown_schemes_do_not() {
    for signer in [Signer::p256(), Signer::p256().in_hex(), Signer::ed25519(), Signer::rsa()] {
        let mut repository = Repository::new();
        repository.timestamp = signer;
        repository.publish_root(1);
        repository.publish(1);
        assert_eq!(repository.first(), Ok(()), "{}", repository.timestamp.object);

        for scheme in ["ml-dsa-44/1", "ecdsa-sha2-nistp384", "rsassa-pkcs1v15-sha256"] {
            repository.timestamp.object["scheme"] = json!(scheme);
            repository.publish_root(1);
            repository.publish(1);
            assert!(matches!(repository.first(), Err(TufError::Threshold { valid: 0, .. })), "{scheme}");
        }
    }
}

#[test]
fn the_other_library_accepts_what_is_accepted_here() {
    let mut repository = Repository::new();
    repository.publish_root(2);
    repository.publish(7);
    let mut other = sigstore_tuf::TrustedMetadataSet::from_root(repository.configured()).unwrap();
    let now = "2026-11-22T12:00:00Z".parse().unwrap();
    other.update_root(&repository.files["2.root.json"]).unwrap();
    other.update_timestamp(&repository.files["timestamp.json"], now).unwrap();
    other.update_snapshot(&repository.files["7.snapshot.json"], now).unwrap();
    other.update_targets(&repository.files["7.targets.json"], now).unwrap();
    assert_eq!(repository.first(), Ok(()));
}

#[test]
fn roots_of_public_repositories_are_read_and_hold_their_own_rule() {
    for name in ["tuf_root", "tuf_staging_root", "tuf_github_root"] {
        let bytes = public_root(name);
        let root = TufTrust::open(&bytes, TufFiles::default()).unwrap().summary().root;
        let stated: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(Some(root.version), stated["signed"]["version"].as_u64());
        assert!(root.keys.iter().all(|key| key.starts_with("P-256 sha256:")), "{root:?}");
        sigstore_tuf::TrustedMetadataSet::from_root(&bytes).unwrap();

        let text = String::from_utf8(bytes).unwrap();
        let changed = text.replacen("\"consistent_snapshot\": true", "\"consistent_snapshot\": false", 1);
        let refused = TufTrust::open(changed.as_bytes(), TufFiles::default()).unwrap_err();
        assert!(matches!(refused, TufError::Threshold { valid: 0, .. }), "{refused}");
    }
}

/// A root as the crate `sigstore-trust-root`, which sigstore-verify brings, carries it beside its source.
fn public_root(name: &str) -> Vec<u8> {
    let platform = format!("{ARCH}-unknown-linux-gnu");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", &platform]);
    let listed = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    let packages = listed["packages"].as_array().unwrap();
    let package = packages.iter().find(|package| package["name"] == "sigstore-trust-root").unwrap();
    let folder = Path::new(package["manifest_path"].as_str().unwrap()).parent().unwrap();
    fs::read(folder.join("repository").join(format!("{name}.json"))).unwrap()
}

#[test]
fn a_repository_of_the_reference_implementation_is_followed_over_its_rotation() {
    let names = ["2.root.json", "timestamp.json", "2.snapshot.json", "2.targets.json"];
    let read = |name: &str| vector(&format!("tuf-python/{name}"));
    let mut repository = Repository { files: Default::default(), ..Repository::new() };
    repository.files = names.iter().map(|name| ((*name).to_owned(), read(name))).collect();
    let trusted_root = vector("keyless/trusted_root.json");
    let target = format!("targets/{}.trusted_root.json", Digest::sha256(&trusted_root).hex());
    repository.files.insert(target.clone(), read(&target));

    let trust = TufTrust::open(&read("1.root.json"), TufFiles::default()).unwrap();
    let (ended, trusted, asked) = repository.refresh(trust.clone(), NOW);
    assert_eq!(ended, Ok(()));
    assert_eq!(trusted.trusted_root(), Some(trusted_root.as_slice()));
    assert_eq!((trusted.summary().root.version, asked.len()), (2, 6));
    for name in names {
        let mut changed = Repository { files: repository.files.clone(), ..Repository::new() };
        let bytes = changed.files.get_mut(name).unwrap();
        let at = String::from_utf8_lossy(bytes).find("2100-01-01").unwrap();
        bytes[at] = b'3';
        assert!(changed.refresh(trust.clone(), NOW).0.is_err(), "{name}");
    }
}

// Thresholds

#[test]
fn a_root_needs_a_threshold_of_the_root_before_and_of_itself() {
    let mut repository = Repository::new();
    let before: Vec<Signer> = std::mem::replace(&mut repository.root, vec![Signer::p256(), Signer::p256()]);
    let content = repository.root_content(2);
    let [a, b, ..] = before.as_slice() else { panic!("three keys") };
    let [c, d] = repository.root.as_slice() else { panic!("two keys") };
    let end_with = |signers: &[&Signer]| {
        let bytes = signed(&content, signers);
        let mut with = Repository { files: repository.files.clone(), ..Repository::new() };
        with.files.insert("2.root.json".into(), bytes);
        with.first()
    };
    assert_eq!(end_with(&[a, b, c, d]), Ok(()));
    for short in [vec![a, c, d], vec![c, d], vec![]] {
        let refused = end_with(&short);
        assert!(matches!(&refused, Err(TufError::Threshold { by, .. }) if by == "root version 1"), "{refused:?}");
    }
    for short in [vec![a, b, c], vec![a, b]] {
        let refused = end_with(&short);
        assert!(matches!(&refused, Err(TufError::Threshold { by, .. }) if by == "root version 2"), "{refused:?}");
    }
}

#[test]
fn one_key_under_two_ids_counts_once() {
    let mut repository = Repository::new();
    let mut content = repository.root_content(2);
    let first = &repository.root[0];
    content["keys"]["another-name"] = first.object.clone();
    content["roles"]["root"]["keyids"].as_array_mut().unwrap().push(json!("another-name"));
    let sign = |names: &[(&str, &Signer)]| {
        let message = canonical(&content);
        let signatures: Vec<Value> =
            names.iter().map(|(id, signer)| json!({ "keyid": id, "sig": signer.sign(message.as_bytes()) })).collect();
        json!({ "signed": content, "signatures": signatures }).to_string().into_bytes()
    };
    let bytes = sign(&[(&first.id, first), ("another-name", first)]);
    let alone = TufTrust::open(&bytes, TufFiles::default()).unwrap_err();
    assert!(matches!(alone, TufError::Threshold { valid: 1, needed: 2, .. }), "{alone}");
    let second = &repository.root[1];
    let both = sign(&[(&first.id, first), ("another-name", first), (&second.id, second)]);
    repository.files.insert("2.root.json".into(), both);
    assert_eq!(repository.first(), Ok(()));
}

#[test]
fn one_signature_twice_and_a_threshold_of_none_are_refused() {
    let repository = Repository::new();
    let content = repository.root_content(1);
    let first = &repository.root[0];
    let twice = TufTrust::open(&signed(&content, &[first, first]), TufFiles::default()).unwrap_err();
    assert!(matches!(twice, TufError::SignedTwice { .. }), "{twice}");

    for (what, value) in [("threshold", json!(0)), ("keyids", json!([first.id, first.id]))] {
        let mut content = repository.root_content(1);
        content["roles"]["root"][what] = value;
        let refused = TufTrust::open(&signed(&content, &[first]), TufFiles::default()).unwrap_err();
        assert!(matches!(&refused, TufError::Malformed { problem, .. } if problem.starts_with(what)), "{refused}");
    }
}

#[test]
fn every_role_must_be_signed_by_its_own_key() {
    for role in ["timestamp", "snapshot", "targets"] {
        let mut repository = Repository::new();
        let stranger = Signer::ed25519();
        let slot = match role {
            "timestamp" => &mut repository.timestamp,
            "snapshot" => &mut repository.snapshot,
            _ => &mut repository.targets,
        };
        *slot = stranger.called(&slot.id);
        repository.publish(1);
        let refused = repository.first();
        assert!(
            matches!(&refused, Err(TufError::Threshold { file, valid: 0, .. }) if file.starts_with(role)),
            "{role}: {refused:?}"
        );
    }
}

#[test]
fn one_changed_byte_in_any_file_is_refused() {
    let repository = Repository::new();
    for name in ["timestamp.json", "1.snapshot.json", "1.targets.json"] {
        let mut changed = Repository { files: repository.files.clone(), ..Repository::new() };
        let bytes = changed.files.get_mut(name).unwrap();
        let at = String::from_utf8_lossy(bytes).find("2026-12-01").unwrap();
        bytes[at + 3] = b'7';
        assert!(changed.first().is_err(), "{name}");
    }
    let name = repository.files.keys().find(|name| name.starts_with("targets/")).unwrap();
    let mut changed = Repository { files: repository.files.clone(), ..Repository::new() };
    changed.files.get_mut(name).unwrap()[5] ^= 1;
    assert_eq!(changed.first(), Err(TufError::Hash { file: "trusted_root.json".into(), algorithm: "sha256" }));
}

// Rollback and freeze

#[test]
fn roots_follow_one_another_one_version_at_a_time() {
    let mut repository = Repository::new();
    for (stated, found) in [(3, 3), (1, 1), (u64::MAX, u64::MAX)] {
        let bytes = signed(&repository.root_content(stated), &[&repository.root[0], &repository.root[1]]);
        repository.files.insert("2.root.json".into(), bytes);
        assert_eq!(repository.first(), Err(TufError::Version { file: "2.root.json".into(), found, expected: 2 }));
    }
}

#[test]
fn an_older_timestamp_snapshot_or_targets_never_counts_again() {
    let mut old = Repository::new();
    let before = old.files.clone();
    let first = old.trusted();
    old.publish(2);
    let (ended, second, _) = old.refresh(first.clone(), NOW);
    assert_eq!(ended, Ok(()));

    // The whole of the old repository again, to a node that has kept its files and was started anew.
    let replayed = Repository { files: before.clone(), ..old };
    let restarted = open(&replayed, second.files()).unwrap();
    let (ended, kept, _) = replayed.refresh(restarted, NOW);
    assert!(matches!(ended, Err(TufError::Rollback { found: 1, seen: 2, .. })), "{ended:?}");
    assert_eq!(kept.summary().timestamp.map(|role| role.version), Some(2));
    // To a node that never saw the second version it is as good as new.
    assert_eq!(replayed.refresh(first, NOW).0, Ok(()));
}

#[test]
fn a_newer_timestamp_does_not_bring_back_an_older_snapshot_or_older_targets() {
    let mut repository = Repository::new();
    repository.publish(5);
    let trust = repository.trusted();
    let rolled_back = |role: &'static str| {
        move |at: &str, content: &mut Value| {
            if at == role {
                let pin = if role == "timestamp" { "snapshot.json" } else { "targets.json" };
                content["meta"][pin] = json!({ "version": 4 });
            }
        }
    };
    for (role, what) in [("timestamp", "the snapshot"), ("snapshot", "targets.json")] {
        repository.publish(4);
        repository.publish_with(6, rolled_back(role));
        let (ended, _, _) = repository.refresh(trust.clone(), NOW);
        let expected =
            matches!(&ended, Err(TufError::Rollback { what: found, found: 4, seen: 5, .. }) if found == what);
        assert!(expected, "{role}: {ended:?}");
    }
    repository.publish_with(6, |at, content| {
        if at == "snapshot" {
            content["meta"] = json!({ "other.json": { "version": 1 } });
        }
    });
    let (ended, ..) = repository.refresh(trust, NOW);
    assert!(matches!(&ended, Err(TufError::Removed { what, .. }) if what == "targets.json"), "{ended:?}");
}

#[test]
fn a_timestamp_that_was_seen_is_a_floor_even_if_the_rest_did_not_come() {
    let mut repository = Repository::new();
    let first = repository.trusted();
    let old = repository.files.clone();
    repository.publish(2);
    repository.files.remove("2.snapshot.json");
    let (ended, kept, _) = repository.refresh(first, NOW);
    assert_eq!(ended, Err(TufError::Missing { file: "2.snapshot.json".into() }));
    assert!(kept.trusted_root().is_some());

    let replayed = Repository { files: old, ..repository };
    let restarted = open(&replayed, kept.files()).unwrap();
    let (ended, ..) = replayed.refresh(restarted, NOW);
    assert!(matches!(ended, Err(TufError::Rollback { found: 1, seen: 2, .. })), "{ended:?}");
}

#[test]
fn whatever_expired_is_refused_and_what_was_verified_before_stays() {
    let end = UnixTime::from_seconds(1_796_083_200);
    assert_eq!(end.to_string(), "2026-12-01T00:00:00Z");
    let before = UnixTime::from_seconds(end.seconds() - 1);
    for role in ["root", "timestamp", "snapshot", "targets"] {
        let mut repository = Repository::new();
        let later = |content: &mut Value| content["expires"] = json!("2027-12-01T00:00:00Z");
        let mut root = repository.root_content(1);
        if role != "root" {
            later(&mut root);
        }
        repository.files.insert("1.root.json".into(), signed(&root, &[&repository.root[0], &repository.root[1]]));
        repository.publish_with(1, |at, content| {
            if at != role {
                later(content);
            }
        });
        let trust = open(&repository, &TufFiles::default()).unwrap();
        let (fresh, kept, _) = repository.refresh(trust.clone(), before);
        assert_eq!(fresh, Ok(()), "{role}");
        let (first, ..) = repository.refresh(trust, end);
        assert!(matches!(&first, Err(TufError::Expired { file, .. }) if file.contains(role)), "{role}: {first:?}");
        // The same files again, however often: a freeze ends when they expire.
        let restarted = open(&repository, kept.files()).unwrap();
        let (again, kept, _) = repository.refresh(restarted, end);
        assert!(matches!(&again, Err(TufError::Expired { file, .. }) if file.contains(role)), "{role}: {again:?}");
        assert_eq!(kept.trusted_root(), Some(repository.trusted_root.as_slice()));
    }
}

#[test]
fn a_key_that_was_taken_out_leaves_no_floor_and_one_that_stays_does() {
    // Somebody who had the timestamp's key ran its version up; a new root takes the key out.
    let mut repository = Repository::new();
    repository.publish(1);
    let mut run_up = repository.timestamp_content(u64::MAX, &repository.files["1.snapshot.json"]);
    run_up["meta"]["snapshot.json"]["version"] = json!(1);
    let good = repository.files.clone();
    repository.files.insert("timestamp.json".into(), signed(&run_up, &[&repository.timestamp]));
    let trust = repository.trusted();
    repository.files = good;
    let (ended, trust, _) = repository.refresh(trust, NOW);
    assert!(matches!(ended, Err(TufError::Rollback { found: 1, seen: u64::MAX, .. })), "{ended:?}");

    repository.publish_root(2);
    let (ended, trust, _) = repository.refresh(trust, NOW);
    assert!(matches!(ended, Err(TufError::Rollback { found: 1, seen: u64::MAX, .. })), "{ended:?}");

    repository.timestamp = Signer::p256();
    repository.publish_root(3);
    repository.publish(2);
    let (ended, trust, _) = repository.refresh(trust, NOW);
    assert_eq!(ended, Ok(()));
    assert_eq!(trust.summary().timestamp.map(|role| role.version), Some(2));
    // And it can be opened again, though the first files were signed by a key that is gone.
    open(&repository, trust.files()).unwrap();
}

#[test]
fn versions_that_a_snapshot_key_ran_up_are_forgotten_once_it_is_taken_out() {
    // The timestamp's key is right and signed what it was given, as services that sign by themselves do.
    let mut repository = Repository::new();
    let mut snapshot = repository.snapshot_content(u64::MAX, &repository.files["1.targets.json"]);
    snapshot["meta"]["targets.json"]["version"] = json!(1);
    let snapshot = signed(&snapshot, &[&repository.snapshot]);
    let mut timestamp = repository.timestamp_content(2, &snapshot);
    timestamp["meta"]["snapshot.json"]["version"] = json!(u64::MAX);
    repository.files.insert("timestamp.json".into(), signed(&timestamp, &[&repository.timestamp]));
    repository.files.insert(format!("{}.snapshot.json", u64::MAX), snapshot);
    let trust = repository.trusted();

    repository.publish_root(2);
    repository.publish(3);
    let (ended, trust, _) = repository.refresh(trust, NOW);
    assert!(matches!(ended, Err(TufError::Rollback { found: 3, seen: u64::MAX, .. })), "{ended:?}");
    repository.snapshot = Signer::p256();
    repository.publish_root(3);
    repository.publish(3);
    assert_eq!(repository.refresh(trust, NOW).0, Ok(()));
}

#[test]
fn what_the_old_keys_signed_is_refused_after_a_rotation_and_what_is_kept_stays_usable() {
    let mut repository = Repository::new();
    let trust = repository.trusted();
    repository.timestamp = Signer::ed25519();
    repository.publish_root(2);
    let (ended, trust, _) = repository.refresh(trust, NOW);
    assert!(matches!(ended, Err(TufError::Threshold { valid: 0, .. })), "{ended:?}");
    assert_eq!(trust.summary().root.version, 2);
    let restarted = open(&repository, trust.files()).unwrap();
    assert_eq!(restarted.trusted_root(), Some(repository.trusted_root.as_slice()));
}

// Mix and match

#[test]
fn files_of_two_versions_do_not_go_together() {
    let mut repository = Repository::new();
    let old = repository.files.clone();
    repository.publish(2);
    for (name, old_name) in [("2.snapshot.json", "1.snapshot.json"), ("2.targets.json", "1.targets.json")] {
        let mut mixed = Repository { files: repository.files.clone(), ..Repository::new() };
        mixed.files.insert(name.into(), old[old_name].clone());
        let refused = mixed.first();
        assert!(matches!(refused, Err(TufError::Hash { .. } | TufError::Length { .. })), "{name}: {refused:?}");
    }
    // Repositories may leave hashes and lengths out of these two: then the version decides.
    repository.publish_with(3, |role, content| {
        let pin = if role == "timestamp" { "snapshot.json" } else { "targets.json" };
        if role != "targets" {
            content["meta"][pin] = json!({ "version": 3 });
        }
    });
    assert_eq!(repository.first(), Ok(()));
    for (name, old_name) in [("3.snapshot.json", "1.snapshot.json"), ("3.targets.json", "1.targets.json")] {
        let mut mixed = Repository { files: repository.files.clone(), ..Repository::new() };
        mixed.files.insert(name.into(), old[old_name].clone());
        assert!(matches!(mixed.first(), Err(TufError::Version { found: 1, expected: 3, .. })), "{name}");
    }
}

#[test]
fn one_role_does_not_stand_in_for_another() {
    let mut repository = Repository::new();
    repository.files.insert("timestamp.json".into(), repository.files["1.snapshot.json"].clone());
    let refused = repository.first();
    assert!(matches!(&refused, Err(TufError::Type { found, expected: "timestamp", .. }) if found == "snapshot"));
}

#[test]
fn pins_by_unknown_hashes_alone_and_targets_without_the_root_of_trust_are_refused() {
    let change = |role: &'static str, path: &'static str, value: Value| {
        let mut repository = Repository::new();
        repository.publish_with(1, |at, content| {
            if at == role {
                *content.pointer_mut(path).unwrap() = value.clone();
            }
        });
        repository.first().unwrap_err()
    };
    let md5 = json!({ "md5": "d41d8cd98f00b204e9800998ecf8427e" });
    let refused = change("timestamp", "/meta/snapshot.json/hashes", md5.clone());
    assert_eq!(refused, TufError::NoHash { file: "snapshot.json".into() });
    let refused = change("targets", "/targets/trusted_root.json/hashes", md5);
    assert!(matches!(refused, TufError::Malformed { .. }), "{refused}");
    let refused = change("targets", "/targets", json!({}));
    assert_eq!(refused, TufError::NotListed { delegates: false });
    let refused = change("timestamp", "/spec_version", json!("2.0.0"));
    assert!(matches!(refused, TufError::Specification { .. }), "{refused}");
    let refused = change("timestamp", "/version", json!(0));
    assert!(matches!(refused, TufError::Malformed { .. }), "{refused}");
}

#[test]
fn a_target_that_is_no_root_of_trust_is_refused_though_it_is_signed() {
    let mut repository = Repository::new();
    let before = repository.trusted();
    repository.trusted_root = b"{}".to_vec();
    repository.publish(2);
    let (ended, kept, _) = repository.refresh(before, NOW);
    assert!(matches!(ended, Err(TufError::Target(_))), "{ended:?}");
    assert!(kept.trusted_root().is_some_and(|bytes| bytes.len() > 2));
}

// Limits

#[test]
fn a_file_over_its_cap_and_roots_without_end_are_limits() {
    let mut repository = Repository::new();
    repository.files.insert("timestamp.json".into(), vec![b' '; (64 << 10) + 1]);
    assert_eq!(repository.first(), Err(TufError::Size { file: "timestamp.json".into(), limit: 64 << 10 }));

    let mut repository = Repository::new();
    for version in 2..=34 {
        repository.publish_root(version);
    }
    let trust = open(&repository, &TufFiles::default()).unwrap();
    let (ended, trust, asked) = repository.refresh(trust, NOW);
    assert_eq!(ended, Err(TufError::Limit(LimitReached { what: "roots in one refresh", limit: 32 })));
    assert_eq!((asked.len(), trust.summary().root.version), (32, 33));
    // The next one goes on where this one ended.
    assert_eq!(repository.refresh(trust, NOW).0, Ok(()));
}

#[test]
fn a_refresh_that_was_refused_cannot_be_gone_on_with() {
    let repository = Repository::new();
    let mut refresh = open(&repository, &TufFiles::default()).unwrap().refresh(NOW);
    assert!(refresh.give(Some(b"{}".to_vec())).is_err());
    assert_eq!(refresh.step(), Err(TufError::Over));
    assert_eq!(refresh.give(None), Err(TufError::Over));
}

// What is kept

#[test]
fn kept_files_are_verified_again_and_a_changed_one_is_refused() {
    let mut repository = Repository::new();
    repository.publish_root(2);
    let files = repository.trusted().files().clone();
    assert_eq!(TufFiles::from_json(&files.to_json()), Ok(files.clone()));
    assert!(open(&repository, &files).is_ok());

    let mut changed = files.clone();
    let target = &mut changed.complete.as_mut().unwrap().target;
    target[10] ^= 1;
    assert!(matches!(open(&repository, &changed), Err(TufError::Hash { .. })));
    let changed = TufFiles { roots: Vec::new(), ..files.clone() };
    assert!(matches!(open(&repository, &changed), Err(TufError::Kept(_))));
    let another = Repository::new();
    assert!(matches!(open(&another, &files), Err(TufError::Threshold { .. })));
}

#[test]
fn a_newer_configured_root_takes_the_place_of_kept_ones() {
    let mut repository = Repository::new();
    repository.publish_root(2);
    repository.publish_root(3);
    let files = repository.trusted().files().clone();
    let newer = TufTrust::open(&repository.files["2.root.json"], files).unwrap();
    assert_eq!(newer.files().roots, [repository.files["3.root.json"].clone()]);
    assert!(newer.trusted_root().is_some());
}

#[test]
fn kept_files_of_an_unknown_version_or_shape_are_refused() {
    let files = Repository::new().trusted().files().clone();
    let document: Value = serde_json::from_slice(&files.to_json()).unwrap();
    for (key, value) in [("version", json!(2)), ("roots", json!(["?"])), ("more", json!(1)), ("complete", json!([]))] {
        let mut changed = document.clone();
        changed[key] = value;
        assert!(matches!(TufFiles::from_json(changed.to_string().as_bytes()), Err(TufError::Kept(_))), "{key}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_bytes_make_it_panic_or_trust_something(bytes in proptest::collection::vec(any::<u8>(), 0..200), at in 0..6_usize) {
        let mut repository = Repository::new();
        let name = repository.files.keys().nth(at % repository.files.len()).unwrap().clone();
        let right = repository.files.insert(name.clone(), bytes.clone());
        if name != "1.root.json" && right != Some(bytes) {
            prop_assert!(repository.first().is_err());
        }
    }
}
