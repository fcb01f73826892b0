//! Where a repository's files come from: the fetcher, or a copy that was carried here. Either may be anybody's bytes.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use assay_proto::{MAX_MESSAGE_BYTES, assay as wire, connector_to};
use tonic::transport::Channel;

/// One file; the fetcher is to give up a moment earlier.
const FILE_TIMEOUT: Duration = Duration::from_secs(20);
const GRACE: Duration = Duration::from_millis(500);

/// A place that has a repository's files.
#[tonic::async_trait]
pub(crate) trait Source: Send + Sync {
    /// The file at `path` of the repository at `address`, `None` if it is not there, or why that is not known.
    async fn file(&self, address: &str, path: &str, most_bytes: usize) -> Result<Option<Vec<u8>>, String>;
}

/// Repositories in the network, by way of the fetcher.
pub(crate) struct Repositories {
    channel: Channel,
    path: PathBuf,
}

impl Repositories {
    /// Repositories that the fetcher behind the socket `path` asks; it runs as `uid`.
    pub(crate) fn new(path: PathBuf, uid: u32) -> Self {
        Self { channel: connector_to(&path, &[0, uid]), path }
    }
}

#[tonic::async_trait]
impl Source for Repositories {
    async fn file(&self, address: &str, path: &str, most_bytes: usize) -> Result<Option<Vec<u8>>, String> {
        use wire::repository_file_response::Answer;
        let mut client =
            wire::fetch_client::FetchClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES);
        let request = wire::RepositoryFileRequest {
            repository: address.to_owned(),
            path: path.to_owned(),
            most_bytes: u32::try_from(most_bytes).unwrap_or(u32::MAX),
            deadline_ms: u32::try_from(FILE_TIMEOUT.as_millis()).unwrap_or(u32::MAX),
        };
        let socket = self.path.display();
        match tokio::time::timeout(FILE_TIMEOUT + GRACE, client.repository_file(request)).await {
            Ok(Ok(response)) => match response.into_inner().answer {
                Some(Answer::Content(content)) => Ok(Some(content)),
                Some(Answer::Absent(_)) => Ok(None),
                Some(Answer::Problem(problem)) => Err(problem.detail),
                None => Err(format!("the fetcher at {socket} sent no answer")),
            },
            Ok(Err(status)) => Err(format!("the fetcher at {socket}: {}", status.message())),
            Err(_) => Err(format!("the fetcher at {socket} did not answer within {} s", FILE_TIMEOUT.as_secs())),
        }
    }
}

/// The files of a copy, by path.
pub(super) struct Copied(BTreeMap<String, Vec<u8>>);

impl Copied {
    pub(super) const fn new(files: BTreeMap<String, Vec<u8>>) -> Self {
        Self(files)
    }
}

#[tonic::async_trait]
impl Source for Copied {
    async fn file(&self, _: &str, path: &str, _: usize) -> Result<Option<Vec<u8>>, String> {
        Ok(self.0.get(path).cloned())
    }
}
