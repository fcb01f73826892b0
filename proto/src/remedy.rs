//! What to do about an answer that is an error: a sentence beside the status's message, which says what is wrong.

use tonic::{Code, Status, metadata::MetadataValue};

const REMEDY: &str = "assay-remedy";

/// An error with what the caller can do about it. A remedy that is not printable ASCII is left out.
#[must_use]
pub fn status_with_remedy(code: Code, message: impl Into<String>, remedy: &str) -> Status {
    let mut status = Status::new(code, message);
    if let Ok(remedy) = MetadataValue::try_from(remedy) {
        status.metadata_mut().insert(REMEDY, remedy);
    }
    status
}

/// What the server said one can do about it, if anything.
#[must_use]
pub fn remedy_of(status: &Status) -> Option<&str> {
    status.metadata().get(REMEDY)?.to_str().ok().filter(|remedy| !remedy.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remedy_travels_beside_the_message() {
        let status = status_with_remedy(Code::FailedPrecondition, "the key is for the log", "take another");
        assert_eq!((status.message(), remedy_of(&status)), ("the key is for the log", Some("take another")));
        assert_eq!(remedy_of(&Status::not_found("x")), None);
        assert_eq!(remedy_of(&status_with_remedy(Code::NotFound, "x", "line\nbreak")), None);
    }
}
