//! First configuration files of a node for trial: made where they are missing, never changed where they are there.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt, chown},
    path::Path,
};

use assay_proto::SocketAccess;

use crate::{console::Console, failure::Failure};

use super::{UpArgs, layout::Layout};

/// Longest PIN file that is copied.
const MAX_PIN: u64 = 4096;

/// Parses `NAME=VALUE`.
pub(super) fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("it has to be NAME=VALUE".to_owned()),
    }
}

/// A TOML basic string. JSON's escapes are a subset of TOML's.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Writes the configuration files that are missing.
///
/// # Errors
/// If a file cannot be written, or the token's PIN is needed and was not given.
pub(super) fn write_missing(layout: &Layout, arguments: &UpArgs, console: Console) -> Result<(), Failure> {
    for (file, flag, given) in [
        ("fetch.toml", "--plain-http", !arguments.plain_http.is_empty()),
        ("assayd.toml", "--log-key", arguments.token.log_key.is_some()),
        ("assayd.toml", "--image-key", !arguments.token.image_key.is_empty()),
        ("keyd.toml", "--token-pin-file", arguments.token.token_pin_file.is_some()),
        ("keyd.toml", "--token-env", !arguments.token.token_env.is_empty()),
    ] {
        let path = layout.etc(file);
        if given && path.exists() {
            console.remark(&format!("{} exists and is left as it is: {flag} has no effect", path.display()));
        }
    }
    create(&layout.etc("assayd.toml"), &assayd(arguments))?;
    create(&layout.etc("policy.toml"), POLICY)?;
    create(&layout.etc("fetch.toml"), &fetch(arguments))?;
    if !arguments.no_snapshotter {
        create(&layout.etc("snapshotter.toml"), &snapshotter(arguments))?;
        create(&layout.etc("runtime.toml"), &runtime(arguments))?;
        create(&layout.etc("image-verifier.toml"), &image_verifier(arguments))?;
    }
    if !arguments.no_keyd {
        key_worker(layout, arguments)?;
    }
    Ok(())
}

/// Who may open sign.sock, by the agent's configuration. What else is wrong with that file the agent says itself.
///
/// # Errors
/// If group or mode are none.
pub(super) fn signing_access(path: &Path) -> Result<SocketAccess, Failure> {
    let text = fs::read_to_string(path).map_err(|error| Failure::io("read", path, &error))?;
    let table: toml::Table = text.parse().unwrap_or_default();
    let field = |name: &str| table.get(name).and_then(toml::Value::as_str);
    let mut access = SocketAccess::GROUP;
    for (name, text) in
        [("sign-socket-mode", field("sign-socket-mode")), ("sign-socket-group", field("sign-socket-group"))]
    {
        let Some(text) = text else { continue };
        let read = if name == "sign-socket-mode" { access.with_mode(text) } else { access.with_group(text) };
        access = read.map_err(|error| {
            Failure::new("CONFIGURATION", format!("{}: {name}: {error}", path.display()), "correct it and start again")
        })?;
    }
    Ok(access)
}

pub(crate) const POLICY: &str = r#"# Assay's policy. In observe mode everything is admitted, and the log says what would have been refused.
# With every change raise the version; check it with `assay policy check`, make it count with `assay node reload`.
version = 1
mode = "observe"

# [keys.ci]
# public = "ci.pub"                     # a PEM file beside this one, inline PEM, or a pkcs11: URI with sha256 = "…"
#
# [signers.ci]
# key = "ci"
#
# [[rules]]
# name = "production"
# images = ["registry.example/prod/**"]
# require = [{ signatures = 1, of = ["ci"] }]
# mode = "enforce"
"#;

