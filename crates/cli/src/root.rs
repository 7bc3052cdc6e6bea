//! Root metadata: the one that trust starts from, and the newest.

use std::path::Path;

use afield_store::files;
use afield_store::trust::{self, MAX_ROOT, RootContent};
use jiff::{Timestamp, ToSpan as _};

use crate::exit::Failure;

/// The trust root in a folder of keys.
pub fn read_trust_root(keys: &Path) -> Result<Vec<u8>, Failure> {
    let path = keys.join("root.json");
    files::read_limited(&path, MAX_ROOT).map_err(|e| {
        Failure::usage(format!("the trust root {} cannot be read: {e}", path.display()))
            .hint("--keys is the folder that afield keys init wrote")
    })
}

/// The newest root metadata of the repository that follows from the trusted one.
pub fn newest_root(metadata: &Path, trusted: &[u8]) -> Result<(RootContent, Vec<u8>), Failure> {
    trust::newest_root(metadata, trusted).map_err(|error| {
        Failure::refused(format!("the repository's root metadata is not in order: {error}")).hint(
            "someone wrote into metadata/ of the repository; restore it from a backup or a mirror",
        )
    })
}

/// That many days from now.
pub fn in_days(days: u32) -> Result<Timestamp, Failure> {
    let hours = i64::from(days) * 24;
    let then = Timestamp::now().checked_add(hours.hours());
    then.map_err(|_| Failure::usage(format!("{days} days are too many for [trust] in afield.toml")))
}
