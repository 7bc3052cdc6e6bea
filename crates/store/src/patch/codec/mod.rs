//! Compressed contents that are opened: looked into, patched inside, and compressed again to the same bytes.
//!
//! Compressors are deterministic, so the content and a recipe (which compressor, which level) are enough to make
//! a file again. That is tried when a patch is made; what does not come out bit for bit stays closed, and so
//! does what a host could not make again in the memory that it has for it.

mod deflate;
pub mod gzip;
mod huffman;
#[cfg(test)]
mod tests;
pub mod xz;
pub mod zstd;

use std::io::{self, Read};

use super::PatchError;
use super::coder::Coder;
use super::number::Number;

/// What all compressors that run at once may take on a host, bytes.
pub const MEMORY: u64 = 48 << 20;
/// Larger windows are not read on a host, bytes.
const MAX_WINDOW: u64 = 32 << 20;
/// Nor are windows of this size if the content is short.
const MAX_NAMED: u64 = 128 << 20;
/// Larger contents stay closed.
const MAX_RAW: u64 = 1 << 30;
/// Contents are at most so many times longer than what is packed, so that nobody fills a host's disk with zeros.
pub const RATIO: u64 = 1033;
/// Compressed within compressed, at most so deep: an archive, a module in it.
pub const MAX_DEPTH: usize = 3;
/// Numbers of a recipe.
const FIELDS: usize = 9;
const DAMAGED: PatchError = PatchError::Corrupt("a compression that does not exist");

/// How a content is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recipe {
    Gzip(gzip::Recipe),
    Xz(xz::Recipe),
    Zstd(zstd::Recipe),
}

/// A compressed content that was opened.
#[derive(Debug)]
pub struct Open {
    /// The content.
    pub raw: Vec<u8>,
    /// Bytes at the start that stay as they are.
    pub header: usize,
    /// Length of the compressed file, its header included.
    pub packed: usize,
}

/// Why something stays closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// No known recipe makes it again.
    Unknown,
    /// A recipe is known or likely, and would take more memory than a host has for it.
    Memory,
}

/// A compressor that runs.
pub trait Closer {
    /// Takes a piece of the content, and adds to `out` what is ready.
    fn write(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> io::Result<()>;
    /// Adds the rest.
    fn finish(&mut self, out: &mut Vec<u8>) -> io::Result<()>;
}

/// Whether a content is compressed by a known method.
pub fn likely(start: &[u8]) -> bool {
    [gzip::MAGIC, xz::MAGIC, zstd::MAGIC].iter().any(|magic| start.starts_with(magic))
}

/// A reader of the content of one compressed file; nothing behind its end is given out. A window larger than a
/// host has memory for is no matter if the whole content, `raw` bytes at most, is shorter than that.
pub fn reader<'r>(
    start: &[u8],
    packed: impl io::BufRead + 'r,
    raw: u64,
) -> io::Result<Box<dyn Read + 'r>> {
    let window = if raw <= MAX_WINDOW { MAX_NAMED } else { MAX_WINDOW };
    if start.starts_with(xz::MAGIC) {
        Ok(Box::new(xz::reader(packed, window)?))
    } else if start.starts_with(zstd::MAGIC) {
        Ok(Box::new(zstd::reader(packed, window)?))
    } else {
        Ok(Box::new(flate2::bufread::GzDecoder::new(packed)))
    }
}

/// Opens what `bytes` begin with; what follows its end is left alone.
pub fn open(bytes: &[u8]) -> Option<Open> {
    let most = (bytes.len() as u64).saturating_mul(RATIO).min(MAX_RAW);
    let short = most.min(MAX_WINDOW);
    let (raw, packed) = inflate(bytes, short).or_else(|| inflate(bytes, most))?;
    let header = if bytes.starts_with(gzip::MAGIC) { gzip::header(bytes)? } else { 0 };
    let most = (packed as u64).saturating_mul(RATIO);
    (!raw.is_empty() && raw.len() as u64 <= most).then_some(Open { raw, header, packed })
}

