//! The program itself: exit codes, and what stands on standard output and standard error when something fails.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::{
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;

fn assay(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_assay")).args(arguments).output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn error(output: &Output) -> Value {
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    json["error"].clone()
}

#[test]
fn wrong_usage_is_exit_code_2_and_json_where_json_was_asked_for() {
    let output = assay(&["frobnicate", "-o", "json"]);
    assert_eq!((code(&output), error(&output)["code"].as_str()), (2, Some("USAGE")));
    let output = assay(&["frobnicate"]);
    assert_eq!(code(&output), 2);
    assert!(output.stdout.is_empty() && !output.stderr.is_empty());
}

#[test]
fn a_node_without_an_agent_is_exit_code_4_for_every_verb_that_needs_one() {
    let folder = tempfile::tempdir().unwrap();
    let root = format!("--root={}", folder.path().display());
    for verb in [
        &["verify", "r.example/a:1"][..],
        &["sign", "r.example/a:1", "--key", "pkcs11:object=ci"],
        &["keys", "list"],
        &["keys", "generate", "ci"],
        &["audit", "show"],
        &["audit", "head"],
        &["node", "status"],
        &["node", "reload"],
    ] {
        let arguments: Vec<&str> = verb.iter().copied().chain([root.as_str(), "-ojson"]).collect();
        let output = assay(&arguments);
        assert_eq!((code(&output), error(&output)["code"].as_str()), (4, Some("AGENT_UNREACHABLE")), "{verb:?}");
        assert!(error(&output)["remedy"].as_str().is_some_and(|remedy| remedy.contains("assayd")), "{verb:?}");
    }
}

#[test]
fn the_exit_codes_are_documented_in_the_help() {
    let output = assay(&["help", "exit-codes"]);
    assert_eq!(code(&output), 0);
    let text = String::from_utf8(output.stdout).unwrap();
    for number in [0, 1, 2, 3, 4, 5, 10, 11, 12, 13] {
        assert!(text.contains(&format!("{number:>2}  ")), "{number} is missing in {text}");
    }
}

#[test]
fn an_image_name_that_is_none_is_wrong_usage() {
    let output = assay(&["verify", "r.example/\u{430}pp", "-o", "json"]);
    assert_eq!((code(&output), error(&output)["code"].as_str()), (2, Some("USAGE")));
}

#[test]
fn a_type_of_attestation_needs_to_be_known_and_somebody_to_be_trusted() {
    for arguments in [&["--type", "vuln"][..], &["--type", "vulns", "--key", "k.pem"]] {
        let line: Vec<&str> = ["verify", "r.example/a:1", "-o", "json"].iter().chain(arguments).copied().collect();
        let output = assay(&line);
        assert_eq!((code(&output), error(&output)["code"].as_str()), (2, Some("USAGE")), "{arguments:?}");
    }
}

#[test]
fn a_folder_without_a_layout_is_told_and_no_image() {
    let folder = tempfile::tempdir().unwrap();
    let output = assay(&["tree", &format!("oci:{}", folder.path().display()), "-o", "json"]);
    assert_eq!((code(&output), error(&output)["code"].as_str()), (1, Some("MALFORMED")));
    assert!(error(&output)["message"].as_str().is_some_and(|message| message.contains("oci-layout")));
}

#[test]
fn a_log_that_is_not_there_is_no_intact_log() {
    let folder = tempfile::tempdir().unwrap();
    let key = "302a300506032b657003210019bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1";
    let dir = folder.path().display().to_string();
    let output = assay(&["audit", "verify", "--dir", &dir, "--key", key, "-o", "json"]);
    assert_eq!((code(&output), error(&output)["code"].as_str()), (5, Some("LOG_TAMPERED")));
}

/// A P-256 key that was made in SoftHSM for this file.
const KEY: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAES7/8fPEsKr5zmHHYr5GxDigjL4zu
NWLGxMrmL35Wleytj1AFSAT6ikOpFyse8ruvVimbZYoV7rBfKZ9f5JzgzQ==
-----END PUBLIC KEY-----
";

#[test]
fn the_first_example_passes_the_check_with_its_key_and_is_refused_without_it() {
    let folder = tempfile::tempdir().unwrap();
    let policy = folder.path().join("policy.toml");
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policy-examples/first-steps/policy.toml");
    std::fs::copy(example, &policy).unwrap();
    let check = || assay(&["policy", "check", policy.to_str().unwrap(), "--root", "/nowhere", "-o", "json"]);

    let output = check();
    let error = error(&output);
    assert_eq!((code(&output), error["code"].as_str()), (1, Some("POLICY_INVALID")));
    let problem = &error["problems"][0];
    assert!(problem["message"].as_str().is_some_and(|message| message.contains("ci.pem")), "{error}");
    assert!(problem["line"].as_u64() > Some(1) && problem["column"].as_u64() > Some(1), "{error}");

    std::fs::write(folder.path().join("ci.pem"), KEY).unwrap();
    assert_eq!(code(&check()), 0);
    std::fs::write(folder.path().join("ci.pem"), KEY.replacen('M', "N", 1)).unwrap();
    assert_eq!(code(&check()), 1);
}

