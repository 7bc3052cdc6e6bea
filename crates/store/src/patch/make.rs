//! Making patches: which base for which file, and how they differ.

mod choice;
mod planner;
mod reading;
mod text;

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use afield_core::ids::{NarHash, StorePath};
use sha2::{Digest as _, Sha256};

use super::bases::{Bases, Renamed, names};
use super::coder::Encoder;
use super::plan::{MAX_OPS, Op, Plan};
use super::program::{Foresight, Image};
use super::tree::{Cache, Entry, Tree, changed};
use super::{CHUNK, PatchError, Source, Tape, chunks, expect, header, walk};
pub use choice::stem;
use choice::{Choice, pairs};
use planner::Planner;
use reading::Reading;
use text::Counts;

/// Smaller files are not looked for under other names.
const MIN_ELSEWHERE: u64 = 64;

/// What the hosts have: every candidate for a base, looked at once for all patches of a release.
pub struct Library<'a> {
    known: Vec<Known<'a>>,
    /// Files by their content, store hashes blanked.
    contents: HashMap<[u8; 32], (usize, usize)>,
}

struct Known<'a> {
    source: Source<'a>,
    looked: Arc<Looked>,
}

/// A candidate that was looked at: each of its files was read once.
struct Looked {
    tree: Tree,
    /// For each file, hash of its content, store hashes blanked; none if it is too small to be looked for.
    contents: Vec<Option<[u8; 32]>>,
}

/// What libraries have looked at, so that the next one need not do it again: hosts share most of what they have.
#[derive(Default)]
pub struct Memory {
    looked: HashMap<(StorePath, NarHash), Arc<Looked>>,
}

impl Memory {
    fn look(&mut self, source: &Source) -> Result<Arc<Looked>, PatchError> {
        let key = (source.info.path.clone(), source.info.nar_hash);
        if let Some(looked) = self.looked.get(&key) {
            return Ok(Arc::clone(looked));
        }
        let wrong = |e| changed(&source.info.path, e);
        let tree = Tree::of(source.dir).map_err(wrong)?;
        let mut contents = Vec::new();
        if tree.files().len() <= super::tree::MAX_ENTRIES {
            let blank = blank(source);
            for file in tree.files() {
                let worth = file.len >= MIN_ELSEWHERE;
                let hash = worth.then(|| content(&tree, file, &blank)).transpose();
                contents.push(hash.map_err(wrong)?);
            }
        }
        let looked = Arc::new(Looked { tree, contents });
        self.looked.insert(key, Arc::clone(&looked));
        Ok(looked)
    }
}

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// Length of the patch, bytes.
    pub size: u64,
    /// Its bases, in the order in which [`super::apply`] wants them.
    pub bases: Vec<StorePath>,
    /// Bytes of the target that no base has.
    pub fresh: u64,
    /// Bytes that are copied, exactly or nearly.
    pub copied: u64,
    /// Compressed files that are made from within.
    pub opened: u64,
    /// Compressed files that stay closed because nothing known makes them again.
    pub closed: u64,
    /// Compressed files that stay closed because making them again would take a host more memory than there is.
    pub closed_for_memory: u64,
}

impl<'a> Library<'a> {
    /// Looks at all candidates: each file is read once.
    pub fn new(sources: impl IntoIterator<Item = Source<'a>>) -> Result<Self, PatchError> {
        Self::remembering(sources, &mut Memory::default())
    }

    /// Likewise; what the memory has is not read again.
    pub fn remembering(
        sources: impl IntoIterator<Item = Source<'a>>,
        memory: &mut Memory,
    ) -> Result<Self, PatchError> {
        let mut library = Self { known: Vec::new(), contents: HashMap::new() };
        for source in sources {
            let looked = memory.look(&source)?;
            if looked.tree.files().len() > super::tree::MAX_ENTRIES {
                continue;
            }
            let k = library.known.len();
            for (f, hash) in looked.contents.iter().enumerate() {
                if let Some(hash) = hash {
                    library.contents.entry(*hash).or_insert((k, f));
                }
            }
            library.known.push(Known { source, looked });
        }
        Ok(library)
    }

