//! When and how much a host may fetch: the budget of its site, what of it is used, and how long something takes.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::ids::InvalidId;
use crate::status::bytes as words;

const DAY: u64 = 86_400;
/// So many days are remembered: enough for a clock that jumps and comes back.
const REMEMBERED: usize = 8;

/// What a site's link allows. Everything that is not said is not limited.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Budget {
    /// Bytes a day, as in `50MB`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_day: Option<Amount>,
    /// How fast, as in `64kbit/s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// Times of the day, as in `22:00-06:00`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<Window>,
    /// What the site's clocks are ahead of UTC, as in `+01:00`; days and windows are the site's.
    pub utc_offset: Offset,
    /// Nothing is fetched before a person says so at the host.
    pub ask_first: bool,
}

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Amount(pub u64);

/// Bytes a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rate(pub u64);

/// A part of each day, in minutes; it may pass midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Window {
    from: u32,
    to: u32,
}

/// Minutes ahead of UTC.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Offset(i32);

/// What was fetched on each of the last days.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    days: BTreeMap<i64, u64>,
}

/// What decides whether a host may fetch now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowance {
    /// The site's budget.
    pub budget: Budget,
    /// What of it is used.
    pub spent: Ledger,
    /// The time.
    pub now: Timestamp,
    /// A person at the host said: now, whatever the budget says but its rate.
    pub go: bool,
}

/// Why a fetch waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "for", rename_all = "kebab-case")]
pub enum Wait {
    /// For a person: the link is metered.
    Person,
    /// For the next window.
    Window {
        /// When it opens.
        until: Timestamp,
    },
    /// For the next day.
    Day {
        /// When it begins at the site.
        until: Timestamp,
    },
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Person => f.write_str(
                "the site's link is metered: fetching begins when a person runs afield-agent once --now",
            ),
            Self::Window { until } => write!(f, "fetching waits for the site's time window at {until}"),
            Self::Day { until } => {
                write!(f, "the bytes of the site's day are used; fetching goes on at {until}")
            }
        }
    }
}

impl Allowance {
    /// Whether to fetch now; if so, how many bytes at most today.
    pub fn verdict(&self) -> Result<Option<u64>, Wait> {
        if self.go {
            return Ok(None);
        }
        let (day, second) = self.local();
        if self.budget.ask_first {
            return Err(Wait::Person);
        }
        if let Some(seconds) = self.budget.until_window(second) {
            return Err(Wait::Window { until: self.later(seconds) });
        }
        let Some(Amount(most)) = self.budget.bytes_per_day else { return Ok(None) };
        match most.saturating_sub(self.spent.of(day)) {
            0 => Err(Wait::Day { until: self.later(DAY - second) }),
            left => Ok(Some(left)),
        }
    }

    /// Writes down what was fetched now.
    pub fn spend(&mut self, bytes: u64) {
        let (day, _) = self.local();
        *self.spent.days.entry(day).or_default() += bytes;
        while self.spent.days.len() > REMEMBERED {
            let far = self.spent.days.keys().copied().max_by_key(|d| d.abs_diff(day));
            far.map(|d| self.spent.days.remove(&d));
        }
    }

    /// The site's day and its second.
    fn local(&self) -> (i64, u64) {
        let at = self.now.as_second() + i64::from(self.budget.utc_offset.0) * 60;
        (at.div_euclid(DAY as i64), at.rem_euclid(DAY as i64) as u64)
    }

    fn later(&self, seconds: u64) -> Timestamp {
        let later = SignedDuration::from_secs(seconds as i64);
        self.now.checked_add(later).unwrap_or(Timestamp::MAX)
    }
}

impl Ledger {
    /// Bytes of a day.
    fn of(&self, day: i64) -> u64 {
        self.days.get(&day).copied().unwrap_or(0)
    }
}

impl Budget {
    /// Seconds until a window is open; none if one is.
    fn until_window(&self, second: u64) -> Option<u64> {
        if self.windows.is_empty() || self.windows.iter().any(|w| w.holds(second)) {
            return None;
        }
        let wait = |w: &Window| (u64::from(w.from) * 60 + DAY - second) % DAY;
        self.windows.iter().map(wait).min()
    }

    /// Seconds of each day on which something may be fetched.
    fn open_seconds(&self) -> u64 {
        if self.windows.is_empty() {
            return DAY;
        }
        let open = |minute: &u64| self.windows.iter().any(|w| w.holds(minute * 60));
        (0..DAY / 60).filter(open).count() as u64 * 60
    }

    /// How long so many bytes take, from the first one on; none if nothing limits them.
    pub fn forecast(&self, bytes: u64) -> Option<Forecast> {
        let open = self.open_seconds();
        let by_rate = self.rate.map(|Rate(rate)| rate.saturating_mul(open));
        let by_day = self.bytes_per_day.map(|Amount(n)| n);
        let day = by_rate.into_iter().chain(by_day).min()?.max(1);
        let seconds = self.rate.map(|Rate(rate)| bytes.div_ceil(rate.max(1)));
        Some(Forecast { days: bytes.div_ceil(day), seconds, nights: !self.windows.is_empty() })
    }

    /// Whether it limits anything.
    pub fn is_none(&self) -> bool {
        *self == Self { utc_offset: self.utc_offset, ..Self::default() }
    }
}

