//! Why a text is no key URI, each reason by name.

/// Why a text is no key URI.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyUriError {
    /// Longer than any real key URI.
    #[error("URI of {length} bytes is longer than {limit} bytes")]
    TooLong {
        /// Bytes given.
        length: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The scheme is missing or another one.
    #[error("URI does not begin with \"pkcs11:\"")]
    NotPkcs11,
    /// A path attribute without `=`, or an empty one.
    #[error("attribute {text:?} is not of the form name=value")]
    NotAnAttribute {
        /// The attribute as written.
        text: String,
    },
    /// A name that this program does not know; ignoring it could pick another key than meant.
    #[error(
        "attribute {name:?} is unknown; token, manufacturer, serial, model, slot-id, object, id and type are known"
    )]
    UnknownAttribute {
        /// The name as written.
        name: String,
    },
    /// One name twice.
    #[error("attribute {name:?} is given twice")]
    DuplicateAttribute {
        /// The name.
        name: String,
    },
    /// A name without value, which would match by accident.
    #[error("attribute {name:?} is empty")]
    EmptyValue {
        /// The name.
        name: String,
    },
    /// A value longer than the token can hold.
    #[error("value of {name:?} has {length} bytes, more than {limit}")]
    ValueTooLong {
        /// The name.
        name: String,
        /// Bytes given.
        length: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// A byte that RFC 7512 wants percent-encoded.
    #[error("value of {name:?} holds {character:?}, which has to be percent-encoded")]
    IllegalCharacter {
        /// The name.
        name: String,
        /// The character.
        character: char,
    },
    /// `%` without two hexadecimal digits.
    #[error("value of {name:?} holds a \"%\" that is not followed by two hexadecimal digits")]
    BadEscape {
        /// The name.
        name: String,
    },
    /// Text that is no UTF-8 or holds control characters.
    #[error("value of {name:?} is not printable UTF-8 text")]
    NotText {
        /// The name.
        name: String,
    },
    /// `slot-id` is no decimal number.
    #[error("slot-id {text:?} is not a decimal number")]
    BadSlotId {
        /// The value as written.
        text: String,
    },
    /// `type` names something else than a key pair's half.
    #[error("type {text:?} is not a key for signing; public and private are")]
    UnsupportedType {
        /// The value as written.
        text: String,
    },
    /// `pin-value`: a secret in a name ends up in logs and process lists.
    #[error(
        "pin-value is not accepted: the PIN comes from the key worker's configuration, and this one should be changed now"
    )]
    PinValue,
    /// `pin-source`: a caller must not choose what the worker reads.
    #[error("pin-source is not accepted: the PIN comes from the key worker's configuration")]
    PinSource,
    /// `module-path` or `module-name`: a caller must not choose what code the worker loads.
    #[error("{name} is not accepted: the module comes from the key worker's configuration")]
    Module {
        /// The attribute's name.
        name: &'static str,
    },
    /// Any other query attribute.
    #[error("query attribute {name:?} is not accepted")]
    UnknownQuery {
        /// The name as written.
        name: String,
    },
    /// Neither `object` nor `id`.
    #[error("URI names no key: object or id is needed")]
    NoKey,
}
