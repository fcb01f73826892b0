//! `containerd.services.snapshots.v1` over the overlay backend, with the unpack gate before Prepare and View.
//! Wire messages come in and go out; the disk is touched on blocking threads only, and every call has an end.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use assay_proto::containerd::{snapshots as wire, types};
use prost_types::Timestamp;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tonic::{Code, Request, Response, Status};

use crate::{
    filter::Filter,
    gate::{Question, UnpackGate},
    key::Key,
    overlay::{Admission, Info, Kind, Mount, NewKind, Overlay, OverlayError},
};

/// Snapshots in one message of a list, as containerd's own server has it.
const LIST_CHUNK: usize = 100;
/// Longest a call waits for the disk. A daemon that waits for us for ever would be wedged.
const DISK_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest a Cleanup waits; deleting goes on behind it.
const CLEANUP_TIMEOUT: Duration = Duration::from_secs(10);
/// Trees that are counted or deleted at once, so that short calls find a thread.
const SLOW_CALLS: usize = 4;

/// The proxy snapshotter.
#[derive(Debug)]
pub struct Snapshotter {
    overlay: Arc<Overlay>,
    gate: UnpackGate,
    /// One short write after another: waiting here costs no thread.
    writes: Arc<Semaphore>,
    /// Calls that walk trees.
    slow: Arc<Semaphore>,
    removed: Arc<Notify>,
}

type Answer<T> = Result<Response<T>, Status>;

impl Snapshotter {
    /// Serves `overlay` behind `gate`, and deletes in the background what was removed. Needs a tokio runtime.
    #[must_use]
    pub fn new(overlay: Arc<Overlay>, gate: UnpackGate) -> Self {
        let removed = Arc::new(Notify::new());
        let (waiting, reaped) = (Arc::clone(&removed), Arc::downgrade(&overlay));
        tokio::spawn(async move {
            loop {
                waiting.notified().await;
                let Some(overlay) = reaped.upgrade() else { return };
                // A panic while deleting must not end the deleting of what is removed later.
                let _ = tokio::task::spawn_blocking(move || overlay.reap()).await;
            }
        });
        let writes = Arc::new(Semaphore::new(1));
        Self { overlay, gate, writes, slow: Arc::new(Semaphore::new(SLOW_CALLS)), removed }
    }

    async fn create(
        &self,
        kind: NewKind,
        key: String,
        parent: String,
        labels: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Vec<types::Mount>, Status> {
        let labels: BTreeMap<String, String> = labels.into_iter().collect();
        let parent = Some(parent).filter(|parent| !parent.is_empty());
        let admission = self.admit(&key, parent.as_deref()).await?;
        let permit = place(&self.writes).await?;
        let mounts = self
            .on_disk(Some(permit), move |overlay| overlay.create(kind, &key, parent.as_deref(), labels, admission))
            .await?;
        // While the layer is extracted, and nobody waits for it.
        let overlay = Arc::clone(&self.overlay);
        tokio::task::spawn_blocking(move || overlay.provide());
        Ok(mounts.into_iter().map(mount_message).collect())
    }

    async fn admit(&self, key: &str, parent: Option<&str>) -> Result<Admission, Status> {
        let nearest = async {
            match parent.map(ToOwned::to_owned) {
                None => Ok(None),
                Some(parent) => self.on_disk(None, move |overlay| overlay.nearest_chain(&parent)).await,
            }
        };
        let admission = match parent.and_then(Key::parse).and_then(|parent| parent.chain()) {
            // The parent's name says its chain; whether it exists is looked up meanwhile.
            Some(chain) => {
                let question = Question { key, parent, parent_chain: Some(chain) };
                let (nearest, admission) = tokio::join!(nearest, self.gate.admit(question));
                nearest.map(|_| admission)?
            }
            None => self.gate.admit(Question { key, parent, parent_chain: nearest.await? }).await,
        };
        admission.map_err(|refusal| {
            tracing::warn!(key, %refusal, "snapshot refused");
            Status::permission_denied(refusal.to_string())
        })
    }

    /// Runs `work` on a thread that may block. The permit is kept until it is done, even if the caller has gone away.
    async fn on_disk<T: Send + 'static>(
        &self,
        permit: Option<OwnedSemaphorePermit>,
        work: impl FnOnce(&Overlay) -> Result<T, OverlayError> + Send + 'static,
    ) -> Result<T, Status> {
        let overlay = Arc::clone(&self.overlay);
        let work = tokio::task::spawn_blocking(move || {
            let result = work(&overlay);
            drop(permit);
            result
        });
        match tokio::time::timeout(DISK_TIMEOUT, work).await {
            Ok(Ok(result)) => result.map_err(|error| status(&error)),
            Ok(Err(panic)) => Err(Status::internal(format!("assay: snapshot call failed: {panic}"))),
            Err(_) => Err(slow_disk()),
        }
    }
}

