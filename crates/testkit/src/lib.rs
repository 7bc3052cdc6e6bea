//! A fleet in temporary folders, for tests: its keys, its repository, a web server that can lie, and hosts
//! that are folders with Nix stores of their own. Tests fail by panicking, so this crate does too.
#![allow(clippy::unwrap_used, reason = "only tests use this crate")]

pub mod faults;
pub mod fleet;
pub mod golden;
pub mod golden_keys;
pub mod host;
pub mod machine;
pub mod net;
pub mod relay;
#[cfg(feature = "s3")]
pub mod s3;
pub mod server;
pub mod system;
pub mod ubuntu;
