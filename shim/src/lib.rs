//! Everything containerd calls. This is the unpack gate: a proxy snapshotter with an overlay backend of its own.
//! Snapshot requests come in, mounts or refusals go out. It enforces verdicts; it never decides, verifies or opens a network.

mod agent;
mod config;
mod config_file;
mod containerd;
mod filter;
mod gate;
mod key;
mod mapping;
mod overlay;
mod refusal;
mod report;
mod root;
mod serve;
mod service;

pub use agent::Agent;
pub use config::{Config, Paths};
pub use config_file::ConfigError;
pub use filter::{Fields, Filter, FilterError};
pub use gate::UnpackGate;
pub use mapping::Images;
pub use overlay::{Admission, Info, Kind, Mount, NewKind, Overlay, OverlayError, Usage};
pub use root::node_root;
pub use serve::{ServeError, serve, serve_on};
pub use service::Snapshotter;
