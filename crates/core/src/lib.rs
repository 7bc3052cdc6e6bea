//! The pure heart of Afield: what a fleet, a release and a report are, and every decision made from them.
//!
//! Nothing here touches a file, a socket, the clock or the environment; time and facts come in as arguments.

pub mod accounts;
pub mod assignment;
pub mod budget;
pub mod bundle;
pub mod certificate;
pub mod delivery;
pub mod deploy_hook;
#[cfg(feature = "fleet")]
pub mod fleet;
pub mod health;
pub mod host_data;
pub mod host_plan;
pub mod ids;
pub mod plan;
pub mod profile;
pub mod pyyaml;
pub mod reach;
pub mod relay;
pub mod release;
pub mod remote;
pub mod report;
pub mod rollout;
#[cfg(feature = "secrets")]
pub mod secrets;
pub mod settings;
pub mod signed;
pub mod span;
pub mod status;
pub mod time;
pub mod tunnel;
pub mod window;
