//! What a time-stamp says: `TSTInfo` of RFC 3161 §2.4.2 in DER comes in, the hash that was stamped and the range of time come out.

use assay_admission::UnixTime;
use der::{
    Decode, Tag, TagNumber, Tagged,
    asn1::{AnyRef, ObjectIdentifier, OctetStringRef},
};

use crate::{
    der::tlv,
    notation::{hash, rfc3339},
};

/// A TSTInfo of version 1.
#[derive(Debug)]
pub(super) struct Info {
    hash: ObjectIdentifier,
    imprint: Vec<u8>,
    /// `genTime`, whole seconds.
    pub(super) time: UnixTime,
    /// `genTime` less its accuracy, rounded down.
    pub(super) earliest: UnixTime,
    /// `genTime` and its accuracy, rounded up.
    pub(super) latest: UnixTime,
}

/// ETSI EN 319 421 §5.2 (best practices policy): where no accuracy is given, it is one second.
const BASELINE_POLICY: ObjectIdentifier = ObjectIdentifier::new_unwrap("0.4.0.2023.1.1");

const MICROS: i64 = 1_000_000;

impl Info {
    pub(super) fn read(der: &[u8]) -> Result<Self, String> {
        let malformed = |error: der::Error| format!("TSTInfo: {error}");
        let fields = Vec::<AnyRef<'_>>::from_der(der).map_err(malformed)?;
        let [version, policy, imprint, serial, time, rest @ ..] = fields.as_slice() else {
            return Err("TSTInfo has fewer than 5 fields".to_owned());
        };
        let version = version.decode_as::<u8>().map_err(malformed)?;
        if version != 1 {
            return Err(format!("TSTInfo has the version {version}, not 1"));
        }
        let policy = policy.decode_as::<ObjectIdentifier>().map_err(malformed)?;
        let (hash, imprint) = message_imprint(imprint).map_err(malformed)?;
        if serial.tag() != Tag::Integer || time.tag() != Tag::GeneralizedTime {
            return Err("TSTInfo has no serial number or no genTime where they belong".to_owned());
        }
        let (seconds, micros, is_inexact) =
            general_time(time.value()).ok_or_else(|| "genTime is not a time of RFC 3161".to_owned())?;
        let accuracy = match accuracy(rest)? {
            Some(accuracy) if accuracy > 0 => accuracy,
            Some(_) | None if policy == BASELINE_POLICY => MICROS,
            Some(_) | None => 0,
        };
        let instant = seconds.saturating_mul(MICROS).saturating_add(micros);
        let latest = instant.saturating_add(accuracy).saturating_add(i64::from(is_inexact));
        Ok(Self {
            hash,
            imprint,
            time: UnixTime::from_seconds(seconds),
            earliest: UnixTime::from_seconds(instant.saturating_sub(accuracy).div_euclid(MICROS)),
            latest: UnixTime::from_seconds(latest.saturating_add(MICROS - 1).div_euclid(MICROS)),
        })
    }

    /// Whether it is `message` that was stamped.
    pub(super) fn covers(&self, message: &[u8]) -> Result<(), String> {
        let oid = &self.hash;
        let digest = hash::sha2(oid, message).ok_or_else(|| format!("its hash {oid} is not SHA-2"))?;
        if digest.as_ref() == self.imprint { Ok(()) } else { Err("it stamps something else".to_owned()) }
    }
}

