//! Verification levels of the Notary Project (trust-store-trust-policy.md, "Signature Verification details"): which check of a
//! signature is enforced, which is only told about, and which is left out. A level is chosen by a caller; nothing in an image changes it.

use std::{collections::BTreeMap, fmt, str::FromStr};

/// A check that the Notary Project makes of a signature, in the order in which they are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Check {
    /// The envelope, the certificate profile and the signature itself.
    Integrity,
    /// A trusted certificate is in the chain, and the leaf is a trusted identity.
    Authenticity,
    /// The signature is younger than its own expiry.
    Expiry,
    /// The signature was made while its certificates were valid.
    AuthenticTimestamp,
    /// No certificate of the chain is revoked.
    Revocation,
}

/// What a failed check means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// The signature does not count.
    Enforce,
    /// The failure is told, and the other checks decide.
    Log,
    /// The check is not made.
    Skip,
}

/// A named level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    /// Every check is enforced.
    Strict,
    /// Integrity and authenticity are enforced, the others are told.
    Permissive,
    /// Integrity is enforced, the others are told.
    Audit,
    /// No signature is looked at.
    Skip,
}

/// A level with its overrides: what is done for each check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerificationLevel {
    level: Level,
    overrides: BTreeMap<Check, Action>,
}

/// Why a level cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LevelError {
    /// `skip` looks at nothing, so nothing can be changed about it.
    #[error("the level skip cannot be customised, and it overrides {0}")]
    SkipWithOverride(Check),
    /// Without integrity there is no signature.
    #[error("integrity cannot be overridden")]
    Integrity,
    /// Only revocation may be left out.
    #[error("{0} cannot be skipped, only revocation can")]
    NotSkippable(Check),
}

/// A word that names no level, check or action.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is none of {known}")]
pub struct UnknownWord {
    /// What stood there.
    pub found: String,
    /// What may stand there.
    pub known: &'static str,
}

impl VerificationLevel {
    /// `level` with another action for the checks in `overrides`.
    ///
    /// # Errors
    /// [`LevelError`] if an override is not one that the specification allows.
    pub fn new(level: Level, overrides: BTreeMap<Check, Action>) -> Result<Self, LevelError> {
        for (&check, &action) in &overrides {
            match (level, check, action) {
                (Level::Skip, _, _) => return Err(LevelError::SkipWithOverride(check)),
                (_, Check::Integrity, _) => return Err(LevelError::Integrity),
                (_, Check::Authenticity | Check::Expiry | Check::AuthenticTimestamp, Action::Skip) => {
                    return Err(LevelError::NotSkippable(check));
                }
                (_, Check::Authenticity | Check::Expiry | Check::AuthenticTimestamp, Action::Enforce | Action::Log)
                | (_, Check::Revocation, _) => {}
            }
        }
        Ok(Self { level, overrides })
    }

    /// `strict` without revocation: what holds where nobody chose a level.
    pub(crate) fn strict_without_revocation() -> Self {
        Self { level: Level::Strict, overrides: BTreeMap::from([(Check::Revocation, Action::Skip)]) }
    }

    /// The named level that this one begins with.
    #[must_use]
    pub const fn level(&self) -> Level {
        self.level
    }

    /// What is done for `check`.
    #[must_use]
    pub fn action(&self, check: Check) -> Action {
        self.overrides.get(&check).copied().unwrap_or(match (self.level, check) {
            (Level::Skip, _) => Action::Skip,
            (Level::Strict, _)
            | (Level::Permissive, Check::Integrity | Check::Authenticity)
            | (Level::Audit, Check::Integrity) => Action::Enforce,
            (Level::Permissive, Check::Expiry | Check::AuthenticTimestamp | Check::Revocation)
            | (Level::Audit, Check::Authenticity | Check::Expiry | Check::AuthenticTimestamp | Check::Revocation) => {
                Action::Log
            }
        })
    }
}

