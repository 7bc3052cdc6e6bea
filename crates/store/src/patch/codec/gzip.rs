//! Gzip files (RFC 1952). Their headers (a time, a name) stay as they are; what is deflated, its CRC and its length
//! are made by the host.

use std::io;

use super::deflate::{Deflater, Method};
use super::{Closer, FIELDS};

pub const MAGIC: &[u8] = &[0x1f, 0x8b, 8];
/// CRC and length behind the deflated content.
const TRAILER: usize = 8;

/// The number of a method of [`Method::ALL`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recipe(usize);

impl Recipe {
    pub fn of(fields: [u64; FIELDS]) -> Option<Self> {
        let method = usize::try_from(fields[0]).ok()?;
        (method < Method::ALL.len()).then_some(Self(method))
    }

    pub fn fields(self) -> [u64; FIELDS] {
        let mut fields = [0; FIELDS];
        fields[0] = self.0 as u64;
        fields
    }
}

/// What could have made a file's body.
pub fn recipes() -> impl Iterator<Item = Recipe> {
    (0..Method::ALL.len()).map(Recipe)
}

/// Length of the header (RFC 1952, 2.3).
pub fn header(file: &[u8]) -> Option<usize> {
    if !file.starts_with(MAGIC) || file.len() < 10 + TRAILER {
        return None;
    }
    let flags = file[3];
    let mut at = 10;
    // Only names and comments; extra fields and header checksums do not occur.
    if flags & !0b1_1001 != 0 {
        return None;
    }
    for flag in [8, 16] {
        if flags & flag != 0 {
            at += file.get(at..)?.iter().position(|b| *b == 0)? + 1;
        }
    }
    (at + TRAILER <= file.len()).then_some(at)
}

/// Deflates, and counts.
pub struct Gzip {
    deflater: Deflater,
    crc: flate2::Crc,
}

impl Gzip {
    pub fn new(recipe: Recipe) -> io::Result<Self> {
        let method = Method::ALL.get(recipe.0).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Self { deflater: Deflater::new(*method), crc: flate2::Crc::new() })
    }
}

impl Closer for Gzip {
    fn write(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        self.crc.update(bytes);
        self.deflater.write(bytes, out);
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        self.deflater.finish(out);
        out.extend(self.crc.sum().to_le_bytes());
        out.extend(self.crc.amount().to_le_bytes());
        Ok(())
    }
}