async fn place(places: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Status> {
    match tokio::time::timeout(DISK_TIMEOUT, Arc::clone(places).acquire_owned()).await {
        Ok(Ok(permit)) => Ok(permit),
        Ok(Err(_)) | Err(_) => Err(slow_disk()),
    }
}

fn slow_disk() -> Status {
    Status::unavailable(format!("assay: the disk did not answer within {} s", DISK_TIMEOUT.as_secs()))
}

#[tonic::async_trait]
impl wire::snapshots_server::Snapshots for Snapshotter {
    async fn prepare(&self, request: Request<wire::PrepareSnapshotRequest>) -> Answer<wire::PrepareSnapshotResponse> {
        let wire::PrepareSnapshotRequest { key, parent, labels, .. } = request.into_inner();
        let mounts = self.create(NewKind::Active, key, parent, labels).await?;
        Ok(Response::new(wire::PrepareSnapshotResponse { mounts }))
    }

    async fn view(&self, request: Request<wire::ViewSnapshotRequest>) -> Answer<wire::ViewSnapshotResponse> {
        let wire::ViewSnapshotRequest { key, parent, labels, .. } = request.into_inner();
        let mounts = self.create(NewKind::View, key, parent, labels).await?;
        Ok(Response::new(wire::ViewSnapshotResponse { mounts }))
    }

    async fn mounts(&self, request: Request<wire::MountsRequest>) -> Answer<wire::MountsResponse> {
        let key = request.into_inner().key;
        let mounts = self.on_disk(None, move |overlay| overlay.mounts(&key)).await?;
        Ok(Response::new(wire::MountsResponse { mounts: mounts.into_iter().map(mount_message).collect() }))
    }

    async fn commit(&self, request: Request<wire::CommitSnapshotRequest>) -> Answer<()> {
        let wire::CommitSnapshotRequest { name, key, labels, parent, .. } = request.into_inner();
        let parent = Some(parent).filter(|parent| !parent.is_empty());
        let labels = labels.into_iter().collect();
        let permit = place(&self.slow).await?;
        let told = key.clone();
        let commit = self.on_disk(Some(permit), move |overlay| overlay.commit(&name, &key, labels, parent.as_deref()));
        commit.await.inspect_err(|refused| {
            if refused.code() == Code::PermissionDenied {
                self.gate.refused_commit(&told, refused.message().to_owned());
            }
        })?;
        Ok(Response::new(()))
    }

    async fn remove(&self, request: Request<wire::RemoveSnapshotRequest>) -> Answer<()> {
        let key = request.into_inner().key;
        let permit = place(&self.writes).await?;
        self.on_disk(Some(permit), move |overlay| overlay.remove(&key)).await?;
        self.removed.notify_one();
        Ok(Response::new(()))
    }

    async fn stat(&self, request: Request<wire::StatSnapshotRequest>) -> Answer<wire::StatSnapshotResponse> {
        let key = request.into_inner().key;
        let info = self.on_disk(None, move |overlay| overlay.stat(&key)).await?;
        Ok(Response::new(wire::StatSnapshotResponse { info: Some(info_message(info)) }))
    }

    async fn update(&self, request: Request<wire::UpdateSnapshotRequest>) -> Answer<wire::UpdateSnapshotResponse> {
        let wire::UpdateSnapshotRequest { info, update_mask, .. } = request.into_inner();
        let info = info.ok_or_else(|| Status::invalid_argument("info is missing"))?;
        let fields = update_mask.map(|mask| mask.paths).unwrap_or_default();
        let labels = info.labels.into_iter().collect();
        let permit = place(&self.writes).await?;
        let info = self.on_disk(Some(permit), move |overlay| overlay.update(&info.name, &labels, &fields)).await?;
        Ok(Response::new(wire::UpdateSnapshotResponse { info: Some(info_message(info)) }))
    }

    type ListStream = tokio_stream::Iter<std::vec::IntoIter<Result<wire::ListSnapshotsResponse, Status>>>;

    async fn list(&self, request: Request<wire::ListSnapshotsRequest>) -> Answer<Self::ListStream> {
        let filter = Filter::parse(&request.into_inner().filters);
        let filter = filter.map_err(|error| Status::invalid_argument(format!("failed to parse filter: {error}")))?;
        let mut infos = self.on_disk(None, move |overlay| overlay.list(&filter)).await?.into_iter().peekable();
        let mut messages = Vec::new();
        while infos.peek().is_some() {
            let info = infos.by_ref().take(LIST_CHUNK).map(info_message).collect();
            messages.push(Ok(wire::ListSnapshotsResponse { info }));
        }
        Ok(Response::new(tokio_stream::iter(messages)))
    }

    async fn usage(&self, request: Request<wire::UsageRequest>) -> Answer<wire::UsageResponse> {
        let key = request.into_inner().key;
        let permit = place(&self.slow).await?;
        let usage = self.on_disk(Some(permit), move |overlay| overlay.usage(&key)).await?;
        let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        Ok(Response::new(wire::UsageResponse { size: signed(usage.bytes), inodes: signed(usage.inodes) }))
    }

    async fn cleanup(&self, _: Request<wire::CleanupRequest>) -> Answer<()> {
        let permit = place(&self.slow).await?;
        let work = self.on_disk(Some(permit), Overlay::cleanup);
        tokio::time::timeout(CLEANUP_TIMEOUT, work).await.unwrap_or(Ok(()))?;
        Ok(Response::new(()))
    }
}

/// The code that containerd expects for each error. A denial is always `PermissionDenied`; nothing else is.
fn status(error: &OverlayError) -> Status {
    let message = error.to_string();
    match error {
        OverlayError::NotFound(_) | OverlayError::NoParent(_) => Status::not_found(message),
        OverlayError::Exists(_) => Status::already_exists(message),
        OverlayError::Committed(_) | OverlayError::NotActive(_) | OverlayError::HasChildren(_) => {
            Status::failed_precondition(message)
        }
        OverlayError::ParentNotCommitted(_)
        | OverlayError::Rebase(_)
        | OverlayError::Field { .. }
        | OverlayError::Name
        | OverlayError::Labels(_)
        | OverlayError::TooDeep => Status::invalid_argument(message),
        OverlayError::ForeignName { .. } => {
            tracing::warn!("{message}");
            Status::permission_denied(message)
        }
        OverlayError::NoSpace(_) => Status::resource_exhausted(message),
        OverlayError::Io { .. }
        | OverlayError::Database(_)
        | OverlayError::Record { .. }
        | OverlayError::Version { .. } => {
            tracing::error!("{message}");
            Status::internal(message)
        }
    }
}

fn mount_message(mount: Mount) -> types::Mount {
    types::Mount { r#type: mount.kind.to_owned(), source: mount.source, target: String::new(), options: mount.options }
}

fn info_message(info: Info) -> wire::Info {
    let kind = match info.kind {
        Kind::View => wire::Kind::View,
        Kind::Active => wire::Kind::Active,
        Kind::Committed => wire::Kind::Committed,
    };
    wire::Info {
        name: info.name,
        parent: info.parent.unwrap_or_default(),
        kind: kind.into(),
        created_at: Some(Timestamp::from(info.created)),
        updated_at: Some(Timestamp::from(info.updated)),
        labels: info.labels.into_iter().collect(),
    }
}

#[cfg(test)]
mod tests;
