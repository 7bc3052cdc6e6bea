//! The agent: it keeps one host at the release that it is assigned, or at the last good one.
//!
//! [`reconcile::once`] is the spine; every other module is one of its steps. What to do is decided by
//! `afield_core::plan`, which is pure; what is here only finds out and carries out.

pub mod activate;
pub mod checks;
pub mod config;
pub mod data;
pub mod fetch;
pub mod host;
pub mod mount;
pub mod nix;
pub mod observe;
pub mod reconcile;
pub mod refusal;
pub mod report;
pub mod source;
pub mod state;
pub mod stick;
pub mod tunnel;
pub mod verify;
