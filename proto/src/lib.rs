//! gRPC contracts: `assay.v1`, and the parts of containerd's API that Assay serves or calls.
//! Generated types go in and parsed types come out (`gate`); sockets check who is on the other side (`socket`).

mod access;
mod gate;
mod remedy;
mod socket;

pub use access::{AccessError, SocketAccess};
pub use gate::{ConversionError, GateAdmit, GateReport};
pub use remedy::{remedy_of, status_with_remedy};
pub use socket::{Accepted, Peer, SocketError, accept, bind, bind_for, connect, connector_to};

#[expect(missing_docs, unreachable_pub, clippy::as_conversions, clippy::allow_attributes, reason = "generated code")]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/generated.rs"));
}

/// Assay's own services (`protos/assay/v1`).
pub mod assay {
    pub use crate::generated::assay::v1::*;
}

/// containerd's services, as far as Assay serves or calls them (`protos/containerd`).
pub mod containerd {
    /// `containerd.services.containers.v1`
    pub mod containers {
        pub use crate::generated::containerd::services::containers::v1::*;
    }
    /// `containerd.services.content.v1`
    pub mod content {
        pub use crate::generated::containerd::services::content::v1::*;
    }
    /// `containerd.services.images.v1`
    pub mod images {
        pub use crate::generated::containerd::services::images::v1::*;
    }
    /// `containerd.services.snapshots.v1`
    pub mod snapshots {
        pub use crate::generated::containerd::services::snapshots::v1::*;
    }
    /// `containerd.types`
    pub mod types {
        pub use crate::generated::containerd::types::*;
    }
    /// `containerd.services.version.v1`
    pub mod version {
        pub use crate::generated::containerd::services::version::v1::*;
    }
}

/// Largest gRPC message that Assay's servers and clients accept: a request carries up to 4 MiB for each of a few documents.
pub const MAX_MESSAGE_BYTES: usize = 24 << 20;
