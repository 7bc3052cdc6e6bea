//! Objects, the repository and its trust metadata: everything between a built system and a host's Nix store.

pub mod archive;
pub mod export;
pub mod fault;
pub mod files;
pub mod keys;
pub mod mirror;
pub mod nar;
pub mod object;
pub mod patch;
pub mod registration;
pub mod repository;
pub mod trust;
