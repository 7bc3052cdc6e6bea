//! One file as a place: a tar archive, which every operator's machine can look into. The same content gives the same
//! bytes.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use super::{Item, MirrorError, Place, folder};
use crate::files;

/// An archive that is being written; it gets its name when it is whole.
pub struct Archive {
    path: PathBuf,
    part: PathBuf,
    out: Option<tar::Builder<BufWriter<File>>>,
}

impl Archive {
    /// A new archive; it replaces one of that name when it is whole.
    pub fn new(path: &Path) -> Self {
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        Self { path: path.to_owned(), part: part.into(), out: None }
    }

    fn io(&self, name: &str, source: io::Error) -> MirrorError {
        MirrorError::Io { place: self.shown(), name: name.to_owned(), source }
    }

    fn folder(&self) -> &Path {
        let folder = self.path.parent().filter(|f| !f.as_os_str().is_empty());
        folder.unwrap_or(Path::new("."))
    }

    fn append(&mut self, item: &Item) -> io::Result<()> {
        let mut header = tar::Header::new_ustar();
        header.set_size(item.size);
        header.set_mode(0o644);
        header.set_entry_type(tar::EntryType::Regular);
        let file = File::open(&item.path)?;
        if self.out.is_none() {
            let part = File::create(&self.part)?;
            self.out = Some(tar::Builder::new(BufWriter::new(part)));
        }
        match &mut self.out {
            Some(out) => out.append_data(&mut header, &item.name, file),
            None => Ok(()),
        }
    }

    fn close(&mut self) -> io::Result<()> {
        let Some(out) = self.out.take() else {
            return Ok(());
        };
        let mut file = out.into_inner()?;
        file.flush()?;
        file.get_ref().sync_all()?;
        fs::rename(&self.part, &self.path)?;
        files::sync_dir(self.folder())
    }
}

impl Place for Archive {
    fn shown(&self) -> String {
        self.path.display().to_string()
    }

    fn list(&mut self) -> Result<BTreeMap<String, u64>, MirrorError> {
        Ok(BTreeMap::new())
    }

    fn get(&mut self, _name: &str) -> Result<Option<Vec<u8>>, MirrorError> {
        Ok(None)
    }

    fn put(&mut self, item: &Item) -> Result<(), MirrorError> {
        self.append(item).map_err(|e| self.io(&item.name, e))
    }

    fn is_one_file(&self) -> bool {
        true
    }

    fn limit(&self) -> Option<u64> {
        folder::limit(self.folder())
    }

    fn free(&self) -> Option<u64> {
        folder::free(self.folder())
    }

    fn finish(&mut self) -> Result<(), MirrorError> {
        self.close().map_err(|e| self.io("the file itself", e))
    }
}

impl Drop for Archive {
    fn drop(&mut self) {
        if self.out.is_some() {
            // It was given up half-way: nobody may take it for a bundle.
            let _ = files::remove_if_there(&self.part);
        }
    }
}
