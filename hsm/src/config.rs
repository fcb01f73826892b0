//! The worker's configuration: one TOML file, read once, into a final value.
//!
//! Unknown fields, relative paths and missing parts are refused with line and column where TOML has them. It never
//! holds the PIN, only where to find it.

use std::collections::BTreeMap;
use std::io;
use std::io::Read as _;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::pin::PinSource;

/// What the worker works with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The PKCS#11 module.
    pub module: PathBuf,
    /// The token's label.
    pub token: String,
    /// The token's serial number, where labels are not unique.
    pub serial: Option<String>,
    /// The only uid that is served.
    pub agent_uid: u32,
    /// Where the PIN comes from.
    pub pin: PinSource,
    /// How many threads talk to the module, each with a session.
    pub sessions: NonZeroU32,
    /// How long a request may take.
    pub deadline: Duration,
    /// What the module needs in its environment.
    pub environment: BTreeMap<String, String>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("failed to read {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Longer than a configuration is.
    #[error("{path} is larger than {limit} bytes")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Bytes allowed.
        limit: u64,
    },
    /// No TOML, or a field that is unknown, missing or of another type.
    #[error("{path}: {error}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// With line and column.
        error: toml::de::Error,
    },
    /// A value that cannot be.
    #[error("{path}: {field} {why}")]
    Value {
        /// The file.
        path: PathBuf,
        /// The field.
        field: String,
        /// What is wrong with it, and what to write.
        why: String,
    },
}

/// Where things lie: below `/`, or all of Assay's own below another directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    root: Option<PathBuf>,
}

impl Paths {
    /// `root` is what `--root` says; `None` is the system itself.
    #[must_use]
    pub fn below(root: Option<PathBuf>) -> Self {
        Paths { root }
    }

    /// The configuration file where none is named.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.place(Path::new("/etc/assay/keyd.toml"))
    }

    /// The socket where none is inherited.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.place(Path::new("/run/assay/key.sock"))
    }

    /// Moves a path of Assay's own (`/etc/assay`, `/run/assay`, `/var/lib/assay`) below the root; the system's
    /// own, such as a module's, stay where they are.
    #[must_use]
    pub fn place(&self, path: &Path) -> PathBuf {
        let own = ["/etc/assay", "/run/assay", "/var/lib/assay"].iter().any(|ours| path.starts_with(ours));
        match (&self.root, path.strip_prefix("/")) {
            (Some(root), Ok(relative)) if own => root.join(relative),
            _ => path.to_owned(),
        }
    }
}

impl Config {
    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    /// Names file, place, reason and what to do.
    pub fn read(path: &Path, paths: &Paths) -> Result<Self, ConfigError> {
        let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
        let mut text = String::new();
        let file = std::fs::File::open(path).map_err(unreadable)?;
        file.take(MAX_CONFIG + 1).read_to_string(&mut text).map_err(unreadable)?;
        if u64::try_from(text.len()).is_ok_and(|length| length > MAX_CONFIG) {
            return Err(ConfigError::TooLarge { path: path.to_owned(), limit: MAX_CONFIG });
        }
        Config::parse(&text, path, paths)
    }

    fn parse(text: &str, path: &Path, paths: &Paths) -> Result<Self, ConfigError> {
        let file: ConfigFile =
            toml::from_str(text).map_err(|error| ConfigError::Syntax { path: path.to_owned(), error })?;
        file.check(paths).map_err(|Wrong { field, why }| ConfigError::Value { path: path.to_owned(), field, why })
    }
}

const MAX_CONFIG: u64 = 64 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ConfigFile {
    module: PathBuf,
    token: String,
    serial: Option<String>,
    agent_uid: u32,
    pin_file: Option<PathBuf>,
    pin_credential: Option<String>,
    pin_prompt: Option<bool>,
    sessions: Option<u32>,
    deadline_ms: Option<u64>,
    #[serde(default)]
    environment: BTreeMap<String, String>,
}

struct Wrong {
    field: String,
    why: String,
}

fn wrong(field: &str, why: &str) -> Wrong {
    Wrong { field: field.to_owned(), why: why.to_owned() }
}

impl ConfigFile {
    fn check(self, paths: &Paths) -> Result<Config, Wrong> {
        let pin = pin_source(self.pin_file, self.pin_credential, self.pin_prompt, paths)?;
        if !self.module.is_absolute() {
            return Err(wrong("module", "has to be an absolute path"));
        }
        if self.token.is_empty() || self.token.len() > 32 {
            return Err(wrong("token", "has to be the token's label, 1 to 32 bytes"));
        }
        if self.serial.as_ref().is_some_and(|serial| serial.is_empty() || serial.len() > 16) {
            return Err(wrong("serial", "has to be the token's serial number, 1 to 16 bytes, or be left out"));
        }
        let sessions = NonZeroU32::new(self.sessions.unwrap_or(2))
            .filter(|sessions| sessions.get() <= 16)
            .ok_or_else(|| wrong("sessions", "has to be 1 to 16"))?;
        let deadline = Duration::from_millis(self.deadline_ms.unwrap_or(5_000));
        if deadline < Duration::from_millis(50) || deadline > Duration::from_secs(60) {
            return Err(wrong("deadline-ms", "has to be 50 to 60000"));
        }
        for name in self.environment.keys() {
            check_variable(name)?;
        }
        Ok(Config {
            module: paths.place(&self.module),
            token: self.token,
            serial: self.serial,
            agent_uid: self.agent_uid,
            pin,
            sessions,
            deadline,
            environment: self.environment,
        })
    }
}

