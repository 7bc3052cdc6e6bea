//! Root metadata: the one that trust starts from, and the newest.

use std::path::Path;

use afield_store::files;
use afield_store::trust::{self, MAX_ROOT, RootContent};
use anyhow::Context as _;
use jiff::{Timestamp, ToSpan as _};

use crate::exit::Failure;

/// The trust root in a folder of keys.
pub fn read_trust_root(keys: &Path) -> Result<Vec<u8>, Failure> {
    let path = keys.join("root.json");
    files::read_limited(&path, MAX_ROOT).map_err(|e| {
        Failure::usage(format!(
            "the trust root {} cannot be read: {e}",
            path.display()
        ))
        .hint("--keys is the folder that afield keys init wrote")
    })
}

/// The newest root metadata of the repository that follows from the trusted one.
pub fn newest_root(metadata: &Path, trusted: &[u8]) -> Result<(RootContent, Vec<u8>), Failure> {
    let mut bytes = trusted.to_vec();
    let mut content = trust::read_root(&bytes)?;
    loop {
        let path = metadata.join(format!("{}.root.json", content.version + 1));
        let next =
            files::read_if_there(&path, MAX_ROOT).with_context(|| path.display().to_string())?;
        let Some(next) = next else {
            return Ok((content, bytes));
        };
        content = trust::read_root(&next)?;
        bytes = next;
    }
}

/// That many days from now.
pub fn in_days(days: u32) -> Result<Timestamp, Failure> {
    let hours = i64::from(days) * 24;
    let then = Timestamp::now().checked_add(hours.hours());
    then.map_err(|_| {
        Failure::usage(format!(
            "{days} days are too many for [trust] in afield.toml"
        ))
    })
}
