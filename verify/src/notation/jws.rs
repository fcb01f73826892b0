//! The JWS envelope (signature-envelope-jws.md): flattened JSON (RFC 7515 §7.2.2) with exactly the headers that the specification names.

use assay_admission::UnixTime;
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};

use super::{
    Envelope, SIGNING_AGENT, TIMESTAMP_SIGNATURE,
    headers::{AUTHENTIC_SIGNING_TIME, EXPIRY, Headers, PLUGIN, PLUGIN_VERSION, SIGNING_SCHEME, SIGNING_TIME},
    rfc3339,
};
use crate::json::{self, JsonError, Object, parse_object, wrong};

pub(super) fn read(bytes: &[u8]) -> Result<Envelope, JsonError> {
    parse_object(bytes, "JWS", |jws| {
        // `signatures` (the general form) is refused here, and with it a second signature.
        jws.only(&["payload", "protected", "header", "signature"])?;
        let (payload, protected) = (jws.string("payload")?, jws.string("protected")?);
        let header = jws.object("header")?;
        // Disjoint from the protected names: a header cannot stand in both maps.
        header.only(&["x5c", TIMESTAMP_SIGNATURE, SIGNING_AGENT])?;
        Ok(Envelope {
            headers: parse_object(&decode("protected", protected)?, "protected", headers)?,
            payload: decode("payload", payload)?,
            // RFC 7515 §5.2 step 8: the encoded texts as they were received.
            signed: [protected, ".", payload].concat().into_bytes(),
            signature: decode("signature", jws.string("signature")?)?,
            chain: header.array("x5c")?.iter().map(|value| base64("x5c", value)).collect::<Result<_, _>>()?,
            timestamp: header.raw(TIMESTAMP_SIGNATURE)?.map(|value| base64(TIMESTAMP_SIGNATURE, value)).transpose()?,
        })
    })
}

fn headers(protected: Object<'_>) -> Result<Headers, JsonError> {
    protected.only(&[
        "alg",
        "cty",
        "crit",
        SIGNING_SCHEME,
        SIGNING_TIME,
        AUTHENTIC_SIGNING_TIME,
        EXPIRY,
        PLUGIN,
        PLUGIN_VERSION,
    ])?;
    let critical = protected.array("crit")?.iter().map(|name| name.string("crit").map(str::to_owned));
    Ok(Headers {
        algorithm: protected.string("alg")?.to_owned(),
        content_type: protected.string("cty")?.to_owned(),
        critical: critical.collect::<Result<_, _>>()?,
        scheme: protected.string(SIGNING_SCHEME)?.to_owned(),
        signing_time: time(protected, SIGNING_TIME)?,
        authentic_signing_time: time(protected, AUTHENTIC_SIGNING_TIME)?,
        expiry: time(protected, EXPIRY)?,
        plugin: protected.raw(PLUGIN)?.map(|name| name.string(PLUGIN).map(str::to_owned)).transpose()?,
        has_plugin_version: protected.raw(PLUGIN_VERSION)?.is_some(),
    })
}

fn time(protected: Object<'_>, name: &'static str) -> Result<Option<UnixTime>, JsonError> {
    let Some(value) = protected.raw(name)? else { return Ok(None) };
    let time = rfc3339::parse(value.string(name)?);
    time.map(Some).ok_or_else(|| wrong(name, "is not an RFC 3339 time"))
}

/// RFC 7515 §4.1.6: base64, not base64url, for certificates; the Notary Project keeps time-stamps the same way.
fn base64(field: &'static str, value: &json::Value<'_>) -> Result<Vec<u8>, JsonError> {
    STANDARD.decode(value.string(field)?).map_err(|error| wrong(field, format!("is not canonical base64: {error}")))
}

fn decode(field: &'static str, text: &str) -> Result<Vec<u8>, JsonError> {
    URL_SAFE_NO_PAD.decode(text).map_err(|error| wrong(field, format!("is not canonical base64url: {error}")))
}
