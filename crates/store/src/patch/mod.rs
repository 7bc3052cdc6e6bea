//! Patches: the archive of a store path, made from archives that a host has.
//!
//! A patch is a list of operations (new bytes, then a copy out of a base) and the bytes that the operations
//! do not give: new ones, and corrections of copied ones. All of it passes one arithmetic coder whose models
//! learn while they go, so that both sides always know the same. Store hashes of references are read as the
//! target's before anything is compared. The format is in `docs/formats/patch.md`.
//!
//! Making one takes memory (five bytes for each byte of the largest pair of files); applying one does not:
//! bases are read where they lie, and the target is written as it comes.
//!
//! Nothing here is trusted: an applied patch counts once [`crate::nar::prove`] has seen its archive. When
//! that fails, [`blame`] tells which base is not what it was.

mod bases;
mod bytes;
mod codec;
mod coder;
mod diff;
mod make;
mod mix;
mod number;
mod plan;
mod program;
mod sink;
#[cfg(test)]
mod tests;
mod tree;

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek as _, Write};
use std::path::Path;

use afield_core::ids::{NarHash, StorePath};
use afield_core::release::PathInfo;

use crate::nar;
use bases::Bases;
use bytes::Bytes;
use coder::{Coder, Decoder};
use plan::Plan;
use program::Foresight;
use sink::Sink;
use tree::Tree;

pub use make::{Library, Made, Memory, make, stem};

/// The first bytes of a patch; the last one is the format's version.
const MAGIC: [u8; 8] = *b"AFPATCH\x02";
/// Version of the format that is written.
pub const FORMAT: u8 = MAGIC[7];
/// A patch has at most this many bases.
pub const MAX_BASES: usize = 8;
/// What compressors may take while the models are there, bytes.
const BESIDE: u64 = 4 << 20;
/// Bytes that are handled at once.
const CHUNK: usize = 1 << 16;

/// A store path, and the folder or file in which it lies now.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// What Nix knows of it.
    pub info: &'a PathInfo,
    /// Where it lies: usually its own path, below the root of its store.
    pub dir: &'a Path,
}

