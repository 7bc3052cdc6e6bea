//! Files with secrets in them: read with a limit, replaced whole or not at all.

use std::fs::{File, Permissions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use afield_core::secrets::age::{self, Recipient, Sealed};
use afield_core::secrets::vault;
use anyhow::{Context as _, bail};
use zeroize::Zeroizing;

/// Reads a file of at most `most` bytes.
pub fn read(path: &Path, most: usize) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let what = || format!("cannot read {}", path.display());
    let file = File::open(path).with_context(what)?;
    let length = file.metadata().with_context(what)?.len();
    if length > most as u64 {
        bail!("{} has {length} bytes; more than {most} are not read", path.display());
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(length as usize + 1));
    file.take(most as u64 + 1).read_to_end(&mut bytes).with_context(what)?;
    if bytes.len() > most {
        bail!("{} grew beyond {most} bytes while it was read", path.display());
    }
    Ok(bytes)
}

/// Reads a text file of at most `most` bytes.
pub fn read_text(path: &Path, most: usize) -> anyhow::Result<Zeroizing<String>> {
    let bytes = read(path, most)?;
    let text = std::str::from_utf8(&bytes)
        .with_context(|| format!("{} is not UTF-8 text", path.display()))?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// Replaces a file with bytes that may be on a disk: written beside it, synced, renamed. Keeps its mode; a new file
/// gets mode 0644 less the umask's bits, since it holds only what is encrypted.
pub fn replace(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    // A link stays a link.
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let what = || format!("cannot write {}", path.display());
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder.to_path_buf(),
        _ => PathBuf::from("."),
    };
    let mode = std::fs::metadata(&path).map_or(0o644, |data| data.permissions().mode() & 0o777);
    let mut file = tempfile::Builder::new()
        .prefix(".afield-")
        .permissions(Permissions::from_mode(mode))
        .tempfile_in(&folder)
        .with_context(what)?;
    file.write_all(bytes).with_context(what)?;
    file.as_file().sync_all().with_context(what)?;
    file.persist(&path).map_err(|error| error.error).with_context(what)?;
    File::open(&folder).and_then(|folder| folder.sync_all()).with_context(what)
}

/// Encrypts with a fresh salt.
pub fn seal_vault(plain: &[u8], password: &[u8], id: Option<&str>) -> anyhow::Result<String> {
    let mut salt = [0; 32];
    getrandom::fill(&mut salt).context("the system gives no randomness")?;
    Ok(vault::encrypt(plain, password, id, &salt)?)
}

/// Seals with age. If randomness fails on the way, nothing that was made is used.
pub fn seal_age(plain: &[u8], recipients: &[Recipient]) -> anyhow::Result<Sealed> {
    let mut failed = None;
    let sealed = age::encrypt(plain, recipients, &mut |bytes| {
        if let Err(error) = getrandom::fill(bytes) {
            failed = Some(error);
        }
    });
    match failed {
        Some(error) => Err(anyhow::Error::new(error).context("the system gives no randomness")),
        None => Ok(sealed?),
    }
}

/// Writes an age file, reads it back from the disk, and proves that every recipient can open it.
pub fn replace_proved(path: &Path, sealed: &Sealed, plain: &[u8]) -> anyhow::Result<()> {
    replace(path, sealed.file.as_bytes())?;
    let written = read(path, age::MAX_FILE)?;
    sealed.prove(&written, plain).map_err(|number| {
        anyhow::anyhow!("{}: recipient {} cannot open it", path.display(), number + 1)
    })
}