    /// The candidate whose name is most like that of `path`.
    fn primary(&self, path: &StorePath) -> Option<usize> {
        let stem = stem(path.name());
        let alike = |k: &Known| {
            let name = k.source.info.path.name();
            let same = name == path.name();
            (stem == choice::stem(name)).then_some((same, k.source.info.path.clone()))
        };
        let all = self.known.iter().enumerate();
        all.filter_map(|(k, known)| alike(known).map(|a| (a, k))).max().map(|(_, k)| k)
    }
}

/// When making a patch is given up; none is never.
#[derive(Debug, Clone, Copy, Default)]
struct Deadline(Option<Instant>);

impl Deadline {
    fn check(self) -> Result<(), PatchError> {
        match self.0 {
            Some(end) if Instant::now() >= end => Err(PatchError::Late),
            _ => Ok(()),
        }
    }
}

/// Writes a patch that makes `target` from what the library has; none if it has nothing alike. `scratch` is a
/// folder for temporary files. What is not done at the deadline is [`PatchError::Late`]; sorting one file can
/// take some seconds longer.
pub fn make(
    target: &Source,
    library: &Library,
    scratch: &Path,
    deadline: Option<Instant>,
    out: impl Write,
) -> Result<Option<Made>, PatchError> {
    let deadline = Deadline(deadline);
    let path = &target.info.path;
    let gone = |_| PatchError::TargetChanged(path.clone());
    let tree = Tree::of(target.dir).map_err(gone)?;
    let choice = Choice::new(target, &tree, library).map_err(gone)?;
    if choice.bases.is_empty() {
        return Ok(None);
    }
    let known: Vec<&Known> = choice.bases.iter().map(|k| &library.known[*k]).collect();
    let sources: Vec<Source> = known.iter().map(|k| k.source).collect();
    let trees: Vec<&Tree> = known.iter().map(|k| &k.looked.tree).collect();
    let mut bases = Bases::new(&sources, &trees)?;
    let mut plan = Plan { size: tree.len(), pairs: pairs(target, &sources), ..Plan::default() };
    bases.rename(plan.renamed(target.info, &sources)?);
    let mut planner = Planner {
        tree: &tree,
        path,
        bases: &mut bases,
        cache: Cache::default(),
        ops: Vec::new(),
        at: 0,
        scratch,
        deadline,
        opened: Vec::new(),
        recipes: Vec::new(),
        sections: Vec::new(),
        closed: Vec::new(),
        kept: tempfile::tempfile_in(scratch).map_err(PatchError::Scratch)?,
        kept_len: 0,
        made: 0,
        stepped: 0,
        images: Vec::new(),
        counts: Counts::default(),
    };
    planner.plan(&choice, &trees)?;
    let (closed, kept, counts) = (planner.closed, planner.kept, planner.counts);
    (plan.ops, plan.opened, plan.sections) = (planner.ops, planner.opened, planner.sections);
    (plan.recipes, plan.images) = (planner.recipes, planner.images);
    coarsen(&mut plan.ops);
    plan.check(target.info, &bases)?;
    if !plan.images.is_empty() {
        let mut tape = Reading::new(&tree, path, &closed, &kept, deadline);
        plan.images = worthwhile(&plan, &mut bases, &mut tape)?;
    }
    let mut out = out;
    let header = header(target.info, &sources);
    out.write_all(&header).map_err(PatchError::Write)?;
    let mut coder = Encoder::new(out);
    plan.code(&mut coder)?;
    let mut tape = Reading::new(&tree, path, &closed, &kept, deadline);
    walk(&plan, &mut bases, &mut coder, &mut tape)?;
    let (_, size) = coder.finish().map_err(PatchError::Write)?;
    Ok(Some(Made {
        size: size + header.len() as u64,
        bases: sources.iter().map(|s| s.info.path.clone()).collect(),
        fresh: plan.ops.iter().map(|op| op.fresh).sum(),
        copied: plan.ops.iter().map(|op| op.copy).sum(),
        opened: counts.opened,
        closed: counts.unknown,
        closed_for_memory: counts.memory,
    }))
}

