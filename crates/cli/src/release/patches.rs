//! Patches against what hosts run: each made once for all hosts that it serves, and published only if it was applied
//! and proved here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use afield_core::delivery::Base;
use afield_core::ids::{HostName, NarHash, StorePath};
use afield_core::release::{Closure, PathInfo};
use afield_store::patch::{self, Library, Memory, Source, stem};
use afield_store::repository::Repository;
use anyhow::Context as _;
use sha2::{Digest as _, Sha256};

use super::bases::Places;
use super::patch_cache::{Cache, Entry};
use super::running::Running;
use super::stock::{Patch, Stock};
use crate::nix::{parallel, processors};
use crate::progress::Progress;

/// What a patch costs beside its bytes: that documents name it.
const NAMED: u64 = 120;

/// No patch is shorter.
const LEAST: u64 = 32;

/// What was made.
#[derive(Debug, Default)]
pub struct Patches {
    /// By the path that they make.
    pub all: BTreeMap<(StorePath, NarHash), Vec<Patch>>,
    /// Where the bytes of new ones are.
    pub files: BTreeMap<afield_core::ids::ObjectId, PathBuf>,
    /// Paths that have none because the time was up.
    pub late: u64,
}

/// What patches are made from and for.
pub struct Work<'a> {
    /// The new closures.
    pub closures: &'a BTreeMap<HostName, (StorePath, Closure)>,
    /// What hosts have.
    pub running: &'a Running,
    /// What there is already; each path has a full object in it.
    pub stock: &'a Stock,
    /// Where that is.
    pub repository: &'a Repository,
    /// No patch is begun after so long.
    pub budget: Option<Duration>,
}

/// Paths that the same hosts lack.
type Groups<'a> = BTreeMap<BTreeSet<usize>, BTreeMap<&'a StorePath, &'a PathInfo>>;

/// Makes what is worth it.
pub fn make(work: &Work<'_>) -> anyhow::Result<Patches> {
    let start = Instant::now();
    let deadline = work.budget.map(|budget| start + budget);
    let cache = Cache::open()?;
    let mut places = Places::new(work.repository, &cache)?;
    let groups = groups(work);
    let sizes = groups.values().flat_map(|g| g.values()).map(|info| info.nar_size);
    let progress = Progress::bytes("patching", sizes.sum());
    let mut made = Patches::default();
    let mut making =
        Making { work, cache: &cache, deadline, progress: &progress, memory: Memory::default() };
    let staying: BTreeSet<&StorePath> =
        work.closures.values().flat_map(|(_, c)| c.paths.iter().map(|p| &p.path)).collect();
    for (hosts, targets) in &groups {
        let common = work.running.common(hosts);
        let index: BTreeMap<&StorePath, NarHash> =
            common.iter().map(|info| (&info.path, info.nar_hash)).collect();
        let has = |base: &Base| index.get(&base.path) == Some(&base.nar_hash);
        let mut open: Vec<&PathInfo> = Vec::new();
        for info in targets.values() {
            let key = (info.path.clone(), info.nar_hash);
            let known = work.stock.patches.get(&key).into_iter().flatten();
            let known: Vec<&Patch> = known.filter(|p| p.bases.iter().all(has)).collect();
            match known.is_empty() {
                true => open.push(info),
                false => progress.add(info.nar_size),
            }
            made.all.entry(key).or_default().extend(known.into_iter().cloned());
        }
        // The largest first: if the time is short, they gain most.
        open.sort_by_key(|info| std::cmp::Reverse(info.nar_size));
        let candidates = candidates(&common, &open, &staying, |p| has_stem(&open, p));
        let bases = places.of(&candidates, work.stock);
        making.group(&open, &bases, &mut made)?;
    }
    cache.prune();
    Ok(made)
}

/// The distinct new paths, by the old closures whose hosts lack them.
fn groups<'a>(work: &Work<'a>) -> Groups<'a> {
    let mut lacking: BTreeMap<&StorePath, (&PathInfo, BTreeSet<usize>)> = BTreeMap::new();
    for (host, (_, closure)) in work.closures {
        for k in work.running.hosts.get(host).into_iter().flatten() {
            let old = &work.running.closures[*k];
            for info in closure.paths.iter().filter(|info| old.info(&info.path).is_none()) {
                let entry = lacking.entry(&info.path).or_insert_with(|| (info, BTreeSet::new()));
                entry.1.insert(*k);
            }
        }
    }
    let mut groups = Groups::new();
    for (path, (info, hosts)) in lacking {
        groups.entry(hosts).or_default().insert(path, info);
    }
    groups
}

fn has_stem(open: &[&PathInfo], path: &StorePath) -> bool {
    let wanted = stem(path.name());
    open.iter().any(|info| stem(info.path.name()) == wanted)
}

