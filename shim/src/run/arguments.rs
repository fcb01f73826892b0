//! The arguments of an OCI runtime: words come in, what is to be started comes out, or that nothing is.
//! Read as runc (Go's flag package) and crun (getopt) both read them; words that these may read differently are refused by name.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
    path::PathBuf,
};

/// What was asked of the runtime.
#[derive(Debug, PartialEq, Eq)]
pub struct Arguments {
    /// Where the caller looks for the reason of a failure; known even if the rest is not understood.
    pub log: LogPlace,
    /// What is to be done.
    pub call: Result<Call, ArgumentError>,
}

/// Where the caller looks for the reason of a failure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogPlace {
    /// The file; standard error without one.
    pub file: Option<PathBuf>,
    /// How a line is written.
    pub format: LogFormat,
}

/// How a line of the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// `time="…" level=error msg="…"`, runc's default.
    #[default]
    Text,
    /// `{"level":"error","msg":"…","time":"…"}`
    Json,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// A process of a new container is about to be made.
    Start(Start),
    /// Nothing that runs an image begins.
    Other,
}

/// A container that is about to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// The folder of the runtime's state; its last part is containerd's namespace.
    pub root: Option<PathBuf>,
    /// The bundle, as it was given; the working folder if it was not.
    pub bundle: PathBuf,
    /// The container's id.
    pub id: String,
}

/// Why the arguments are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArgumentError {
    /// There is no command.
    #[error("no command was given")]
    NoCommand,
    /// A command that is not known to start nothing.
    #[error("command {0:?} is not known")]
    Command(String),
    /// An option that is not known to the gate, so that what follows may be its value or a word of its own.
    #[error("option {option:?} of {command} is not known")]
    Option {
        /// The option, as it was written.
        option: String,
        /// The command, or `the runtime`.
        command: &'static str,
    },
    /// An option without its value, or with one that could be an option.
    #[error("option {0:?} has no value")]
    Value(String),
    /// Not just one container id behind the options.
    #[error("{command} wants one container id behind its options, and has {words:?}")]
    Id {
        /// The command.
        command: &'static str,
        /// The words behind the options.
        words: Vec<String>,
    },
}

/// Whether an option has a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Switch,
    Valued,
    /// Prints something and ends.
    Information,
}

type Options = &'static [(&'static str, Kind)];

/// Before the command: runc 1.0 to 1.4 and crun 1.0 to 1.26.
const GLOBAL: Options = &[
    ("cgroup-manager", Kind::Valued),
    ("criu", Kind::Valued),
    ("debug", Kind::Switch),
    ("log", Kind::Valued),
    ("log-format", Kind::Valued),
    ("log-level", Kind::Valued),
    ("root", Kind::Valued),
    ("rootless", Kind::Valued),
    ("systemd-cgroup", Kind::Switch),
    ("help", Kind::Information),
    ("h", Kind::Information),
    ("version", Kind::Information),
    ("v", Kind::Information),
];

/// Behind `create`, `run` and `restore`. crun's `--config` is left out: the bundle's own configuration is what is judged.
const STARTING: Options = &[
    ("b", Kind::Valued),
    ("bundle", Kind::Valued),
    ("console-socket", Kind::Valued),
    ("pid-file", Kind::Valued),
    ("pidfd-socket", Kind::Valued),
    ("preserve-fds", Kind::Valued),
    ("no-pivot", Kind::Switch),
    ("no-new-keyring", Kind::Switch),
    ("no-subreaper", Kind::Switch),
    ("d", Kind::Switch),
    ("detach", Kind::Switch),
    ("keep", Kind::Switch),
    ("image-path", Kind::Valued),
    ("work-path", Kind::Valued),
    ("parent-path", Kind::Valued),
    ("manage-cgroups-mode", Kind::Valued),
    ("empty-ns", Kind::Valued),
    ("lsm-profile", Kind::Valued),
    ("lsm-mount-context", Kind::Valued),
    ("tcp-established", Kind::Switch),
    ("ext-unix-sk", Kind::Switch),
    ("shell-job", Kind::Switch),
    ("file-locks", Kind::Switch),
    ("auto-dedup", Kind::Switch),
    ("lazy-pages", Kind::Switch),
];

/// Commands that run an image's processes in a container that is made anew.
const STARTERS: [&str; 3] = ["create", "run", "restore"];
/// Commands that do not. `start` starts what `create` made.
const OTHERS: [&str; 17] = [
    "checkpoint",
    "delete",
    "events",
    "exec",
    "features",
    "h",
    "help",
    "kill",
    "list",
    "mounts",
    "pause",
    "ps",
    "resume",
    "spec",
    "start",
    "state",
    "update",
];
/// Most characters of a word that are shown.
const MAX_SHOWN: usize = 200;