/// `MessageImprint ::= SEQUENCE { AlgorithmIdentifier, OCTET STRING }`
fn message_imprint(field: &AnyRef<'_>) -> der::Result<(ObjectIdentifier, Vec<u8>)> {
    let unexpected = || Tag::Sequence.value_error();
    let parts = field.decode_as::<Vec<AnyRef<'_>>>()?;
    let [algorithm, hashed] = parts.as_slice() else { return Err(unexpected()) };
    let algorithm = algorithm.decode_as::<Vec<AnyRef<'_>>>()?;
    let oid = algorithm.first().ok_or_else(unexpected)?.decode_as::<ObjectIdentifier>()?;
    Ok((oid, hashed.decode_as::<OctetStringRef<'_>>()?.as_bytes().to_vec()))
}

/// The optional fields behind `genTime`, in their order: accuracy, ordering, nonce, `[0]` tsa, `[1]` extensions. The accuracy in
/// microseconds, if there is one. Critical extensions are refused: none is known.
fn accuracy(fields: &[AnyRef<'_>]) -> Result<Option<i64>, String> {
    let (mut accuracy, mut place) = (None, 0);
    for field in fields {
        let (here, number) = match field.tag() {
            Tag::Sequence => (1, None),
            Tag::Boolean => (2, None),
            Tag::Integer => (3, None),
            Tag::ContextSpecific { number: TagNumber::N0, .. } => (4, None),
            Tag::ContextSpecific { constructed: true, number: TagNumber::N1 } => (5, Some(field.value())),
            other => return Err(format!("TSTInfo has an unexpected {other}")),
        };
        if here <= place {
            return Err("TSTInfo has fields out of order".to_owned());
        }
        place = here;
        if here == 1 {
            accuracy = Some(microseconds(field).ok_or_else(|| "its accuracy is not one of RFC 3161".to_owned())?);
        }
        if let Some(extensions) = number {
            refuse_critical(extensions)?;
        }
    }
    Ok(accuracy)
}

/// `Accuracy ::= SEQUENCE { seconds INTEGER OPTIONAL, millis [0] INTEGER (1..999) OPTIONAL, micros [1] … }`
fn microseconds(field: &AnyRef<'_>) -> Option<i64> {
    let (mut total, mut place) = (0_i64, 0);
    for part in field.decode_as::<Vec<AnyRef<'_>>>().ok()? {
        let (here, unit, most) = match part.tag() {
            Tag::Integer => (1, MICROS, i64::from(u32::MAX)),
            Tag::ContextSpecific { constructed: false, number: TagNumber::N0 } => (2, 1000, 999),
            Tag::ContextSpecific { constructed: false, number: TagNumber::N1 } => (3, 1, 999),
            _ => return None,
        };
        let value = integer(part.value()).filter(|value| *value <= most && here > place)?;
        place = here;
        total = total.checked_add(value.checked_mul(unit)?)?;
    }
    Some(total)
}

/// The contents of an INTEGER that is not negative and fits.
fn integer(contents: &[u8]) -> Option<i64> {
    let is_fitting = (1..=6).contains(&contents.len()) && contents.first().is_some_and(|first| *first < 0x80);
    is_fitting.then(|| contents.iter().fold(0, |value, byte| value << 8 | i64::from(*byte)))
}

/// `Extensions`, without the outer tag.
fn refuse_critical(contents: &[u8]) -> Result<(), String> {
    let malformed = |error: der::Error| format!("TSTInfo extensions: {error}");
    let sequence = tlv(0x30, contents);
    for extension in Vec::<AnyRef<'_>>::from_der(&sequence).map_err(malformed)? {
        let parts = extension.decode_as::<Vec<AnyRef<'_>>>().map_err(malformed)?;
        if parts.iter().any(|part| part.tag() == Tag::Boolean && part.value() != [0]) {
            let oid = parts.first().and_then(|oid| oid.decode_as::<ObjectIdentifier>().ok());
            return Err(format!(
                "its critical extension {} is unknown",
                oid.map_or_else(String::new, |oid| oid.to_string())
            ));
        }
    }
    Ok(())
}

/// `YYYYMMDDhhmmss[.f…]Z` (RFC 3161 §2.4.2): seconds, microseconds, and whether digits beyond were dropped.
fn general_time(bytes: &[u8]) -> Option<(i64, i64, bool)> {
    let text = std::str::from_utf8(bytes).ok().filter(|text| text.is_ascii())?.strip_suffix('Z')?;
    let (whole, fraction) = text.split_once('.').map_or((text, None), |(whole, fraction)| (whole, Some(fraction)));
    if whole.len() != 14 {
        return None;
    }
    let part = |from: usize, to: usize| whole.get(from..to);
    let rfc3339 = format!(
        "{}-{}-{}T{}:{}:{}Z",
        part(0, 4)?,
        part(4, 6)?,
        part(6, 8)?,
        part(8, 10)?,
        part(10, 12)?,
        part(12, 14)?
    );
    let seconds = rfc3339::parse(&rfc3339)?.seconds();
    let Some(fraction) = fraction else { return Some((seconds, 0, false)) };
    // RFC 3161: no trailing zeros, and no fraction that is empty.
    let is_legal = (1..=9).contains(&fraction.len())
        && fraction.bytes().all(|byte| byte.is_ascii_digit())
        && !fraction.ends_with('0');
    let micros = fraction.chars().chain("000000".chars()).take(6).collect::<String>().parse().ok()?;
    is_legal.then_some((seconds, micros, fraction.len() > 6))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A TSTInfo with these fields from `genTime` on, under the policy given.
    fn info(policy: &str, rest: &[(u8, &[u8])]) -> Result<Info, String> {
        let sha256 = hex::decode("300b0609608648016503040201").unwrap();
        let imprint = [sha256, tlv(0x04, &[7; 32])].concat();
        let mut fields = [tlv(0x02, &[1]), tlv(0x06, &hex::decode(policy).unwrap()), tlv(0x30, &imprint)].concat();
        fields.extend(tlv(0x02, &[9]));
        rest.iter().for_each(|(tag, value)| fields.extend(tlv(*tag, value)));
        Info::read(&tlv(0x30, &fields))
    }

    fn range(rest: &[(u8, &[u8])]) -> (i64, i64) {
        let info = info("2a0304", rest).unwrap();
        (info.earliest.seconds(), info.latest.seconds())
    }

    const TIME: &[u8] = b"20261122100000Z";
    const SECONDS: i64 = 1_795_341_600;

    #[test]
    fn the_range_is_the_time_with_its_accuracy_rounded_outwards() {
        assert_eq!(range(&[(0x18, TIME)]), (SECONDS, SECONDS));
        assert_eq!(range(&[(0x18, b"20261122100000.5Z")]), (SECONDS, SECONDS + 1));
        assert_eq!(range(&[(0x18, b"20261122100000.0000001Z")]), (SECONDS, SECONDS + 1));
        assert_eq!(range(&[(0x18, TIME), (0x30, &[2, 1, 2])]), (SECONDS - 2, SECONDS + 2));
        assert_eq!(range(&[(0x18, TIME), (0x30, &[0x80, 1, 1])]), (SECONDS - 1, SECONDS + 1));
        assert_eq!(range(&[(0x18, TIME), (0x30, &[2, 1, 1, 0x81, 1, 5])]), (SECONDS - 2, SECONDS + 2));
        // Under the baseline policy a second, unless the token says otherwise.
        let baseline = "04008f670101";
        let with = |rest: &[(u8, &[u8])]| info(baseline, rest).unwrap().latest.seconds();
        assert_eq!(with(&[(0x18, TIME)]), SECONDS + 1);
        assert_eq!(with(&[(0x18, TIME), (0x30, &[2, 1, 3])]), SECONDS + 3);
    }

    #[test]
    fn what_is_not_rfc_3161_is_refused() {
        for time in [
            &b"20261122100000"[..],
            b"20261122100000.Z",
            b"20261122100000.50Z",
            b"20261122100060Z",
            b"20261322100000Z",
            b"2026112210Z",
            b"20261122100000+00",
        ] {
            assert_eq!(info("2a0304", &[(0x18, time)]).unwrap_err(), "genTime is not a time of RFC 3161", "{time:?}");
        }
        let accuracies: [&[u8]; 6] =
            [&[2, 1, 0xff], &[0x80, 2, 3, 0xe8], &[0x81, 1, 1, 0x80, 1, 1], &[4, 1, 1], &[2, 0], &[2, 1, 1, 2, 1, 1]];
        for accuracy in accuracies {
            let refused = info("2a0304", &[(0x18, TIME), (0x30, accuracy)]).unwrap_err();
            assert_eq!(refused, "its accuracy is not one of RFC 3161", "{accuracy:?}");
        }
        let order = info("2a0304", &[(0x18, TIME), (0x02, &[1]), (0x30, &[])]).unwrap_err();
        assert_eq!(order, "TSTInfo has fields out of order");
        let extension = [0x30, 10, 6, 3, 0x2a, 3, 4, 1, 1, 0xff, 4, 0];
        let critical = info("2a0304", &[(0x18, TIME), (0xa1, &extension)]).unwrap_err();
        assert_eq!(critical, "its critical extension 1.2.3.4 is unknown");
        let extension = [0x30, 7, 6, 3, 0x2a, 3, 4, 4, 0];
        assert!(info("2a0304", &[(0x18, TIME), (0xa1, &extension)]).is_ok());
    }

    #[test]
    fn only_the_stamped_message_is_covered_and_only_by_sha_2() {
        let mut info = info("2a0304", &[(0x18, TIME)]).unwrap();
        assert_eq!(info.covers(b"x").unwrap_err(), "it stamps something else");
        info.imprint = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, b"x").as_ref().to_vec();
        assert_eq!(info.covers(b"x"), Ok(()));
        info.imprint = hash::sha1(b"x").as_ref().to_vec();
        info.hash = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");
        assert_eq!(info.covers(b"x").unwrap_err(), "its hash 1.3.14.3.2.26 is not SHA-2");
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            let _ = Info::read(&bytes);
            let _ = general_time(&bytes);
            let _ = Info::read(&tlv(0x30, &bytes));
        }
    }
}