/// What may be a base: what goes away with the release, and what has the name of something new.
fn candidates<'a>(
    common: &[&'a PathInfo],
    open: &[&PathInfo],
    staying: &BTreeSet<&StorePath>,
    named: impl Fn(&StorePath) -> bool,
) -> Vec<&'a PathInfo> {
    if open.is_empty() {
        return Vec::new();
    }
    let worth = |info: &&&PathInfo| !staying.contains(&info.path) || named(&info.path);
    common.iter().filter(worth).copied().collect()
}

/// What all groups share.
struct Making<'a> {
    work: &'a Work<'a>,
    cache: &'a Cache,
    deadline: Option<Instant>,
    progress: &'a Progress,
    /// What hosts have is read once, however many of them have it.
    memory: Memory,
}

impl Making<'_> {
    /// Makes the patches of one group.
    fn group(
        &mut self,
        open: &[&PathInfo],
        bases: &[(PathInfo, PathBuf)],
        made: &mut Patches,
    ) -> anyhow::Result<()> {
        if open.is_empty() || bases.is_empty() {
            return Ok(());
        }
        let sources = bases.iter().map(|(info, dir)| Source { info, dir });
        let library = Library::remembering(sources, &mut self.memory)
            .context("what hosts run cannot be read")?;
        let late = AtomicU64::new(0);
        let results = parallel(open, processors(), |info| {
            self.progress.at(info.path.name());
            let key = Cache::key(info, bases.iter().map(|(info, _)| info));
            let found = match self.cache.get(&key) {
                Some(entry) => Ok(entry),
                None if self.deadline.is_some_and(|d| Instant::now() >= d) => {
                    late.fetch_add(1, Ordering::Relaxed);
                    return Ok(None);
                }
                None => self.one(&key, info, &library, bases),
            };
            self.progress.add(info.nar_size);
            if let Err(e) = &found
                && matches!(e.downcast_ref(), Some(patch::PatchError::Late))
            {
                late.fetch_add(1, Ordering::Relaxed);
                return Ok(None);
            }
            found.map(|entry| entry.map(|e| (e, self.cache.file(&key))))
        });
        for (info, result) in open.iter().zip(results) {
            if let Some((patch, file)) = result? {
                made.files.insert(patch.kept.object.id, file);
                made.all.entry((info.path.clone(), info.nar_hash)).or_default().push(patch);
            }
        }
        made.late += late.into_inner();
        Ok(())
    }

    /// Makes one patch, applies it, proves it, and remembers it, also if it is not worth it.
    fn one(
        &self,
        key: &str,
        info: &PathInfo,
        library: &Library<'_>,
        bases: &[(PathInfo, PathBuf)],
    ) -> anyhow::Result<Entry> {
        let Some(dir) = super::bases::local(&info.path) else { return Ok(None) };
        let full = self.work.stock.full.get(&info.nar_hash);
        let full = full.map_or(u64::MAX, |kept| kept.object.size);
        if full < NAMED + LEAST {
            return Ok(None);
        }
        let cache = self.cache;
        let file = cache.temporary()?;
        let target = Source { info, dir: &dir };
        let out = BufWriter::new(file.as_file());
        let made = patch::make(&target, library, cache.folder(), self.deadline, out)
            .with_context(|| format!("the patch for {} was not made", info.path))?;
        let Some(made) = made.filter(|made| made.size + NAMED < full) else {
            cache.put_none(key)?;
            return Ok(None);
        };
        let used: Vec<&(PathInfo, PathBuf)> =
            made.bases.iter().filter_map(|b| bases.iter().find(|(i, _)| i.path == *b)).collect();
        let sources: Vec<Source<'_>> =
            used.iter().map(|(info, dir)| Source { info, dir }).collect();
        if let Err(e) = prove(file.path(), info, &sources, cache.folder()) {
            // A base that was changed in the store here serves nobody; the full object does.
            eprintln!("note: the patch for {} does not serve: {e:#}", info.path);
            cache.put_none(key)?;
            return Ok(None);
        }
        let base = |i: &PathInfo| Base { path: i.path.clone(), nar_hash: i.nar_hash };
        let bases = used.iter().map(|(info, _)| base(info)).collect();
        cache.put(key, file, bases).map(Some)
    }
}

/// Applies a patch as a host does, and looks at what it makes.
fn prove(
    patch: &Path,
    info: &PathInfo,
    bases: &[Source<'_>],
    scratch: &Path,
) -> anyhow::Result<()> {
    let mut hashing = Hashing(Sha256::new());
    let file = BufReader::new(File::open(patch)?);
    patch::apply(file, info, bases, scratch, &mut hashing)?;
    if NarHash::from_bytes(hashing.0.finalize().into()) != info.nar_hash {
        patch::blame(bases)?;
        anyhow::bail!("it makes something else");
    }
    Ok(())
}

struct Hashing(Sha256);

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
