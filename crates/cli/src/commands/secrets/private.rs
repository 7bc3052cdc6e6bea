//! A private folder in memory: plaintext that another program must see as a file.

use std::fs::{File, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

const TMPFS: i128 = 0x0102_1994;
const RAMFS: i128 = 0x8584_58f6;

/// Whether files in this folder are in memory, not on a disk.
pub fn is_in_memory(folder: &Path) -> bool {
    rustix::fs::statfs(folder).is_ok_and(|fs| matches!(i128::from(fs.f_type), TMPFS | RAMFS))
}

/// A folder that only we can enter (mode 0700), in memory, removed when dropped.
pub struct PrivateFolder(tempfile::TempDir);

impl PrivateFolder {
    /// Makes one in XDG_RUNTIME_DIR or /dev/shm, whichever is in memory.
    pub fn new() -> anyhow::Result<Self> {
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        for base in runtime.into_iter().chain([PathBuf::from("/dev/shm")]) {
            if !is_in_memory(&base) {
                continue;
            }
            let mut builder = tempfile::Builder::new();
            builder.prefix("afield-").permissions(Permissions::from_mode(0o700));
            if let Ok(folder) = builder.tempdir_in(&base) {
                return Ok(Self(folder));
            }
        }
        bail!(
            "there is no writable folder in memory (tmpfs): neither XDG_RUNTIME_DIR nor /dev/shm is one"
        )
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Keeps it when dropped, and tells its path.
    pub fn keep(self) -> PathBuf {
        self.0.keep()
    }
}

/// Makes a new file with mode 0600; an existing one is not touched.
pub fn create(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let what = || format!("cannot create {}", path.display());
    let mut file: File = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(what)?;
    file.write_all(bytes).with_context(what)
}
