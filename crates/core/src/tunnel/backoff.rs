//! How long a host waits before it tries a relay again.
//!
//! The wait doubles up to a cap, and half of it is chance: after a relay restarted, or power came back to a region,
//! hundreds of hosts must not come in step.

use std::time::Duration;

/// Why a try failed, as far as it changes the wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing answered, or the connection ended: the Internet comes and goes.
    Unreachable,
    /// The relay is there and sends visitors away, because too many come at once.
    Full,
    /// The relay answered and holds the port for someone else, mostly for this host's own dead connection, which it
    /// gives up within 30 s.
    PortTaken,
    /// The relay answered and refuses the key: only a change at headquarters helps, and each try costs 7 kB.
    Refused,
}

/// The first wait.
const FIRST: Duration = Duration::from_secs(1);
/// All ways of a relay that does not answer are tried this seldom; between, there are knocks.
const CAP_UNREACHABLE: Duration = Duration::from_secs(30);
/// After so many knocks the relay will be away for longer.
const KNOCKS_FAST: u32 = 40;
/// The longest pause between two of them.
const KNOCK: Duration = Duration::from_millis(500);
/// While a dead connection of its own may hold the port.
const CAP_TAKEN: Duration = Duration::from_secs(4);
/// When it is not given up by then: the relay may be one without Afield's settings, where it takes a quarter of an hour.
const CAP_TAKEN_LONG: Duration = Duration::from_secs(60);
/// For what only a person can change.
const CAP_HOPELESS: Duration = Duration::from_secs(300);
/// So often a taken port is taken for one's own dead connection (about 40 s).
const TRIES_TAKEN: u32 = 12;

/// The wait after `failures` failures in a row, the last of kind `kind`; `random` is from 0 up to, not including, 1.
///
/// `failures` is 0 after a connection that had held: then it is up to one second, all of it chance.
pub fn wait(failures: u32, kind: Kind, random: f64) -> Duration {
    if failures == 0 {
        return FIRST.mul_f64(random);
    }
    let cap = match kind {
        Kind::Unreachable | Kind::Full => CAP_UNREACHABLE,
        Kind::PortTaken if failures <= TRIES_TAKEN => CAP_TAKEN,
        Kind::PortTaken => CAP_TAKEN_LONG,
        Kind::Refused => CAP_HOPELESS,
    };
    let full = FIRST.saturating_mul(1 << failures.min(16)).min(cap);
    full.mul_f64(0.5 + random / 2.0)
}

/// The wait before the next knock at the way that worked last, after `knocks` of them in vain.
///
/// A knock is one packet of 60 bytes, and three more if nobody answers. Where there is no Internet it costs nothing,
/// and the host is back within a second or two of the line.
pub fn knock(knocks: u32, random: f64) -> Duration {
    let full = match knocks < KNOCKS_FAST {
        true => KNOCK,
        false => KNOCK * 6,
    };
    full.mul_f64(0.5 + random / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_their_cap_and_half_is_chance() {
        // failures, kind, shortest and longest wait in milliseconds
        let table = [
            (0, Kind::Unreachable, 0, 1_000),
            (1, Kind::Unreachable, 1_000, 2_000),
            (2, Kind::Unreachable, 2_000, 4_000),
            (4, Kind::Unreachable, 8_000, 16_000),
            (5, Kind::Unreachable, 15_000, 30_000),
            (u32::MAX, Kind::Unreachable, 15_000, 30_000),
            (9, Kind::Full, 15_000, 30_000),
            (1, Kind::PortTaken, 1_000, 2_000),
            (12, Kind::PortTaken, 2_000, 4_000),
            (13, Kind::PortTaken, 30_000, 60_000),
            (3, Kind::Refused, 4_000, 8_000),
            (20, Kind::Refused, 150_000, 300_000),
        ];
        for (failures, kind, least, most) in table {
            let at = |random| wait(failures, kind, random).as_millis();
            assert_eq!(at(0.0), least, "{failures} {kind:?}");
            assert_eq!(at(0.5), (least + most) / 2, "{failures} {kind:?}");
            assert!(at(0.999_999) <= most, "{failures} {kind:?}");
        }
    }
}
