//! Waiting by looking: every wait has something that can be seen and a deadline.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::host::{Seen, Target};
use super::show::{Bars, Show};
use super::stage::Stage;

/// Longer than any step of the demo takes on a busy machine with two cores.
const DEADLINE: Duration = Duration::from_secs(120);
/// Short enough to see a service that is broken for a few seconds.
const TICK: Duration = Duration::from_millis(100);

/// Waits until something can be seen.
pub fn until<T>(what: &str, mut seen: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = seen()? {
            return Ok(found);
        }
        if Instant::now() > deadline {
            bail!("waited {} s in vain until {what}", DEADLINE.as_secs());
        }
        std::thread::sleep(TICK);
    }
}

/// Looks at all hosts, with a bar for each, until `done` says so of what was seen of each, in the stage's order.
/// Gives when each was first seen as it should be.
pub fn hosts(
    stage: &Stage,
    show: &Show,
    what: &str,
    targets: &[Target],
    mut done: impl FnMut(&[Seen]) -> Result<bool>,
) -> Result<Vec<Option<Duration>>> {
    let names: Vec<String> = stage.hosts.iter().map(|host| host.name.clone()).collect();
    let mut bars = Bars::new(&names);
    let mut arrived = vec![None; names.len()];
    until(what, || {
        stage.teardown.all_alive()?;
        let mut seen = Vec::new();
        for (place, (host, target)) in stage.hosts.iter().zip(targets).enumerate() {
            let now = host.look();
            let have = host.has(&target.closure);
            bars.set(place, show, &host.name, have, target.closure.len(), &now.words());
            if now.is(target) {
                arrived[place].get_or_insert(show.elapsed());
            }
            seen.push(now);
        }
        Ok(done(&seen)?.then_some(()))
    })?;
    Ok(arrived)
}
