//! `afield secrets`, as an operator uses it, on copies of the golden fleet; and interchange with the real tools.

#![allow(clippy::unwrap_used)]

mod age;
mod check;
mod edit;
mod files;
mod interchange;
mod seal;
mod support;
