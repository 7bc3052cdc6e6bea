//! The time of day at which a host may be restarted, in its own time zone.

use std::fmt;
use std::str::FromStr;

use jiff::civil::Time;
use jiff::{Timestamp, ToSpan as _, Zoned};
use serde::{Deserialize, Serialize};

use crate::ids::InvalidId;

/// From one time of day to another, as in `01:00-05:00`; over midnight if the first is the later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Window {
    lower: Time,
    upper: Time,
}

/// A window on a certain day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    /// From then on.
    pub opens: Timestamp,
    /// Until then, exclusively.
    pub closes: Timestamp,
}

impl Opening {
    /// Whether it is open.
    pub fn is_open(&self, now: Timestamp) -> bool {
        self.opens <= now && now < self.closes
    }
}

impl Default for Window {
    /// 01:00 to 05:00, as the older tools have it.
    fn default() -> Self {
        Self { lower: Time::constant(1, 0, 0, 0), upper: Time::constant(5, 0, 0, 0) }
    }
}

impl Window {
    /// How long it is open; the same time twice is the whole day.
    pub fn minutes(&self) -> i64 {
        let of = |t: Time| i64::from(t.hour()) * 60 + i64::from(t.minute());
        match (of(self.upper) - of(self.lower)).rem_euclid(24 * 60) {
            0 => 24 * 60,
            minutes => minutes,
        }
    }

    /// The window that is open now, or the next one.
    pub fn around(&self, now: &Zoned) -> Opening {
        let today = now.date();
        let days = [-1, 0, 1, 2].map(|n| today.saturating_add(n.days()));
        let openings = days.into_iter().filter_map(|day| {
            let last = if self.upper > self.lower { day } else { day.saturating_add(1.days()) };
            let at = |day: jiff::civil::Date, time| {
                day.to_datetime(time).to_zoned(now.time_zone().clone()).ok().map(|z| z.timestamp())
            };
            Some(Opening { opens: at(day, self.lower)?, closes: at(last, self.upper)? })
        });
        let now = now.timestamp();
        let closed = Opening { opens: Timestamp::MAX, closes: Timestamp::MAX };
        openings.into_iter().find(|o| now < o.closes).unwrap_or(closed)
    }
}

impl FromStr for Window {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let wrong = || InvalidId {
            kind: "reboot window",
            text: text.chars().take(80).collect(),
            rule: "it is two times of day, as in 01:00-05:00 or, over midnight, 22:00-04:00",
        };
        let (lower, upper) = text.split_once('-').ok_or_else(wrong)?;
        let (lower, upper) = (time(lower).ok_or_else(wrong)?, time(upper).ok_or_else(wrong)?);
        Ok(Self { lower, upper })
    }
}

fn time(text: &str) -> Option<Time> {
    let digits = |text: &str| text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
    let (hour, minute) = text.split_once(':').filter(|(h, m)| digits(h) && digits(m))?;
    Time::new(hour.parse().ok()?, minute.parse().ok()?, 0, 0).ok()
}

impl TryFrom<String> for Window {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<Window> for String {
    fn from(window: Window) -> String {
        window.to_string()
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |t: Time| format!("{:02}:{:02}", t.hour(), t.minute());
        write!(f, "{}-{}", show(self.lower), show(self.upper))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use jiff::tz::{Offset, TimeZone};

    /// Now in UTC+2, the window, and when it opens and closes there.
    fn check(now: &str, window: &str, wanted: (&str, &str)) {
        let zone = TimeZone::fixed(Offset::constant(2));
        let at = |text: &str| {
            let civil: jiff::civil::DateTime = text.parse().unwrap();
            civil.to_zoned(zone.clone()).unwrap()
        };
        let window: Window = window.parse().unwrap();
        let found = window.around(&at(now));
        let (opens, closes) = (at(wanted.0).timestamp(), at(wanted.1).timestamp());
        assert_eq!(found, Opening { opens, closes }, "{now} {window}");
    }

    #[test]
    fn the_window_is_in_the_host_s_own_time() {
        let night = ("2026-11-28T01:00", "2026-11-28T05:00");
        check("2026-11-28T00:59", "01:00-05:00", night);
        check("2026-11-28T01:00", "01:00-05:00", night);
        check("2026-11-28T04:59", "01:00-05:00", night);
        check("2026-11-28T05:00", "01:00-05:00", ("2026-11-29T01:00", "2026-11-29T05:00"));
    }

    #[test]
    fn the_window_may_go_over_midnight() {
        let night = ("2026-11-28T22:00", "2026-11-29T04:00");
        check("2026-11-28T21:00", "22:00-04:00", night);
        check("2026-11-28T23:30", "22:00-04:00", night);
        check("2026-11-29T03:59", "22:00-04:00", night);
        check("2026-11-29T04:00", "22:00-04:00", ("2026-11-29T22:00", "2026-11-30T04:00"));
        // The same time twice is the whole day.
        check("2026-11-28T12:00", "03:00-03:00", ("2026-11-28T03:00", "2026-11-29T03:00"));
    }

    #[test]
    fn windows_are_written_as_they_are_read() {
        for good in ["01:00-05:00", "22:30-04:00"] {
            assert_eq!(good.parse::<Window>().unwrap().to_string(), good);
        }
        for bad in
            ["", "1:00-5:00", "01:00", "25:00-01:00", "01:00-05:60", "01.00-05.00", "+1:00-05:00"]
        {
            assert!(bad.parse::<Window>().is_err(), "{bad} was taken");
        }
    }
}
