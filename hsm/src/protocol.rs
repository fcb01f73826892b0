//! What agent and key worker say to each other: one request, one answer, each a frame of JSON.
//!
//! Values and their encoding; no sockets, no token. A peer of another version is refused, never guessed at.

mod encoding;
mod error;
mod frame;

use serde::{Deserialize, Serialize};

use crate::key::{KeyInfo, KeyKind, Scheme};
use crate::uri::KeyUri;

pub(crate) use encoding::{base64_bytes, hex_digest};
pub use error::{KeyError, PinRefusal};
pub use frame::MAX_FRAME;
pub(crate) use frame::{FrameError, read_frame, write_frame};

/// The protocol's version; it changes with every incompatible change.
pub const PROTOCOL_VERSION: u32 = 1;

/// What the agent asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// How the worker, its module and its token are. Always answered.
    Status {},
    /// All keys that can sign.
    List {},
    /// The public half of one key.
    Public {
        /// The key.
        uri: KeyUri,
    },
    /// A signature over a message.
    Sign(SignRequest),
    /// A check of a signature, by the token.
    Verify(VerifyRequest),
    /// A new key pair.
    Generate(GenerateRequest),
}

/// A request for a signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignRequest {
    /// The key.
    pub uri: KeyUri,
    /// How to sign; must fit the key.
    pub scheme: Scheme,
    /// The whole message; the worker hashes it.
    #[serde(with = "base64_bytes")]
    pub message: Vec<u8>,
}

/// A request to check a signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerifyRequest {
    /// The key.
    pub uri: KeyUri,
    /// How it was signed.
    pub scheme: Scheme,
    /// The whole message.
    #[serde(with = "base64_bytes")]
    pub message: Vec<u8>,
    /// The signature as `Sign` gives it.
    #[serde(with = "base64_bytes")]
    pub signature: Vec<u8>,
}

/// A request for a new key pair, which stays in the token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenerateRequest {
    /// The token's label, to be sure; the worker serves one token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The new key's label, which no key of the token may have yet.
    pub label: String,
    /// What to make.
    pub kind: KeyKind,
    /// CKA_ID; 16 random bytes if absent.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "encoding::optional_base64_bytes")]
    pub id: Option<Vec<u8>>,
}

/// What the worker answers when it did what was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Reply {
    /// To `Status`.
    Status(Status),
    /// To `List`.
    Keys(KeyList),
    /// To `Public` and `Generate`.
    Key(KeyInfo),
    /// To `Sign`: raw r and s for ECDSA.
    Signature {
        /// The signature.
        #[serde(with = "base64_bytes")]
        signature: Vec<u8>,
    },
    /// To `Verify`: the token found the signature good. A bad one is `KeyError::SignatureInvalid`.
    Verified {},
}

/// The signing keys of a token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct KeyList {
    /// The keys, in canonical order.
    pub keys: Vec<KeyInfo>,
    /// Private keys left out: of a kind that is not served, without public half, or beyond what one answer holds.
    pub skipped: u32,
}

/// How the worker is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Status {
    /// The worker's version.
    pub worker: String,
    /// The PKCS#11 module.
    pub module: ModuleStatus,
    /// The token.
    pub token: TokenStatus,
    /// What became of the PIN.
    pub pin: PinStatus,
    /// Threads that talk to the module.
    pub threads: u32,
    /// Of these, how many have not come back from the module within their deadline.
    pub hung: u32,
}

/// The PKCS#11 module in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ModuleStatus {
    /// Where it was loaded from.
    pub path: String,
    /// What it calls itself; `None` until it has been loaded.
    pub description: Option<String>,
}

/// The token, as its last health check found it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case", deny_unknown_fields)]
pub enum TokenStatus {
    /// There and answering.
    Present {
        /// Its label.
        label: String,
        /// Its serial number.
        serial: String,
        /// Who made it.
        manufacturer: String,
        /// Its model.
        model: String,
    },
    /// Not usable, and why.
    Unavailable {
        /// What a request for a key would be answered now.
        error: KeyError,
    },
}

/// What became of the configured PIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PinStatus {
    /// Not needed yet.
    Untried,
    /// The token took it.
    Accepted,
    /// The token refused it; it is not tried again before a reload or restart.
    Refused,
}

/// A request's outermost layer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestFrame<R> {
    v: u32,
    request: R,
}

/// An answer's outermost layer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AnswerFrame {
    v: u32,
    answer: Answer,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Answer {
    Done(Reply),
    Failed(KeyError),
}

/// What every version's frame has.
#[derive(Deserialize)]
struct AnyVersion {
    v: u32,
}

/// Encodes a request; fails only if serde does.
pub(crate) fn encode_request(request: &Request) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&RequestFrame { v: PROTOCOL_VERSION, request })
}

/// Parses a frame into a request.
///
/// # Errors
/// `UnsupportedVersion` before anything else is looked at; else `Malformed` with line and column.
pub(crate) fn decode_request(frame: &[u8]) -> Result<Request, KeyError> {
    check_version(frame)?;
    let frame: RequestFrame<Request> = serde_json::from_slice(frame).map_err(|error| malformed(&error))?;
    Ok(frame.request)
}

/// Encodes an answer; fails only if serde does.
pub(crate) fn encode_answer(answer: Result<Reply, KeyError>) -> Result<Vec<u8>, serde_json::Error> {
    let answer = match answer {
        Ok(reply) => Answer::Done(reply),
        Err(error) => Answer::Failed(error),
    };
    serde_json::to_vec(&AnswerFrame { v: PROTOCOL_VERSION, answer })
}

/// Parses a frame into what the worker answered: outside, whether the frame could be understood.
pub(crate) fn decode_answer(frame: &[u8]) -> Result<Result<Reply, KeyError>, KeyError> {
    check_version(frame)?;
    let frame: AnswerFrame = serde_json::from_slice(frame).map_err(|error| malformed(&error))?;
    Ok(match frame.answer {
        Answer::Done(reply) => Ok(reply),
        Answer::Failed(error) => Err(error),
    })
}

fn check_version(frame: &[u8]) -> Result<(), KeyError> {
    let any: AnyVersion = serde_json::from_slice(frame).map_err(|error| malformed(&error))?;
    if any.v == PROTOCOL_VERSION {
        Ok(())
    } else {
        Err(KeyError::UnsupportedVersion { offered: any.v, supported: PROTOCOL_VERSION })
    }
}

fn malformed(error: &serde_json::Error) -> KeyError {
    // Long texts of the peer's choosing end here, not in a log.
    KeyError::Malformed { why: error.to_string().chars().take(200).collect() }
}

#[cfg(test)]
mod tests;