#[test]
fn wrong_usage_is_told_before_anybody_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let root = format!("--root={}", folder.path().display());
    for (arguments, told) in [
        (&["sign", "r.example/a:1", "--key", "ci.key"][..], "no pkcs11: URI"),
        (&["keys", "public", "ci"], "no pkcs11: URI"),
        (&["verify", "r.example/a:1", "--plain-http"], "--plain-http has no meaning for the agent"),
        (&["verify", "r.example/a:1", "--docker-config", "x"], "--docker-config has no meaning for the agent"),
    ] {
        let output = assay(&[arguments, &["-ojson", &root]].concat());
        assert_eq!((code(&output), error(&output)["code"].as_str()), (2, Some("USAGE")), "{arguments:?}");
        assert!(error(&output)["message"].as_str().is_some_and(|message| message.contains(told)), "{arguments:?}");
    }
    // The remedy names the file of the node in question.
    let output = assay(&["verify", "r.example/a:1", "--plain-http", "-ojson", &root]);
    let file = folder.path().join("etc/assay/fetch.toml").display().to_string();
    assert!(error(&output)["remedy"].as_str().is_some_and(|remedy| remedy.contains(&file)), "{output:?}");
}

#[test]
fn folders_in_place_of_files_and_logs_that_are_missing_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display().to_string();
    let output = assay(&["policy", "check", &path, "-o", "json"]);
    assert_eq!((code(&output), error(&output)["code"].as_str()), (1, Some("IO")));
    assert!(error(&output)["remedy"].as_str().is_some_and(|remedy| remedy.contains("the file itself")), "{output:?}");
    let key = "302a300506032b657003210019bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1";
    let missing = format!("{path}/nowhere");
    let output = assay(&["audit", "verify", "--dir", &missing, "--key", key, "-o", "json"]);
    assert_eq!((code(&output), error(&output)["code"].as_str()), (5, Some("LOG_MISSING")));
}

/// A policy with as many keys in the token.
fn token_policy(keys: usize) -> String {
    let mut text = "version = 1\nmode = \"enforce\"\n".to_owned();
    for n in 0..keys {
        let pin = "ab".repeat(32);
        text.push_str(&format!("[keys.k{n}]\npublic = \"pkcs11:token=t;object=k{n}\"\nsha256 = \"{pin}\"\n"));
    }
    text
}

#[test]
fn a_policy_whose_keys_only_an_agent_can_read_needs_one() {
    let folder = tempfile::tempdir().unwrap();
    let policy = folder.path().join("policy.toml");
    std::fs::write(&policy, token_policy(2)).unwrap();
    let root = format!("--root={}", folder.path().display());
    let output = assay(&["verify", "r.example/a:1", "--policy", policy.to_str().unwrap(), &root, "-o", "json"]);
    assert_eq!((code(&output), error(&output)["code"].as_str()), (4, Some("KEY_UNREAD")));
    let output = assay(&["policy", "check", policy.to_str().unwrap(), &root]);
    assert_eq!(code(&output), 0);
    assert!(String::from_utf8_lossy(&output.stdout).contains("keys in the token were not looked up"), "{output:?}");
}

#[test]
fn the_time_out_counts_once_for_all_keys_of_a_policy() {
    let folder = tempfile::tempdir().unwrap();
    let sockets = folder.path().join("run/assay");
    std::fs::create_dir_all(&sockets).unwrap();
    // It takes connections and never says a word.
    let _silent = std::os::unix::net::UnixListener::bind(sockets.join("admin.sock")).unwrap();
    let policy = folder.path().join("policy.toml");
    std::fs::write(&policy, token_policy(8)).unwrap();
    let root = format!("--root={}", folder.path().display());
    let started = std::time::Instant::now();
    let output = assay(&["policy", "check", policy.to_str().unwrap(), &root, "--timeout", "2s"]);
    assert_eq!(code(&output), 0, "{output:?}");
    // Eight times as long otherwise; in between there is room for a slow machine.
    assert!(started.elapsed() < std::time::Duration::from_secs(10), "{:?}", started.elapsed());
}
