//! `assayd`: reads its arguments, sets up its log, and runs the agent.

use std::{io::IsTerminal, path::PathBuf};

use clap::Parser;
use tracing_subscriber::{filter::LevelFilter, prelude::*};

/// Assay's key and policy agent: judges every image that containerd is about to use.
#[derive(Parser)]
#[command(name = "assayd", version)]
struct Arguments {
    /// Keep every path (/etc/assay, /run/assay, /var/lib/assay) below DIR.
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
    /// Configuration file [default: DIR/etc/assay/assayd.toml].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Stop when the program that started this one ends, however it ends.
    #[arg(long)]
    stop_with_parent: bool,
    /// Show more.
    #[arg(long, short)]
    verbose: bool,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if arguments.stop_with_parent {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))?;
    }
    let level = if arguments.verbose { LevelFilter::DEBUG } else { LevelFilter::INFO };
    // systemd sets JOURNAL_STREAM where stderr leads to the journal anyway; fields are kept only by its own protocol.
    match std::env::var_os("JOURNAL_STREAM").and_then(|_| tracing_journald::layer().ok()) {
        Some(journal) => tracing_subscriber::registry().with(level).with(journal).init(),
        None => tracing_subscriber::registry()
            .with(level)
            .with(
                tracing_subscriber::fmt::layer()
                    .with_writer(std::io::stderr)
                    .with_ansi(std::io::stderr().is_terminal())
                    .with_target(false),
            )
            .init(),
    }
    // One thread answers; what takes long (signatures, disk) goes to a few more that come and go.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(4).build()?;
    Ok(runtime.block_on(assay_agent::run(&arguments.root, arguments.config.as_deref()))?)
}