/// How long a fetch takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forecast {
    /// Days on which something is fetched.
    pub days: u64,
    /// Seconds of fetching, if the rate is known.
    pub seconds: Option<u64>,
    /// Whether only in windows.
    pub nights: bool,
}

impl fmt::Display for Forecast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = if self.nights { "night" } else { "day" };
        match (self.days, self.seconds) {
            (0 | 1, Some(s)) if s < 3600 => write!(f, "about {} min", s.div_ceil(60)),
            (0 | 1, Some(s)) => write!(f, "about {} h", s.div_ceil(3600)),
            (0 | 1, None) => write!(f, "within a {unit}"),
            (n, _) => write!(f, "about {n} {unit}s"),
        }
    }
}

/// Lets bytes through at a rate, a second's worth at once.
#[derive(Debug, Clone)]
pub struct Bucket {
    rate: f64,
    left: f64,
}

impl Bucket {
    /// A full one.
    pub fn new(rate: Rate) -> Self {
        let rate = rate.0.max(1) as f64;
        Self { rate, left: rate }
    }

    /// So many bytes came, so long after the last ones: how long to wait before the next.
    pub fn take(&mut self, bytes: u64, since: Duration) -> Duration {
        self.left = (self.left + since.as_secs_f64() * self.rate).min(self.rate) - bytes as f64;
        Duration::from_secs_f64((-self.left / self.rate).max(0.0))
    }
}

impl Window {
    fn holds(&self, second: u64) -> bool {
        let (from, to) = (u64::from(self.from) * 60, u64::from(self.to) * 60);
        match from < to {
            true => (from..to).contains(&second),
            false => second >= from || second < to,
        }
    }
}

fn wrong(kind: &'static str, text: &str, rule: &'static str) -> InvalidId {
    InvalidId { kind, text: text.chars().take(80).collect(), rule }
}

/// A number with one of these units behind it.
fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let factor = units.iter().find(|(name, _)| *name == unit.trim())?.1;
    number.parse::<u64>().ok()?.checked_mul(factor).filter(|n| *n > 0)
}

impl FromStr for Amount {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let units = [("B", 1), ("kB", 1000), ("MB", 1_000_000), ("GB", 1_000_000_000)];
        let rule = "it is a whole number above 0 with B, kB, MB or GB, as in 50MB";
        with_unit(text, &units).map(Self).ok_or_else(|| wrong("number of bytes", text, rule))
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}B", self.0)
    }
}

impl FromStr for Rate {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let rule =
            "it is a whole number above 0 with kbit/s, Mbit/s, B/s, kB/s or MB/s, as in 64kbit/s";
        let bytes = [("B/s", 1), ("kB/s", 1000), ("MB/s", 1_000_000)];
        let bits = [("kbit/s", 1000), ("Mbit/s", 1_000_000)];
        let rate = with_unit(text, &bytes);
        let rate = rate.or_else(|| with_unit(text, &bits).map(|bits| (bits / 8).max(1)));
        rate.map(Self).ok_or_else(|| wrong("rate", text, rule))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}B/s", self.0)
    }
}

/// Minutes of the day of `hh:mm`.
fn minutes(text: &str) -> Option<u32> {
    let (hours, minutes) = text.split_once(':').filter(|(h, m)| h.len() == 2 && m.len() == 2)?;
    let (hours, minutes): (u32, u32) = (hours.parse().ok()?, minutes.parse().ok()?);
    (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)
}

impl FromStr for Window {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let rule = "it is two different times of the day, as in 22:00-06:00";
        let both = text.split_once('-').and_then(|(a, b)| Some((minutes(a)?, minutes(b)?)));
        let both = both.filter(|(from, to)| from != to);
        both.map(|(from, to)| Self { from, to }).ok_or_else(|| wrong("time window", text, rule))
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, to) = (self.from, self.to);
        write!(f, "{:02}:{:02}-{:02}:{:02}", from / 60, from % 60, to / 60, to % 60)
    }
}

impl FromStr for Offset {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let rule =
            "it is what clocks are ahead of or behind UTC, as in +01:00 or -03:30, up to 14 hours";
        let sign = match text.as_bytes().first() {
            Some(b'+') => Some(1),
            Some(b'-') => Some(-1),
            _ => None,
        };
        let offset = sign.and_then(|sign| Some(sign * minutes(&text[1..])? as i32));
        let offset = offset.filter(|m| m.abs() <= 14 * 60);
        offset.map(Self).ok_or_else(|| wrong("offset from UTC", text, rule))
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, m) = (if self.0 < 0 { '-' } else { '+' }, self.0.abs());
        write!(f, "{sign}{:02}:{:02}", m / 60, m % 60)
    }
}

/// Text forms for serde.
macro_rules! as_text {
    ($($name:ident),*) => { $(
        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.to_string()
            }
        }
    )* };
}
as_text!(Amount, Rate, Window, Offset);

/// `464 MiB, about 3 nights`.
pub fn told(bytes: u64, budget: &Budget) -> String {
    let asks = if budget.ask_first { ", once a person there says so" } else { "" };
    match budget.forecast(bytes) {
        Some(forecast) if bytes > 0 => format!("{}, {forecast}{asks}", words(bytes)),
        _ => format!("{}{asks}", words(bytes)),
    }
}
