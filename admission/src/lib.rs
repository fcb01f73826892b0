//! The types that every Assay program shares: digest, reference, request, verdict.
//! Text and bytes come in, parsed values with private fields go out. Nothing here decides, reads files or knows a clock.

mod descriptor;
mod digest;
mod name;
mod reason;
mod reference;
mod refusal;
mod request;
mod time;
mod verdict;

pub use descriptor::{Descriptor, MAX_DOCUMENT_BYTES, MediaType, Platform, PlatformError};
pub use digest::{Digest, DigestError};
pub use name::{CandidateName, NameSource};
pub use reason::{DenyCode, Reason};
pub use reference::{ImageRef, ReferenceError, Repository, Tag};
pub use refusal::GateRefusal;
pub use request::{
    AdmissionRequest, Document, Documents, Gate, ImageClaim, MAX_ALIKE, MAX_CLAIMS, MAX_DOCUMENTS, MAX_NAMES,
    Namespace, Purpose, RequestError, Subject, Thoroughness,
};
pub use time::UnixTime;
pub use verdict::{Mode, Outcome, RecordId, Verdict};
