//! Signatures of files rather than images: a Sigstore bundle and the digests of the file go in; who signed it, and as what, comes out.

use assay_admission::{MAX_DOCUMENT_BYTES, UnixTime};

use crate::{
    bundle::{Bundle, Content, STATEMENT_TYPE},
    facts::{RejectionReason, Signer},
    failure::Failure,
    json::{JsonError, Object, parse_object, wrong},
    limits::{Budget, LimitReached, MAX_SUBJECTS},
    sigstore::{BlobDigests, HashName},
    trust::Trust,
};

/// in-toto's earlier statement, of which no more is read here than the later one has too.
const STATEMENT_TYPE_0_1: &str = "https://in-toto.io/Statement/v0.1";

/// Who signed a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobSignature {
    signers: Vec<Signer>,
    predicate_type: Option<String>,
}

impl BlobSignature {
    /// Who signed: at least one.
    #[must_use]
    pub fn signers(&self) -> &[Signer] {
        &self.signers
    }

    /// What was stated about the file, if the bundle holds a statement of which the file is a subject.
    #[must_use]
    pub fn predicate_type(&self) -> Option<&str> {
        self.predicate_type.as_deref()
    }
}

/// What `bundle` proves about the file of `blob` to someone who trusts `trust`, at the time `at`: that somebody signed the file
/// itself, or a statement of which it is a subject.
///
/// # Errors
/// Why it proves nothing.
pub fn verify_blob(
    blob: &BlobDigests,
    bundle: &[u8],
    trust: &Trust,
    at: UnixTime,
    budget: &mut Budget,
) -> Result<BlobSignature, RejectionReason> {
    if bundle.len() > MAX_DOCUMENT_BYTES {
        return Err(LimitReached { what: "bytes in a bundle", limit: MAX_DOCUMENT_BYTES }.into());
    }
    let bundle = Bundle::read(bundle, trust)?;
    match &bundle.content {
        Content::Statement(payload) => {
            let signers = bundle.signers_of_statement(payload, trust, at, budget).map_err(reason)?;
            // From here on the payload is what somebody whom the policy trusts signed.
            Ok(BlobSignature { signers, predicate_type: Some(stated(payload, blob)?) })
        }
        Content::Message(named) => {
            named.as_ref().map_or(Ok(()), |named| named.require(blob))?;
            let signers = bundle.signers_of_message(blob, trust, at, budget).map_err(reason)?;
            Ok(BlobSignature { signers, predicate_type: None })
        }
    }
}

fn reason(failure: Failure) -> RejectionReason {
    match failure {
        Failure::Rejected(reason) => reason,
        Failure::Exhausted(limit) => limit.into(),
    }
}

/// The predicate type of a statement that has the file as a subject.
fn stated(payload: &[u8], blob: &BlobDigests) -> Result<String, RejectionReason> {
    let (predicate_type, is_subject, first) = parse_object(payload, "statement", |statement| {
        let kind = statement.string("_type")?;
        if kind != STATEMENT_TYPE && kind != STATEMENT_TYPE_0_1 {
            return Err(wrong("_type", format!("is {kind:?}, which is no in-toto statement that is known")));
        }
        let subjects = statement.array("subject")?;
        if subjects.len() > MAX_SUBJECTS {
            return Err(JsonError::Limit(LimitReached { what: "subjects of a statement", limit: MAX_SUBJECTS }));
        }
        let (mut is_subject, mut first) = (false, None);
        for subject in subjects {
            let digest = subject.object("subject")?.object("digest")?;
            is_subject |= is_same(digest, blob)?;
            first = first.or(digest.optional_string("sha256")?.map(|hex| format!("sha256:{hex}")));
        }
        Ok((statement.string("predicateType")?.to_owned(), is_subject, first))
    })?;
    if is_subject {
        Ok(predicate_type)
    } else {
        Err(RejectionReason::OtherSubject { found: first.unwrap_or_else(|| "nothing".to_owned()) })
    }
}

/// Whether every digest of the set that can be compared is the file's, and at least one can.
fn is_same(digest: Object<'_>, blob: &BlobDigests) -> Result<bool, JsonError> {
    let mut is_same = false;
    for (name, hash) in [("sha256", HashName::Sha256), ("sha384", HashName::Sha384), ("sha512", HashName::Sha512)] {
        if let (Some(hex), Some(own)) = (digest.optional_string(name)?, blob.get(hash)) {
            if hex != hex::encode(own) {
                return Ok(false);
            }
            is_same = true;
        }
    }
    Ok(is_same)
}
