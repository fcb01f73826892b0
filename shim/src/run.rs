//! The run gate: a container that is about to be made comes in, nothing or a refusal with its reasons goes out. Finds out of which
//! image the container is and whether its root file system is that image's, asks the agent for a verdict, and never decides itself.

mod arguments;
mod bundle;
mod config;
mod denial;
mod image;
mod record;
mod root_file_system;

use std::{path::Path, time::Duration};

use assay_admission::{AdmissionRequest, DenyCode, Digest, Gate, GateRefusal, Namespace, Platform, Purpose, Subject};
use tokio::time::timeout_at;

use crate::{
    agent::{Agent, Deadline},
    config_file::agent_uids,
    containerd::{Containerd, ContainerdError},
    mapping::{Images, MappingError},
    refusal::{Refusal, shown},
    report::tell_once,
};
pub use arguments::{ArgumentError, Arguments, Call, LogFormat, LogPlace, Start};
use bundle::{Bundle, BundleError};
pub use config::{RunConfig, RuntimeError};
pub use denial::deny;
use image::Found;
use record::Record;
use root_file_system::RootError;

/// Longest wait for the agent to take the report of a refusal: the refusal itself waits for it.
const REPORT_PATIENCE: Duration = Duration::from_millis(300);

/// Judges containers before the runtime makes them.
#[derive(Debug)]
pub struct RunGate {
    containerd: Containerd,
    images: Images,
    agent: Agent,
    timeout: Duration,
}

impl RunGate {
    /// A gate as the configuration says. Needs a tokio runtime.
    #[must_use]
    pub fn new(config: &RunConfig) -> Self {
        Self {
            containerd: Containerd::at(&config.containerd),
            images: Images::of(&config.containerd),
            agent: Agent::at(&config.gate, &agent_uids(config.agent_uid)),
            timeout: config.verdict_timeout,
        }
    }

    /// Nothing if the container may be made.
    ///
    /// # Errors
    /// The refusal, as text for a person, once the agent was told of what it did not refuse itself.
    pub async fn admit(&self, start: &Start) -> Result<(), String> {
        let deadline = Deadline::after(self.timeout);
        let namespace = namespace(start);
        let judged = async { self.judge(start, namespace.as_ref().map_err(Clone::clone)?, deadline).await };
        let answer = timeout_at(deadline.at(), judged).await.unwrap_or_else(|_| Err(deadline.late("no verdict")));
        let Err(refusal) = answer else { return Ok(()) };
        if let Some(reason) = refusal.own_reason().filter(|reason| reason.code != DenyCode::AgentUnavailable) {
            let namespace = namespace.as_ref().map(Namespace::as_str).unwrap_or_default();
            let told = GateRefusal::new(Gate::Run, namespace, &start.id, reason, Duration::ZERO, 0);
            tell_once(self.agent.channel(), &told, REPORT_PATIENCE).await;
        }
        Err(refusal.to_string())
    }

    async fn judge(&self, start: &Start, namespace: &Namespace, deadline: Deadline) -> Result<(), Refusal> {
        let folder = std::path::absolute(&start.bundle)
            .map_err(|error| Refusal::own(DenyCode::Internal, format!("{}: {error}", start.bundle.display())))?;
        let bundle = Bundle::read(&folder).map_err(|error| unread(&error))?;
        let container = self.containerd.container(namespace, &start.id).await.map_err(unanswered)?;
        let container = container.ok_or_else(|| {
            foreign(format!("containerd has no container {} in namespace {namespace}", shown(&start.id)))
        })?;
        let snapshotter = container.snapshotter.clone();
        let record = Record::read(container, &bundle)?;
        let ((chain, mounts), named) = tokio::try_join!(
            self.snapshot(namespace, &snapshotter, &record.key),
            self.named(namespace, record.name.as_deref()),
        )?;
        root_file_system::verify(&folder.join(&bundle.root), &mounts).map_err(|error| unlike(&error))?;
        let found = self.images(namespace, &record, &chain, named).await?;
        let subject = Subject::Chain { chain, purpose: Purpose::Use, images: found.claims, alike: Vec::new() };
        let request = AdmissionRequest::new(Gate::Run, namespace.clone(), Platform::host(), subject, found.documents);
        let request = request.map_err(|error| Refusal::own(DenyCode::Limit, error.to_string()))?;
        self.agent.enforce(&request, deadline).await.map(drop)
    }