fn assayd(arguments: &UpArgs) -> String {
    let mut text = format!(
        "# The agent. Paths are relative to this folder.\npolicy = \"policy.toml\"\nkey-worker-uid = {}\nfetcher-uid = {}\nadmin-uids = [0]\n",
        arguments.uid_keyd, arguments.uid_fetch
    );
    match &arguments.token.log_key {
        Some(uri) => text.push_str(&format!("log-key = {}\n", quoted(uri))),
        None => text.push_str("# log-key = \"pkcs11:token=assay;object=log\"    # signs the log's heads\n"),
    }
    if arguments.token.image_key.is_empty() {
        text.push_str(
            "\n# [[keys]]\n# uri = \"pkcs11:token=assay;object=ci\"\n# purpose = \"image\"\n# peers = [0]    # who may sign with it\n",
        );
    }
    for uri in &arguments.token.image_key {
        text.push_str(&format!("\n[[keys]]\nuri = {}\npurpose = \"image\"\npeers = [0]\n", quoted(uri)));
    }
    text
}

fn fetch(arguments: &UpArgs) -> String {
    let hosts: Vec<String> = arguments.plain_http.iter().map(|host| quoted(host)).collect();
    format!(
        "# The fetcher.\nagent-uid = {}\n# Registries that are reached over plain HTTP; all others by TLS.\nplain-http = [{}]\n",
        arguments.uid_agent,
        hosts.join(", ")
    )
}

fn snapshotter(arguments: &UpArgs) -> String {
    format!(
        "# The unpack gate.\ncontainerd-address = {}\nagent-uid = {}\n",
        quoted(&arguments.containerd_address.display().to_string()),
        arguments.uid_agent
    )
}

fn runtime(arguments: &UpArgs) -> String {
    format!(
        "# The run gate.\ncontainerd-address = {}\nagent-uid = {}\n# runtime = \"/usr/sbin/runc\"    # the real one; without it, runc of /usr/bin, /usr/sbin or /usr/local\n",
        quoted(&arguments.containerd_address.display().to_string()),
        arguments.uid_agent
    )
}

fn image_verifier(arguments: &UpArgs) -> String {
    format!(
        "# The pull gate of containerd 2.x.\nagent-uid = {}\n# A second less than containerd's per_verifier_timeout, so that the reason is still said.\nverdict-timeout-ms = 9000\n",
        arguments.uid_agent
    )
}

fn key_worker(layout: &Layout, arguments: &UpArgs) -> Result<(), Failure> {
    let (path, pin) = (layout.etc("keyd.toml"), layout.etc("keyd.pin"));
    if path.exists() {
        return Ok(());
    }
    let token = &arguments.token;
    match &token.token_pin_file {
        Some(source) => copy_pin(source, &pin, arguments.uid_keyd)?,
        None if pin.exists() => {}
        None => {
            return Err(Failure::new(
                "NO_PIN",
                format!("{} does not exist, and a new one needs the token's PIN", path.display()),
                "give --token-pin-file FILE (and --token-label, --token-module, --token-env), or --no-keyd",
            ));
        }
    }
    let mut text = format!(
        "# The key worker.\nmodule = {}\ntoken = {}\nagent-uid = {}\npin-file = \"/etc/assay/keyd.pin\"\n",
        quoted(&token.token_module.display().to_string()),
        quoted(&token.token_label),
        arguments.uid_agent
    );
    if !token.token_env.is_empty() {
        text.push_str("\n[environment]\n");
        for (name, value) in &token.token_env {
            text.push_str(&format!("{} = {}\n", quoted(name), quoted(value)));
        }
    }
    create(&path, &text)
}

/// The PIN is readable by the worker's uid alone from its first byte on.
fn copy_pin(source: &Path, target: &Path, uid: u32) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::io("read the PIN file", source, &error);
    let file = File::open(source).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o7777;
    // As ssh does with private keys: what others could read is no secret, and a copy with a better mode would hide it.
    if mode & 0o077 != 0 {
        return Err(Failure::new(
            "PIN_NOT_PRIVATE",
            format!("PIN file {} has mode {mode:04o}: others than its owner may open it", source.display()),
            format!("chmod 0600 {}; if somebody may have read it, change the token's PIN first", source.display()),
        ));
    }
    let mut bytes = Vec::new();
    file.take(MAX_PIN + 1).read_to_end(&mut bytes).map_err(failed)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > MAX_PIN) {
        return Err(Failure::new("NO_PIN", format!("{} is no PIN file: it is too long", source.display()), ""));
    }
    let write = || -> io::Result<()> {
        let mut file = File::options().write(true).create_new(true).mode(0o400).open(target)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        chown(target, Some(uid), Some(uid))
    };
    write().map_err(|error| Failure::io("write", target, &error))
}

