//! The PKCS#11 module: what is checked before its code is let in, and how its failures are told.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use cryptoki::context::Pkcs11;
use cryptoki::error::{Error, RvError};

use crate::protocol::KeyError;

/// What kept an operation from being done.
#[derive(Debug)]
pub(super) enum Failure {
    /// An answer for the caller.
    Answer(KeyError),
    /// The module failed; whether that is the key's fault or the token's is for the token's keeper to find out.
    Module(Error),
    /// The token was gone when the operation had ended, so its result proves nothing.
    TokenGone,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Module(error)
    }
}

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Self {
        Failure::Answer(error)
    }
}

/// Loads the module at `path` after checking that only root, or the worker itself, can have put it there.
pub(super) fn load(path: &Path) -> Result<Pkcs11, KeyError> {
    let unavailable = |why: String| KeyError::ModuleUnavailable { path: path.display().to_string(), why };
    // Distributions link modules; what is checked is what will be loaded.
    let real = path.canonicalize().map_err(|error| unavailable(error.to_string()))?;
    let directory = real.parent().unwrap_or(Path::new("/"));
    for checked in [directory, &real] {
        let metadata = checked.metadata().map_err(|error| unavailable(error.to_string()))?;
        let own = nix::unistd::geteuid().as_raw();
        if metadata.uid() != 0 && metadata.uid() != own {
            return Err(unavailable(format!("{} belongs to uid {}, not to root", checked.display(), metadata.uid())));
        }
        if metadata.mode() & 0o022 != 0 {
            return Err(unavailable(format!("{} can be written by others", checked.display())));
        }
    }
    Pkcs11::new(&real).map_err(|error| unavailable(error.to_string()))
}

/// A module's failure as the protocol tells it.
pub(super) fn failed(error: &Error) -> KeyError {
    match error {
        Error::Pkcs11(RvError::MechanismInvalid | RvError::FunctionNotSupported, function) => {
            KeyError::MechanismUnsupported { mechanism: format!("what C_{function:?} was asked for") }
        }
        Error::Pkcs11(value, function) => {
            KeyError::ModuleFailed { call: format!("C_{function:?}"), rv: format!("{value:?}") }
        }
        other => KeyError::ModuleFailed { call: "the binding".to_owned(), rv: other.to_string() },
    }
}

/// Whether handles or sessions are void, though the token may be there: a new start helps.
pub(super) fn is_stale(error: &Error) -> bool {
    matches!(
        error,
        Error::Pkcs11(
            RvError::ObjectHandleInvalid
                | RvError::KeyHandleInvalid
                | RvError::SessionHandleInvalid
                | RvError::SessionClosed
                | RvError::UserNotLoggedIn
                | RvError::CryptokiNotInitialized
                | RvError::SlotIdInvalid
                | RvError::DeviceRemoved
                | RvError::DeviceError
                | RvError::TokenNotPresent
                | RvError::TokenNotRecognized
                | RvError::GeneralError,
            _
        )
    )
}
