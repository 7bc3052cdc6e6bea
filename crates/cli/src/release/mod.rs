//! Makes releases: from what was built and declared to a signed manifest in the repository.

pub mod diff;
pub mod pack;
pub mod published;
