//! Durations as people type them: `500ms`, `30s`, `15m`, `24h`, `7d`; a bare number is seconds.

use std::time::Duration;

/// Parses a duration that is longer than nothing and at most ten years.
///
/// # Errors
/// A fragment that fits after "invalid value …: ".
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || "a duration is a whole number and ms, s, m, h or d, such as 30s or 24h".to_owned();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits).ok_or_else(wrong)?;
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let milliseconds = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    let total = number.checked_mul(milliseconds).filter(|total| *total <= TEN_YEARS_MS);
    match total {
        Some(0) => Err("it has to be longer than nothing".to_owned()),
        Some(total) => Ok(Duration::from_millis(total)),
        None => Err("it has to be at most ten years".to_owned()),
    }
}

const TEN_YEARS_MS: u64 = 3_653 * 86_400_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_numbers_with_a_unit() {
        for (text, seconds) in [("30", 30), ("30s", 30), ("15m", 900), ("24h", 86_400), ("7d", 604_800)] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(parse("250ms"), Ok(Duration::from_millis(250)));
    }

    #[test]
    fn nothing_negative_fractional_or_endless_is_a_duration() {
        for text in ["", "s", "-1s", "1.5h", "1w", "1 h", "0s", "99999999999999999999s", "3654d", "\u{661}s"] {
            assert!(parse(text).is_err_and(|why| !why.is_empty()), "{text}");
        }
    }
}
