//! One line an event, on standard error: systemd's journal keeps it.

use afield_core::report::clip;

/// Says what happened. What others sent is cut, and can start no line of its own.
pub fn say(event: &str) {
    eprintln!("{}", clip(event));
}
