//! Making patches: which base for which file, and how they differ.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

use afield_core::ids::StorePath;
use sha2::{Digest as _, Sha256};

use super::bases::{Bases, Opened, Renamed, names};
use super::coder::Encoder;
use super::diff::diff;
use super::plan::{MAX_OPS, Op, Pair, Plan, Section};
use super::program::{self, Foresight, Image};
use super::tree::{Cache, Entry, Tree, changed};
use super::{CHUNK, MAX_BASES, PatchError, Source, Tape, chunks, expect, gzip, header, walk};

/// Larger files are not compared byte by byte: a suffix array has 31 bits, and memory is finite.
const MAX_DIFF: u64 = 512 << 20;
/// Smaller files are not looked for under other names.
const MIN_ELSEWHERE: u64 = 64;
/// A frame (names and symlinks between files) is compared with at most this much of a base.
const MAX_FRAME: u64 = 16 << 20;
/// Within a copy, longer runs of the same bytes are marked as exact, for speed.
const EXACT_RUN: usize = 1 << 15;

/// What the hosts have: every candidate for a base, looked at once for all patches of a release.
pub struct Library<'a> {
    known: Vec<Known<'a>>,
    /// Files by their content, store hashes blanked.
    contents: HashMap<[u8; 32], (usize, usize)>,
}

struct Known<'a> {
    source: Source<'a>,
    tree: Tree,
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
}

impl<'a> Library<'a> {
    /// Looks at all candidates: each file is read once.
    pub fn new(sources: impl IntoIterator<Item = Source<'a>>) -> Result<Self, PatchError> {
        let mut library = Self {
            known: Vec::new(),
            contents: HashMap::new(),
        };
        for source in sources {
            let wrong = |e| changed(&source.info.path, e);
            let tree = Tree::of(source.dir).map_err(wrong)?;
            if tree.files().len() > super::tree::MAX_ENTRIES {
                continue;
            }
            let blank = blank(&source);
            let k = library.known.len();
            for (f, file) in tree.files().iter().enumerate() {
                if file.len >= MIN_ELSEWHERE {
                    let hash = content(&tree, file, &blank).map_err(wrong)?;
                    library.contents.entry(hash).or_insert((k, f));
                }
            }
            library.known.push(Known { source, tree });
        }
        Ok(library)
    }

    /// The candidate whose name is most like that of `path`.
    fn primary(&self, path: &StorePath) -> Option<usize> {
        let stem = stem(path.name());
        let alike = |k: &Known| {
            let name = k.source.info.path.name();
            let same = name == path.name();
            (stem == self::stem(name)).then_some((same, k.source.info.path.clone()))
        };
        let all = self.known.iter().enumerate();
        all.filter_map(|(k, known)| alike(known).map(|a| (a, k)))
            .max()
            .map(|(_, k)| k)
    }
}

/// Writes a patch that makes `target` from what the library has; none if it has nothing alike. `scratch` is a
/// folder for temporary files.
pub fn make(
    target: &Source,
    library: &Library,
    scratch: &Path,
    out: impl Write,
) -> Result<Option<Made>, PatchError> {
    let path = &target.info.path;
    let gone = |_| PatchError::TargetChanged(path.clone());
    let tree = Tree::of(target.dir).map_err(gone)?;
    let choice = Choice::new(target, &tree, library).map_err(gone)?;
    if choice.bases.is_empty() {
        return Ok(None);
    }
    let known: Vec<&Known> = choice.bases.iter().map(|k| &library.known[*k]).collect();
    let sources: Vec<Source> = known.iter().map(|k| k.source).collect();
    let trees: Vec<&Tree> = known.iter().map(|k| &k.tree).collect();
    let mut bases = Bases::new(&sources, &trees)?;
    let mut plan = Plan {
        size: tree.len(),
        pairs: pairs(target, &sources),
        ..Plan::default()
    };
    bases.rename(plan.renamed(target.info, &sources)?);
    let mut planner = Planner {
        tree: &tree,
        path,
        bases: &mut bases,
        cache: Cache::default(),
        ops: Vec::new(),
        at: 0,
        scratch,
        opened: Vec::new(),
        sections: Vec::new(),
        closed: Vec::new(),
        plain_from: 0,
        images: Vec::new(),
    };
    planner.plan(&choice, &trees)?;
    let closed = planner.closed;
    (plan.ops, plan.opened, plan.sections) = (planner.ops, planner.opened, planner.sections);
    plan.images = planner.images;
    if plan.ops.len() > MAX_OPS {
        return Ok(None);
    }
    plan.check(target.info, &bases)?;
    if !plan.images.is_empty() {
        let mut tape = Reading::new(&tree, path, &closed);
        plan.images = worthwhile(&plan, &mut bases, &mut tape)?;
    }
    let mut out = out;
    let header = header(target.info, &sources);
    out.write_all(&header).map_err(PatchError::Write)?;
    let mut coder = Encoder::new(out);
    plan.code(&mut coder)?;
    let mut tape = Reading::new(&tree, path, &closed);
    walk(&plan, &mut bases, &mut coder, &mut tape)?;
    let (_, size) = coder.finish().map_err(PatchError::Write)?;
    Ok(Some(Made {
        size: size + header.len() as u64,
        bases: sources.iter().map(|s| s.info.path.clone()).collect(),
        fresh: plan.ops.iter().map(|op| op.fresh).sum(),
        copied: plan.ops.iter().map(|op| op.copy).sum(),
    }))
}