/// One word as an option.
struct ReadOption<'a> {
    name: &'static str,
    kind: Kind,
    value: Option<&'a OsStr>,
}

impl Arguments {
    /// Reads the words behind the program's name.
    #[must_use]
    pub fn read(words: &[OsString]) -> Self {
        let mut log = LogPlace::default();
        let call = read(words, &mut log);
        Self { log, call }
    }
}

fn read(words: &[OsString], log: &mut LogPlace) -> Result<Call, ArgumentError> {
    let mut words = words.iter();
    let mut root = None;
    let mut asks_for_information = false;
    let command = loop {
        let Some(word) = words.next() else {
            return if asks_for_information { Ok(Call::Other) } else { Err(ArgumentError::NoCommand) };
        };
        let Some(option) = option(word, GLOBAL, "the runtime")? else { break word };
        match option.kind {
            Kind::Information => asks_for_information = true,
            Kind::Switch => {}
            Kind::Valued => {
                let value = value(word, &option, &mut words)?;
                match option.name {
                    "root" => root = Some(PathBuf::from(value)),
                    "log" => log.file = Some(PathBuf::from(value)).filter(|file| !file.as_os_str().is_empty()),
                    "log-format" => log.format = if value == "json" { LogFormat::Json } else { LogFormat::Text },
                    _ => {}
                }
            }
        }
    };
    match STARTERS.into_iter().find(|starter| command == starter) {
        Some(starter) => start(starter, words, root).map(Call::Start),
        None if OTHERS.iter().any(|other| command == other) => Ok(Call::Other),
        None => Err(ArgumentError::Command(shown(command))),
    }
}

fn start<'a>(
    command: &'static str,
    mut words: impl Iterator<Item = &'a OsString>,
    root: Option<PathBuf>,
) -> Result<Start, ArgumentError> {
    let mut bundle = None;
    let first = loop {
        let Some(word) = words.next() else { return Err(ArgumentError::Id { command, words: Vec::new() }) };
        let Some(option) = option(word, STARTING, command)? else { break word };
        match option.kind {
            Kind::Switch | Kind::Information => {}
            Kind::Valued => {
                let value = value(word, &option, &mut words)?;
                if matches!(option.name, "b" | "bundle") {
                    bundle = Some(PathBuf::from(value));
                }
            }
        }
    };
    // runc reads options behind the id too: nothing may follow it.
    let rest: Vec<&OsString> = words.collect();
    match (first.to_str(), rest.as_slice()) {
        (Some(id), []) if !id.is_empty() => {
            Ok(Start { root, bundle: bundle.unwrap_or_else(|| PathBuf::from(".")), id: id.to_owned() })
        }
        _ => {
            let words = std::iter::once(first).chain(rest).map(|word| shown(word)).take(8).collect();
            Err(ArgumentError::Id { command, words })
        }
    }
}

/// The word as an option; nothing if it is none.
fn option<'a>(word: &'a OsStr, known: Options, command: &'static str) -> Result<Option<ReadOption<'a>>, ArgumentError> {
    let Some(rest) = word.as_bytes().strip_prefix(b"-") else { return Ok(None) };
    let name = rest.strip_prefix(b"-").unwrap_or(rest);
    let (name, value) = match name.iter().position(|byte| *byte == b'=') {
        Some(at) => (name.get(..at).unwrap_or_default(), name.get(at + 1..).map(OsStr::from_bytes)),
        None => (name, None),
    };
    let unknown = || ArgumentError::Option { option: shown(word), command };
    let (name, kind) = known.iter().find(|(known, _)| known.as_bytes() == name).ok_or_else(unknown)?;
    let read_alike = match (kind, value) {
        // One letter: `-b=x` is x to Go and =x to getopt.
        (Kind::Valued, Some(_)) => name.len() > 1,
        (Kind::Valued | Kind::Information, None) | (Kind::Switch, _) => true,
        // `--version=false` asks for nothing.
        (Kind::Information, Some(_)) => false,
    };
    if read_alike { Ok(Some(ReadOption { name, kind: *kind, value })) } else { Err(unknown()) }
}

fn value<'a>(
    word: &'a OsStr,
    option: &ReadOption<'a>,
    words: &mut impl Iterator<Item = &'a OsString>,
) -> Result<&'a OsStr, ArgumentError> {
    let value = match option.value {
        Some(value) => value,
        None => words.next().ok_or_else(|| ArgumentError::Value(shown(word)))?.as_os_str(),
    };
    let could_be_an_option = option.value.is_none() && value.as_bytes().starts_with(b"-");
    let is_missing = value.is_empty() && matches!(option.name, "root" | "b" | "bundle");
    if could_be_an_option || is_missing { Err(ArgumentError::Value(shown(word))) } else { Ok(value) }
}

