//! Real registries, containerd daemons, tokens, certificate authorities and signers for tests and the demo.
//!
//! Each part is a small struct that owns its folder and its processes and takes both away when dropped. Nothing here is
//! shipped, and nothing here pretends: what can run on the machine is run.

mod certificates;
mod command;
mod containerd;
mod cosign;
mod cri;
mod daemon;
mod host;
mod http;
mod image;
mod layer;
mod node;
mod notation;
mod openssl;
mod policy;
mod registry;
mod repository;
mod timestamps;
mod token;
mod tools;
mod tuf;
mod web;

pub use certificates::{CertificateAuthority, Identity, KeyKind, LeafProfile, SubjectField};
pub use command::{Finished, finish};
pub use containerd::{Containerd, PullBy, Snapshotter, Verifiers, Version};
pub use cosign::{Cosign, CosignKey, CosignVersion};
pub use cri::{Cri, Pod};
pub use daemon::{Daemon, eventually};
pub use host::{AGENT_UID, FETCHER_UID, Host, KEY_WORKER_UID, KeyUse};
pub use http::Response;
pub use image::{ImageBuilder, MediaTypes, PushedImage, PushedManifest, sha256};
pub use layer::Layer;
pub use node::{Node, Program};
pub use notation::{EnvelopeFormat, Notation};
pub use openssl::OpensslAuthority;
pub use policy::PolicyText;
pub use registry::Registry;
pub use repository::{Credentials, Repository, StoredManifest};
pub use timestamps::TimestampServer;
pub use token::{Token, TokenKey};
pub use tools::Tools;
pub use tuf::TufRepository;
pub use web::WebServer;
