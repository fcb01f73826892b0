//! The unpack gate as a program: containerd calls its socket; it asks the agent and unpacks only what is admitted.

use std::path::PathBuf;

use anyhow::Context;
use assay_shim::{Config, Paths, serve};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::{Layer, filter::LevelFilter, layer::SubscriberExt, util::SubscriberInitExt};

/// A containerd snapshotter that starts nothing its owner has not approved.
#[derive(Parser)]
#[command(name = "containerd-assay-grpc", version)]
struct Arguments {
    /// Configuration file [default: DIR/etc/assay/snapshotter.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where etc/assay, run/assay and var/lib/assay are
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
    /// Stop when the program that started this one ends, however it ends
    #[arg(long)]
    stop_with_parent: bool,
}

fn main() -> anyhow::Result<()> {
    log_to_journal_or_stderr();
    let arguments = Arguments::parse();
    if arguments.stop_with_parent {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))
            .context("failed to be told of the parent's end")?;
    }
    let root = std::path::absolute(&arguments.root).context("failed to find the root folder")?;
    let config =
        Config::load(&Paths::below(root), arguments.config.as_deref()).context("failed to load configuration")?;
    let inherited =
        listenfd::ListenFd::from_env().take_unix_listener(0).context("failed to take the inherited socket")?;
    // One thread answers, some more wait for the disk: never as many as there are calls.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(24)
        .thread_keep_alive(std::time::Duration::from_secs(5))
        .thread_stack_size(1 << 20)
        .build()
        .context("failed to start the runtime")?;
    runtime
        .block_on(async {
            let mut terminate = signal(SignalKind::terminate())?;
            let mut interrupt = signal(SignalKind::interrupt())?;
            let stop = async {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                tracing::info!("stopping");
                let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
            };
            let ready = || {
                tracing::info!(socket = %config.socket.display(), root = %config.snapshots.display(), "ready");
                if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
                    tracing::warn!(%error, "readiness could not be told to systemd");
                }
            };
            serve(&config, inherited, ready, stop).await.map_err(anyhow::Error::from)
        })
        .context("failed to serve snapshots")
}

fn log_to_journal_or_stderr() {
    let journal = std::env::var_os("JOURNAL_STREAM").and_then(|_| tracing_journald::layer().ok());
    let stderr =
        journal.is_none().then(|| tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false));
    tracing_subscriber::registry()
        .with(journal.map(|layer| layer.with_filter(LevelFilter::INFO)))
        .with(stderr.map(|layer| layer.with_filter(LevelFilter::INFO)))
        .init();
}
