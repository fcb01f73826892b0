//! `assay.v1.{Node,Policy,Audit}` on admin.sock: what the node is doing, its policy, its log.

use std::{sync::Arc, sync::atomic::Ordering, time::Instant};

use assay_audit::{Durability, Log, PolicyOutcome, PolicyRecord};
use assay_proto::assay as wire;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use tonic::{Request, Response, Status};

use crate::{
    active::{ActivePolicy, LoadError, Loaded},
    checkpoint::Checkpoints,
    collect::Collect,
    evidence_store::EvidenceStore,
    judge::{Judge, now},
    key_worker::KeyWorker,
    settings::Settings,
    trust_roots::TrustRoots,
};

/// Most records in one answer.
const MAX_RECORDS: u32 = 256;

/// The running parts of the agent.
pub(crate) struct Node {
    pub(crate) policy: Arc<ActivePolicy>,
    pub(crate) keys: KeyWorker,
    pub(crate) collector: Arc<dyn Collect>,
    pub(crate) log: Arc<Log>,
    pub(crate) checkpoints: Arc<Checkpoints>,
    pub(crate) evidence: Arc<EvidenceStore>,
    pub(crate) judge: Arc<Judge>,
    pub(crate) trust_roots: Arc<TrustRoots>,
    pub(crate) settings: Settings,
    pub(crate) started: Instant,
}

/// `assay.v1.Node`
pub(crate) struct NodeService(pub(crate) Arc<Node>);
/// `assay.v1.Policy`
pub(crate) struct PolicyService(pub(crate) Arc<Node>);
/// `assay.v1.Audit`
pub(crate) struct AuditService(pub(crate) Arc<Node>);

impl Node {
    /// Puts the policy file in force, or says why the last good one stays. Either way stands in the log.
    pub(crate) async fn reload(&self) -> wire::ReloadResponse {
        let outcome = self.policy.reload(&self.keys, now()).await;
        self.reloaded(&outcome)
    }

    /// Makes the policy in force follow roots of trust that changed, and records it. `None`: it names none of them.
    pub(crate) async fn follow_trust_roots(&self) -> Option<wire::ReloadResponse> {
        let outcome = self.policy.follow_trust_roots(&self.keys, now()).await?;
        Some(self.reloaded(&outcome))
    }

    fn reloaded(&self, outcome: &Result<Arc<Loaded>, LoadError>) -> wire::ReloadResponse {
        let (record, applied, message) = match outcome {
            Ok(loaded) => {
                let (version, sha256) = (loaded.policy.version(), loaded.policy.sha256());
                let message = format!("policy version {version} is in force ({})", loaded.policy.mode());
                let sha256 = sha256.to_owned();
                (
                    PolicyRecord { time: now(), version: Some(version), sha256, outcome: PolicyOutcome::Applied },
                    true,
                    message,
                )
            }
            Err(error) => {
                let stays = self.policy.current().map_or_else(
                    || "no policy is in force: everything is refused".to_owned(),
                    |loaded| format!("policy version {} stays in force", loaded.policy.version()),
                );
                let outcome = PolicyOutcome::Refused(error.to_string());
                let record = PolicyRecord { time: now(), version: None, sha256: String::new(), outcome };
                (record, false, format!("{error}\n{stays}"))
            }
        };
        self.log.append(record.into(), Durability::Synced, |_| {});
        let configuration = self.settings.drift().unwrap_or_default();
        wire::ReloadResponse { applied, message, policy: Some(self.policy_status()), configuration }
    }

    fn policy_status(&self) -> wire::PolicyStatus {
        let loaded = self.policy.current();
        wire::PolicyStatus {
            loaded: loaded.is_some(),
            version: loaded.as_ref().map_or(0, |loaded| loaded.policy.version()),
            sha256: loaded.as_ref().map(|loaded| loaded.policy.sha256().to_owned()).unwrap_or_default(),
            mode: loaded.as_ref().map(|loaded| loaded.policy.mode().to_string()).unwrap_or_default(),
            error: self.policy.report().unwrap_or_default(),
            loaded_at: loaded.map_or(0, |loaded| u64::try_from(loaded.since.seconds()).unwrap_or(0)),
            path: self.policy.path().display().to_string(),
        }
    }
}

