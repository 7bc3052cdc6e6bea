//! Makes releases: from what was built and declared to a signed manifest in the repository.

pub mod bases;
pub mod data;
pub mod diff;
pub mod forecast;
pub mod layout;
pub mod pack;
pub mod patch_cache;
pub mod patches;
pub mod published;
pub mod report;
pub mod running;
pub mod stock;
pub mod write;
