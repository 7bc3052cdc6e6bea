//! Secrets against the golden data: vault files, host keys, sealed secrets, age files, and what must be refused.

#![allow(clippy::unwrap_used)]

mod age;
mod fixtures;
mod master;
mod sealed;
mod support;
mod vault;
