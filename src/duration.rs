//! Spans of time as people write them: `30`, `45s`, `2m`, `1h30m`.

use std::time::Duration;

/// The units, largest first, and how many milliseconds each one has.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// What may be written, for whoever wrote something else.
const HOW: &str =
    "write seconds (`30`), or numbers with units, the largest first: `45s`, `2m`, `1h30m`, `500ms`";

/// Reads a span of time: seconds, or whole numbers each with its unit, from the largest unit to the smallest.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let wrong = |what: &str| format!("{what}: {HOW}");
    if text.is_empty() {
        return Err(wrong("it is empty"));
    }
    let too_long = || wrong("it is too long");
    let mut total = 0_u64;
    let mut rest = text;
    let mut units = UNITS.as_slice();
    while !rest.is_empty() {
        let (number, after) = cut(rest, |c| c.is_ascii_digit());
        if number.is_empty() {
            return Err(wrong(&format!("there is no number before `{rest}`")));
        }
        let number: u64 = number.parse().map_err(|_| too_long())?;
        let (unit, after) = cut(after, |c| !c.is_ascii_digit());
        // Plain seconds stand alone.
        let unit = if unit.is_empty() && total == 0 && rest == text {
            "s"
        } else {
            unit
        };
        let Some(place) = units.iter().position(|(name, _)| *name == unit) else {
            return Err(wrong(&match unit {
                "" => format!("{number} has no unit"),
                unit if UNITS.iter().any(|(name, _)| *name == unit) => {
                    format!("`{unit}` comes too late")
                }
                unit => format!("there is no unit `{unit}`"),
            }));
        };
        total = number
            .checked_mul(units[place].1)
            .and_then(|part| total.checked_add(part))
            .ok_or_else(too_long)?;
        units = &units[place + 1..];
        rest = after;
    }
    Ok(Duration::from_millis(total))
}

/// Cuts a text behind the longest beginning of which each character is as asked.
fn cut(text: &str, is: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !is(c)).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_units_are_read() {
        for (text, milliseconds) in [
            ("0", 0),
            ("30", 30_000),
            ("30s", 30_000),
            ("500ms", 500),
            ("2m", 120_000),
            ("1h30m", 5_400_000),
            ("1h2m3s4ms", 3_723_004),
            ("90m", 5_400_000),
        ] {
            let expected = Duration::from_millis(milliseconds);
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, what) in [
            ("", "it is empty"),
            ("s", "no number before `s`"),
            ("-1", "no number before `-1`"),
            (" 1", "no number before ` 1`"),
            ("1.5s", "no unit `.`"),
            ("5 m", "no unit ` m`"),
            ("2d", "no unit `d`"),
            ("30s2m", "`m` comes too late"),
            ("1m1m", "`m` comes too late"),
            ("1m30", "30 has no unit"),
            ("99999999999999999999", "too long"),
            ("9999999999999999999h", "too long"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(what), "{text}: {error}");
            assert!(error.contains("`1h30m`"), "{text}: {error}");
        }
    }
}
