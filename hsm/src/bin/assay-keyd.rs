//! `assay-keyd`, the key worker: reads configuration and PIN, takes its socket, and serves until told to end.
//!
//! It is started by systemd or a supervisor, never by the agent. The PIN is never an argument or a variable.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::Context;
use assay_hsm::{Config, Paths, Pin, PinSource, Worker};
use clap::Parser;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use rustix::process::DumpableBehavior;
use sd_notify::NotifyState;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Assay's key worker: uses the keys of one PKCS#11 token on behalf of the agent.
#[derive(Debug, Parser)]
#[command(name = "assay-keyd", version)]
struct Arguments {
    /// Configuration file [default: /etc/assay/keyd.toml, below --root]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Put /etc/assay, /run/assay and /var/lib/assay below this directory
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Check configuration and PIN source, then end; the token is not touched
    #[arg(long)]
    check: bool,
    /// Stop when the program that started this one ends, however it ends
    #[arg(long)]
    stop_with_parent: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    start_logging();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where a person looks first, whatever the log is.
            eprintln!("assay-keyd: failed to start: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    harden().context("hardening")?;
    if arguments.stop_with_parent {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))
            .context("learning of the parent's end")?;
    }
    let paths = Paths::below(arguments.root.clone());
    let file = arguments.config.clone().unwrap_or_else(|| paths.config());
    let config = Config::read(&file, &paths)?;
    if arguments.check {
        if config.pin != PinSource::Prompt {
            Pin::read(&config.pin)?;
        }
        println!("{}: good", file.display());
        return Ok(());
    }
    with_environment(&config)?;
    // While it is typed in, an interrupt still ends the program.
    let pin = Pin::read(&config.pin)?;
    // Before any thread: threads inherit the mask, so that signals come to this one alone.
    let signals = awaited_signals().context("blocking signals")?;
    let socket = paths.socket();
    let (listener, bound) = match Worker::inherited_socket()? {
        Some(listener) => (listener, false),
        None => (Worker::bind_socket(&socket, config.agent_uid)?, true),
    };
    let (source, limit) = (config.pin.clone(), config.deadline);
    let worker = Worker::start(config, pin, listener)?;
    tracing::info!("ready");
    notify(&[NotifyState::Ready]);
    serve_until_told(&worker, &signals, &source)?;
    notify(&[NotifyState::Stopping]);
    if bound {
        let _ = std::fs::remove_file(&socket);
    }
    end_within(limit.saturating_add(Duration::from_secs(2)));
    worker.stop(limit);
    tracing::info!("stopped");
    Ok(())
}

/// No core dump, no debugger, no reading of `/proc/PID/mem` by others of this uid: the PIN is in memory.
fn harden() -> anyhow::Result<()> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0).context("setting the core size to 0")?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).context("forbidding dumps")
}

/// Becomes this program again with the module's variables set: after start, a process cannot change them safely.
fn with_environment(config: &Config) -> anyhow::Result<()> {
    let missing = config
        .environment
        .iter()
        .any(|(name, value)| std::env::var_os(name).is_none_or(|present| present.as_os_str() != value.as_str()));
    if !missing {
        return Ok(());
    }
    // Same process id, so an inherited socket stays valid.
    let program = std::env::current_exe().context("finding this program")?;
    let error = Command::new(program).args(std::env::args_os().skip(1)).envs(&config.environment).exec();
    Err(error).context("setting the module's environment")
}

fn awaited_signals() -> nix::Result<SigSet> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        signals.add(signal);
    }
    signals.thread_block()?;
    Ok(signals)
}

fn serve_until_told(worker: &Worker, signals: &SigSet, source: &PinSource) -> anyhow::Result<()> {
    loop {
        if signals.wait().context("waiting for signals")? != Signal::SIGHUP {
            return Ok(());
        }
        if *source == PinSource::Prompt {
            tracing::warn!("a PIN that was typed in is not asked for again; restart to change it");
            continue;
        }
        match Pin::read(source) {
            Ok(pin) => {
                worker.reload(pin);
                tracing::info!("read the PIN anew");
            }
            Err(error) => tracing::error!(%error, "failed to reload; the PIN of before stays"),
        }
    }
}

fn start_logging() {
    let registry = tracing_subscriber::registry().with(LevelFilter::INFO);
    let journal = std::env::var_os("JOURNAL_STREAM").and_then(|_| tracing_journald::layer().ok());
    match journal {
        Some(journal) => registry.with(journal).init(),
        None => registry.with(tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false)).init(),
    }
}

/// Readiness is for systemd; without it there is nobody to tell.
fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "failed to notify systemd");
    }
}

/// A module may hang while it is let go, or in its exit handlers; the process ends all the same.
fn end_within(limit: Duration) {
    let end = move || {
        std::thread::sleep(limit);
        std::process::abort();
    };
    if let Err(error) = std::thread::Builder::new().spawn(end) {
        tracing::warn!(%error, "nothing bounds the time that stopping takes");
    }
}
