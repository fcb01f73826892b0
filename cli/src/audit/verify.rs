//! `assay audit verify`: checks the log's files without an agent, against the log's public key and, if given, a head that
//! was saved elsewhere. Changes nothing.

use std::path::{Path, PathBuf};

use assay_audit::{CheckError, NoteKey, Report, Tampered, checkpoint, verify_dir};
use assay_verify::PublicKey;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use clap::Args;
use serde_json::json;

use crate::{
    Context, bounded_file,
    failure::{Exit, Failure},
};

/// Largest key or checkpoint file that is read.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Check that no record of the log was changed, dropped or re-sealed
///
/// Reads the log's files; no agent is needed. Someone with root on this node can replace the log, its head and the key
/// beside it together: to find that out, keep the key and a head from `assay audit head` elsewhere, and give both.
#[derive(Args, Debug)]
pub(crate) struct VerifyArgs {
    /// The log's folder [default: /var/lib/assay/agent/log below --root]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The log's public key: a PEM or DER file, or the SubjectPublicKeyInfo in hex [default: the one the node keeps]
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// A head that was saved earlier: the log must be its continuation
    #[arg(long, value_name = "FILE")]
    since: Option<PathBuf>,
}

pub(super) fn run(context: &Context, arguments: &VerifyArgs) -> Result<Exit, Failure> {
    let dir = arguments.dir.clone().unwrap_or_else(|| context.path("var/lib/assay/agent/log"));
    let key = match &arguments.key {
        Some(text) => given_key(text)?,
        None => own_key(&dir)?,
    };
    let since = arguments.since.as_deref().map(saved_head).transpose()?;
    if !dir.is_dir() {
        return Err(no_log(&dir));
    }
    let progress = context.console.progress("hashing the log");
    let checked = verify_dir(&dir, &[key], since.as_deref());
    drop(progress);
    let report = checked.map_err(|error| damaged(&dir, &error))?;
    let json = json!({
        "dir": dir,
        "origin": report.origin,
        "size": report.head.size,
        "root": BASE64_STANDARD.encode(report.head.root),
        "signed": report.signed,
        "signed_by": report.signed_by.spki_sha256(),
        "since": report.since,
        "allowed": report.allowed,
        "denied": report.denied,
        "key_uses": report.key_uses,
        "policies": report.policies,
        "trust_roots": report.trust_roots,
        "evidence": report.evidence,
        "starts": report.starts,
        "unknown": report.unknown,
    });
    context.console.print(&text(&report), &json)?;
    if arguments.key.is_none() {
        context
            .console
            .remark("note: checked with the key that this node keeps; give --key with a copy kept elsewhere");
    }
    Ok(Exit::Success)
}

/// A head that a person saved. A file that is none says nothing about the log, and must not look as if the log were damaged;
/// one by another key or of another log may well do so, and is left to the check.
fn saved_head(path: &Path) -> Result<Vec<u8>, Failure> {
    let bytes =
        bounded_file::read(path, MAX_FILE_BYTES).map_err(|error| Failure::io("read the saved head", path, &error))?;
    match checkpoint::parse(&bytes) {
        Ok(_) => Ok(bytes),
        Err(error) => Err(Failure::new(
            "SAVED_HEAD",
            format!("the log was not checked: {} is no saved head: {error}", path.display()),
            "give a file with the whole output of `assay audit head`, or leave out --since",
        )),
    }
}

fn text(report: &Report) -> String {
    let since = report.since.map(|size| format!("\n  continues the saved head of {size} records")).unwrap_or_default();
    let unknown = match report.unknown {
        0 => String::new(),
        count => format!(", {count} of a kind that this version does not know"),
    };
    format!(
        "the log {} is intact: {} records, {} of them under a head signed by {}\n  {} allowed, {} denied, {} uses of keys, \
         {} policies, {} updates of trust roots, {} imports of evidence, {} starts{unknown}{since}",
        report.origin,
        report.head.size,
        report.signed,
        report.signed_by.spki_sha256(),
        report.allowed,
        report.denied,
        report.key_uses,
        report.policies,
        report.trust_roots,
        report.evidence,
        report.starts,
    )
}

fn damaged(dir: &Path, error: &CheckError) -> Failure {
    let message = format!("the log in {} is not intact: {error}", dir.display());
    match error {
        CheckError::Tampered(Tampered::CheckpointMissing) => Failure::new(
            "LOG_UNSIGNED",
            message,
            "if this node never had a log-key, set one in assayd.toml; else somebody removed the checkpoint",
        )
        .exits(Exit::LogDamaged),
        CheckError::Tampered(Tampered::JournalTail { .. }) => Failure::new(
            "LOG_TORN",
            message,
            "after a crash, starting assayd repairs this; if there was none, keep the folder as evidence",
        )
        .exits(Exit::LogDamaged),
        CheckError::Tampered(_) => Failure::new(
            "LOG_TAMPERED",
            message,
            "keep the folder as evidence, compare with heads saved elsewhere, and find out who could write to it",
        )
        .exits(Exit::LogDamaged),
        CheckError::Unreadable(error) => Failure::new(
            "IO",
            format!("failed to read the log in {}: {error}", dir.display()),
            "run it as root or as the agent's user, and check --dir and --root",
        ),
        CheckError::NoKey => no_key(dir),
    }
}

