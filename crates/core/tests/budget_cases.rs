//! Budgets as tables: when a host may fetch, how much, and how long it takes.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use afield_core::budget::{Allowance, Bucket, Budget, Wait, told};
use jiff::Timestamp;

fn budget(json: &str) -> Budget {
    serde_json::from_str(json).unwrap()
}

fn at(budget: &Budget, now: &str) -> Allowance {
    Allowance { budget: budget.clone(), now: now.parse().unwrap(), ..Allowance::default() }
}

fn until(now: &str) -> Timestamp {
    now.parse().unwrap()
}

#[test]
fn windows_are_the_sites_and_pass_midnight() {
    let nights = budget(r#"{"windows":["22:00-06:00","12:30-13:00"],"utc-offset":"+01:00"}"#);
    let cases = [
        ("2026-11-28T20:59:59Z", Some("2026-11-28T21:00:00Z")),
        ("2026-11-28T21:00:00Z", None),
        ("2026-11-28T23:30:00Z", None),
        ("2026-11-29T04:59:59Z", None),
        ("2026-11-29T05:00:00Z", Some("2026-11-29T11:30:00Z")),
        ("2026-11-29T11:45:00Z", None),
        ("2026-11-29T12:00:00Z", Some("2026-11-29T21:00:00Z")),
    ];
    for (now, opens) in cases {
        let wanted = opens.map_or(Ok(None), |t| Err(Wait::Window { until: until(t) }));
        assert_eq!(at(&nights, now).verdict(), wanted, "{now}");
    }
}

#[test]
fn a_day_has_its_bytes_and_the_next_one_its_own() {
    let small = budget(r#"{"bytes-per-day":"10MB","utc-offset":"-03:30"}"#);
    let mut allowance = at(&small, "2026-11-28T12:00:00Z");
    assert_eq!(allowance.verdict(), Ok(Some(10_000_000)));
    allowance.spend(4_000_000);
    assert_eq!(allowance.verdict(), Ok(Some(6_000_000)));
    allowance.spend(6_000_001);
    let midnight = Wait::Day { until: until("2026-11-29T03:30:00Z") };
    assert_eq!(allowance.verdict(), Err(midnight));
    allowance.now = until("2026-11-29T03:30:00Z");
    assert_eq!(allowance.verdict(), Ok(Some(10_000_000)));
}

#[test]
fn a_clock_that_jumps_gives_no_day_twice_and_blocks_none() {
    let small = budget(r#"{"bytes-per-day":"10MB"}"#);
    let mut allowance = at(&small, "2026-11-28T12:00:00Z");
    allowance.spend(10_000_000);
    // A dead battery: each boot is in 1970 until the clock is set.
    for _ in 0..3 {
        allowance.now = until("1970-01-01T00:00:10Z");
        allowance.spend(5_000_000);
        allowance.now = until("2026-11-28T13:00:00Z");
        assert!(allowance.verdict().is_err(), "the day was given twice");
    }
    allowance.now = until("1970-01-01T00:00:10Z");
    assert!(allowance.verdict().is_err(), "1970 has only one first day");
    // Ten years ahead, and set right: neither is blocked.
    allowance.now = until("2036-11-28T12:00:00Z");
    allowance.spend(10_000_000);
    allowance.now = until("2026-11-29T12:00:00Z");
    assert_eq!(allowance.verdict(), Ok(Some(10_000_000)));
    // Whatever the clock does, what is remembered stays small.
    for year in 2100..2200 {
        allowance.now = until(&format!("{year}-01-01T00:00:00Z"));
        allowance.spend(1);
    }
    assert!(serde_json::to_string(&allowance.spent).unwrap().len() < 200);
}

#[test]
fn a_person_is_asked_and_overrules() {
    let metered = budget(r#"{"ask-first":true,"windows":["01:00-02:00"],"bytes-per-day":"1B"}"#);
    let mut allowance = at(&metered, "2026-11-28T12:00:00Z");
    assert_eq!(allowance.verdict(), Err(Wait::Person));
    allowance.go = true;
    assert_eq!(allowance.verdict(), Ok(None));
}

#[test]
fn forecasts_are_told_in_words() {
    let cases = [
        (r#"{}"#, 487_000_000, "464 MiB"),
        (r#"{"rate":"128kbit/s"}"#, 16_000 * 60, "937 KiB, about 1 min"),
        (r#"{"rate":"128kbit/s"}"#, 36_000_000, "34.3 MiB, about 38 min"),
        (r#"{"rate":"128kbit/s"}"#, 3_000_000_000, "2.7 GiB, about 3 days"),
        (
            r#"{"rate":"128kbit/s","windows":["22:00-06:00"]}"#,
            487_000_000,
            "464 MiB, about 2 nights",
        ),
        (
            r#"{"bytes-per-day":"200MB","windows":["22:00-06:00"]}"#,
            487_000_000,
            "464 MiB, about 3 nights",
        ),
        (
            r#"{"bytes-per-day":"50MB","ask-first":true}"#,
            120_000_000,
            "114 MiB, about 3 days, once a person there says so",
        ),
        (r#"{"bytes-per-day":"50MB"}"#, 0, "0 B"),
    ];
    for (json, bytes, words) in cases {
        assert_eq!(told(bytes, &budget(json)), words, "{json}");
    }
}

#[test]
fn a_bucket_lets_a_rate_through() {
    let mut bucket = Bucket::new("80kbit/s".parse().unwrap());
    // A second's worth at once, then each byte waits its turn.
    assert_eq!(bucket.take(10_000, Duration::ZERO), Duration::ZERO);
    assert_eq!(bucket.take(5_000, Duration::ZERO), Duration::from_millis(500));
    assert_eq!(bucket.take(0, Duration::from_millis(500)), Duration::ZERO);
    // A pause saves up no more than a second's worth.
    assert_eq!(bucket.take(20_000, Duration::from_secs(3600)), Duration::from_secs(1));
}

#[test]
fn what_a_budget_cannot_be_is_refused() {
    let bad = [
        r#"{"bytes-per-day":"50"}"#,
        r#"{"bytes-per-day":"0MB"}"#,
        r#"{"bytes-per-day":"99999999999999GB"}"#,
        r#"{"rate":"64kbit"}"#,
        r#"{"rate":"-1kB/s"}"#,
        r#"{"windows":["22:00"]}"#,
        r#"{"windows":["22:00-22:00"]}"#,
        r#"{"windows":["24:00-06:00"]}"#,
        r#"{"utc-offset":"01:00"}"#,
        r#"{"utc-offset":"+15:00"}"#,
    ];
    for json in bad {
        let error = serde_json::from_str::<Budget>(json).unwrap_err().to_string();
        assert!(error.contains("as in"), "{json}: {error}");
    }
    let whole = r#"{"bytes-per-day":"1000B","rate":"8000B/s","windows":["22:00-06:00"],"utc-offset":"-03:30","ask-first":false}"#;
    assert_eq!(serde_json::to_string(&budget(whole)).unwrap(), whole);
}
