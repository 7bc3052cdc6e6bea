//! The hub through its face: real listeners, a real repository, signed reports and orders; the clock alone
//! is the test's.
#![allow(clippy::unwrap_used)]

mod lies;
mod packages;
mod page;
mod program;
mod rebuilt;
mod support;
mod waves;
