//! Wires the agent together, serves until it is told to stop, and stops in order. All wiring is in [`run`].

use std::{io, path::Path, sync::Arc, time::Duration};

use assay_audit::{Durability, Log, StartRecord};
use assay_proto::{MAX_MESSAGE_BYTES, accept, assay as wire};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};
use tonic::transport::Server;

use crate::{
    Config, ConfigError,
    active::ActivePolicy,
    checkpoint::Checkpoints,
    collect::{Collect, Fetcher},
    evidence_service::EvidenceService,
    evidence_store::EvidenceStore,
    gate_service::{GateService, Serves},
    judge::{Judge, Stages, Waits, now},
    key_service::{KeyRegistry, KeyService},
    key_worker::KeyWorker,
    node_service::{AuditService, Node, NodeService, PolicyService},
    peers::{ListenError, Sockets, is_admin, is_gate, may_sign},
    refusals::Refusals,
    settings::Settings,
    trust_roots::{Repositories, TrustRootService, TrustRoots, keep_fresh},
};

/// Calls that one connection may have under way.
const CALLS_PER_CONNECTION: usize = 64;
/// How long calls under way may take to end once the agent was told to stop.
const GRACE: Duration = Duration::from_secs(4);

/// Why the agent does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A socket.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The log.
    #[error("log in {0}: {1}")]
    Log(String, assay_audit::LogError),
    /// The evidence store.
    #[error("evidence in {0}: {1}")]
    Evidence(String, io::Error),
    /// Something of the operating system.
    #[error("{0}: {1}")]
    System(&'static str, io::Error),
    /// A file of the agent's own state.
    #[error("{0}")]
    State(String),
}

/// Runs the agent on the node below `root` until SIGTERM or SIGINT.
///
/// # Errors
/// [`StartError`] if it cannot start; a broken policy is no such error: it is shown in the status, and everything is refused.
pub async fn run(root: &Path, config_file: Option<&Path>) -> Result<(), StartError> {
    let config = Arc::new(Config::read(root, config_file)?);
    let mut signals = Signals::new().map_err(|error| StartError::System("signals", error))?;

    let log_folder = config.state.join("log");
    // The log makes its own folder, closed to others.
    std::fs::create_dir_all(&config.state).map_err(|error| StartError::System("state folder", error))?;
    let in_log = |error| StartError::Log(log_folder.display().to_string(), error);
    let (log, opened) = Log::open(&log_folder, &config.log_origin).map_err(in_log)?;
    let log = Arc::new(log);
    let start = StartRecord {
        time: now(),
        program_version: env!("CARGO_PKG_VERSION").into(),
        log_size: opened.size,
        repaired_bytes: opened.repaired.as_ref().map_or(0, |torn| torn.bytes),
    };
    log.append_wait(start.into(), Durability::Synced).map_err(in_log)?;

    let evidence_folder = config.state.join("evidence");
    let evidence = EvidenceStore::open(&evidence_folder, config.evidence_limit)
        .map_err(|error| StartError::Evidence(evidence_folder.display().to_string(), error))?;
    let evidence = Arc::new(evidence);

    let keys = KeyWorker::start(config.sockets.join("key.sock"), config.key_worker_uid)
        .map_err(|error| StartError::System("key worker thread", error))?;
    let collector: Arc<dyn Collect> = Arc::new(Fetcher::new(config.sockets.join("fetch.sock"), config.fetcher_uid));
    let repositories = Arc::new(Repositories::new(config.sockets.join("fetch.sock"), config.fetcher_uid));
    let trust_roots = Arc::new(TrustRoots::open(&config.trust_roots, &config.state, repositories, Arc::clone(&log)));
    let policy = ActivePolicy::new(config.policy.clone(), &config.state).with_trust_roots(Arc::clone(&trust_roots));
    let policy = Arc::new(policy);
    let registry = Arc::new(KeyRegistry::open(&config).map_err(|error| StartError::State(error.to_string()))?);
    let checkpoints = Arc::new(Checkpoints::new(&config, Arc::clone(&log), keys.clone()));
    let waits = Waits { verdict: config.verdict_timeout, collection: config.collection_timeout };
    let judge = Judge::new(
        Arc::clone(&policy),
        Arc::clone(&evidence),
        Arc::clone(&collector),
        Arc::clone(&log),
        waits,
        Stages::REAL,
    );
    let node = Arc::new(Node {
        policy,
        keys: keys.clone(),
        collector,
        log: Arc::clone(&log),
        checkpoints: Arc::clone(&checkpoints),
        evidence: Arc::clone(&evidence),
        judge: Arc::clone(&judge),
        trust_roots: Arc::clone(&trust_roots),
        settings: Settings::new(root, config_file, Arc::clone(&config)),
        started: std::time::Instant::now(),
    });
    let reloaded = node.reload().await;
    tracing::info!(applied = reloaded.applied, "{}", reloaded.message);

    let refusals = Refusals::new(Arc::clone(&log));
    let sockets = Sockets::open(&config)?;
    let (stop, stopped) = watch::channel(false);
    let key_service =
        |serves| KeyService::new(Arc::clone(&config), Arc::clone(&registry), keys.clone(), Arc::clone(&log), serves);
    let servers = [
        tokio::spawn(
            server()
                .add_service(gate_server(&judge, Serves::Gates))
                .add_service(wire::refusals_server::RefusalsServer::new(refusals.clone()))
                .serve_with_incoming_shutdown(accept(sockets.gate, is_gate), until(stopped.clone())),
        ),
        tokio::spawn(
            server()
                .add_service(gate_server(&judge, Serves::Questions))
                .add_service(wire::node_server::NodeServer::new(NodeService(Arc::clone(&node))))
                .add_service(wire::policy_server::PolicyServer::new(PolicyService(Arc::clone(&node))))
                .add_service(trust_root_server(&trust_roots))
                .add_service(
                    wire::evidence_server::EvidenceServer::new(EvidenceService::new(evidence, Arc::clone(&log)))
                        .max_decoding_message_size(MAX_MESSAGE_BYTES),
                )
                .add_service(wire::audit_server::AuditServer::new(AuditService(Arc::clone(&node))))
                .add_service(wire::keys_server::KeysServer::new(key_service(crate::key_service::Serves::Admin)))
                .serve_with_incoming_shutdown(accept(sockets.admin, is_admin(&config)), until(stopped.clone())),
        ),
        tokio::spawn(
            server()
                .add_service(wire::keys_server::KeysServer::new(key_service(crate::key_service::Serves::Signing)))
                .serve_with_incoming_shutdown(accept(sockets.sign, may_sign(&config)), until(stopped)),
        ),
    ];
    keep_fresh(&trust_roots);
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    tracing::info!(root = %root.display(), records = opened.size, "ready");

    attend(&mut signals, &node, &checkpoints, config.checkpoint_interval).await;

    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    let _ = stop.send(true);
    for server in servers {
        if tokio::time::timeout(GRACE, server).await.is_err() {
            tracing::warn!("calls under way were cut off");
        }
    }
    refusals.close_all().await;
    if let Err(error) = tokio::time::timeout(GRACE, checkpoints.sign_if_grown()).await.unwrap_or(Ok(())) {
        tracing::warn!(%error, "the log's last records are not covered by a checkpoint yet");
    }
    tracing::info!("stopped");
    Ok(())
}

