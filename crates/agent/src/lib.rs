//! The agent: it keeps one host at the release that it is assigned, or at the last good one.
//!
//! [`reconcile::once`] is the spine; every other module is one of its steps. What to do is decided by
//! `afield_core::plan`, which is pure; what is here only finds out and carries out.

pub mod access;
pub mod activate;
pub mod boot;
pub mod boot_check;
pub mod checks;
pub mod config;
pub mod contract;
pub mod daemon;
pub mod data;
pub mod fetch;
pub mod gc;
pub mod host;
pub mod import;
pub mod install;
pub mod journal;
pub mod lan;
pub mod mount;
pub mod nix;
pub mod notify;
pub mod observe;
pub mod obtain;
pub mod promote;
pub mod prove;
pub mod purse;
pub mod reach;
pub mod reboot;
pub mod reconcile;
pub mod refusal;
pub mod repair;
pub mod report;
pub mod roots;
pub mod secrets;
pub mod source;
pub mod state;
pub mod stick;
pub mod streams;
pub mod through_relay;
pub mod tree;
pub mod trouble;
pub mod tunnel;
pub mod unit_files;
pub mod units;
pub mod upgrade;
pub mod verify;
pub mod window;