/// For each file of the target the file of a base that it is made from.
struct Choice {
    /// Candidates that became bases.
    bases: Vec<usize>,
    /// For each file of the target: which of the bases, and which of its files.
    from: Vec<Option<(usize, usize)>>,
}

impl Choice {
    fn new(target: &Source, tree: &Tree, library: &Library) -> std::io::Result<Self> {
        let mut choice = Self {
            bases: library.primary(&target.info.path).into_iter().collect(),
            from: Vec::new(),
        };
        let names = choice
            .bases
            .first()
            .map(|k| Names::of(&library.known[*k].tree));
        let blank = blank(target);
        for file in tree.files() {
            let named = names.as_ref().and_then(|n| n.same_path(file));
            let found = match named {
                Some(f) => Some((0, f)),
                None => choice.elsewhere(tree, file, library, &blank)?.or_else(|| {
                    let f = names.as_ref().and_then(|n| n.alike(file));
                    f.map(|f| (0, f))
                }),
            };
            choice.from.push(found);
        }
        Ok(choice)
    }

    /// The same content under another name, in any candidate.
    fn elsewhere(
        &mut self,
        tree: &Tree,
        file: &Entry,
        library: &Library,
        blank: &Renamed,
    ) -> std::io::Result<Option<(usize, usize)>> {
        if file.len < MIN_ELSEWHERE {
            return Ok(None);
        }
        let Some((k, f)) = library.contents.get(&content(tree, file, blank)?) else {
            return Ok(None);
        };
        if let Some(base) = self.bases.iter().position(|b| b == k) {
            return Ok(Some((base, *f)));
        }
        if self.bases.len() == MAX_BASES {
            return Ok(None);
        }
        self.bases.push(*k);
        Ok(Some((self.bases.len() - 1, *f)))
    }
}

/// The files of a base by name.
struct Names<'t> {
    tree: &'t Tree,
    paths: HashMap<&'t Path, usize>,
    /// With digits blanked: the path, and the last part of it.
    blanked: HashMap<Vec<u8>, Vec<usize>>,
}

impl<'t> Names<'t> {
    fn of(tree: &'t Tree) -> Self {
        let mut names = Self {
            tree,
            paths: HashMap::new(),
            blanked: HashMap::new(),
        };
        for (k, file) in tree.files().iter().enumerate() {
            names.paths.insert(&file.name, k);
            for key in keys(&file.name) {
                names.blanked.entry(key).or_default().push(k);
            }
        }
        names
    }

    fn same_path(&self, file: &Entry) -> Option<usize> {
        self.paths.get(file.name.as_path()).copied()
    }

    /// A file of nearly the same name; of several, the one whose length is nearest.
    fn alike(&self, file: &Entry) -> Option<usize> {
        let found = keys(&file.name)
            .into_iter()
            .find_map(|k| self.blanked.get(&k))?;
        let far = |k: &usize| self.tree.files()[*k].len.abs_diff(file.len);
        found.iter().copied().min_by_key(far)
    }
}

/// A path with its numbers blanked, and its last part likewise.
fn keys(name: &Path) -> [Vec<u8>; 2] {
    let blank = |bytes: &[u8]| {
        let mut out: Vec<u8> = Vec::new();
        for b in bytes {
            match b {
                b'0'..=b'9' if out.last() == Some(&b'#') => {}
                b'0'..=b'9' => out.push(b'#'),
                b => out.push(*b),
            }
        }
        out
    };
    let last = name.file_name().unwrap_or_default();
    let mut last = blank(last.as_encoded_bytes());
    last.insert(0, b'/');
    [blank(name.as_os_str().as_encoded_bytes()), last]
}

