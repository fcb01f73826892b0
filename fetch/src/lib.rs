//! The fetcher: image references go in, untrusted documents and signatures come out, within caps and the operator's
//! configuration. It holds no keys and decides nothing: whoever uses it hashes and verifies every byte.

mod address;
mod auth;
mod budget;
mod caps;
mod challenge;
mod collect;
mod config;
mod connect;
mod credentials;
mod document;
mod error;
mod hosts;
mod in_order;
mod origin;
mod push;
mod referrers;
mod registry;
mod repository;
mod revocation;
mod server;
mod signatures;
mod tls;
mod transport;
mod wanted;

pub use collect::{CollectRequest, Collected, Role};
pub use config::{Config, HostPattern, HostPatternError, Realm};
pub use error::{AuthFailure, Error, Forbidden, Limit, Malformation, Problem, ProblemKind};
pub use push::{Listed, NewReferrer, TypeField};
pub use referrers::{FoundBy, Likelihood, Referrer, Referrers};
pub use registry::{Access, Client, Remote};
pub use repository::RepositoryFile;
pub use revocation::RevocationRequest;
pub use server::Service;
pub use wanted::Wanted;
