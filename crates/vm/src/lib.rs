//! Real machines for tests: Debian with systemd, sshd and Nix, as a container (systemd-nspawn) or as a guest under
//! qemu, both behind [`machine::Machine`]. Scenarios are in `tests/vm/`; `cargo vm` runs them, as root.
//!
//! Take the cheapest kind that can prove it. A [`container::Container`] is up in two seconds and has systemd, services,
//! accounts, the Nix daemon and reboots, but no kernel, disk or boot loader of its own. A [`guest::Guest`] has all of
//! that, and needs half a minute to boot. [`bed::Bed`] adds a fleet, a repository and an agent.
#![allow(clippy::unwrap_used, reason = "only tests use this crate, and they fail by panicking")]

pub mod bed;
mod boot_files;
mod cgroup;
pub mod chance;
pub mod container;
pub mod disk;
pub mod firmware;
pub mod guest;
pub mod image;
mod lean;
pub mod machine;
pub mod monitor;
mod nbd;
pub mod programs;
mod shell;
pub mod soak;
