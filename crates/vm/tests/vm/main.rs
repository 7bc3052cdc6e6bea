//! The scenarios of `cargo vm`: one a file, named after what it proves; `build.rs` finds them. One that is marked
//! `#[ignore]` is slow: `cargo vm --slow` runs it too.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

include!(concat!(env!("OUT_DIR"), "/scenarios.rs"));
