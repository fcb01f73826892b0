//! `assay.v1.Evidence` on admin.sock: revocation lists and OCSP answers that a person brings. Each is on record before it is kept;
//! none is believed here.

use std::{io, sync::Arc};

use assay_admission::Digest;
use assay_audit::{BroughtEvidence, Durability, EvidenceRecord, Log};
use assay_proto::{assay as wire, status_with_remedy};
use assay_verify::{RevocationEvidence, RevocationList};
use tonic::{Code, Request, Response, Status};

use crate::{evidence_store::EvidenceStore, judge::now, peers::peer_uid, recording};

/// Addresses in certificates have 30 to 200 characters.
const MAX_URL_BYTES: usize = 2_048;

/// `assay.v1.Evidence`
pub(crate) struct EvidenceService {
    store: Arc<EvidenceStore>,
    log: Arc<Log>,
}

impl EvidenceService {
    /// Takes evidence into `store`, and writes into `log` who brought it.
    pub(crate) const fn new(store: Arc<EvidenceStore>, log: Arc<Log>) -> Self {
        Self { store, log }
    }

    async fn record(&self, peer_uid: u32, what: BroughtEvidence, bytes: &[u8]) -> Result<(), Status> {
        let record = EvidenceRecord { time: now(), peer_uid, what, digest: Digest::sha256(bytes) };
        let recorded = recording::append(&self.log, record.into(), Durability::Synced).await;
        recorded.map(drop).map_err(|error| {
            let remedy = "free disk space below /var/lib/assay, see `assay node status`, and import it again";
            let message = format!("nothing was imported, because it could not be recorded: {error}");
            status_with_remedy(Code::Unavailable, message, remedy)
        })
    }
}

