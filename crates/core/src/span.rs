//! Lengths of time as people write them: `30s`, `10m`, `2h`, `3d`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ids::InvalidId;

/// A whole number of seconds, written with a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span(u64);

const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];
/// A hundred years: enough, and far from any overflow.
const LIMIT: u64 = 100 * 366 * 86_400;

impl Span {
    /// That many seconds.
    pub const fn secs(n: u64) -> Self {
        Self(n)
    }

    /// In seconds.
    pub fn as_secs(self) -> u64 {
        self.0
    }

    /// As the standard library's type.
    pub fn duration(self) -> std::time::Duration {
        std::time::Duration::from_secs(self.0)
    }
}

impl FromStr for Span {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let wrong = || InvalidId {
            kind: "length of time",
            text: text.chars().take(80).collect(),
            rule: "it is a whole number with s, m, h or d, as in 30s, up to 100 years",
        };
        let (unit, factor) =
            UNITS.into_iter().find(|(u, _)| text.ends_with(*u)).ok_or_else(wrong)?;
        let number = text.strip_suffix(unit).ok_or_else(wrong)?;
        let number: u64 = number.parse().map_err(|_| wrong())?;
        number.checked_mul(factor).filter(|n| *n <= LIMIT).map(Self).ok_or_else(wrong)
    }
}

impl TryFrom<String> for Span {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<Span> for String {
    fn from(span: Span) -> String {
        span.to_string()
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) = UNITS
            .into_iter()
            .find(|(_, n)| self.0 > 0 && self.0.is_multiple_of(*n))
            .unwrap_or(('s', 1));
        write!(f, "{}{unit}", self.0 / factor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_round_trip_and_refuse_nonsense() {
        for (text, secs) in [("30s", 30), ("10m", 600), ("2h", 7200), ("3d", 259_200), ("0s", 0)] {
            assert_eq!(text.parse(), Ok(Span(secs)));
            assert_eq!(Span(secs).to_string(), text);
        }
        for bad in ["", "s", "10", "-1s", "1.5h", "99999999999999999999d", "1dd", "40000d"] {
            assert!(bad.parse::<Span>().is_err(), "{bad} was taken");
        }
    }
}
