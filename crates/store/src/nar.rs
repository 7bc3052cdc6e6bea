//! NAR, Nix's archive of a store path: checked while it streams by, never trusted.
//!
//! Format: E. Dolstra, "The Purely Functional Software Deployment Model" (2006), figure 5.2; Nix manual,
//! "Nix Archive (NAR) format". Strings are a 64-bit little-endian length, the bytes, and zeros up to a
//! multiple of 8. Names in a folder are strictly ascending, which also rules out duplicates.

use std::io::{self, Read};

use afield_core::ids::NarHash;
use sha2::{Digest as _, Sha256};

/// Folders deeper than this are refused; Nix itself has no limit, real closures stay below 40.
const MAX_DEPTH: usize = 256;
/// Longest file name, as on Linux (NAME_MAX).
const MAX_NAME: u64 = 255;
/// Longest symlink target, as on Linux (PATH_MAX).
const MAX_TARGET: u64 = 4095;

/// Why a stream is not the NAR that it should be.
#[derive(Debug, thiserror::Error)]
pub enum NarError {
    /// Reading it failed.
    #[error("reading the archive failed")]
    Io(#[from] io::Error),
    /// It ended in the middle.
    #[error("the archive ends in the middle")]
    Truncated,
    /// More bytes than it was declared to have.
    #[error("the archive goes on after the {0} bytes that it was declared to have")]
    TooLong(u64),
    /// It is no NAR at this place.
    #[error("the archive is malformed: {0}")]
    Malformed(&'static str),
    /// A name that leaves its folder or cannot be one.
    #[error("the archive has an entry named {0:?}, which is no file name")]
    BadName(String),
    /// Names out of order, or one twice.
    #[error(
        "the archive has the entry {next:?} after {before:?}; entries must be sorted and unique"
    )]
    Unsorted {
        /// The earlier one.
        before: String,
        /// The one that should have come before it.
        next: String,
    },
    /// A well-formed archive of something else.
    #[error("the archive has the hash {found}, not {wanted}")]
    WrongHash {
        /// What was promised.
        wanted: NarHash,
        /// What came.
        found: NarHash,
    },
}

/// Reads a whole NAR and proves its structure, its length and its hash.
pub fn prove(reader: impl Read, size: u64, wanted: NarHash) -> Result<(), NarError> {
    let mut nar = Parser { reader, left: size, size, hash: Sha256::new() };
    nar.expect(b"nix-archive-1")?;
    nar.node(0)?;
    if nar.left > 0 {
        return Err(NarError::Malformed("something follows its end"));
    }
    nar.nothing_follows()?;
    let found = NarHash::from_bytes(nar.hash.finalize().into());
    if found != wanted {
        return Err(NarError::WrongHash { wanted, found });
    }
    Ok(())
}

struct Parser<R> {
    reader: R,
    /// Bytes that may still come.
    left: u64,
    size: u64,
    hash: Sha256,
}

impl<R: Read> Parser<R> {
    fn take(&mut self, buffer: &mut [u8]) -> Result<(), NarError> {
        let n = buffer.len() as u64;
        if n > self.left {
            // Declared too short, or cut: the reader knows which.
            return match self.reader.read(&mut [0]) {
                Ok(0) => Err(NarError::Truncated),
                Ok(_) => Err(NarError::TooLong(self.size)),
                Err(e) => Err(truncated(e)),
            };
        }
        self.reader.read_exact(buffer).map_err(truncated)?;
        self.hash.update(&*buffer);
        self.left -= n;
        Ok(())
    }

    fn nothing_follows(&mut self) -> Result<(), NarError> {
        match self.reader.read(&mut [0])? {
            0 => Ok(()),
            _ => Err(NarError::TooLong(self.size)),
        }
    }

    fn number(&mut self) -> Result<u64, NarError> {
        let mut bytes = [0; 8];
        self.take(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn padding(&mut self, length: u64) -> Result<(), NarError> {
        let mut zeros = [0; 8];
        let n = (8 - length % 8) % 8;
        // n is below 8.
        let zeros = &mut zeros[..n as usize];
        self.take(zeros)?;
        if zeros.iter().any(|b| *b != 0) {
            return Err(NarError::Malformed("padding that is not zero"));
        }
        Ok(())
    }

    fn text(&mut self, max: u64) -> Result<Vec<u8>, NarError> {
        let length = self.number()?;
        if length > max {
            return Err(NarError::Malformed("a text longer than any can be"));
        }
        let mut text = vec![0; length as usize];
        self.take(&mut text)?;
        self.padding(length)?;
        Ok(text)
    }

    fn expect(&mut self, wanted: &'static [u8]) -> Result<(), NarError> {
        if self.text(32)? == wanted {
            return Ok(());
        }
        Err(NarError::Malformed("an unexpected word"))
    }

    fn node(&mut self, depth: usize) -> Result<(), NarError> {
        if depth > MAX_DEPTH {
            return Err(NarError::Malformed("folders nested too deeply"));
        }
        self.expect(b"(")?;
        self.expect(b"type")?;
        match self.text(32)?.as_slice() {
            b"regular" => self.regular(),
            b"symlink" => self.symlink(),
            b"directory" => self.directory(depth),
            _ => Err(NarError::Malformed("an unknown type of entry")),
        }
    }

    fn regular(&mut self) -> Result<(), NarError> {
        loop {
            match self.text(32)?.as_slice() {
                b")" => return Ok(()),
                b"executable" => self.expect(b"")?,
                b"contents" => {
                    self.contents()?;
                    return self.expect(b")");
                }
                _ => return Err(NarError::Malformed("an unknown property of a file")),
            }
        }
    }

    fn contents(&mut self) -> Result<(), NarError> {
        let length = self.number()?;
        let mut buffer = [0; 64 * 1024];
        let mut left = length;
        while left > 0 {
            let n = left.min(buffer.len() as u64);
            self.take(&mut buffer[..n as usize])?;
            left -= n;
        }
        self.padding(length)
    }

    fn symlink(&mut self) -> Result<(), NarError> {
        self.expect(b"target")?;
        let target = self.text(MAX_TARGET)?;
        if target.is_empty() || target.contains(&0) {
            return Err(NarError::Malformed("a symlink without a target"));
        }
        self.expect(b")")
    }

    fn directory(&mut self, depth: usize) -> Result<(), NarError> {
        let mut before: Option<Vec<u8>> = None;
        loop {
            match self.text(32)?.as_slice() {
                b")" => return Ok(()),
                b"entry" => {}
                _ => return Err(NarError::Malformed("an unknown property of a folder")),
            }
            self.expect(b"(")?;
            self.expect(b"name")?;
            let name = self.text(MAX_NAME)?;
            check_name(&name)?;
            if let Some(before) = before.filter(|b| *b >= name) {
                return Err(NarError::Unsorted { before: lossy(&before), next: lossy(&name) });
            }
            before = Some(name);
            self.expect(b"node")?;
            self.node(depth + 1)?;
            self.expect(b")")?;
        }
    }
}

fn check_name(name: &[u8]) -> Result<(), NarError> {
    let bad = matches!(name, b"" | b"." | b"..") || name.contains(&b'/') || name.contains(&0);
    if bad { Err(NarError::BadName(lossy(name))) } else { Ok(()) }
}

fn lossy(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

fn truncated(e: io::Error) -> NarError {
    match e.kind() {
        io::ErrorKind::UnexpectedEof => NarError::Truncated,
        _ => NarError::Io(e),
    }
}
