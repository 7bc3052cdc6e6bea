//! What time it is, on hosts whose clock may lie (design §5).
//!
//! A dead RTC battery starts a host in 1970 or at its firmware's date. Time is therefore the latest of the
//! system's clock, the last signed time that the host accepted, and the time at which the agent was built.
//! A clock that runs ahead cannot be told from a long silence; it makes signatures look expired, so that
//! nothing is accepted, but it is never remembered: set right, the host goes on.

use jiff::{Timestamp, ToSpan as _};

/// A difference smaller than this is no reason to speak of.
const SLACK_HOURS: i64 = 24;

/// The time to judge by, and what to say about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Now {
    /// The time to judge by.
    pub time: Timestamp,
    /// Why that is not the system's clock, if it is not.
    pub note: Option<String>,
}

/// Decides what time it is. `seen` is the newest signed time accepted, `built` the agent's build time.
pub fn now(system: Timestamp, seen: Option<Timestamp>, built: Timestamp) -> Now {
    let floor = seen.map_or(built, |seen| seen.max(built));
    if system >= floor {
        return Now { time: system, note: None };
    }
    let late = system.checked_add(SLACK_HOURS.hours()).is_ok_and(|t| t < floor);
    let note = late.then(|| {
        format!("the clock says {system}, but it is {floor} at least; set the clock or its battery right")
    });
    Now { time: floor, note }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_believable_time_counts() {
        let t = |s: &str| s.parse::<Timestamp>().unwrap();
        let built = t("2026-01-01T00:00:00Z");
        let seen = Some(t("2026-11-01T00:00:00Z"));
        let dead_battery = now(t("1970-01-01T00:00:00Z"), seen, built);
        assert_eq!(dead_battery.time, t("2026-11-01T00:00:00Z"));
        assert!(dead_battery.note.unwrap().contains("1970"));
        assert_eq!(now(t("1970-01-01T00:00:00Z"), None, built).time, built);
        let right = now(t("2026-12-01T00:00:00Z"), seen, built);
        assert_eq!(right, Now { time: t("2026-12-01T00:00:00Z"), note: None });
        assert_eq!(now(t("2026-10-31T23:59:00Z"), seen, built).note, None);
    }
}
