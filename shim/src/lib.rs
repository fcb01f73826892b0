//! Everything containerd calls. This is the unpack gate: a proxy snapshotter with an overlay backend of its own.
//! Snapshot requests come in, mounts or refusals go out. It enforces verdicts; it never decides, verifies or opens a network.

mod config;
mod containerd;
mod filter;
mod gate;
mod key;
mod mapping;
mod overlay;
mod serve;
mod service;

pub use config::{Config, ConfigError, Paths};
pub use filter::{Fields, Filter, FilterError};
pub use gate::{Agent, UnpackGate};
pub use mapping::Images;
pub use overlay::{Admission, Info, Kind, Mount, NewKind, Overlay, OverlayError, Usage};
pub use serve::{ServeError, serve, serve_on};
pub use service::Snapshotter;