fn shown(word: &OsStr) -> String {
    word.to_string_lossy().chars().take(MAX_SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Arguments {
        let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        Arguments::read(&words)
    }

    fn start(root: Option<&str>, bundle: &str, id: &str) -> Result<Call, ArgumentError> {
        Ok(Call::Start(Start { root: root.map(PathBuf::from), bundle: bundle.into(), id: id.into() }))
    }

    #[test]
    fn what_containerd_writes_is_read() {
        let read = read(
            "--root /run/containerd/runc/default --log /b/log.json --log-format json --systemd-cgroup create --bundle /b \
             --pid-file /b/init.pid --console-socket /c --no-pivot --no-new-keyring app",
        );
        assert_eq!(read.log, LogPlace { file: Some("/b/log.json".into()), format: LogFormat::Json });
        assert_eq!(read.call, start(Some("/run/containerd/runc/default"), "/b", "app"));
    }

    #[test]
    fn one_dash_or_two_and_a_value_in_the_word_or_behind_it_are_one() {
        for line in
            ["-root /r/n run -bundle=/b x", "--root=/r/n run --bundle /b x", "--debug=true -root=/r/n run -b /b x"]
        {
            assert_eq!(read(line).call, start(Some("/r/n"), "/b", "x"), "{line}");
        }
        // The last of equal options counts; an option of one command is none of another.
        assert_eq!(read("--root /a --root /b create x").call, start(Some("/b"), ".", "x"));
        assert_eq!(read("restore --image-path /i --detach x").call, start(None, ".", "x"));
    }

    #[test]
    fn a_value_that_is_called_like_a_command_is_no_command() {
        assert_eq!(read("--root state create x").call, start(Some("state"), ".", "x"));
        assert_eq!(read("--criu state --rootless state create --pid-file list x").call, start(None, ".", "x"));
    }

    #[test]
    fn other_commands_pass_whatever_follows_them() {
        for command in OTHERS {
            assert_eq!(read(&format!("--root /r {command} --any -thing create")).call, Ok(Call::Other), "{command}");
        }
        assert_eq!(read("--version").call, Ok(Call::Other));
        assert_eq!(read("--debug -h").call, Ok(Call::Other));
    }

    #[test]
    fn asking_for_the_version_too_lets_nothing_through() {
        assert_eq!(read("--version create x").call, start(None, ".", "x"));
        let unknown = |option: &str| Err(ArgumentError::Option { option: option.to_owned(), command: "the runtime" });
        assert_eq!(read("--version=false create x").call, unknown("--version=false"));
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused_by_name() {
        let unknown = |option: &str, command| Err(ArgumentError::Option { option: option.to_owned(), command });
        for (line, option) in [
            ("--unknown create x", "--unknown"),
            ("-- create x", "--"),
            ("- create x", "-"),
            ("---root /r create x", "---root"),
            ("--Root /r create x", "--Root"),
            ("--ro /r create x", "--ro"),
        ] {
            assert_eq!(read(line).call, unknown(option, "the runtime"), "{line}");
        }
        for option in ["--config=/c", "-b=/b", "-b/b", "--", "-bd", "--bun=/b"] {
            assert_eq!(read(&format!("create {option} x")).call, unknown(option, "create"), "{option}");
        }
        for (line, option) in
            [("--root", "--root"), ("--root= create x", "--root="), ("--log --debug create x", "--log")]
        {
            assert_eq!(read(line).call, Err(ArgumentError::Value(option.into())), "{line}");
        }
        assert_eq!(read("create --bundle= x").call, Err(ArgumentError::Value("--bundle=".into())));
        assert_eq!(read("").call, Err(ArgumentError::NoCommand));
        for command in ["init", "Create", "spawn"] {
            assert_eq!(read(&format!("{command} x")).call, Err(ArgumentError::Command(command.into())));
        }
    }

    #[test]
    fn there_is_one_id_and_nothing_behind_it() {
        let wrong = |words: &[&str]| {
            Err(ArgumentError::Id { command: "create", words: words.iter().map(|word| (*word).to_owned()).collect() })
        };
        assert_eq!(read("create").call, wrong(&[]));
        assert_eq!(read("create x y").call, wrong(&["x", "y"]));
        assert_eq!(read("create x --bundle /b").call, wrong(&["x", "--bundle", "/b"]));
        assert_eq!(read("create --no-pivot true x").call, wrong(&["true", "x"]));
    }

    #[test]
    fn the_place_for_the_reason_is_known_although_the_rest_is_not_understood() {
        let read = read("--log /l --log-format=json --unknown create x");
        assert_eq!(read.log, LogPlace { file: Some("/l".into()), format: LogFormat::Json });
        assert!(matches!(read.call, Err(ArgumentError::Option { .. })));
    }
}
