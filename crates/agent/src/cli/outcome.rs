//! What a check-in prints: as it goes, and at its end.

use std::time::Duration;

use afield_agent::reconcile::Outcome;
use afield_core::report::Event;

/// Says each new thing once, and progress in steps that a slow terminal can follow.
pub fn say() -> impl Fn(&str) {
    let last = std::cell::RefCell::new((String::new(), std::time::Instant::now()));
    move |text: &str| {
        let mut last = last.borrow_mut();
        let progress = text.starts_with("fetching:");
        if text == last.0 || (progress && last.1.elapsed() < Duration::from_secs(1)) {
            return;
        }
        eprintln!("afield-agent: {text}");
        *last = (text.to_owned(), std::time::Instant::now());
    }
}

/// With `--json`.
pub fn to_json(outcome: &Outcome, stick: Option<&Result<usize, String>>) -> anyhow::Result<String> {
    Ok(serde_json::to_string(&serde_json::json!({
        "event": outcome.event, "checks": outcome.checks, "notes": outcome.notes,
        "good": outcome.good, "reports_sent": outcome.sent.as_ref().ok(),
        "hub_error": outcome.sent.as_ref().err(), "peak_memory_kib": peak_memory(),
        "stick_reports": stick.and_then(|s| s.as_ref().ok()),
        "stick_error": stick.and_then(|s| s.as_ref().err()),
    }))?)
}

/// What this process took at most, as the kernel counted; without that of Nix's programs.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

/// For a person.
pub fn print(outcome: &Outcome) {
    for check in &outcome.checks {
        println!("{} {}: {}", if check.passed { "pass" } else { "FAIL" }, check.name, check.saw);
    }
    for note in &outcome.notes {
        println!("note: {note}");
    }
    match &outcome.event {
        Event::Healthy if outcome.good.release.is_none() => {
            println!("no release of the fleet runs here yet");
        }
        Event::Healthy => println!("healthy"),
        Event::Unhealthy => println!("UNHEALTHY"),
        Event::Updating { to, done, total } => {
            println!("updating to {to}: {done} of {total} bytes")
        }
        Event::RolledBack { from, why, .. } => println!("rolled back from release {from}: {why}"),
        Event::Stuck { from, why, .. } => println!("STUCK after release {from}: {why}"),
        Event::Refused { code, why } => println!("refused ({code}): {why}"),
    }
    if let Err(why) = &outcome.sent {
        println!("note: reports wait: {why}");
    }
}