/// Whoever may remove records may remove all of them: this is no success.
fn no_log(dir: &Path) -> Failure {
    Failure::new(
        "LOG_MISSING",
        format!("there is no log to be checked: {} is no folder", dir.display()),
        "check --dir and --root; if there was one, find out who removed it",
    )
    .exits(Exit::LogDamaged)
}

/// The key that the agent pinned when it first signed a head.
fn own_key(dir: &Path) -> Result<NoteKey, Failure> {
    let state = dir.parent().unwrap_or(dir);
    for path in [state.join("log-key.spki"), dir.join("log-key.pem")] {
        match bounded_file::read(&path, MAX_FILE_BYTES) {
            Ok(bytes) => return parse_key(&bytes, &path.display().to_string()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Failure::io("read the log's key", &path, &error)),
        }
    }
    Err(no_key(dir))
}

fn no_key(dir: &Path) -> Failure {
    Failure::new(
        "NO_LOG_KEY",
        format!("no public key for the log in {} is known", dir.display()),
        "give --key FILE; `assay keys public URI` prints it, and assayd.toml names the key as log-key",
    )
}

fn given_key(text: &str) -> Result<NoteKey, Failure> {
    if let Some(der) = hex::decode(text).ok().filter(|der| !der.is_empty()) {
        return parse_key(&der, "--key");
    }
    let path = Path::new(text);
    let bytes =
        bounded_file::read(path, MAX_FILE_BYTES).map_err(|error| Failure::io("read the log's key", path, &error))?;
    parse_key(&bytes, text)
}

/// PEM or DER.
fn parse_key(bytes: &[u8], from: &str) -> Result<NoteKey, Failure> {
    let failed = |why: String| {
        Failure::new(
            "KEY",
            format!("failed to read the log's public key from {from}: {why}"),
            "give an Ed25519 or P-256 public key as PEM, DER or hex",
        )
    };
    let pem = std::str::from_utf8(bytes).ok().filter(|text| text.trim_start().starts_with("-----BEGIN"));
    let spki = match pem {
        Some(pem) => PublicKey::from_pem(pem).map_err(|error| failed(error.to_string()))?.spki().to_vec(),
        None => bytes.to_vec(),
    };
    NoteKey::from_spki(&spki).map_err(|error| failed(error.to_string()))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::fs;

    use super::*;

    /// The SubjectPublicKeyInfo of an Ed25519 key (RFC 8410 §10.1).
    const SPKI: &str = "302a300506032b657003210019bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1";

    #[test]
    fn a_key_is_taken_as_hex_der_or_pem() {
        let folder = tempfile::tempdir().unwrap();
        let der = hex::decode(SPKI).unwrap();
        let expected = NoteKey::from_spki(&der).unwrap();
        let file = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            fs::write(&path, bytes).unwrap();
            path.display().to_string()
        };
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", BASE64_STANDARD.encode(&der));
        assert_eq!(given_key(SPKI), Ok(expected));
        assert_eq!(given_key(&file("key.der", &der)), Ok(expected));
        assert_eq!(given_key(&file("key.pem", pem.as_bytes())), Ok(expected));
        assert_eq!(given_key(&file("key.txt", b"ssh-ed25519 AAAA")).unwrap_err().code, "KEY");
        assert_eq!(given_key("/nowhere/key").unwrap_err().code, "IO");
    }

    #[test]
    fn a_log_without_a_known_key_is_not_called_intact() {
        let folder = tempfile::tempdir().unwrap();
        let context = Context::for_tests(folder.path());
        let arguments = VerifyArgs { dir: None, key: None, since: None };
        assert_eq!(run(&context, &arguments).unwrap_err().code, "NO_LOG_KEY");
    }

    #[test]
    fn a_file_that_is_no_head_is_not_taken_for_a_damaged_log() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("head");
        let head =
            "assay.test/node\n3\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n\u{2014} assay.test/node AAAAAAAA\n";
        fs::write(&file, head).unwrap();
        assert_eq!(saved_head(&file).unwrap(), head.as_bytes());
        for (path, bytes) in [(&file, head.trim_end()), (&file, "root:x:0:0"), (&file, "")] {
            fs::write(path, bytes).unwrap();
            let failure = saved_head(path).unwrap_err();
            assert_eq!((failure.code, failure.exit), ("SAVED_HEAD", Exit::Failed), "{bytes:?}");
            assert!(failure.remedy.contains("assay audit head"), "{}", failure.remedy);
        }
        assert_eq!(saved_head(Path::new("/dev/null")).unwrap_err().code, "SAVED_HEAD");
        assert_eq!(saved_head(Path::new("/dev/zero")).unwrap_err().code, "IO");
    }

    #[test]
    fn tampering_is_exit_code_5_and_a_missing_checkpoint_too() {
        let exit = |tampered: Tampered| damaged(Path::new("/l"), &tampered.into()).exit;
        assert_eq!(exit(Tampered::CheckpointMissing), Exit::LogDamaged);
        assert_eq!(exit(Tampered::JournalMissing), Exit::LogDamaged);
        assert_eq!(exit(Tampered::Root { size: 3 }), Exit::LogDamaged);
    }
}