/// Makes short copies new bytes until there are few enough operations: thousands of modules of a kernel have more
/// copies than a host holds in memory.
fn coarsen(ops: &mut Vec<Op>) {
    let mut short = 8;
    while ops.len() > MAX_OPS {
        let mut fresh = 0;
        ops.retain_mut(|op| {
            op.fresh += fresh;
            fresh = if op.copy < short { op.fresh + op.copy } else { 0 };
            fresh == 0
        });
        if fresh > 0 {
            ops.push(Op { fresh, ..Op::default() });
        }
        short *= 2;
    }
}

/// Reads every known hash of a store path as zeros.
fn blank(source: &Source) -> Renamed {
    let mut blank = Renamed::default();
    let zeros = "0".repeat(super::bases::HASH);
    for path in names(source.info) {
        blank.add(path.hash_part(), &zeros);
    }
    blank
}

/// Hash of a file's content, store hashes blanked.
fn content(tree: &Tree, file: &Entry, blank: &Renamed) -> std::io::Result<[u8; 32]> {
    let mut hash = Sha256::new();
    let mut cache = Cache::default();
    // A hash that lies across two pieces is not blanked; the same content is cut at the same places.
    let mut bytes = vec![0; file.len.min(1 << 20) as usize];
    let mut at = 0;
    while at < file.len {
        let n = (file.len - at).min(bytes.len() as u64) as usize;
        tree.read(file.at + at, &mut bytes[..n], &mut cache)?;
        blank.apply(&mut bytes[..n]);
        hash.update(&bytes[..n]);
        at += n as u64;
    }
    Ok(hash.finalize().into())
}

/// The programs in which foretelling addresses makes more bytes right than wrong.
fn worthwhile(
    plan: &Plan,
    bases: &mut Bases,
    tape: &mut Reading,
) -> Result<Vec<Image>, PatchError> {
    let foresight = Foresight::new(plan, bases)?;
    let blind = Foresight::new(&Plan::default(), bases)?;
    let mut gain: HashMap<u64, i64> = HashMap::new();
    let (mut bytes, mut plain, mut foretold) = (vec![0; CHUNK], Vec::new(), Vec::new());
    let mut place = 0;
    for op in &plan.ops {
        for n in chunks(op.fresh) {
            tape.before(&mut bytes[..n])?;
        }
        place += op.fresh;
        let mut at = op.from;
        for n in chunks(op.copy) {
            tape.before(&mut bytes[..n])?;
            if let (false, Some(base)) = (op.exact, foresight.start(at)) {
                let start = expect(bases, &blind, at, n, place, &mut plain)?;
                expect(bases, &foresight, at, n, place, &mut foretold)?;
                let right = |found: &[u8]| {
                    let pairs = found[start..].iter().zip(&bytes[..n]);
                    pairs.filter(|(a, b)| a == b).count() as i64
                };
                *gain.entry(base).or_default() += right(&foretold) - right(&plain);
            }
            at += n as u64;
            place += n as u64;
        }
    }
    let worth = |image: &&Image| gain.get(&image.base).is_some_and(|gain| *gain > 16);
    Ok(plan.images.iter().filter(worth).cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_copies_give_way_until_the_operations_fit() {
        let op = |n: u64| Op {
            fresh: n % 3,
            copy: 1 + n % 40,
            from: n * 50,
            exact: n.is_multiple_of(2),
        };
        let mut ops: Vec<Op> = (0..MAX_OPS as u64 + 5).map(op).collect();
        let made = |ops: &[Op]| ops.iter().map(|op| op.fresh + op.copy).sum::<u64>();
        let before = made(&ops);
        coarsen(&mut ops);
        assert!(ops.len() <= MAX_OPS, "{}", ops.len());
        assert!(ops.len() > MAX_OPS / 2, "no more than needed gave way: {}", ops.len());
        assert_eq!(made(&ops), before);
        assert!(ops.iter().all(|op| op.fresh > 0 || op.copy > 0));
    }
}