/// Signals, watchdog and checkpoints, until it is time to stop.
async fn attend(signals: &mut Signals, node: &Arc<Node>, checkpoints: &Arc<Checkpoints>, interval: Duration) {
    let mut checkpoint = tokio::time::interval(interval);
    checkpoint.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // systemd wants a sign of life more often than its time-out (sd_watchdog_enabled(3): half of it).
    let watchdog = sd_notify::watchdog_enabled();
    let mut alive = tokio::time::interval(watchdog.map_or(Duration::from_secs(3_600), |limit| limit / 2));
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => return,
            _ = signals.interrupt.recv() => return,
            _ = signals.hang_up.recv() => {
                let node = Arc::clone(node);
                tokio::spawn(async move {
                    let reloaded = node.reload().await;
                    tracing::info!(applied = reloaded.applied, "{}", reloaded.message);
                    if !reloaded.configuration.is_empty() {
                        tracing::warn!("{}", reloaded.configuration);
                    }
                });
            }
            () = node.trust_roots.changed() => {
                let node = Arc::clone(node);
                tokio::spawn(async move {
                    if let Some(reloaded) = node.follow_trust_roots().await {
                        tracing::info!(applied = reloaded.applied, "a trust root changed: {}", reloaded.message);
                    }
                });
            }
            _ = checkpoint.tick() => {
                node.keys.probe();
                let checkpoints = Arc::clone(checkpoints);
                tokio::spawn(async move {
                    if let Err(error) = checkpoints.sign_if_grown().await {
                        tracing::debug!(%error, "no checkpoint");
                    }
                });
            }
            _ = alive.tick() => {
                if watchdog.is_some() {
                    let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
                }
            }
        }
    }
}

fn server() -> Server {
    Server::builder().concurrency_limit_per_connection(CALLS_PER_CONNECTION).max_concurrent_streams(256)
}

fn gate_server(judge: &Arc<Judge>, serves: Serves) -> wire::gate_server::GateServer<GateService> {
    wire::gate_server::GateServer::new(GateService::new(Arc::clone(judge), serves))
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
}

fn trust_root_server(roots: &Arc<TrustRoots>) -> wire::trust_roots_server::TrustRootsServer<TrustRootService> {
    wire::trust_roots_server::TrustRootsServer::new(TrustRootService(Arc::clone(roots)))
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
}

async fn until(mut stopped: watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stop| *stop).await;
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }
}
