//! Replaces files atomically: whoever reads sees the old content or the new, never half of it.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;

/// What a write would do, or did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// The file has this content already.
    Unchanged,
    /// The file gets other content.
    Replaced,
    /// The file is new.
    Created,
}

impl Written {
    /// A word for people.
    pub fn word(self) -> &'static str {
        match self {
            Written::Unchanged => "unchanged",
            Written::Replaced => "replaced",
            Written::Created => "created",
        }
    }
}

/// Writes a file by way of a temporary one beside it; with `dry_run` only tells what would be done.
pub fn replace(path: &Path, content: &[u8], dry_run: bool) -> anyhow::Result<Written> {
    let old = match fs::read(path) {
        Ok(old) => Some(old),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let written = match &old {
        Some(old) if old == content => return Ok(Written::Unchanged),
        Some(_) => Written::Replaced,
        None => Written::Created,
    };
    if dry_run {
        return Ok(written);
    }
    let write = || -> anyhow::Result<()> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(content)?;
        // Like any file that a person makes; a temporary one is for its owner alone.
        let mode = fs::metadata(path).map(|meta| meta.permissions()).ok();
        let mode = mode.unwrap_or_else(|| std::os::unix::fs::PermissionsExt::from_mode(0o644));
        file.as_file().set_permissions(mode)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        fs::File::open(folder)?.sync_all()?;
        Ok(())
    };
    write().with_context(|| format!("cannot write {}", path.display()))?;
    Ok(written)
}
