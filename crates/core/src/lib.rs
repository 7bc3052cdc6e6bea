//! The pure heart of Afield: what a fleet, a release and a report are, and every decision made from them.
//!
//! Nothing here touches a file, a socket, the clock or the environment; time and facts come in as arguments.

pub mod ids;
pub mod pyyaml;
#[cfg(feature = "secrets")]
pub mod secrets;
