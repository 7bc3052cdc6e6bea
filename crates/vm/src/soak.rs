//! How long a long scenario may take.

use std::time::{SystemTime, UNIX_EPOCH};

/// Whether the time that `cargo soak` gave is over: then a scenario that repeats itself begins nothing new. What it has
/// seen so far counts.
pub fn time_is_up() -> bool {
    let Ok(until) = std::env::var("AFIELD_VM_UNTIL") else { return false };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    now > until.parse().unwrap()
}
