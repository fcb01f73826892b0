//! A root of trust in words: whom it names, and in which time each may be believed. For people; nothing is decided by it.

use assay_admission::UnixTime;
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use super::{Authority, Log, SigstoreRoot};

/// One that the root of trust names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootMember {
    /// `certificate authority`, `certificate log`, `log` or `time-stamping authority`.
    pub role: &'static str,
    /// Who runs it, or where it is.
    pub operator: String,
    /// A log's id in hex, or the subject of an authority's anchor.
    pub identity: String,
    /// From when on it may be believed.
    pub start: Option<UnixTime>,
    /// Until when, this second included.
    pub end: Option<UnixTime>,
}

impl SigstoreRoot {
    /// All that it names, in the order of the file.
    #[must_use]
    pub fn members(&self) -> Vec<RootMember> {
        let authorities = self.authorities.iter().map(|one| authority("certificate authority", one));
        let certificate_logs = self.ct_logs.iter().map(|one| log("certificate log", one));
        let logs = self.logs.iter().map(|one| log("log", one));
        let times = self.time_stamping.iter().map(|one| authority("time-stamping authority", one));
        authorities.chain(certificate_logs).chain(logs).chain(times).collect()
    }
}

fn log(role: &'static str, log: &Log) -> RootMember {
    RootMember {
        role,
        operator: log.operator.clone(),
        identity: hex::encode(&log.id),
        start: log.window.start,
        end: log.window.end,
    }
}

fn authority(role: &'static str, authority: &Authority) -> RootMember {
    let anchor = authority.chain.last().and_then(|der| X509Certificate::from_der(der).ok());
    RootMember {
        role,
        operator: authority.operator.clone(),
        identity: anchor.map(|(_, anchor)| anchor.subject().to_string()).unwrap_or_default(),
        start: authority.window.start,
        end: authority.window.end,
    }
}