/// Why a patch was not made or not applied.
#[derive(Debug, thiserror::Error)]
pub enum PatchError {
    /// Reading the patch failed.
    #[error("the patch cannot be read")]
    Read(#[source] io::Error),
    /// Writing what it makes failed.
    #[error("what the patch makes cannot be written")]
    Write(#[source] io::Error),
    /// No room beside, or no right to write there.
    #[error("opened files cannot be kept beside")]
    Scratch(#[source] io::Error),
    /// A compressor refused to go on.
    #[error("a file cannot be compressed as the patch says")]
    Compress(#[source] io::Error),
    /// Something else than a patch.
    #[error("this is no patch")]
    NotAPatch,
    /// Written by a newer Afield.
    #[error("the patch has format {0}, and this version reads format 2; update Afield here first")]
    Format(u8),
    /// It ends in the middle.
    #[error("the patch ends in the middle")]
    Truncated,
    /// It says what cannot be.
    #[error("the patch is damaged: {0}")]
    Corrupt(&'static str),
    /// Operations that make nothing, which could go on for ever.
    #[error("the patch has operations that make nothing")]
    Looping,
    /// It is for another store path, or another version of it.
    #[error("the patch does not make {0}: it was swapped")]
    OtherTarget(StorePath),
    /// It would make more or less than was signed.
    #[error("the patch makes {found} bytes, and {signed} were signed")]
    Size {
        /// Signed length of the archive.
        signed: u64,
        /// What the patch says.
        found: u64,
    },
    /// It unpacks to more than it may.
    #[error("the patch unpacks to more than it may")]
    Bomb,
    /// More parts than memory is kept for.
    #[error("the patch is too large to apply: {0}")]
    TooLarge(&'static str),
    /// Other bases than it was made for.
    #[error("the patch needs {wanted} bases, and {found} are given")]
    BaseCount {
        /// How many it needs.
        wanted: usize,
        /// How many there are.
        found: usize,
    },
    /// Not the base that it was made against.
    #[error("the patch was made against another content of {0}; fetch the full object")]
    WrongBase(StorePath),
    /// The base on disk is not what Nix's database says.
    #[error(
        "{path} is not what it was when it was installed: {why}; run nix-store --verify-path on it"
    )]
    BaseChanged {
        /// The base.
        path: StorePath,
        /// How that showed.
        why: String,
    },
    /// Making it took longer than it was given.
    #[error("the time for the patch is up; the full object serves")]
    Late,
    /// The target changed while its patch was made.
    #[error("{0} changed while its patch was made")]
    TargetChanged(StorePath),
}

/// Makes the archive of `target` from a patch and its bases, in the order of the offer. `scratch` is a folder
/// for a file without a name that is as large as what is opened. Peak memory is below 64 MiB.
pub fn apply(
    mut patch: impl Read,
    target: &PathInfo,
    bases: &[Source],
    scratch: &Path,
    out: impl Write,
) -> Result<(), PatchError> {
    read_header(&mut patch, target, bases)?;
    let trees = trees(bases)?;
    let mut space = Bases::new(bases, &trees.iter().collect::<Vec<_>>())?;
    let mut coder = Decoder::new(patch)?;
    let mut plan = Plan::default();
    plan.code(&mut coder)?;
    let (contents, memory) = plan.contents()?;
    plan.check_opened(&space)?;
    for opened in &plan.opened {
        space.open(opened, scratch)?;
    }
    space.rename(plan.renamed(target, bases)?);
    plan.check(target, &space)?;
    let mut sink = Sink::new(&plan, contents, out);
    if memory <= BESIDE {
        walk(&plan, &mut space, &mut coder, &mut sink)?;
        coder.finish()?;
    } else {
        // The models must be gone before the compressors come.
        let mut made = tempfile::tempfile_in(scratch).map_err(PatchError::Scratch)?;
        walk(&plan, &mut space, &mut coder, &mut Spool(BufWriter::new(&made)))?;
        coder.finish()?;
        drop(space);
        made.rewind().map_err(PatchError::Scratch)?;
        sink.copy(made)?;
    }
    sink.finish()
}

/// The archive of what lies at a path, as a stream: what `nix-store --dump` writes.
pub fn archive(root: &Path) -> io::Result<impl Read> {
    Ok(tree::Whole::of(Tree::of(root)?))
}

/// Which base is not what Nix's database says of it, if any: what to ask when the archive that a patch made
/// was not proved.
pub fn blame(bases: &[Source]) -> Result<(), PatchError> {
    for (base, tree) in bases.iter().zip(trees(bases)?) {
        nar::prove(tree::Whole::of(tree), base.info.nar_size, base.info.nar_hash).map_err(|e| {
            PatchError::BaseChanged { path: base.info.path.clone(), why: e.to_string() }
        })?;
    }
    Ok(())
}

/// The trees of the bases; one whose archive has another length than the database says is refused.
fn trees(bases: &[Source]) -> Result<Vec<Tree>, PatchError> {
    let tree = |base: &Source| {
        let tree = Tree::of(base.dir).map_err(|e| tree::changed(&base.info.path, e))?;
        if tree.len() == base.info.nar_size {
            return Ok(tree);
        }
        Err(PatchError::BaseChanged {
            path: base.info.path.clone(),
            why: format!("its archive has {} bytes, not {}", tree.len(), base.info.nar_size),
        })
    };
    bases.iter().map(tree).collect()
}

/// The start of a NAR hash, enough to tell a mistake; a lie is found by the proof.
fn mark(hash: &NarHash) -> [u8; 4] {
    let mut mark = [0; 4];
    let hex = hash.hex();
    for (k, byte) in mark.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * k..2 * k + 2], 16).unwrap_or(0);
    }
    mark
}

fn header(target: &PathInfo, bases: &[Source]) -> Vec<u8> {
    let mut header = MAGIC.to_vec();
    header.extend(mark(&target.nar_hash));
    header.push(bases.len() as u8);
    bases.iter().for_each(|b| header.extend(mark(&b.info.nar_hash)));
    header
}

fn read_header(
    patch: &mut impl Read,
    target: &PathInfo,
    bases: &[Source],
) -> Result<(), PatchError> {
    let mut read = |buffer: &mut [u8]| {
        patch.read_exact(buffer).map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => PatchError::Truncated,
            _ => PatchError::Read(e),
        })
    };
    let mut fixed = [0; 13];
    read(&mut fixed)?;
    if fixed[..7] != MAGIC[..7] {
        return Err(PatchError::NotAPatch);
    }
    if fixed[7] != MAGIC[7] {
        return Err(PatchError::Format(fixed[7]));
    }
    if fixed[8..12] != mark(&target.nar_hash) {
        return Err(PatchError::OtherTarget(target.path.clone()));
    }
    let (wanted, found) = (usize::from(fixed[12]), bases.len());
    if wanted != found || wanted > MAX_BASES {
        return Err(PatchError::BaseCount { wanted, found });
    }
    for base in bases {
        let mut found = [0; 4];
        read(&mut found)?;
        if found != mark(&base.info.nar_hash) {
            return Err(PatchError::WrongBase(base.info.path.clone()));
        }
    }
    Ok(())
}