#[tonic::async_trait]
impl wire::evidence_server::Evidence for EvidenceService {
    async fn import(
        &self,
        request: Request<wire::ImportEvidenceRequest>,
    ) -> Result<Response<wire::ImportEvidenceResponse>, Status> {
        let uid = peer_uid(&request)?;
        let wire::ImportEvidenceRequest { lists, ocsp_answers } = request.into_inner();
        let taken = lists.iter().map(|list| RevocationList { url: list.url.clone(), der: list.der.clone() }).collect();
        RevocationEvidence::new(taken, ocsp_answers.clone())
            .map_err(|limit| Status::invalid_argument(format!("this is more than is ever read: {limit}")))?;
        if let Some(list) = lists.iter().find(|list| list.url.is_empty() || list.url.len() > MAX_URL_BYTES) {
            return Err(Status::invalid_argument(format!("{:?} is no address of a revocation list", list.url)));
        }
        for list in &lists {
            self.record(uid, BroughtEvidence::RevocationList(list.url.clone()), &list.der).await?;
        }
        for answer in &ocsp_answers {
            self.record(uid, BroughtEvidence::OcspAnswer, answer).await?;
        }
        let store = Arc::clone(&self.store);
        let keep = move || -> io::Result<wire::ImportEvidenceResponse> {
            lists.iter().try_for_each(|list| store.revocation().import_list(&list.url, &list.der))?;
            ocsp_answers.iter().try_for_each(|answer| store.revocation().import_answer(answer))?;
            let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
            Ok(wire::ImportEvidenceResponse { lists: count(lists.len()), ocsp_answers: count(ocsp_answers.len()) })
        };
        let kept = tokio::task::spawn_blocking(keep).await.map_err(|error| Status::internal(error.to_string()))?;
        let kept = kept.map_err(|error| Status::resource_exhausted(format!("it cannot be kept: {error}")))?;
        tracing::info!(lists = kept.lists, ocsp_answers = kept.ocsp_answers, uid, "revocation evidence was imported");
        Ok(Response::new(kept))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use assay_audit::Record;
    use assay_proto::Peer;
    use assay_verify::RevocationSource;
    use wire::evidence_server::Evidence as _;

    use super::*;

    const URL: &str = "http://ca.example/ca.crl";

    struct Node {
        folder: tempfile::TempDir,
        service: EvidenceService,
    }

    impl Node {
        fn new() -> Self {
            Self::in_folder(tempfile::tempdir().unwrap())
        }

        fn in_folder(folder: tempfile::TempDir) -> Self {
            let (log, _) = Log::open(&folder.path().join("log"), "test.example/log").unwrap();
            let store = EvidenceStore::open(&folder.path().join("evidence"), 1 << 20).unwrap();
            let service = EvidenceService::new(Arc::new(store), Arc::new(log));
            Self { folder, service }
        }

        async fn import(&self, lists: &[(&str, &[u8])], answers: &[&[u8]], uid: Option<u32>) -> Result<(), Code> {
            let list = |(url, der): &(&str, &[u8])| wire::ImportedList { url: (*url).to_owned(), der: der.to_vec() };
            let mut request = Request::new(wire::ImportEvidenceRequest {
                lists: lists.iter().map(list).collect(),
                ocsp_answers: answers.iter().map(|answer| answer.to_vec()).collect(),
            });
            if let Some(uid) = uid {
                request.extensions_mut().insert(Peer { uid, gid: 0, pid: None });
            }
            self.service.import(request).await.map(drop).map_err(|status| status.code())
        }

        fn records(&self) -> Vec<(u32, BroughtEvidence, Digest)> {
            let entries = self.service.log.read(0, 256).unwrap();
            let record = |entry: &Vec<u8>| match Record::parse(entry).unwrap() {
                Record::Evidence(record) => (record.peer_uid, record.what, record.digest),
                other => panic!("{other:?}"),
            };
            entries.iter().map(record).collect()
        }

        fn lists(&self) -> usize {
            self.folder.path().join("evidence/revocation/imported-lists").read_dir().unwrap().count()
        }
    }

    #[tokio::test]
    async fn what_somebody_brings_is_on_record_with_its_digest_and_his_uid() {
        let node = Node::new();
        node.import(&[(URL, b"list")], &[b"answer"], Some(1_000)).await.unwrap();
        let list = BroughtEvidence::RevocationList(URL.to_owned());
        assert_eq!(
            node.records(),
            [(1_000, list, Digest::sha256(b"list")), (1_000, BroughtEvidence::OcspAnswer, Digest::sha256(b"answer")),]
        );
        let source = RevocationSource::List { urls: vec![URL.to_owned()] };
        let kept = node.service.store.revocation().kept_for([&source]);
        assert_eq!(kept.evidence(Arc::default()).lists().first().map(|list| list.der.as_slice()), Some(&b"list"[..]));
    }

    #[tokio::test]
    async fn what_is_refused_is_neither_kept_nor_on_record() {
        let node = Node::new();
        for url in ["", &"x".repeat(MAX_URL_BYTES + 1)] {
            assert_eq!(node.import(&[(URL, b"x"), (url, b"x")], &[], Some(0)).await, Err(Code::InvalidArgument));
        }
        let many = vec![(URL, &b"x"[..]); 65];
        assert_eq!(node.import(&many, &[], Some(0)).await, Err(Code::InvalidArgument));
        assert_eq!(node.import(&[(URL, b"x")], &[], None).await, Err(Code::Internal));
        assert_eq!((node.records().len(), node.lists()), (0, 0));
    }

    #[tokio::test]
    async fn what_cannot_be_recorded_is_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        std::fs::create_dir(&log).unwrap();
        let mount = |words: &[&str]| {
            assert!(std::process::Command::new(words[0]).args(&words[1..]).arg(&log).status().unwrap().success());
        };
        mount(&["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs"]);
        let node = Node::in_folder(folder);
        let mut outcomes = Vec::new();
        for n in 0..64 {
            let url = format!("{n}{}", "x".repeat(MAX_URL_BYTES - 2));
            outcomes.push(node.import(&[(&url, b"list")], &[], Some(0)).await);
        }
        let (kept, recorded) = (node.lists(), outcomes.iter().filter(|outcome| outcome.is_ok()).count());
        let Node { folder, service } = node;
        drop(service);
        mount(&["umount", "-l"]);
        drop(folder);
        assert!(recorded > 0 && outcomes.contains(&Err(Code::Unavailable)), "{outcomes:?}");
        assert_eq!(kept, recorded);
    }
}
