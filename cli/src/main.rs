//! `assay`: arguments come in; one verb runs; text or JSON and an exit code go out.

mod agent;
mod audit;
mod bounded_file;
mod console;
mod duration;
mod evidence;
mod failure;
mod identity;
mod inspect;
mod keys;
mod node;
mod policy;
mod policy_file;
mod registry;
mod revocation;
mod sign;
mod trust_root;
mod verify;
mod verify_blob;

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::{Args, Parser, Subcommand, error::ErrorKind};

use crate::{
    console::{Console, Format},
    failure::{EXIT_CODES, Exit, Failure},
};

/// Sign images, verify them, and look after a node that starts nothing its owner has not approved.
#[derive(Debug, Parser)]
#[command(name = "assay", version, after_help = "Exit codes: `assay help exit-codes`.")]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Args)]
struct Global {
    /// Where the node's files are: /etc/assay, /run/assay and /var/lib/assay below DIR
    #[arg(long, global = true, value_name = "DIR", default_value = "/")]
    root: PathBuf,
    /// How to print the result, and failures too
    #[arg(short = 'o', long = "output", global = true, value_enum, value_name = "FORMAT", default_value = "text")]
    output: Format,
    /// How long the whole command may wait for others: 500ms, 30s, 2m
    #[arg(long, global = true, value_name = "DURATION", default_value = "60s", value_parser = duration::parse)]
    timeout: Duration,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Sign(sign::SignArgs),
    Verify(Box<verify::VerifyArgs>),
    VerifyBlob(verify_blob::VerifyBlobArgs),
    /// What belongs to an image, decoded: signatures, attestations and whatever else refers to it
    ///
    /// Nothing is verified: `assay verify` says what counts.
    Inspect(inspect::InspectArgs),
    /// The same as a tree, a line for each
    Tree(inspect::InspectArgs),
    /// Policies: check one before it counts
    #[command(subcommand)]
    Policy(policy::PolicyVerb),
    /// Keys in the token: list, generate, show the public half
    #[command(subcommand)]
    Keys(keys::KeysVerb),
    /// What the node keeps to judge by: bring revocation lists to a node that cannot fetch them
    #[command(subcommand)]
    Evidence(evidence::EvidenceVerb),
    /// The node's tamper-evident log: show it, verify it, sign its head
    #[command(subcommand)]
    Audit(audit::AuditVerb),
    /// This node: its state, its policy, or a whole node in the foreground for trial
    #[command(subcommand)]
    Node(node::NodeVerb),
    /// Sigstore roots of trust: update them from their repositories, import a copy, show them
    #[command(subcommand)]
    TrustRoot(trust_root::TrustRootVerb),
    #[command(hide = true, about = EXIT_CODES)]
    ExitCodes,
}

/// What every verb needs to know.
#[derive(Clone, Debug)]
struct Context {
    root: PathBuf,
    console: Console,
    timeout: Duration,
    started: Instant,
}

impl Context {
    /// What is left of `--timeout`, which counts from the command's start: a verb asks agent and registry one after the other.
    fn left(&self) -> Duration {
        self.timeout.saturating_sub(self.started.elapsed())
    }

    /// `relative` below the node's root.
    fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.root.join(relative)
    }

    #[cfg(test)]
    fn for_tests(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            console: Console::new(Format::Json),
            timeout: Duration::from_secs(1),
            started: Instant::now(),
        }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => return usage(&arguments, &error),
    };
    let console = Console::new(cli.global.output);
    let root = cli.global.root.clone();
    match start(cli, console) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            let failure = failure.below(&std::path::absolute(&root).unwrap_or(root));
            console.print_failure(&failure);
            failure.exit.into()
        }
    }
}

fn start(cli: Cli, console: Console) -> Result<Exit, Failure> {
    let root = std::path::absolute(&cli.global.root)
        .map_err(|error| Failure::io("find the folder", &cli.global.root, &error))?;
    let context = Context { root, console, timeout: cli.global.timeout, started: Instant::now() };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new("IO", format!("failed to start the runtime: {error}"), ""))?;
    runtime.block_on(run(&context, cli.verb))
}

async fn run(context: &Context, verb: Verb) -> Result<Exit, Failure> {
    match verb {
        Verb::Sign(arguments) => sign::run(context, arguments).await,
        Verb::Verify(arguments) => verify::run(context, *arguments).await,
        Verb::VerifyBlob(arguments) => verify_blob::run(context, arguments).await,
        Verb::Inspect(arguments) => inspect::run(context, arguments, inspect::Detail::All).await,
        Verb::Tree(arguments) => inspect::run(context, arguments, inspect::Detail::Tree).await,
        Verb::Policy(verb) => policy::run(context, verb).await,
        Verb::Keys(verb) => keys::run(context, verb).await,
        Verb::Evidence(verb) => evidence::run(context, verb).await,
        Verb::Audit(verb) => audit::run(context, verb).await,
        Verb::Node(verb) => node::run(context, verb).await,
        Verb::TrustRoot(verb) => trust_root::run(context, verb).await,
        Verb::ExitCodes => {
            context.console.print(EXIT_CODES, &serde_json::json!({ "help": EXIT_CODES })).map(|()| Exit::Success)
        }
    }
}

/// Help and version are answers; anything else is wrong usage, as JSON where that was asked for.
fn usage(arguments: &[OsString], error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        let _ = error.print();
        return Exit::Success.into();
    }
    if wants_json(arguments) {
        let text = error.to_string();
        let message = text.trim().strip_prefix("error: ").unwrap_or(text.trim());
        let failure = Failure::new("USAGE", message, "see `assay help`").exits(Exit::Usage);
        Console::new(Format::Json).print_failure(&failure);
    } else {
        let _ = error.print();
    }
    Exit::Usage.into()
}

/// Whether `-o json` stands in arguments that could not be parsed.
fn wants_json(arguments: &[OsString]) -> bool {
    let mut before = None;
    for argument in arguments {
        let argument = argument.to_str();
        if matches!(argument, Some("-ojson" | "-o=json" | "--output=json"))
            || (argument == Some("json") && matches!(before, Some("-o" | "--output")))
        {
            return true;
        }
        before = argument;
    }
    false
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_options_may_stand_before_and_behind_the_verb() {
        for arguments in [
            ["assay", "--root", "/n", "-o", "json", "node", "status"],
            ["assay", "node", "status", "--root", "/n", "-o", "json"],
        ] {
            let cli = Cli::try_parse_from(arguments).unwrap();
            assert_eq!((cli.global.root.as_path(), cli.global.output), (Path::new("/n"), Format::Json));
        }
    }

    #[test]
    fn json_is_recognised_in_arguments_that_do_not_parse() {
        let wants = |arguments: &[&str]| wants_json(&arguments.iter().map(Into::into).collect::<Vec<_>>());
        assert!(wants(&["assay", "nonsense", "-o", "json"]));
        assert!(wants(&["assay", "--output=json", "nonsense"]));
        assert!(!wants(&["assay", "nonsense", "json"]));
        assert!(!wants(&["assay", "-o", "text", "json"]));
    }

    #[test]
    fn a_time_out_of_nothing_is_wrong_usage() {
        let error = Cli::try_parse_from(["assay", "--timeout", "0s", "node", "status"]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ValueValidation);
    }
}
