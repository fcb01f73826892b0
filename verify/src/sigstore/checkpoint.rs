//! A log's checkpoint (C2SP tlog-checkpoint in a signed note): text comes in; size and root hash come out once the log's own
//! key has signed exactly these lines. Signatures of others (witnesses) are neither needed nor counted.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{EntryError, entry::Stop};
use crate::{
    limits::{Budget, MAX_CHECKPOINT_LINES},
    trust::Log,
};

/// A checkpoint that was read and not yet believed.
#[derive(Debug)]
pub(super) struct Checkpoint<'t> {
    /// The lines that are signed, each with its line feed.
    signed: &'t str,
    origin: &'t str,
    pub(super) size: u64,
    pub(super) root: [u8; 32],
    signatures: Vec<Signature<'t>>,
}

#[derive(Debug)]
struct Signature<'t> {
    name: &'t str,
    hint: [u8; 4],
    value: Vec<u8>,
}

/// Who has to have signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SignedBy {
    /// The log's key, under any name: version 1 of Rekor calls its tree by another name than itself.
    Key,
    /// The log's key under the checkpoint's own origin: logs of tiles.
    KeyAndOrigin,
}

impl<'t> Checkpoint<'t> {
    pub(super) fn read(text: &'t str) -> Result<Self, EntryError> {
        let bad = |problem: &str| EntryError::Checkpoint(problem.to_owned());
        let at = text.find("\n\n").ok_or_else(|| bad("has no empty line before its signatures"))?;
        let (signed, rest) = text.split_at(at + 1);
        let mut lines = signed.split_terminator('\n');
        let origin = lines.next().filter(|line| !line.is_empty()).ok_or_else(|| bad("has no origin"))?;
        let size = lines.next().and_then(decimal).ok_or_else(|| bad("has no size in its second line"))?;
        let root = lines.next().and_then(|line| STANDARD.decode(line).ok());
        let root = root.and_then(|root| <[u8; 32]>::try_from(root).ok());
        let root = root.ok_or_else(|| bad("has no SHA-256 root hash in its third line"))?;
        let rest = rest.strip_prefix('\n').unwrap_or_default();
        let rest = rest.strip_suffix('\n').unwrap_or(rest);
        let lines: Vec<&str> = rest.split('\n').collect();
        if lines.len() > MAX_CHECKPOINT_LINES {
            return Err(EntryError::Checkpoint(format!("has more than {MAX_CHECKPOINT_LINES} signatures")));
        }
        let signatures = lines.into_iter().map(signature).collect::<Option<Vec<_>>>();
        let signatures = signatures.ok_or_else(|| bad("has a line behind the empty one that is no signature"))?;
        Ok(Self { signed, origin, size, root, signatures })
    }

    /// Finds a signature by the key of `log`. Four bytes of a hint may collide: every one that fits is tried.
    pub(super) fn signed_by(&self, log: &Log, rule: SignedBy, budget: &mut Budget) -> Result<(), Stop> {
        let hinted = |signature: &&Signature<'_>| log.id.starts_with(&signature.hint);
        let mut hinted = self.signatures.iter().filter(hinted).peekable();
        if hinted.peek().is_none() {
            return Err(EntryError::Checkpoint("has no signature with the key hint of the log".to_owned()).into());
        }
        for signature in hinted {
            if rule == SignedBy::KeyAndOrigin && signature.name != self.origin {
                continue;
            }
            budget.spend_key_operation()?;
            if log.key.verifies(self.signed.as_bytes(), &signature.value) {
                return Ok(());
            }
        }
        Err(EntryError::Checkpoint("has no signature that verifies with the key of the log".to_owned()).into())
    }
}

/// A decimal number as the format has it: digits alone, no leading zero.
fn decimal(line: &str) -> Option<u64> {
    let plain = line.bytes().all(|byte| byte.is_ascii_digit()) && (line == "0" || !line.starts_with('0'));
    plain.then(|| line.parse().ok())?
}

/// `— <name> <base64 of hint and signature>`
fn signature(line: &str) -> Option<Signature<'_>> {
    let (name, value) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
    let value = STANDARD.decode(value).ok().filter(|value| value.len() > 4 && !name.is_empty())?;
    let (hint, value) = value.split_first_chunk::<4>()?;
    Some(Signature { name, hint: *hint, value: value.to_vec() })
}
