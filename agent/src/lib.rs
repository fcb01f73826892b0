//! `assayd`, the key and policy agent: takes a gate's question to a recorded verdict. No network, no foreign code.

mod active;
mod cache;
mod checkpoint;
mod collect;
mod config;
mod evidence_service;
mod evidence_store;
mod gate_service;
mod judge;
mod key_service;
mod key_worker;
mod node_service;
mod peers;
mod recording;
mod refusals;
mod run;
mod settings;
mod trust_roots;

pub use config::{Config, ConfigError, TrustRootConfig, TrustRootName};
pub use run::{StartError, run};
