//! Canonical JSON as TUF signs it (securesystemslib's form, specification 4.2): sorted keys, no spaces, nothing escaped in strings
//! but `"` and `\`. A tree that the strict reader has read goes in, the signed bytes come out.

use crate::json::{JsonError, Value, wrong};

/// The bytes that a signature over `value` covers.
pub(super) fn bytes(value: &Value<'_>) -> Result<Vec<u8>, JsonError> {
    let mut out = Vec::new();
    write(value, &mut out)?;
    Ok(out)
}

// The reader has bounded the depth.
fn write(value: &Value<'_>, out: &mut Vec<u8>) -> Result<(), JsonError> {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Integer(number) => out.extend_from_slice(number.to_string().as_bytes()),
        Value::OtherNumber => return Err(wrong("signed", "has a number that is no plain integer")),
        Value::String(text) => string(text, out),
        Value::Array(values) => {
            out.push(b'[');
            for (at, value) in values.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                write(value, out)?;
            }
            out.push(b']');
        }
        Value::Object(members) => {
            // By code point, which for UTF-8 is by byte.
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
            out.push(b'{');
            for (at, (key, value)) in sorted.into_iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                string(key, out);
                out.push(b':');
                write(value, out)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}

fn string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text.bytes() {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::json;

    fn canonical(text: &str) -> Result<String, JsonError> {
        bytes(&json::parse(text.as_bytes())?).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn keys_are_sorted_and_only_quotes_and_backslashes_escaped() {
        assert_eq!(
            canonical(r#"{ "b": [1, null, true], "a\n\"\\": "\u00e9\/" , "B2": {} }"#).unwrap(),
            "{\"B2\":{},\"a\n\\\"\\\\\":\"é/\",\"b\":[1,null,true]}"
        );
    }

    #[test]
    fn numbers_that_have_more_than_one_form_are_refused() {
        for text in ["1.0", "1e2", "-1", "-0", "18446744073709551616"] {
            assert!(matches!(canonical(text), Err(JsonError::Field { field: "signed", .. })), "{text}");
        }
        assert_eq!(canonical("18446744073709551615").unwrap(), "18446744073709551615");
    }
}
