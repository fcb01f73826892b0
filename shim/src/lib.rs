//! Everything containerd calls: the pull gate, a program of the image verifier directory, the unpack gate, a proxy snapshotter with an
//! overlay backend of its own, and the run gate, which becomes the OCI runtime. Requests come in, mounts, processes or refusals go out.
//! Enforces verdicts; never decides, verifies or opens a network.

mod agent;
mod config;
mod config_file;
mod containerd;
mod filter;
mod gate;
mod image_verifier;
mod key;
mod mapping;
mod overlay;
mod refusal;
mod report;
mod root;
mod run;
mod serve;
mod service;

pub use agent::Agent;
pub use config::{Config, Paths};
pub use config_file::ConfigError;
pub use filter::{Fields, Filter, FilterError};
pub use gate::UnpackGate;
pub use image_verifier::{PullAnswer, judge_pull, refuse_without_root};
pub use mapping::Images;
pub use overlay::{Admission, Info, Kind, Mount, NewKind, Overlay, OverlayError, Usage};
pub use root::node_root;
pub use run::{ArgumentError, Arguments, Call, LogFormat, LogPlace, RunConfig, RunGate, RuntimeError, Start, deny};
pub use serve::{ServeError, serve, serve_on};
pub use service::Snapshotter;
