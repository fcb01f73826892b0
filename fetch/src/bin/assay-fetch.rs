//! The fetcher's process: reads its configuration, takes or binds `fetch.sock`, and serves the agent's uid alone until
//! it is told to stop. SIGHUP reads the configuration again; a broken one changes nothing.

use std::{
    os::unix::net::UnixListener as StdUnixListener,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, bail};
use assay_fetch::{Client, Config, Service};
use assay_proto::assay::fetch_server::FetchServer;
use clap::Parser;
use sd_notify::NotifyState;
use tokio::{
    net::UnixListener,
    signal::unix::{SignalKind, signal},
};
use tonic::transport::Server;
use tracing_subscriber::{filter::LevelFilter, layer::SubscriberExt, util::SubscriberInitExt};

/// How long collections that run may go on after SIGTERM.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// A request is a reference and a few digests.
const MAX_REQUEST_BYTES: usize = 64 << 10;
/// Threads for name resolution, which the system offers only as a blocking call.
const MAX_BLOCKING_THREADS: usize = 4;

/// Fetches images' documents and signatures from registries for the Assay agent. It holds no keys and decides nothing.
#[derive(Parser)]
#[command(name = "assay-fetch")]
struct Arguments {
    /// The folder that all default paths are below
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
    /// The configuration [default: ROOT/etc/assay/fetch.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Stop when the program that started this one ends, however it ends
    #[arg(long)]
    stop_with_parent: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    start_logging();
    if arguments.stop_with_parent
        && let Err(error) = nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGTERM)
    {
        tracing::error!("assay-fetch stops: it cannot learn of its parent's end: {error}");
        return ExitCode::FAILURE;
    }
    // Before any thread: the inherited socket's variables are taken out of the environment.
    let inherited = inherited_listener();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(MAX_BLOCKING_THREADS)
        .thread_keep_alive(Duration::from_secs(1))
        .build();
    let done = runtime.context("failed to start the runtime").and_then(|runtime| {
        let done = runtime.block_on(serve(&arguments, inherited?));
        // A name resolution that hangs must not hold up the stop.
        runtime.shutdown_background();
        done
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("assay-fetch stops: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(arguments: &Arguments, inherited: Option<StdUnixListener>) -> anyhow::Result<()> {
    let path = arguments.config.clone().unwrap_or_else(|| arguments.root.join("etc/assay/fetch.toml"));
    let (config, agent_uid) = load(&path, &arguments.root)?;
    let admitted = Arc::new(AtomicU32::new(agent_uid));
    let service = Service::new(Client::new(config));
    let listener = match inherited {
        Some(listener) => {
            listener.set_nonblocking(true).context("failed to prepare the inherited socket")?;
            UnixListener::from_std(listener).context("failed to use the inherited socket")?
        }
        None => bind(&arguments.root.join("run/assay/fetch.sock"), agent_uid)?,
    };
    let connections = assay_proto::accept(listener, {
        let admitted = admitted.clone();
        move |peer| {
            let admits = peer.uid == admitted.load(Ordering::Relaxed);
            if !admits {
                tracing::warn!(uid = peer.uid, pid = peer.pid, "refused a connection: only the agent's uid is served");
            }
            admits
        }
    });
    let mut hangup = signal(SignalKind::hangup()).context("failed to watch for SIGHUP")?;
    let mut terminate = signal(SignalKind::terminate()).context("failed to watch for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to watch for SIGINT")?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let fetch = FetchServer::new(service.clone())
        .max_decoding_message_size(MAX_REQUEST_BYTES)
        .max_encoding_message_size(assay_proto::MAX_MESSAGE_BYTES);
    let server = Server::builder().add_service(fetch).serve_with_incoming_shutdown(connections, async {
        let _ = stopped.await;
    });
    let mut server = std::pin::pin!(server);
    notify(NotifyState::Ready);
    tracing::info!(config = %path.display(), agent_uid, "ready");
    let mut watchdog = sd_notify::watchdog_enabled().map(|period| tokio::time::interval(period / 2));
    loop {
        tokio::select! {
            done = &mut server => return done.context("failed to serve fetch.sock"),
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => match load(&path, &arguments.root) {
                Ok((config, agent_uid)) => {
                    service.replace(Client::new(config));
                    admitted.store(agent_uid, Ordering::Relaxed);
                    tracing::info!("configuration read again");
                }
                Err(error) => tracing::error!("the last good configuration stays in use: {error:#}"),
            },
            () = tick(&mut watchdog) => notify(NotifyState::Watchdog),
        }
    }
    notify(NotifyState::Stopping);
    let _ = stop.send(());
    match tokio::time::timeout(STOP_TIMEOUT, server).await {
        Ok(done) => done.context("failed to stop in order"),
        Err(_) => {
            tracing::warn!("collections that were still running were cut off");
            Ok(())
        }
    }
}

/// Reads the configuration; mirrors are looked for below `root` unless it says where.
fn load(path: &Path, root: &Path) -> anyhow::Result<(Config, u32)> {
    let mut config = Config::load(path)?;
    let Some(agent_uid) = config.agent_uid else {
        bail!("{}: agent-uid is missing: the fetcher serves the agent's uid and no other", path.display());
    };
    config.certs_d.get_or_insert_with(|| root.join("etc/containerd/certs.d"));
    Ok((config, agent_uid))
}

/// A socket handed over by systemd or by who started this program (`LISTEN_FDS`; a missing `LISTEN_PID` counts as ours).
fn inherited_listener() -> anyhow::Result<Option<StdUnixListener>> {
    listenfd::ListenFd::from_env().take_unix_listener(0).context("failed to use the inherited socket")
}

/// Binds the socket for the agent alone. Where nobody hands it over, this program must be able to give it away.
fn bind(path: &Path, agent_uid: u32) -> anyhow::Result<UnixListener> {
    let listener = assay_proto::bind(path, 0o600).context("failed to bind the socket")?;
    if !nix::unistd::geteuid().as_raw().eq(&agent_uid) {
        std::os::unix::fs::chown(path, Some(agent_uid), None).with_context(|| {
            format!("failed to give {} to uid {agent_uid}; pass the socket in by LISTEN_FDS instead", path.display())
        })?;
    }
    Ok(listener)
}

async fn tick(watchdog: &mut Option<tokio::time::Interval>) {
    match watchdog {
        Some(interval) => drop(interval.tick().await),
        None => std::future::pending().await,
    }
}

/// Without systemd there is nobody to tell, which is no error.
fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::debug!("failed to notify the service manager: {error}");
    }
}

/// To the journal if standard error goes there, else to standard error.
fn start_logging() {
    let registry = tracing_subscriber::registry().with(LevelFilter::INFO);
    if std::env::var_os("JOURNAL_STREAM").is_some()
        && let Ok(journal) = tracing_journald::layer()
    {
        registry.with(journal).init();
    } else {
        registry.with(tracing_subscriber::fmt::layer().with_writer(std::io::stderr)).init();
    }
}
