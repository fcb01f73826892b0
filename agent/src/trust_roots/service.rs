//! `assay.v1.TrustRoots` on admin.sock, and the same for the node's status.

use std::{collections::BTreeMap, sync::Arc};

use assay_admission::UnixTime;
use assay_proto::{assay as wire, status_with_remedy};
use assay_verify::{TufRole, TufSummary};
use tonic::{Code, Request, Response, Status};

use super::{Managed, TrustRoots, UpdateError};
use crate::{config::TrustRootName, judge::now};

/// Files of one import: four, and the roots of decades.
const MAX_FILES: usize = 512;

/// `assay.v1.TrustRoots`
pub(crate) struct TrustRootService(pub(crate) Arc<TrustRoots>);

#[tonic::async_trait]
impl wire::trust_roots_server::TrustRoots for TrustRootService {
    async fn show(
        &self,
        request: Request<wire::ShowTrustRootsRequest>,
    ) -> Result<Response<wire::ShowTrustRootsResponse>, Status> {
        let name = request.into_inner().name;
        let roots = match name.as_str() {
            "" => self.0.all(Detail::All),
            name => vec![self.one(name)?],
        };
        Ok(Response::new(wire::ShowTrustRootsResponse { roots }))
    }

    async fn update(
        &self,
        request: Request<wire::UpdateTrustRootRequest>,
    ) -> Result<Response<wire::UpdateTrustRootResponse>, Status> {
        let name = request.into_inner().name;
        let changed = self.0.update(&name).await.map_err(|error| status(&error))?;
        Ok(Response::new(wire::UpdateTrustRootResponse { changed, root: Some(self.one(&name)?) }))
    }

    async fn import(
        &self,
        request: Request<wire::ImportTrustRootRequest>,
    ) -> Result<Response<wire::UpdateTrustRootResponse>, Status> {
        let wire::ImportTrustRootRequest { name, files } = request.into_inner();
        if files.len() > MAX_FILES {
            return Err(Status::invalid_argument(format!("{} files are more than {MAX_FILES}", files.len())));
        }
        let mut by_path = BTreeMap::new();
        for file in files {
            if let Some(_twice) = by_path.insert(file.path.clone(), file.content) {
                return Err(Status::invalid_argument(format!("{:?} is there twice", file.path)));
            }
        }
        let changed = self.0.import(&name, by_path).await.map_err(|error| status(&error))?;
        Ok(Response::new(wire::UpdateTrustRootResponse { changed, root: Some(self.one(&name)?) }))
    }
}

impl TrustRootService {
    fn one(&self, name: &str) -> Result<wire::TrustRoot, Status> {
        let (name, managed) = self.0.find(name).map_err(|error| status(&error))?;
        Ok(self.0.message(name, managed, Detail::All))
    }
}

impl TrustRoots {
    /// All of them for the node's status, without their files.
    pub(crate) fn status(&self) -> Vec<wire::TrustRoot> {
        self.all(Detail::Status)
    }

    fn all(&self, detail: Detail) -> Vec<wire::TrustRoot> {
        self.roots.iter().map(|(name, managed)| self.message(name, managed, detail)).collect()
    }

    fn message(&self, name: &TrustRootName, managed: &Managed, detail: Detail) -> wire::TrustRoot {
        let (state, current) = (managed.state(), self.get(name.as_str()));
        let summary = state.trust.as_ref().map(|trust| trust.summary());
        let seconds = |time: UnixTime| u64::try_from(time.seconds()).unwrap_or(0);
        let lower = |pick: fn(&assay_verify::TufSummary) -> &Option<TufRole>| {
            summary.as_ref().and_then(|summary| pick(summary).as_ref()).map(role)
        };
        let expired = summary.as_ref().filter(|_| current.is_some()).and_then(|summary| expired(summary, now()));
        let problems: Vec<String> = state.problem.into_iter().chain(expired).collect();
        let trusted_root = match detail {
            Detail::All => current.as_ref().map(|current| current.bytes.to_vec()).unwrap_or_default(),
            Detail::Status => Vec::new(),
        };
        wire::TrustRoot {
            name: name.to_string(),
            repositories: managed.config.repositories.clone(),
            trusted_root,
            revision: current.as_ref().map(|current| current.revision.to_string()).unwrap_or_default(),
            root: summary.as_ref().map(|summary| role(&summary.root)),
            timestamp: lower(|summary| &summary.timestamp),
            snapshot: lower(|summary| &summary.snapshot),
            targets: lower(|summary| &summary.targets),
            refreshed_at: state.trust.as_ref().and_then(|trust| trust.accepted()).map_or(0, seconds),
            attempted_at: state.attempted.map_or(0, seconds),
            problem: problems.join("; "),
        }
    }
}

/// Which of the files that vouch for the root of trust have expired: it is used all the same, and whoever runs the node has to know.
pub(super) fn expired(summary: &TufSummary, now: UnixTime) -> Option<String> {
    let TufSummary { root, timestamp, snapshot, targets } = summary;
    let lower = [("timestamp", timestamp), ("snapshot", snapshot), ("targets", targets)];
    let present = lower.into_iter().filter_map(|(name, role)| Some((name, role.as_ref()?)));
    let expired = std::iter::once(("root", root)).chain(present).filter(|(_, role)| role.expires <= now);
    let expired: Vec<String> = expired.map(|(name, role)| format!("{name} expired {}", role.expires)).collect();
    (!expired.is_empty()).then(|| {
        format!("{}: what was verified before that is still used, and newer files may be held back", expired.join(", "))
    })
}

fn status(error: &UpdateError) -> Status {
    let (code, remedy) = match error {
        UpdateError::Unknown(_) => (Code::NotFound, "see which there are: `assay trust-root show`"),
        UpdateError::NoRepositories(_) => (Code::FailedPrecondition, "import it, or add repositories to assayd.toml"),
        UpdateError::Unusable(_) => {
            (Code::FailedPrecondition, "correct the root that assayd.toml names, then restart assayd")
        }
        UpdateError::Refused { .. } => (
            Code::FailedPrecondition,
            "ask whoever runs the repository, or take another mirror; the last good one is used",
        ),
    };
    status_with_remedy(code, error.to_string(), remedy)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Detail {
    All,
    Status,
}

fn role(role: &TufRole) -> wire::TrustRole {
    wire::TrustRole {
        version: role.version,
        expires: role.expires.seconds(),
        threshold: role.threshold,
        keys: role.keys.clone(),
    }
}
