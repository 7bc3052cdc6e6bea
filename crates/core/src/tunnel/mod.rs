//! Reverse tunnels: what a host is told about its relays, and every decision about reaching them.
//!
//! [`config::Config`] is the file, [`link::Link`] decides for one relay (it takes events and the time, and gives
//! actions), [`backoff`] says how long to wait, and [`ssh`] writes OpenSSH's arguments and reads its words. What
//! carries the actions out is `afield_agent::tunnel`.

pub mod backoff;
pub mod config;
mod doubt;
pub mod link;
pub mod race;
pub mod reach;
pub mod site;
pub mod ssh;

pub use config::{Config, ConfigFlaw, Forward, Relay};
pub use doubt::Silence;
pub use link::{Action, Event, Link, Status, Statuses};
pub use race::{Endpoint, Path};
pub use site::{Connection, Site};
