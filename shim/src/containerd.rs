//! containerd's services, read only: namespace, names and digests come in, labels, names, records and bytes go out.
//! Every answer is bounded. Nothing is written: a write from inside a snapshot call could wait for that very call.

use std::{collections::BTreeSet, path::Path};

use assay_admission::{Digest, Namespace};
use assay_proto::containerd::{
    containers::{Container, GetContainerRequest, containers_client::ContainersClient},
    content::{Info, ListContentRequest, ReadContentRequest, content_client::ContentClient},
    images::{GetImageRequest, ListImagesRequest, images_client::ImagesClient},
    snapshots::{MountsRequest, StatSnapshotRequest, snapshots_client::SnapshotsClient},
    types::{Descriptor, Mount},
};
use tonic::{Code, Request, Status, metadata::MetadataValue, transport::Channel};

/// Most manifests and indexes of a namespace that are looked at.
const MAX_BLOBS: usize = 100_000;
/// Largest message taken from containerd.
const MAX_ANSWER_BYTES: usize = 16 << 20;
/// Most filters in one question for image records.
const FILTERS_PER_QUESTION: usize = 64;
/// Most targets whose image records are asked for by filters.
const MAX_FILTERS: usize = 256;

/// A client of one containerd. It connects when it is first used, and again when containerd was restarted.
#[derive(Clone, Debug)]
pub(crate) struct Containerd {
    content: ContentClient<Channel>,
    images: ImagesClient<Channel>,
    containers: ContainersClient<Channel>,
    snapshots: SnapshotsClient<Channel>,
}

/// Why containerd gave no usable answer. Fits after "failed to ask containerd: ".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ContainerdError {
    /// The call failed.
    #[error("{call}: {code:?}: {message}")]
    Call { call: &'static str, code: Code, message: String },
    /// There are more manifests than are looked at.
    #[error("more than {MAX_BLOBS} manifests in one namespace")]
    Blobs,
    /// A document is larger than is looked at.
    #[error("{digest} is larger than {most} bytes")]
    DocumentSize { digest: Digest, most: usize },
}

impl Containerd {
    /// A client of the containerd that listens at `socket` as root.
    pub(crate) fn at(socket: &Path) -> Self {
        let channel = assay_proto::connector_to(socket, &[0]);
        Self {
            content: ContentClient::new(channel.clone()).max_decoding_message_size(MAX_ANSWER_BYTES),
            images: ImagesClient::new(channel.clone()).max_decoding_message_size(MAX_ANSWER_BYTES),
            containers: ContainersClient::new(channel.clone()).max_decoding_message_size(MAX_ANSWER_BYTES),
            snapshots: SnapshotsClient::new(channel),
        }
    }

    /// Calls `visit` with each blob of the namespace that passes one of the filters.
    pub(crate) async fn list(
        &self,
        namespace: &Namespace,
        filters: Vec<String>,
        mut visit: impl FnMut(Info),
    ) -> Result<(), ContainerdError> {
        let failed = |status| call_error("content.List", &status);
        let request = in_namespace(namespace, ListContentRequest { filters });
        let mut answers = self.content.clone().list(request).await.map_err(failed)?.into_inner();
        let mut count = 0_usize;
        while let Some(answer) = answers.message().await.map_err(failed)? {
            count = count.saturating_add(answer.info.len());
            if count > MAX_BLOBS {
                return Err(ContainerdError::Blobs);
            }
            answer.info.into_iter().for_each(&mut visit);
        }
        Ok(())
    }

    /// The bytes of a blob, `most` of them at most; `None` if the namespace does not have it.
    pub(crate) async fn read(
        &self,
        namespace: &Namespace,
        digest: &Digest,
        most: usize,
    ) -> Result<Option<Vec<u8>>, ContainerdError> {
        let request = ReadContentRequest { digest: digest.to_string(), offset: 0, size: 0 };
        let mut answers = match self.content.clone().read(in_namespace(namespace, request)).await {
            Ok(answers) => answers.into_inner(),
            Err(status) if status.code() == Code::NotFound => return Ok(None),
            Err(status) => return Err(call_error("content.Read", &status)),
        };
        let mut bytes = Vec::new();
        loop {
            match answers.message().await {
                Ok(Some(answer)) => bytes.extend_from_slice(&answer.data),
                Ok(None) => return Ok(Some(bytes)),
                Err(status) if status.code() == Code::NotFound && bytes.is_empty() => return Ok(None),
                Err(status) => return Err(call_error("content.Read", &status)),
            }
            if bytes.len() > most {
                return Err(ContainerdError::DocumentSize { digest: *digest, most });
            }
        }
    }

