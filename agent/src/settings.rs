//! Whether the agent still runs with what its configuration file says. Only the policy and what it names are read again on a
//! reload; that a change of assayd.toml waits for a restart is said here. Changes nothing.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{Config, key_service::KeyRegistry};

/// The configuration that is in use, and where it came from.
#[derive(Debug)]
pub(crate) struct Settings {
    root: PathBuf,
    file: Option<PathBuf>,
    running: Arc<Config>,
}

impl Settings {
    /// `running` was read below `root`, from `file` if one was named.
    pub(crate) fn new(root: &Path, file: Option<&Path>, running: Arc<Config>) -> Self {
        Self { root: root.to_owned(), file: file.map(Path::to_owned), running }
    }

    /// How the file differs from what is in use, as a sentence with what to do; nothing if it does not.
    pub(crate) fn drift(&self) -> Option<String> {
        let read = Config::read(&self.root, self.file.as_deref()).map_err(|error| error.to_string());
        // What a start would refuse, too.
        let read = read.and_then(|config| match KeyRegistry::open(&config) {
            Ok(_) => Ok(config),
            Err(error) => Err(error.to_string()),
        });
        match read {
            Ok(config) => {
                let fields = differences(&self.running, &config);
                (!fields.is_empty()).then(|| {
                    format!(
                        "assayd.toml was changed ({}) and counts from the next start: restart assayd",
                        fields.join(", ")
                    )
                })
            }
            Err(error) => Some(format!("assayd would not start again, correct its configuration: {error}")),
        }
    }
}

/// The fields that differ, as the file calls them.
fn differences(running: &Config, written: &Config) -> Vec<&'static str> {
    // Taken apart, so that a new field is not forgotten here.
    let Config {
        policy,
        state,
        sockets,
        key_worker_uid,
        fetcher_uid,
        admin_uids,
        sign_socket,
        log_key,
        keys,
        verdict_timeout,
        collection_timeout,
        checkpoint_interval,
        evidence_limit,
        log_origin,
        trust_roots,
    } = written;
    let fields = [
        (running.policy == *policy, "policy"),
        (running.state == *state && running.sockets == *sockets, "root"),
        (running.key_worker_uid == *key_worker_uid, "key-worker-uid"),
        (running.fetcher_uid == *fetcher_uid, "fetcher-uid"),
        (running.admin_uids == *admin_uids, "admin-uids"),
        (running.sign_socket == *sign_socket, "sign-socket-group, sign-socket-mode"),
        (running.log_key == *log_key, "log-key"),
        (running.keys == *keys, "keys"),
        (running.verdict_timeout == *verdict_timeout, "verdict-timeout-ms"),
        (running.collection_timeout == *collection_timeout, "collection-timeout-ms"),
        (running.checkpoint_interval == *checkpoint_interval, "checkpoint-interval-seconds"),
        (running.evidence_limit == *evidence_limit, "evidence"),
        (running.log_origin == *log_origin, "log-origin"),
        (running.trust_roots == *trust_roots, "trust-roots"),
    ];
    fields.into_iter().filter(|(is_same, _)| !is_same).map(|(_, name)| name).collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_changed_configuration_is_said_to_wait_for_a_restart() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("etc/assay");
        std::fs::create_dir_all(&folder).unwrap();
        let write = |text: &str| std::fs::write(folder.join("assayd.toml"), text).unwrap();
        write("key-worker-uid = 1\nfetcher-uid = 2\n");
        let running = Arc::new(Config::read(root.path(), None).unwrap());
        let settings = Settings::new(root.path(), None, running);
        assert_eq!(settings.drift(), None);

        write("# a remark\nfetcher-uid = 2\nkey-worker-uid = 1\n");
        assert_eq!(settings.drift(), None);

        write("key-worker-uid = 1\nfetcher-uid = 2\nadmin-uids = [0, 7]\nlog-key = \"pkcs11:token=a;object=log\"\n");
        let drift = settings.drift().unwrap();
        assert!(drift.contains("(admin-uids, log-key)") && drift.contains("restart assayd"), "{drift}");

        let key = "[[keys]]\nuri = \"pkcs11:token=a;object=ci\"\npurpose = \"image\"\n";
        write(&format!("key-worker-uid = 1\nfetcher-uid = 2\n{key}"));
        assert!(settings.drift().unwrap().contains("(keys)"));
        write(&format!("key-worker-uid = 1\nfetcher-uid = 2\n{key}{key}"));
        let drift = settings.drift().unwrap();
        assert!(drift.contains("would not start again") && drift.contains("declared twice"), "{drift}");

        write("key-worker-uid = 1\n");
        let drift = settings.drift().unwrap();
        assert!(drift.contains("would not start again") && drift.contains("assayd.toml:1:1"), "{drift}");
    }
}