/// A package's name without its version, as Nix splits them: at the first hyphen before a digit.
fn stem(name: &str) -> String {
    let bytes = name.as_bytes();
    let cut = (1..bytes.len()).find(|k| bytes[k - 1] == b'-' && bytes[*k].is_ascii_digit());
    let Some(cut) = cut else {
        return name.to_owned();
    };
    // The output behind the version (`-dev`, `-man`) belongs to the name.
    let rest = &name[cut..];
    let output = rest.rsplit_once('-').map(|(_, o)| o);
    let output = output.filter(|o| o.bytes().all(|b| b.is_ascii_alphabetic()));
    format!("{}{}", &name[..cut], output.unwrap_or_default())
}

/// Which hash of the bases is read as which of the target's: those of the same name, and the path itself.
fn pairs(target: &Source, bases: &[Source]) -> Vec<Pair> {
    let to = names(target.info);
    let mut pairs = Vec::new();
    for (b, base) in bases.iter().enumerate() {
        for (f, from) in names(base.info).iter().enumerate() {
            if to.contains(from) {
                continue;
            }
            let own = *from == &base.info.path && b == 0;
            let same =
                |p: &&StorePath| p.name() == from.name() || stem(p.name()) == stem(from.name());
            let found = if own {
                to.iter().position(|p| *p == &target.info.path)
            } else {
                let exact = to.iter().position(|p| p.name() == from.name());
                exact.or_else(|| to.iter().position(same))
            };
            if let Some(t) = found {
                pairs.push(Pair {
                    base: b as u64,
                    from: f as u64,
                    to: t as u64,
                });
            }
        }
    }
    pairs
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

/// Builds the operations.
struct Planner<'p, 'a> {
    tree: &'p Tree,
    path: &'p StorePath,
    bases: &'p mut Bases<'a>,
    cache: Cache,
    ops: Vec<Op>,
    /// How much of the target's archive is planned.
    at: u64,
    scratch: &'p Path,
    opened: Vec<Opened>,
    sections: Vec<Section>,
    closed: Vec<Closed>,
    /// Where the present section began.
    plain_from: u64,
    images: Vec<Image>,
}

/// A compressed content of the target that is made from what is in it.
struct Closed {
    /// Where it stands in the archive, behind the file's header.
    at: u64,
    len: u64,
    /// Where the file begins.
    file: u64,
}

impl Planner<'_, '_> {
    fn plan(&mut self, choice: &Choice, trees: &[&Tree]) -> Result<(), PatchError> {
        // Where the archive of the base would go on.
        let mut base = Some(self.bases.start(0));
        for (file, from) in self.tree.files().iter().zip(&choice.from) {
            let from = from.map(|(b, f)| (self.bases.start(b), &trees[b].files()[f]));
            let start = from.map(|(start, f)| start + f.at);
            self.frame(file.at, base, start)?;
            match from {
                Some((start, f)) => {
                    self.file(file, start + f.at, f.len)?;
                    base = Some(start + f.at + f.len);
                }
                None => self.alone(file)?,
            }
        }
        let end = self.bases.start(0) + trees[0].len();
        self.frame(self.tree.len(), base, Some(end))?;
        self.sections.push(Section {
            plain: self.at - self.plain_from,
            ..Section::default()
        });
        Ok(())
    }

    /// Plans what stands between two files: the start as it goes on in the base, the end as it leads to the
    /// next file there, and the rest against what stands between.
    fn frame(&mut self, to: u64, base: Option<u64>, next: Option<u64>) -> Result<(), PatchError> {
        let new = self.target(self.at, to - self.at)?;
        self.at = to;
        let base = base.unwrap_or(0);
        let behind = self.base(base, (new.len() as u64).min(self.bases.len() - base))?;
        let start = same(new.iter(), behind.iter());
        let mut end = 0;
        if let Some(next) = next {
            let room = (new.len() as u64).min(next);
            let before = self.base(next - room, room)?;
            end = same(new.iter().rev(), before.iter().rev()).min(new.len() - start);
        }
        self.copy(base, start as u64, true);
        let middle = &new[start..new.len() - end];
        let from = base + start as u64;
        let until = next.map_or(from, |n| n - end as u64);
        if middle.len() > 64 && until > from && until - from <= MAX_FRAME {
            let old = self.base(from, until - from)?;
            self.different(middle, &old, from);
        } else {
            self.fresh(middle.len() as u64);
        }
        if let Some(next) = next {
            self.copy(next - end as u64, end as u64, true);
        }
        Ok(())
    }

    /// Plans a file that no base has anything like.
    fn alone(&mut self, file: &Entry) -> Result<(), PatchError> {
        self.at += file.len;
        match self.open(file)? {
            Some(open) => {
                self.fresh((open.header + open.raw.len()) as u64);
                self.close(file, &open);
            }
            None => self.fresh(file.len),
        }
        Ok(())
    }

    /// Opens a compressed file of the target, if it can be made again.
    fn open(&mut self, file: &Entry) -> Result<Option<gzip::Open>, PatchError> {
        let start = self.target(file.at, file.len.min(16))?;
        if !gzip::likely(&start) || file.len > gzip::MAX_RAW {
            return Ok(None);
        }
        Ok(gzip::open(&self.target(file.at, file.len)?))
    }

    /// Notes that a file of the target is made from its content.
    fn close(&mut self, file: &Entry, open: &gzip::Open) {
        let at = file.at + open.header as u64;
        self.sections.push(Section {
            plain: at - self.plain_from,
            raw: open.raw.len() as u64,
            method: open.method,
        });
        self.closed.push(Closed {
            at,
            len: file.len - open.header as u64,
            file: file.at,
        });
        self.plain_from = file.at + file.len;
    }

    /// Plans an opened file of the target against one of the base, opened as well if it can be.
    fn inside(
        &mut self,
        file: &Entry,
        open: &gzip::Open,
        from: u64,
        len: u64,
    ) -> Result<(), PatchError> {
        self.at += file.len;
        let header = self.target(file.at, open.header as u64)?;
        let packed = self.base(from, len)?;
        if packed.starts_with(&header) {
            self.copy(from, header.len() as u64, true);
        } else {
            self.fresh(header.len() as u64);
        }
        match gzip::inflate(&packed) {
            Some(raw) => {
                let opened = Opened {
                    at: from,
                    packed: len,
                    raw: raw.len() as u64,
                };
                let start = self.bases.len();
                self.bases.open(&opened, self.scratch)?;
                self.opened.push(opened);
                let old = self.base(start, opened.raw)?;
                self.different(&open.raw, &old, start);
            }
            None => self.different(&open.raw, &packed, from),
        }
        self.close(file, open);
        Ok(())
    }

    fn file(&mut self, file: &Entry, from: u64, len: u64) -> Result<(), PatchError> {
        if len == file.len && self.is_same(file, from)? {
            self.at += len;
            self.copy(from, len, true);
            return Ok(());
        }
        if len <= gzip::MAX_RAW
            && let Some(open) = self.open(file)?
        {
            return self.inside(file, &open, from, len);
        }
        self.at += file.len;
        let place = self.made();
        if len > MAX_DIFF || file.len > MAX_DIFF {
            self.fresh(file.len);
            return Ok(());
        }
        let (old, new) = (self.base(from, len)?, self.target(file.at, file.len)?);
        self.different(&new, &old, from);
        let moved = program::segments(&old).zip(program::segments(&new));
        if let Some(moved) = moved.and_then(|(old, new)| program::moved(&old, &new)) {
            self.images.push(Image {
                base: from,
                len,
                target: place,
                moved,
            });
        }
        Ok(())
    }

    /// How many bytes the operations make so far.
    fn made(&self) -> u64 {
        self.ops.iter().map(|op| op.fresh + op.copy).sum()
    }

    fn is_same(&mut self, file: &Entry, from: u64) -> Result<bool, PatchError> {
        let mut at = 0;
        while at < file.len {
            let n = (file.len - at).min(1 << 20);
            if self.base(from + at, n)? != self.target(file.at + at, n)? {
                return Ok(false);
            }
            at += n;
        }
        Ok(true)
    }

    /// Plans bytes that are like others, which stand at `from`.
    fn different(&mut self, new: &[u8], old: &[u8], from: u64) {
        let mut done = 0;
        for m in diff(old, new) {
            self.fresh((m.new - done) as u64);
            done = m.new + m.len;
            self.nearly(
                &new[m.new..done],
                &old[m.old..m.old + m.len],
                from + m.old as u64,
            );
        }
        self.fresh((new.len() - done) as u64);
    }

    /// Plans a copy of which some bytes are different.
    fn nearly(&mut self, new: &[u8], old: &[u8], from: u64) {
        let mut at = 0;
        let mut start = 0;
        while at < new.len() {
            let run = same(new[at..].iter(), old[at..].iter());
            let whole = at == 0 && run == new.len();
            if run >= EXACT_RUN || whole {
                self.copy(from + start as u64, (at - start) as u64, false);
                self.copy(from + at as u64, run as u64, true);
                start = at + run;
            }
            at += run + 1;
        }
        self.copy(from + start as u64, (new.len() - start) as u64, false);
    }

    fn fresh(&mut self, n: u64) {
        if n == 0 {
            return;
        }
        match self.ops.last_mut() {
            Some(op) if op.copy == 0 => op.fresh += n,
            _ => self.ops.push(Op {
                fresh: n,
                ..Op::default()
            }),
        }
    }

    fn copy(&mut self, from: u64, n: u64, exact: bool) {
        if n == 0 {
            return;
        }
        match self.ops.last_mut() {
            Some(op) if op.copy == 0 => (op.copy, op.from, op.exact) = (n, from, exact),
            Some(op) if op.from + op.copy == from && op.exact == exact => op.copy += n,
            _ => self.ops.push(Op {
                fresh: 0,
                copy: n,
                from,
                exact,
            }),
        }
    }

    fn target(&mut self, at: u64, n: u64) -> Result<Vec<u8>, PatchError> {
        let mut bytes = vec![0; n as usize];
        let read = self.tree.read(at, &mut bytes, &mut self.cache);
        read.map_err(|_| PatchError::TargetChanged(self.path.clone()))?;
        Ok(bytes)
    }

    fn base(&mut self, at: u64, n: u64) -> Result<Vec<u8>, PatchError> {
        let mut bytes = vec![0; n as usize];
        self.bases.read(at, &mut bytes)?;
        Ok(bytes)
    }
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

/// How many items two sequences share at their start.
fn same<'i>(a: impl Iterator<Item = &'i u8>, b: impl Iterator<Item = &'i u8>) -> usize {
    a.zip(b).take_while(|(a, b)| a == b).count()
}

/// The target, read for its patch: opened where the plan opens it.
struct Reading<'p> {
    tree: &'p Tree,
    path: &'p StorePath,
    at: u64,
    cache: Cache,
    own: Vec<u8>,
    closed: std::slice::Iter<'p, Closed>,
    next: Option<&'p Closed>,
    /// What is left of an opened content, the last byte first.
    raw: Vec<u8>,
}

