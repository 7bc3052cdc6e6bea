//! Reading a bundle that is one file: where in the archive each file lies, found once; the archive is not trusted.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

/// An archive has at most this many files.
const MAX_FILES: usize = 1_000_000;
/// A name in it has at most this many bytes.
const MAX_NAME: usize = 256;

/// What an archive holds.
#[derive(Debug)]
pub struct Index {
    path: PathBuf,
    places: BTreeMap<String, (u64, u64)>,
}

impl Index {
    /// Reads the headers of the archive `path`.
    pub fn open(path: &Path, file: File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        let mut places = BTreeMap::new();
        let mut archive = tar::Archive::new(BufReader::new(file));
        for entry in archive.entries_with_seek()? {
            let entry = entry?;
            if entry.header().entry_type() != tar::EntryType::Regular {
                continue;
            }
            let (at, size) = (entry.raw_file_position(), entry.size());
            if at.checked_add(size).is_none_or(|end| end > length) {
                return Err(wrong("it is cut off: copy it again"));
            }
            let name = entry.path_bytes();
            let name = std::str::from_utf8(&name).map_err(|_| wrong("a name is not text"))?;
            if name.len() > MAX_NAME || places.len() >= MAX_FILES {
                return Err(wrong("it has more files, or longer names, than a bundle can have"));
            }
            places.insert(name.to_owned(), (at, size));
        }
        if places.is_empty() {
            return Err(wrong("it is no archive that afield bundle export made"));
        }
        Ok(Self { path: path.to_owned(), places })
    }

    /// The archive.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file from byte `from` on, and how many bytes the whole file has; none if it is not in the archive.
    pub fn read(&self, name: &str, from: u64) -> io::Result<Option<(impl Read + use<>, u64)>> {
        let Some((at, size)) = self.places.get(name).copied() else {
            return Ok(None);
        };
        let mut file = File::open(&self.path)?;
        let from = from.min(size);
        file.seek(SeekFrom::Start(at + from))?;
        Ok(Some((file.take(size - from), size)))
    }
}