impl From<Level> for VerificationLevel {
    fn from(level: Level) -> Self {
        Self { level, overrides: BTreeMap::new() }
    }
}

impl Check {
    /// Every check, in order.
    pub const ALL: [Self; 5] =
        [Self::Integrity, Self::Authenticity, Self::Expiry, Self::AuthenticTimestamp, Self::Revocation];

    /// The word of a trust policy.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Integrity => "integrity",
            Self::Authenticity => "authenticity",
            Self::Expiry => "expiry",
            Self::AuthenticTimestamp => "authenticTimestamp",
            Self::Revocation => "revocation",
        }
    }
}

impl Action {
    const ALL: [Self; 3] = [Self::Enforce, Self::Log, Self::Skip];

    /// The word of a trust policy.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Log => "log",
            Self::Skip => "skip",
        }
    }
}

impl Level {
    const ALL: [Self; 4] = [Self::Strict, Self::Permissive, Self::Audit, Self::Skip];

    /// The word of a trust policy.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Permissive => "permissive",
            Self::Audit => "audit",
            Self::Skip => "skip",
        }
    }
}

/// Words are matched exactly, as notation does.
fn word<T: Copy>(
    text: &str,
    all: &[T],
    as_str: impl Fn(T) -> &'static str,
    known: &'static str,
) -> Result<T, UnknownWord> {
    let found = all.iter().copied().find(|one| as_str(*one) == text);
    found.ok_or_else(|| UnknownWord { found: text.to_owned(), known })
}

impl FromStr for Check {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        word(text, &Self::ALL, Self::as_str, "integrity, authenticity, authenticTimestamp, expiry, revocation")
    }
}

impl FromStr for Action {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        word(text, &Self::ALL, Self::as_str, "enforce, log, skip")
    }
}

impl FromStr for Level {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        word(text, &Self::ALL, Self::as_str, "strict, permissive, audit, skip")
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for VerificationLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.level.as_str())?;
        self.overrides.iter().try_for_each(|(check, action)| write!(f, ", {check} {}", action.as_str()))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn actions(level: &VerificationLevel) -> String {
        Check::ALL.map(|check| level.action(check).as_str()).join(" ")
    }

    #[test]
    fn the_levels_are_those_of_the_specification() {
        for (level, expected) in [
            ("strict", "enforce enforce enforce enforce enforce"),
            ("permissive", "enforce enforce log log log"),
            ("audit", "enforce log log log log"),
            ("skip", "skip skip skip skip skip"),
        ] {
            let level: Level = level.parse().unwrap();
            assert_eq!(actions(&level.into()), expected, "{}", level.as_str());
        }
        assert!(
            "Strict".parse::<Level>().is_err() && "".parse::<Check>().is_err() && "none".parse::<Action>().is_err()
        );
    }

    #[test]
    fn only_the_overrides_of_the_specification_are_accepted() {
        let with = |level, check, action| VerificationLevel::new(level, BTreeMap::from([(check, action)]));
        for action in [Action::Enforce, Action::Log, Action::Skip] {
            assert_eq!(with(Level::Strict, Check::Integrity, action), Err(LevelError::Integrity));
            assert_eq!(with(Level::Audit, Check::Revocation, action).unwrap().action(Check::Revocation), action);
            let skip = LevelError::SkipWithOverride(Check::Revocation);
            assert_eq!(with(Level::Skip, Check::Revocation, action), Err(skip));
        }
        for check in [Check::Authenticity, Check::Expiry, Check::AuthenticTimestamp] {
            assert_eq!(with(Level::Permissive, check, Action::Skip), Err(LevelError::NotSkippable(check)));
            assert_eq!(with(Level::Audit, check, Action::Enforce).unwrap().action(check), Action::Enforce);
        }
        let custom = with(Level::Permissive, Check::Expiry, Action::Enforce).unwrap();
        assert_eq!(actions(&custom), "enforce enforce enforce log log");
        assert_eq!(custom.to_string(), "permissive, expiry enforce");
    }
}
