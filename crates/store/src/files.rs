//! Files that survive a power cut: written beside, synced, renamed, and the folder synced.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use rustix::fs::OFlags;

use crate::fault;

/// Replaces the file `path` with `bytes`, all or nothing: after a power cut it has the old content or the new.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_atomic_mode(path, bytes, 0o644)
}

/// Like [`write_atomic`], with the permission bits `mode`.
pub fn write_atomic_mode(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let folder = path.parent().ok_or_else(|| io::Error::other("a path without a folder"))?;
    let name = path.file_name().ok_or_else(|| io::Error::other("a path without a name"))?;
    let beside = folder.join(format!(".{}.new", name.to_string_lossy()));
    let mut options = fs::OpenOptions::new();
    // A leftover of a power cut may be in the way, with another mode.
    remove_if_there(&beside)?;
    let mut file = options.write(true).create_new(true).mode(mode).open(&beside)?;
    file.write_all(bytes)?;
    fault::point("write:written");
    file.sync_all()?;
    fault::point("write:synced");
    fs::rename(&beside, path)?;
    fault::point("write:renamed");
    sync_dir(folder)
}

/// Makes the names in a folder durable.
pub fn sync_dir(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Removes a file; that it is not there is no error.
pub fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// The whole file, if it has at most `max` bytes.
pub fn read_limited(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    all_of(File::open(path)?, path, max)
}

fn all_of(file: File, path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("{} has more than {max} bytes", path.display()),
        ));
    }
    Ok(bytes)
}

/// Like [`read_limited`], for a file in a folder of somebody else's: a link is not followed, and what is no regular file,
/// such as a pipe on which the reader would wait for ever, is an error.
pub fn read_foreign(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    all_of(open_regular(path, OFlags::NOFOLLOW)?, path, max)
}

/// The same, and a link is followed.
pub fn read_regular(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    all_of(open_regular(path, OFlags::empty())?, path, max)
}

fn open_regular(path: &Path, more: OFlags) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let flags = (more | OFlags::NONBLOCK).bits().cast_signed();
    let file = fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other(format!("{} is no regular file", path.display())));
    }
    Ok(file)
}

/// Like [`read_limited`]; `None` if there is no such file.
pub fn read_if_there(path: &Path, max: u64) -> io::Result<Option<Vec<u8>>> {
    match read_limited(path, max) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}