/// The target, passing by: read when a patch is made, written when it is applied.
trait Tape {
    /// Fills in the next bytes, if they are known.
    fn before(&mut self, bytes: &mut [u8]) -> Result<(), PatchError>;
    /// Takes the next bytes.
    fn after(&mut self, bytes: &[u8]) -> Result<(), PatchError>;
    /// Takes bytes that are as in a base.
    fn same(&mut self, bytes: &[u8]) -> Result<(), PatchError>;
    /// All has come.
    fn end(&mut self) -> Result<(), PatchError> {
        Ok(())
    }
}

/// Keeps everything as it comes.
struct Spool<'f>(BufWriter<&'f File>);

impl Tape for Spool<'_> {
    fn before(&mut self, _: &mut [u8]) -> Result<(), PatchError> {
        Ok(())
    }

    fn after(&mut self, bytes: &[u8]) -> Result<(), PatchError> {
        self.0.write_all(bytes).map_err(PatchError::Scratch)
    }

    fn same(&mut self, bytes: &[u8]) -> Result<(), PatchError> {
        self.after(bytes)
    }

    fn end(&mut self) -> Result<(), PatchError> {
        self.0.flush().map_err(PatchError::Scratch)
    }
}

/// Carries out a plan: the same for both directions.
fn walk(
    plan: &Plan,
    bases: &mut Bases,
    coder: &mut impl Coder,
    tape: &mut impl Tape,
) -> Result<(), PatchError> {
    let foresight = Foresight::new(plan, bases)?;
    let mut place = 0;
    let mut model = Bytes::new();
    let mut bytes = vec![0; CHUNK];
    let mut expected = vec![0; CHUNK + 2 * MARGIN as usize];
    for op in &plan.ops {
        place += op.fresh;
        for n in chunks(op.fresh) {
            tape.before(&mut bytes[..n])?;
            model.fresh(coder, &mut bytes[..n])?;
            tape.after(&bytes[..n])?;
        }
        let mut at = op.from;
        for n in chunks(op.copy) {
            if op.exact {
                bases.read(at, &mut bytes[..n])?;
                model.known(&bytes[..n]);
                tape.same(&bytes[..n])?;
            } else {
                let start = expect(bases, &foresight, at, n, place, &mut expected)?;
                tape.before(&mut bytes[..n])?;
                model.aligned(coder, &expected, start, &mut bytes[..n])?;
                tape.after(&bytes[..n])?;
            }
            at += n as u64;
            place += n as u64;
        }
    }
    tape.end()
}

/// Bytes of a base that the models look at around the one that is due.
const MARGIN: u64 = 8;

/// Fills `expected` with what is likely at `place` of the target, from `n` bytes of the bases at `at` and a few
/// around them; returns where the first of the `n` stands in it.
fn expect(
    bases: &mut Bases,
    foresight: &Foresight,
    at: u64,
    n: usize,
    place: u64,
    expected: &mut Vec<u8>,
) -> Result<usize, PatchError> {
    let from = at.saturating_sub(MARGIN);
    let to = (at + n as u64 + MARGIN).min(bases.len());
    expected.resize((to - from) as usize, 0);
    bases.read(from, expected)?;
    if let Some(program) = foresight.program(at) {
        let before = at - from;
        foresight.foretell(program, expected, from, place.wrapping_sub(before));
    }
    Ok((at - from) as usize)
}

/// The lengths of the pieces of something that is handled piece by piece.
fn chunks(len: u64) -> impl Iterator<Item = usize> {
    let whole = (0..len / CHUNK as u64).map(|_| CHUNK);
    whole.chain([(len % CHUNK as u64) as usize].into_iter().filter(|n| *n > 0))
}
