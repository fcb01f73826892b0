//! The little DER that is written here, and taken apart to be written again: tag, minimal length, contents. What is to be understood
//! is read by `x509-parser`.

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

/// An element of DER with one byte of tag.
#[derive(Clone, Copy)]
pub(crate) struct Tlv<'d> {
    pub(crate) tag: u8,
    pub(crate) contents: &'d [u8],
    /// Tag, length and contents.
    pub(crate) whole: &'d [u8],
}

/// The elements that `der` is made of, at most `most`; `None` if it is not made of whole elements with minimal lengths.
pub(crate) fn tlv_parts(der: &[u8], most: usize) -> Option<Vec<Tlv<'_>>> {
    let (mut rest, mut parts) = (der, Vec::new());
    while !rest.is_empty() {
        if parts.len() == most {
            return None;
        }
        let (tag, behind) = rest.split_first()?;
        let (length, behind) = length(behind)?;
        let (contents, next) = behind.split_at_checked(length)?;
        let whole = rest.get(..rest.len() - next.len())?;
        // A tag of several bytes is nothing that is taken apart here.
        if tag & 0x1f == 0x1f {
            return None;
        }
        parts.push(Tlv { tag: *tag, contents, whole });
        rest = next;
    }
    Some(parts)
}

/// The one element that `der` is made of.
pub(crate) fn only_part(der: &[u8]) -> Option<Tlv<'_>> {
    match tlv_parts(der, 1)?.as_slice() {
        [one] => Some(*one),
        _ => None,
    }
}

/// A definite, minimal length of at most three bytes, and what follows it.
fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    match (first, rest) {
        (0..=0x7f, rest) => Some((usize::from(*first), rest)),
        (0x81, [low, rest @ ..]) if *low >= 0x80 => Some((usize::from(*low), rest)),
        (0x82, [high, low, rest @ ..]) if *high > 0 => Some((usize::from(u16::from_be_bytes([*high, *low])), rest)),
        _ => None,
    }
}
