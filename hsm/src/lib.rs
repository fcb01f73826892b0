//! The key worker: everything that touches a PKCS#11 module, and the client that the agent uses to reach it.
//!
//! In: requests over a Unix socket. Out: public keys, signatures and typed errors. Private keys and the PIN
//! never leave the worker, and nothing here knows what an image or a policy is.

mod client;
mod config;
mod der;
mod key;
mod pin;
mod protocol;
mod uri;
mod worker;

pub use client::{ClientError, WorkerClient};
pub use config::{Config, ConfigError, Paths};
pub use der::{EcdsaSignatureError, ecdsa_raw_to_der};
pub use key::{InvalidKeyKind, KeyInfo, KeyKind, Scheme};
pub use pin::{Pin, PinError, PinSource};
pub use protocol::{
    GenerateRequest, KeyError, KeyList, MAX_FRAME, ModuleStatus, PROTOCOL_VERSION, PinRefusal, PinStatus, Reply,
    Request, SignRequest, Status, TokenStatus, VerifyRequest,
};
pub use uri::{KeyUri, KeyUriError};
pub use worker::{SocketError, StartError, Worker};