    /// The names of image records that point at one of `targets`, each with the target, in order.
    pub(crate) async fn names(
        &self,
        namespace: &Namespace,
        targets: &[Digest],
    ) -> Result<Vec<(Digest, String)>, ContainerdError> {
        let mut names = Vec::new();
        // containerd compares each record with each filter: many are found sooner among all records.
        let at_once = if targets.len() > MAX_FILTERS { targets.len() } else { FILTERS_PER_QUESTION };
        for some in targets.chunks(at_once) {
            let filters = match some.len() {
                ..=FILTERS_PER_QUESTION => some.iter().map(|digest| format!("target.digest=={digest}")).collect(),
                _ => Vec::new(),
            };
            let some: BTreeSet<&Digest> = some.iter().collect();
            let request = in_namespace(namespace, ListImagesRequest { filters });
            let answer = self.images.clone().list(request).await;
            let images = answer.map_err(|status| call_error("images.List", &status))?.into_inner().images;
            let targeted = |image: assay_proto::containerd::images::Image| {
                Some((image.target?.digest.parse::<Digest>().ok()?, image.name))
            };
            names.extend(images.into_iter().filter_map(targeted).filter(|(target, _)| some.contains(target)));
        }
        names.sort_unstable();
        Ok(names)
    }
}

impl Containerd {
    /// The record of a container; `None` if the namespace has none.
    pub(crate) async fn container(
        &self,
        namespace: &Namespace,
        id: &str,
    ) -> Result<Option<Container>, ContainerdError> {
        let request = in_namespace(namespace, GetContainerRequest { id: id.to_owned() });
        let answer = found("containers.Get", self.containers.clone().get(request).await)?;
        Ok(answer.and_then(|answer| answer.container))
    }

    /// What the image record of just this name points at; `None` if the namespace has none.
    pub(crate) async fn target(
        &self,
        namespace: &Namespace,
        name: &str,
    ) -> Result<Option<Descriptor>, ContainerdError> {
        let request = in_namespace(namespace, GetImageRequest { name: name.to_owned() });
        let answer = found("images.Get", self.images.clone().get(request).await)?;
        Ok(answer.and_then(|answer| answer.image?.target))
    }

    /// The parent of a snapshot; `None` if there is no such snapshot. Without a parent it is empty.
    pub(crate) async fn parent(
        &self,
        namespace: &Namespace,
        snapshotter: &str,
        key: &str,
    ) -> Result<Option<String>, ContainerdError> {
        let request = StatSnapshotRequest { snapshotter: snapshotter.to_owned(), key: key.to_owned() };
        let answer = found("snapshots.Stat", self.snapshots.clone().stat(in_namespace(namespace, request)).await)?;
        Ok(answer.and_then(|answer| answer.info).map(|info| info.parent))
    }

    /// How a snapshot is mounted; `None` if there is no such snapshot.
    pub(crate) async fn mounts(
        &self,
        namespace: &Namespace,
        snapshotter: &str,
        key: &str,
    ) -> Result<Option<Vec<Mount>>, ContainerdError> {
        let request = MountsRequest { snapshotter: snapshotter.to_owned(), key: key.to_owned() };
        let answer = found("snapshots.Mounts", self.snapshots.clone().mounts(in_namespace(namespace, request)).await)?;
        Ok(answer.map(|answer| answer.mounts))
    }
}

fn found<T>(call: &'static str, answer: Result<tonic::Response<T>, Status>) -> Result<Option<T>, ContainerdError> {
    match answer {
        Ok(answer) => Ok(Some(answer.into_inner())),
        Err(status) if status.code() == Code::NotFound => Ok(None),
        Err(status) => Err(call_error(call, &status)),
    }
}

fn in_namespace<T>(namespace: &Namespace, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let value = MetadataValue::try_from(namespace.as_str()).expect("a namespace is letters, digits, '-', '_' and '.'");
    request.metadata_mut().insert("containerd-namespace", value);
    request
}

fn call_error(call: &'static str, status: &Status) -> ContainerdError {
    // tonic's own message for a connection that failed says only "transport error"; the cause says which socket and why.
    let mut message = status.message().to_owned();
    let mut source = std::error::Error::source(status);
    for _ in 0..8 {
        let Some(error) = source else { break };
        message = format!("{message}: {error}");
        source = error.source();
    }
    ContainerdError::Call { call, code: status.code(), message }
}
