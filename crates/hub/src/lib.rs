//! The hub: hears hosts, decides which wave may have a release, signs assignments, and shows how all stands.
//!
//! It is trusted with little: it can hand out only what the release key has signed, and what it forgets it
//! finds again in the repository's folder (design §5).
//!
//! ```text
//! POST /v1/reports ─┐                                     ┌─► repository/assignments/<host>.json
//! POST /v1/orders  ─┼─► hub::Hub ─► gate (pure) ─► save ──┤
//! repository folder ┘                                     └─► GET /, /v1/status
//! ```

pub mod database;
pub mod gate;
pub mod http;
pub mod hub;
pub mod log;
mod orders;
mod packages;
pub mod page;
mod reports;
pub mod serve;
pub mod source;