fn component(health: Result<String, String>) -> wire::ComponentStatus {
    let healthy = health.is_ok();
    wire::ComponentStatus { healthy, detail: health.unwrap_or_else(|wrong| wrong) }
}

#[tonic::async_trait]
impl wire::node_server::Node for NodeService {
    async fn status(&self, _: Request<wire::NodeStatusRequest>) -> Result<Response<wire::NodeStatusResponse>, Status> {
        let node = &self.0;
        let (keys, fetcher) = tokio::join!(node.keys.health(), node.collector.health());
        let (head, usage, counts) = (node.log.head(), node.evidence.usage(), node.judge.counts());
        Ok(Response::new(wire::NodeStatusResponse {
            version: env!("CARGO_PKG_VERSION").into(),
            policy: Some(node.policy_status()),
            key_worker: Some(component(keys)),
            fetcher: Some(component(fetcher)),
            log: Some(wire::LogStatus {
                size: head.size,
                signed_size: node.checkpoints.signed_size(),
                root: BASE64_STANDARD.encode(head.root),
                detail: node.checkpoints.detail(),
            }),
            evidence: Some(wire::EvidenceStatus {
                subjects: usage.subjects,
                bytes: usage.bytes,
                limit_bytes: usage.limit,
            }),
            allowed: counts.allowed.load(Ordering::Relaxed),
            denied: counts.denied.load(Ordering::Relaxed),
            cache_hits: counts.cache_hits.load(Ordering::Relaxed),
            uptime_seconds: node.started.elapsed().as_secs(),
            configuration: node.settings.drift().unwrap_or_default(),
            trust_roots: node.trust_roots.status(),
        }))
    }

    async fn reload(&self, _: Request<wire::ReloadRequest>) -> Result<Response<wire::ReloadResponse>, Status> {
        Ok(Response::new(self.0.reload().await))
    }
}

#[tonic::async_trait]
impl wire::policy_server::Policy for PolicyService {
    async fn show(&self, _: Request<wire::ShowPolicyRequest>) -> Result<Response<wire::ShowPolicyResponse>, Status> {
        let loaded = self.0.policy.current().ok_or_else(|| {
            Status::failed_precondition(format!("no policy is in force: {}", self.0.policy.error().unwrap_or_default()))
        })?;
        Ok(Response::new(wire::ShowPolicyResponse {
            source: loaded.policy.source().to_owned(),
            version: loaded.policy.version(),
        }))
    }
}

#[tonic::async_trait]
impl wire::audit_server::Audit for AuditService {
    async fn head(&self, _: Request<wire::AuditHeadRequest>) -> Result<Response<wire::AuditHeadResponse>, Status> {
        let checkpoint =
            self.0.checkpoints.current().await.map_err(|error| Status::failed_precondition(error.to_string()))?;
        Ok(Response::new(wire::AuditHeadResponse { checkpoint }))
    }

    async fn read(
        &self,
        request: Request<wire::AuditReadRequest>,
    ) -> Result<Response<wire::AuditReadResponse>, Status> {
        let wire::AuditReadRequest { start, count } = request.into_inner();
        let log = Arc::clone(&self.0.log);
        let read = move || (log.head().size, log.read(start, count.min(MAX_RECORDS)));
        let (size, records) =
            tokio::task::spawn_blocking(read).await.map_err(|error| Status::internal(error.to_string()))?;
        let records = records.map_err(|error| Status::data_loss(error.to_string()))?;
        Ok(Response::new(wire::AuditReadResponse { size, records }))
    }
}