fn pin_source(
    file: Option<PathBuf>,
    credential: Option<String>,
    prompt: Option<bool>,
    paths: &Paths,
) -> Result<PinSource, Wrong> {
    match (file, credential, prompt.unwrap_or(false)) {
        (Some(file), None, false) if file.is_absolute() => Ok(PinSource::File(paths.place(&file))),
        (Some(_), None, false) => Err(wrong("pin-file", "has to be an absolute path")),
        (None, Some(name), false) if !name.is_empty() && !name.starts_with('.') && !name.contains('/') => {
            Ok(PinSource::Credential(name))
        }
        (None, Some(_), false) => Err(wrong("pin-credential", "has to be a credential's plain name")),
        (None, None, true) => Ok(PinSource::Prompt),
        _ => Err(wrong("PIN", "needs exactly one of pin-file, pin-credential and pin-prompt")),
    }
}

/// A module may need variables of its own. Those that load code, and those that systemd set, are not its business.
fn check_variable(name: &str) -> Result<(), Wrong> {
    let field = format!("environment.{name}");
    let plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !plain {
        return Err(wrong(&field, "is not the name of a variable"));
    }
    let reserved = ["LD_", "LISTEN_", "NOTIFY_", "CREDENTIALS_", "JOURNAL_", "GCONV_PATH", "MALLOC_", "GLIBC_"];
    if reserved.iter().any(|prefix| name.starts_with(prefix)) {
        return Err(wrong(&field, "must not be set: it changes what is loaded or how the worker is run"));
    }
    if name.split('_').any(|part| part == "PIN") {
        return Err(wrong(&field, "looks like a PIN, which must not be in the environment; use pin-file"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::path::{Path, PathBuf};

    use super::{Config, ConfigError, Paths};
    use crate::pin::PinSource;

    const GOOD: &str = "module = \"/usr/lib/softhsm/libsofthsm2.so\"\ntoken = \"assay\"\nagent-uid = 990\n\
                        pin-file = \"/etc/assay/pin\"\n";

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(text, Path::new("keyd.toml"), &Paths::below(None))
    }

    fn wrong_field(text: &str) -> String {
        match parse(text) {
            Err(ConfigError::Value { field, .. }) => field,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_least_configuration_has_careful_defaults() {
        let config = parse(GOOD).unwrap();
        assert_eq!(config.sessions.get(), 2);
        assert_eq!(config.deadline.as_millis(), 5_000);
        assert_eq!(config.pin, PinSource::File("/etc/assay/pin".into()));
    }

    #[test]
    fn root_moves_what_is_ours_and_nothing_else() {
        let paths = Paths::below(Some("/tmp/node".into()));
        let config = Config::parse(GOOD, Path::new("keyd.toml"), &paths).unwrap();
        assert_eq!(config.pin, PinSource::File("/tmp/node/etc/assay/pin".into()));
        assert_eq!(config.module, PathBuf::from("/usr/lib/softhsm/libsofthsm2.so"));
        assert_eq!(paths.socket(), PathBuf::from("/tmp/node/run/assay/key.sock"));
        assert_eq!(paths.place(Path::new("/etc/assayer")), PathBuf::from("/etc/assayer"));
    }

    #[test]
    fn an_unknown_field_is_refused_with_line_and_column() {
        let error = parse(&format!("{GOOD}pin = \"1234\"\n")).unwrap_err().to_string();
        assert!(error.contains("line 5, column 1"), "{error}");
    }

    #[test]
    fn exactly_one_source_of_the_pin_is_needed() {
        assert_eq!(wrong_field(&format!("{GOOD}pin-prompt = true\n")), "PIN");
        assert_eq!(wrong_field(&GOOD.replace("pin-file", "#")), "PIN");
        assert_eq!(wrong_field(&GOOD.replace("/etc/assay/pin", "pin")), "pin-file");
        assert_eq!(wrong_field(&GOOD.replace("pin-file = \"/etc", "pin-credential = \"..")), "pin-credential");
    }

    #[test]
    fn values_out_of_range_are_refused() {
        assert_eq!(wrong_field(&format!("{GOOD}sessions = 0\n")), "sessions");
        assert_eq!(wrong_field(&format!("{GOOD}sessions = 17\n")), "sessions");
        assert_eq!(wrong_field(&format!("{GOOD}deadline-ms = 1\n")), "deadline-ms");
        assert_eq!(wrong_field(&GOOD.replace("/usr/lib", "lib")), "module");
        assert_eq!(wrong_field(&GOOD.replace("\"assay\"", "\"\"")), "token");
    }

    #[test]
    fn variables_that_load_code_or_hold_a_pin_are_refused() {
        for name in ["LD_PRELOAD", "LISTEN_FDS", "TOKEN_PIN"] {
            let text = format!("{GOOD}[environment]\n{name} = \"x\"\n");
            assert_eq!(wrong_field(&text), format!("environment.{name}"));
        }
        let text = format!("{GOOD}[environment]\nSOFTHSM2_CONF = \"/etc/softhsm2.conf\"\n");
        assert_eq!(parse(&text).unwrap().environment.len(), 1);
    }
}
