//! C2SP checkpoints (c2sp.org/tlog-checkpoint): the head of a log as signed text.
//! A head becomes text to be signed, a raw signature makes it a note, a note from outside is parsed and then verified.

use base64::{Engine as _, prelude::BASE64_STANDARD};

use crate::{
    NoteError, NoteKey,
    note::{Note, NoteSignature, check_name},
};

/// A head without a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsigned {
    /// The log's name, also the name of its key in notes.
    pub origin: String,
    /// The number of records.
    pub size: u64,
    /// The RFC 6962 root of the first `size` records.
    pub root: [u8; 32],
}

impl Unsigned {
    /// The text that is signed: three lines, each with its line break.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, BASE64_STANDARD.encode(self.root))
    }

    fn parse(text: &str) -> Result<Self, NoteError> {
        let mut lines = text.strip_suffix('\n').ok_or(NoteError::NotCheckpoint)?.split('\n');
        let mut line = || lines.next().ok_or(NoteError::NotCheckpoint);
        let (origin, size, root) = (line()?, line()?, line()?);
        check_name(origin).map_err(|_| NoteError::NotCheckpoint)?;
        // Extension lines are allowed, and say nothing to us; an empty one is not.
        if lines.any(str::is_empty) {
            return Err(NoteError::NotCheckpoint);
        }
        let number: u64 = size.parse().map_err(|_| NoteError::NotCheckpoint)?;
        // No plus sign, no leading zeros.
        if number.to_string() != size {
            return Err(NoteError::NotCheckpoint);
        }
        let root = BASE64_STANDARD.decode(root).ok().and_then(|root| root.try_into().ok());
        Ok(Self { origin: origin.to_owned(), size: number, root: root.ok_or(NoteError::NotCheckpoint)? })
    }
}

/// Makes the signed note from a checkpoint's `text` and `raw`, the signature of `key` over it: 64 bytes for Ed25519, for
/// P-256 r and s as a token gives them or ASN.1. `name` is the log's origin.
///
/// # Errors
/// [`NoteError::NotCheckpoint`] for another text, [`NoteError::Name`] for an impossible name, and
/// [`NoteError::BadSignature`] if the signature is not the key's: a wrong head is never written.
pub fn sign_with(text: &str, name: &str, key: &NoteKey, raw: &[u8]) -> Result<String, NoteError> {
    check_name(name)?;
    Unsigned::parse(text)?;
    let signature = key.note_form(text.as_bytes(), raw).ok_or(NoteError::BadSignature)?;
    let line = NoteSignature { name: name.to_owned(), key_id: key.id(name), signature }.line();
    Ok(format!("{text}\n{line}"))
}

/// A checkpoint as it was found: well-formed, not yet believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    note: Note,
    head: Unsigned,
}

/// A checkpoint with a signature of a pinned key. Only [`Found::verify`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    head: Unsigned,
    key: NoteKey,
}

/// Parses a signed note whose text is a checkpoint. No signature is checked.
///
/// # Errors
/// [`NoteError`] says what is malformed.
pub fn parse(note: &[u8]) -> Result<Found, NoteError> {
    let note = Note::parse(note)?;
    let head = Unsigned::parse(&note.text)?;
    Ok(Found { note, head })
}

impl Found {
    /// What it claims.
    #[must_use]
    pub const fn claims(&self) -> &Unsigned {
        &self.head
    }

    /// Checks that one of `keys` signed it under its origin's name. Signatures of other names and keys are ignored, as
    /// the specification demands (a log key may be rotated, witnesses may sign too).
    ///
    /// # Errors
    /// [`NoteError::NoKeys`] for an empty list, [`NoteError::NoKnownKey`] if no pinned key signed,
    /// [`NoteError::BadSignature`] if a signature that claims a pinned key is wrong, whatever else is there.
    pub fn verify(&self, keys: &[NoteKey]) -> Result<Verified, NoteError> {
        if keys.is_empty() {
            return Err(NoteError::NoKeys);
        }
        let mut verified = None;
        for line in self.note.signatures.iter().filter(|line| line.name == self.head.origin) {
            let mut known = keys.iter().filter(|key| key.id(&line.name) == line.key_id).peekable();
            if known.peek().is_none() {
                continue;
            }
            let by = known.find(|key| key.verifies(self.note.text.as_bytes(), &line.signature));
            verified = Some(by.ok_or(NoteError::BadSignature)?);
        }
        let key = verified.ok_or(NoteError::NoKnownKey)?;
        Ok(Verified { head: self.head.clone(), key: *key })
    }
}

impl Verified {
    /// What was signed.
    #[must_use]
    pub const fn head(&self) -> &Unsigned {
        &self.head
    }

    /// By whom.
    #[must_use]
    pub const fn key(&self) -> &NoteKey {
        &self.key
    }
}

#[cfg(test)]
mod tests;