    /// The chain that a snapshot rests on, and its mounts.
    async fn snapshot(
        &self,
        namespace: &Namespace,
        snapshotter: &str,
        key: &str,
    ) -> Result<(Digest, Vec<assay_proto::containerd::types::Mount>), Refusal> {
        let (parent, mounts) = tokio::try_join!(
            self.containerd.parent(namespace, snapshotter, key),
            self.containerd.mounts(namespace, snapshotter, key)
        )
        .map_err(unanswered)?;
        let (Some(parent), Some(mounts)) = (parent, mounts) else {
            return Err(foreign(format!("there is no snapshot {}", shown(key))));
        };
        let chain = parent.parse();
        let chain = chain.map_err(|_| foreign(format!("snapshot {} rests on {}", shown(key), shown(&parent))))?;
        Ok((chain, mounts))
    }

    async fn named(&self, namespace: &Namespace, name: Option<&str>) -> Result<Option<Found>, Refusal> {
        match name {
            Some(name) => Found::by_name(&self.containerd, namespace, name).await,
            None => Ok(None),
        }
    }

    /// The images that the container may be of. Under its own name, if that still leads to it: a name chooses the rule, and so it has
    /// to be this container's. Otherwise every image with its layers, and its config where that is known, under every name.
    async fn images(
        &self,
        namespace: &Namespace,
        record: &Record,
        chain: &Digest,
        named: Option<Found>,
    ) -> Result<Found, Refusal> {
        match (named, &record.name, &record.config) {
            (Some(named), Some(name), None) => named.retain_chain(chain).refuse_without(name, chain),
            (Some(named), Some(name), Some(config)) => {
                let of_config = named.retain_config(config);
                if of_config.claims.is_empty() {
                    // The name leads elsewhere by now.
                    return Ok(Found::by_chain(&self.images, namespace, chain).await?.retain_config(config));
                }
                of_config.retain_chain(chain).refuse_without(name, chain)
            }
            (_, _, Some(config)) => Ok(Found::by_chain(&self.images, namespace, chain).await?.retain_config(config)),
            (_, _, None) => Found::by_chain(&self.images, namespace, chain).await,
        }
    }
}

/// containerd's namespace: the last part of the folder that its shim has the runtime keep its state in.
fn namespace(start: &Start) -> Result<Namespace, Refusal> {
    let root = start.root.as_deref();
    let last = root.and_then(Path::file_name).and_then(|name| name.to_str());
    last.and_then(|name| name.parse().ok()).ok_or_else(|| {
        let root = root.map_or_else(|| "not given".to_owned(), |root| shown(&root.to_string_lossy()));
        foreign(format!("--root is {root}, which does not end in a namespace of containerd's"))
    })
}

/// A container that is not what it is said to be.
fn foreign(detail: String) -> Refusal {
    Refusal::own(DenyCode::ForeignRoot, detail)
}

fn unanswered(error: ContainerdError) -> Refusal {
    MappingError::from(error).refusal()
}

fn unread(error: &BundleError) -> Refusal {
    let code = if error.is_foreign() { DenyCode::ForeignRoot } else { DenyCode::Internal };
    Refusal::own(code, format!("the container's bundle: {error}"))
}

fn unlike(error: &RootError) -> Refusal {
    let code = if error.is_foreign() { DenyCode::ForeignRoot } else { DenyCode::Internal };
    Refusal::own(code, format!("the container's root file system: {error}"))
}