/// A content of at most `most` bytes, and how many bytes it was packed in.
fn inflate(bytes: &[u8], most: u64) -> Option<(Vec<u8>, usize)> {
    let (mut raw, mut left) = (Vec::new(), bytes);
    let mut content = reader(bytes, &mut left, most).ok()?.take(most + 1);
    content.read_to_end(&mut raw).ok()?;
    drop(content);
    (raw.len() as u64 <= most).then_some((raw, bytes.len() - left.len()))
}

/// The recipe that makes `packed`, which has no header, again out of `raw`, if a host can follow it; `plain` is
/// how many bytes of the content the patch makes as they are.
pub fn prove(packed: &[u8], raw: &[u8], plain: u64) -> Result<Recipe, Closed> {
    let recipes: Box<dyn Iterator<Item = Recipe>> = if packed.starts_with(xz::MAGIC) {
        Box::new(xz::recipes(packed, raw.len() as u64).into_iter().map(Recipe::Xz))
    } else if packed.starts_with(zstd::MAGIC) {
        let all = zstd::recipes(packed, raw.len() as u64, plain);
        Box::new(all.into_iter().map(Recipe::Zstd))
    } else {
        Box::new(gzip::recipes().map(Recipe::Gzip))
    };
    let mut why = Closed::Unknown;
    for recipe in recipes {
        if recipe.memory(raw.len() as u64) > MEMORY {
            why = Closed::Memory;
        } else if makes(recipe, raw, plain, packed) {
            return Ok(recipe);
        }
    }
    Err(why)
}

/// Whether a recipe makes exactly these bytes; the first wrong one ends the trial.
fn makes(recipe: Recipe, raw: &[u8], plain: u64, packed: &[u8]) -> bool {
    let Ok(mut closer) = recipe.closer(plain) else {
        return false;
    };
    let (mut out, mut seen) = (Vec::new(), 0);
    let mut agrees = |out: &mut Vec<u8>| {
        let same = packed[seen..].starts_with(out);
        seen += if same { out.len() } else { 0 };
        out.clear();
        same
    };
    for piece in raw.chunks(super::CHUNK) {
        if closer.write(piece, &mut out).is_err() || !agrees(&mut out) {
            return false;
        }
    }
    closer.finish(&mut out).is_ok() && agrees(&mut out) && seen == packed.len()
}

impl Recipe {
    /// A compressor for a content of which the patch makes `plain` bytes.
    pub fn closer(self, plain: u64) -> io::Result<Box<dyn Closer>> {
        match self {
            Self::Gzip(recipe) => Ok(Box::new(gzip::Gzip::new(recipe)?)),
            Self::Xz(recipe) => Ok(Box::new(xz::Xz::new(recipe)?)),
            Self::Zstd(recipe) => Ok(Box::new(zstd::Zstd::new(recipe, plain)?)),
        }
    }

    /// What its compressor takes at most for a content of this length, bytes.
    pub fn memory(self, raw: u64) -> u64 {
        match self {
            Self::Gzip(_) => 2 << 20,
            Self::Xz(recipe) => recipe.memory(raw),
            Self::Zstd(recipe) => recipe.memory(raw),
        }
    }

    /// Writes a recipe, or reads one.
    pub fn code(
        recipe: Option<Self>,
        coder: &mut impl Coder,
        numbers: &mut Number,
    ) -> Result<Self, PatchError> {
        let (kind, mut fields) = recipe.map_or((0, [0; FIELDS]), Self::fields);
        let kind = numbers.code(coder, kind)?;
        let used = match kind {
            0 => 1,
            1 => FIELDS,
            2 => 5,
            _ => return Err(DAMAGED),
        };
        for field in &mut fields[..used] {
            *field = numbers.code(coder, *field)?;
        }
        let found = match kind {
            0 => gzip::Recipe::of(fields).map(Self::Gzip),
            1 => xz::Recipe::of(fields).map(Self::Xz),
            _ => zstd::Recipe::of(fields).map(Self::Zstd),
        };
        found.ok_or(DAMAGED)
    }

    fn fields(self) -> (u64, [u64; FIELDS]) {
        match self {
            Self::Gzip(recipe) => (0, recipe.fields()),
            Self::Xz(recipe) => (1, recipe.fields()),
            Self::Zstd(recipe) => (2, recipe.fields()),
        }
    }
}
