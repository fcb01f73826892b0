//! How the shared types are written in records: digests, modes and codes as their own text, times as Unix seconds.
//! An unknown text is an error, never a default.

use assay_admission::{DenyCode, Digest, Gate, Mode, Reason, RecordId, UnixTime};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub(super) mod time {
    use super::{Deserialize, Deserializer, Serializer, UnixTime};

    pub(in super::super) fn serialize<S: Serializer>(time: &UnixTime, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_i64(time.seconds())
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<UnixTime, D::Error> {
        i64::deserialize(from).map(UnixTime::from_seconds)
    }
}

pub(super) mod gate {
    use super::{Deserialize, Deserializer, Gate, Serializer, unknown};

    pub(in super::super) fn serialize<S: Serializer>(gate: &Gate, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(gate.as_str())
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Gate, D::Error> {
        let text = String::deserialize(from)?;
        [Gate::Pull, Gate::Unpack, Gate::Run, Gate::Ask]
            .into_iter()
            .find(|gate| gate.as_str() == text)
            .ok_or_else(|| unknown("gate"))
    }
}

pub(super) mod mode {
    use super::{Deserialize, Deserializer, Mode, Serializer, unknown};

    pub(in super::super) fn serialize<S: Serializer>(mode: &Mode, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(mode.as_str())
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Mode, D::Error> {
        let text = String::deserialize(from)?;
        [Mode::Observe, Mode::Warn, Mode::Enforce]
            .into_iter()
            .find(|mode| mode.as_str() == text)
            .ok_or_else(|| unknown("mode"))
    }
}

pub(super) mod digest {
    use super::{Deserialize, Deserializer, Digest, Serializer};
    use serde::de::Error as _;

    pub(in super::super) fn serialize<S: Serializer>(digest: &Digest, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(digest)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Digest, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

pub(super) mod digest_option {
    use super::{Deserialize, Deserializer, Digest, Serialize, Serializer};
    use serde::de::Error as _;

    pub(in super::super) fn serialize<S: Serializer>(digest: &Option<Digest>, to: S) -> Result<S::Ok, S::Error> {
        digest.as_ref().map(ToString::to_string).serialize(to)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Digest>, D::Error> {
        Option::<String>::deserialize(from)?.map(|text| text.parse().map_err(D::Error::custom)).transpose()
    }
}

pub(super) mod record_id {
    use super::{Deserialize, Deserializer, RecordId, Serialize, Serializer};

    pub(in super::super) fn serialize<S: Serializer>(id: &Option<RecordId>, to: S) -> Result<S::Ok, S::Error> {
        id.map(RecordId::index).serialize(to)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<RecordId>, D::Error> {
        Ok(Option::<u64>::deserialize(from)?.map(RecordId::new))
    }
}

pub(super) mod reasons {
    use super::{Deserialize, Deserializer, Reason, Serializer, WireReason};
    use serde::de::Error as _;

    pub(in super::super) fn serialize<S: Serializer>(reasons: &[Reason], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(reasons.iter().map(WireReason::from))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Reason>, D::Error> {
        Vec::<WireReason>::deserialize(from)?
            .into_iter()
            .map(|reason| reason.parse().map_err(D::Error::custom))
            .collect()
    }
}

pub(super) mod reason {
    use super::{Deserialize, Deserializer, Reason, Serialize, Serializer, WireReason};
    use serde::de::Error as _;

    pub(in super::super) fn serialize<S: Serializer>(reason: &Reason, to: S) -> Result<S::Ok, S::Error> {
        WireReason::from(reason).serialize(to)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Reason, D::Error> {
        WireReason::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

#[derive(Serialize, Deserialize)]
struct WireReason {
    code: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    detail: String,
}

impl From<&Reason> for WireReason {
    fn from(reason: &Reason) -> Self {
        Self { code: reason.code.as_str().to_owned(), detail: reason.detail.clone() }
    }
}

impl WireReason {
    fn parse(self) -> Result<Reason, &'static str> {
        let code: DenyCode = self.code.parse().map_err(|()| "unknown deny code")?;
        Ok(Reason::new(code, self.detail))
    }
}

fn unknown<E: serde::de::Error>(what: &str) -> E {
    E::custom(format_args!("unknown {what}"))
}
