//! The little DER that is written here: tag, minimal length, contents. What can be read is read by `x509-parser`.

/// The minimal contents of a positive INTEGER.
pub(crate) fn integer(value: &[u8]) -> Vec<u8> {
    let mut contents: Vec<u8> = value.iter().copied().skip_while(|byte| *byte == 0).collect();
    if contents.first().is_none_or(|byte| *byte >= 0x80) {
        contents.insert(0, 0);
    }
    contents
}

/// Tag, minimal length, contents: enough for contents below 64 KiB. Longer ones come out with a wrong length and equal nothing.
pub(crate) fn tlv(tag: u8, contents: &[u8]) -> Vec<u8> {
    let [.., high, low] = contents.len().to_be_bytes();
    let mut out = match contents.len() {
        0..=0x7f => vec![tag, low],
        0x80..=0xff => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    out.extend_from_slice(contents);
    out
}
