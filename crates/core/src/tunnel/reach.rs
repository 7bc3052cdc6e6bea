//! Whether the agent asks hub and repository straight, or through a relay.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::config::ThroughRelay;

/// How long straight attempts fail before the relay is taken.
pub const AFTER: Duration = Duration::from_secs(900);
/// While the relay is taken, one attempt is made straight this often.
const TRY_STRAIGHT: Duration = Duration::from_secs(3600);

/// What is known of straight attempts; kept across restarts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Straight {
    /// Since when none succeeded; none if the last one did.
    #[serde(default)]
    pub failing_since: Option<Timestamp>,
    /// When the last one failed.
    #[serde(default)]
    pub failed_at: Option<Timestamp>,
}

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// As if there were no relay.
    Straight,
    /// Through a relay.
    Relay,
}

impl Straight {
    /// The way of the next connection. `after`: mostly [`AFTER`].
    pub fn way(&self, switch: ThroughRelay, now: Timestamp, after: Duration) -> Way {
        let (Some(since), Some(last)) = (self.failing_since, self.failed_at) else {
            return if switch == ThroughRelay::Always { Way::Relay } else { Way::Straight };
        };
        // A clock that was set back says nothing about how long it has been.
        let age = |then: Timestamp| now.duration_since(then).unsigned_abs();
        match switch {
            ThroughRelay::Never => Way::Straight,
            ThroughRelay::Always => Way::Relay,
            ThroughRelay::Auto if age(since) < after || age(last) >= TRY_STRAIGHT => Way::Straight,
            ThroughRelay::Auto => Way::Relay,
        }
    }

    /// A straight attempt came to this.
    pub fn note(&mut self, succeeded: bool, now: Timestamp) {
        match succeeded {
            true => *self = Self::default(),
            false => {
                self.failing_since.get_or_insert(now);
                self.failed_at = Some(now);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_relay_is_taken_after_a_time_and_straight_is_tried_now_and_then() {
        let at = |minutes: i64| Timestamp::from_second(1_800_000_000 + minutes * 60).unwrap();
        let mut straight = Straight::default();
        let way = |s: &Straight, now| s.way(ThroughRelay::Auto, now, AFTER);
        assert_eq!(way(&straight, at(0)), Way::Straight);
        straight.note(false, at(0));
        straight.note(false, at(10));
        assert_eq!(way(&straight, at(14)), Way::Straight, "not yet long enough");
        assert_eq!(way(&straight, at(15)), Way::Relay);
        assert_eq!(way(&straight, at(71)), Way::Straight, "an hour after the last try");
        straight.note(false, at(71));
        assert_eq!(way(&straight, at(72)), Way::Relay);
        for (switch, way) in
            [(ThroughRelay::Always, Way::Relay), (ThroughRelay::Never, Way::Straight)]
        {
            assert_eq!(straight.way(switch, at(72), AFTER), way);
            assert_eq!(Straight::default().way(switch, at(72), AFTER), way);
        }
        straight.note(true, at(140));
        assert_eq!(straight, Straight::default());
    }
}
