//! Everything that can keep the worker from doing what was asked, as one closed enum with a sentence for each.

use serde::{Deserialize, Serialize};

use crate::key::{KeyKind, Scheme};
use crate::uri::KeyUri;

/// Why a request was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "kebab-case", deny_unknown_fields)]
pub enum KeyError {
    /// No key of that name.
    #[error("key {uri} not found in the token")]
    KeyNotFound {
        /// The name asked for.
        uri: KeyUri,
    },
    /// More than one key of that name.
    #[error("{count} keys match {uri}; name one by id, or remove the others")]
    AmbiguousKey {
        /// The name asked for.
        uri: KeyUri,
        /// How many match, as far as was counted.
        count: u32,
    },
    /// The key is there, but of a kind that is not served, or its public half cannot be read.
    #[error("key {uri} cannot be used: {why}")]
    UnusableKey {
        /// The key.
        uri: KeyUri,
        /// What is wrong with it.
        why: String,
    },
    /// The URI names another token than the worker's.
    #[error("token {token:?} is not the one this key worker serves ({served:?})")]
    TokenNotServed {
        /// What the URI says.
        token: String,
        /// The configured token's label.
        served: String,
    },
    /// The configured token is not there.
    #[error("token {token:?} is absent; insert it, or set token in the key worker's configuration")]
    TokenAbsent {
        /// The configured label.
        token: String,
    },
    /// Two tokens have the configured label.
    #[error("{count} tokens are labelled {token:?}; set serial in the key worker's configuration")]
    AmbiguousToken {
        /// The configured label.
        token: String,
        /// How many there are.
        count: u32,
    },
    /// The token does not take the PIN, or the worker does not dare to try it.
    #[error("PIN refused: {why}")]
    PinRefused {
        /// How.
        why: PinRefusal,
    },
    /// The scheme is for another kind of key.
    #[error("scheme {scheme} does not fit key {uri}, which is {kind}")]
    SchemeMismatch {
        /// The key.
        uri: KeyUri,
        /// The scheme asked for.
        scheme: Scheme,
        /// What the key is.
        kind: KeyKind,
    },
    /// The module cannot do this.
    #[error("the PKCS#11 module does not support {mechanism}")]
    MechanismUnsupported {
        /// What it was asked for.
        mechanism: String,
    },
    /// The token found the signature bad.
    #[error("signature by {uri} is invalid")]
    SignatureInvalid {
        /// The key.
        uri: KeyUri,
    },
    /// A key of that label or id is there already.
    #[error("a key with {what} {value:?} exists already; choose another")]
    KeyExists {
        /// "label" or "id".
        what: String,
        /// The label, or the id in hexadecimal digits.
        value: String,
    },
    /// A new key came out with weaker protection than asked for, and was destroyed.
    #[error("the token made a key that is not {property}; it was destroyed")]
    KeyUnprotected {
        /// "sensitive" or "unextractable".
        property: String,
    },
    /// The module could not be loaded.
    #[error("failed to load PKCS#11 module {path}: {why}")]
    ModuleUnavailable {
        /// Its path.
        path: String,
        /// Why not.
        why: String,
    },
    /// A call into the module failed.
    #[error("PKCS#11 module failed in {call}: {rv}")]
    ModuleFailed {
        /// The function of PKCS#11.
        call: String,
        /// Its return value.
        rv: String,
    },
    /// The module did not answer in time.
    #[error("PKCS#11 module did not answer within {limit_ms} ms")]
    Deadline {
        /// The limit in milliseconds.
        limit_ms: u64,
    },
    /// Too much to do at once.
    #[error("key worker is busy: {limit} {what} at most")]
    Busy {
        /// The limit that was reached.
        limit: u32,
        /// What it limits.
        what: String,
    },
    /// The frame is no request of this version.
    #[error("request is malformed: {why}")]
    Malformed {
        /// Why.
        why: String,
    },
    /// The frame is too large.
    #[error("frame of {bytes} bytes is larger than {limit}")]
    TooLarge {
        /// Bytes announced.
        bytes: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// The peer speaks another version.
    #[error(
        "protocol version {offered} is not supported, {supported} is; agent and key worker have to be of one release"
    )]
    UnsupportedVersion {
        /// The frame's version.
        offered: u32,
        /// This program's.
        supported: u32,
    },
    /// The peer is not the agent.
    #[error("uid {uid} may not use this key worker; only agent-uid of its configuration may")]
    NotAllowed {
        /// The peer's uid.
        uid: u32,
    },
    /// The worker is about to end.
    #[error("key worker is stopping")]
    Stopping {},
    /// The worker is at fault.
    #[error("key worker failed: {why}")]
    Internal {
        /// What happened.
        why: String,
    },
}

impl KeyError {
    /// Whether the same request can succeed later without anyone changing request or configuration.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            KeyError::TokenAbsent { .. }
            | KeyError::ModuleFailed { .. }
            | KeyError::Deadline { .. }
            | KeyError::Busy { .. }
            | KeyError::Stopping {} => true,
            KeyError::KeyNotFound { .. }
            | KeyError::AmbiguousKey { .. }
            | KeyError::UnusableKey { .. }
            | KeyError::TokenNotServed { .. }
            | KeyError::AmbiguousToken { .. }
            | KeyError::PinRefused { .. }
            | KeyError::SchemeMismatch { .. }
            | KeyError::MechanismUnsupported { .. }
            | KeyError::SignatureInvalid { .. }
            | KeyError::KeyExists { .. }
            | KeyError::KeyUnprotected { .. }
            | KeyError::ModuleUnavailable { .. }
            | KeyError::Malformed { .. }
            | KeyError::TooLarge { .. }
            | KeyError::UnsupportedVersion { .. }
            | KeyError::NotAllowed { .. }
            | KeyError::Internal { .. } => false,
        }
    }
}

/// Why the PIN did not open the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PinRefusal {
    /// Wrong.
    #[error("it is wrong; correct it and reload the key worker, which does not try it again by itself")]
    Wrong,
    /// The token is locked.
    #[error("the token is locked; unlock it with its security officer's PIN and reload the key worker")]
    Locked,
    /// One try is left, and it is not the worker's to spend.
    #[error("one try is left before the token locks; log in by hand with the right PIN, then reload the key worker")]
    LastTry,
    /// It has to be changed first.
    #[error("it has expired; change it in the token and in the configured place, then reload the key worker")]
    Expired,
    /// The token has no user PIN yet.
    #[error("the token has no user PIN yet; initialise one and reload the key worker")]
    NotInitialized,
}