fn create(path: &Path, text: &str) -> Result<(), Failure> {
    match File::options().write(true).create_new(true).open(path) {
        Ok(mut file) => file
            .write_all(text.as_bytes())
            .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o644)))
            .map_err(|error| Failure::io("write", path, &error)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(Failure::io("make", path, &error)),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        up: UpArgs,
    }

    fn arguments(more: &[&str]) -> UpArgs {
        Line::try_parse_from(std::iter::once(&"up").chain(more)).unwrap().up
    }

    fn table(text: &str) -> toml::Table {
        text.parse().unwrap()
    }

    #[test]
    fn the_first_files_are_toml_with_the_flags_values() {
        let arguments = arguments(&[
            "--plain-http=127.0.0.1:5000",
            "--uid-agent=7",
            "--containerd-address=/c\"d",
            "--log-key=pkcs11:object=log",
            "--image-key=pkcs11:object=a",
        ]);
        assert_eq!(table(&fetch(&arguments))["plain-http"][0].as_str(), Some("127.0.0.1:5000"));
        assert_eq!(table(&snapshotter(&arguments))["containerd-address"].as_str(), Some("/c\"d"));
        assert_eq!(table(&runtime(&arguments))["agent-uid"].as_integer(), Some(7));
        assert_eq!(table(&image_verifier(&arguments))["agent-uid"].as_integer(), Some(7));
        let agent = table(&assayd(&arguments));
        assert_eq!(agent["log-key"].as_str(), Some("pkcs11:object=log"));
        assert_eq!(agent["keys"][0]["purpose"].as_str(), Some("image"));
        assert_eq!(table(POLICY)["mode"].as_str(), Some("observe"));
    }

    #[test]
    fn the_signing_socket_is_opened_as_the_agents_configuration_says() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("assayd.toml");
        let access = |text: &str| {
            fs::write(&path, text).unwrap();
            signing_access(&path).map(|access| (access.mode(), access.gid()))
        };
        assert_eq!(access("admin-uids = [0]\n"), Ok((0o660, None)));
        assert_eq!(access("sign-socket-group = \"61950\"\nsign-socket-mode = \"0666\"\n"), Ok((0o666, Some(61_950))));
        for wrong in ["sign-socket-mode = \"0777\"\n", "sign-socket-group = \"no such group\"\n"] {
            assert_eq!(access(wrong).unwrap_err().code, "CONFIGURATION");
        }
    }

    #[test]
    fn a_file_that_exists_is_never_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.toml");
        create(&path, "mine").unwrap();
        create(&path, "other").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    }

    #[test]
    fn the_pin_is_copied_for_the_worker_alone() {
        use std::os::unix::fs::MetadataExt;
        let folder = tempfile::tempdir().unwrap();
        let (source, target) = (folder.path().join("pin"), folder.path().join("keyd.pin"));
        fs::write(&source, "1234\n").unwrap();
        let own = nix::unistd::geteuid().as_raw();
        for open in [0o644, 0o640, 0o660, 0o601] {
            fs::set_permissions(&source, fs::Permissions::from_mode(open)).unwrap();
            assert_eq!(copy_pin(&source, &target, own).unwrap_err().code, "PIN_NOT_PRIVATE", "{open:o}");
            assert!(!target.exists());
        }
        fs::set_permissions(&source, fs::Permissions::from_mode(0o600)).unwrap();
        copy_pin(&source, &target, own).unwrap();
        assert_eq!(fs::metadata(&target).unwrap().mode() & 0o7777, 0o400);
        assert_eq!(fs::read_to_string(&target).unwrap(), "1234\n");
        assert_eq!(copy_pin(&source, &target, own).unwrap_err().code, "IO");
    }

    #[test]
    fn an_environment_variable_needs_a_name() {
        assert_eq!(variable("A=b=c"), Ok(("A".into(), "b=c".into())));
        assert!(variable("=b").is_err_and(|why| why.contains("NAME=VALUE")));
        assert!(variable("A").is_err_and(|why| why.contains("NAME=VALUE")));
    }
}
