//! Host keys of the fleet folder as files that ssh reads.

use std::path::PathBuf;

use afield_core::ids::ObjectId;
use anyhow::{Context as _, anyhow};

use crate::write;

/// A `known_hosts` file with just these lines. It stays, so that ssh can take this process's place, and is named
/// after its content, so that it is written once and two fleets do not meet in it.
pub fn known_hosts(lines: &str) -> anyhow::Result<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").filter(|dir| !dir.is_empty());
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = cache.map(PathBuf::from).or_else(home);
    let folder = cache
        .ok_or_else(|| anyhow!("neither HOME nor XDG_CACHE_HOME is set"))?
        .join("afield/known_hosts");
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let hex = ObjectId::of(lines.as_bytes()).hex();
    let path = folder.join(hex.get(..16).unwrap_or(&hex));
    write::replace(&path, lines.as_bytes(), false)?;
    Ok(path)
}