impl<'p> Reading<'p> {
    fn new(tree: &'p Tree, path: &'p StorePath, closed: &'p [Closed]) -> Self {
        let mut closed = closed.iter();
        Self {
            tree,
            path,
            at: 0,
            cache: Cache::default(),
            own: vec![0; CHUNK],
            next: closed.next(),
            closed,
            raw: Vec::new(),
        }
    }

    fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<(), PatchError> {
        let read = self.tree.read(at, bytes, &mut self.cache);
        read.map_err(|_| PatchError::TargetChanged(self.path.clone()))
    }

    /// Opens the compressed content that begins here.
    fn open(&mut self, closed: &Closed) -> Result<(), PatchError> {
        let mut file = vec![0; (closed.at + closed.len - closed.file) as usize];
        self.read(closed.file, &mut file)?;
        let raw = gzip::inflate(&file);
        self.raw = raw.ok_or_else(|| PatchError::TargetChanged(self.path.clone()))?;
        self.raw.reverse();
        self.at = closed.at + closed.len;
        Ok(())
    }
}

impl Tape for Reading<'_> {
    fn before(&mut self, mut bytes: &mut [u8]) -> Result<(), PatchError> {
        while !bytes.is_empty() {
            if let Some(closed) = self.next.take_if(|c| c.at == self.at) {
                self.open(closed)?;
                self.next = self.closed.next();
            }
            let n;
            if self.raw.is_empty() {
                let until = self.next.as_ref().map_or(u64::MAX, |c| c.at);
                n = (until - self.at).min(bytes.len() as u64) as usize;
                self.read(self.at, &mut bytes[..n])?;
                self.at += n as u64;
            } else {
                n = self.raw.len().min(bytes.len());
                let rest = self.raw.split_off(self.raw.len() - n);
                for (to, from) in bytes.iter_mut().zip(rest.iter().rev()) {
                    *to = *from;
                }
            }
            bytes = &mut bytes[n..];
        }
        Ok(())
    }

    fn after(&mut self, _: &[u8]) -> Result<(), PatchError> {
        Ok(())
    }

    fn same(&mut self, bytes: &[u8]) -> Result<(), PatchError> {
        let mut own = std::mem::take(&mut self.own);
        let read = self.before(&mut own[..bytes.len()]);
        let same = own[..bytes.len()] == *bytes;
        self.own = own;
        read?;
        if same {
            return Ok(());
        }
        Err(PatchError::TargetChanged(self.path.clone()))
    }
}
