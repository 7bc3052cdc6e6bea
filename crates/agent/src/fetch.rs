//! Step 6: objects from the sources, batch by batch; while one batch is imported (step 7), the next one is fetched.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};

use afield_core::delivery::{Delivery, batches};
use afield_core::ids::StorePath;
use afield_core::plan::Missing;
use afield_core::release::{Closure, ObjectRef, PathInfo};
use afield_store::files;
use afield_store::repository::object_name;
use anyhow::Context as _;

use crate::host::Host;
use crate::import::{self, Bad};
use crate::lan::Lan;
use crate::nix::Nix;
use crate::obtain::{self, Halt, Run, obtain};
use crate::purse::Purse;
use crate::refusal::Refusal;
use crate::streams::{Meter, obtain_all};

/// Batches that are fetched and not yet imported, the one that is being fetched among them.
const AHEAD: usize = 2;

/// Bytes of an object that are here already, whole or in part.
pub fn here(host: &Host, object: &ObjectRef) -> u64 {
    obtain::here(&host.own("downloads"), object)
}

/// What a fetch is about.
pub struct Job<'a> {
    /// The host.
    pub host: &'a Host,
    /// Its store.
    pub nix: &'a Nix,
    /// In the order of import.
    pub missing: &'a [Missing],
    /// What the paths are.
    pub closure: &'a Closure,
    /// How they can travel.
    pub delivery: &'a Delivery,
    /// What may be fetched.
    pub purse: &'a Mutex<Purse>,
}

/// What came of a fetch.
#[derive(Debug)]
pub struct Delivered {
    /// What is worth a note: patches that did not serve.
    pub notes: Vec<String>,
    /// Whether all is in the store.
    pub end: anyhow::Result<()>,
}

impl Job<'_> {
    fn purse(&self) -> MutexGuard<'_, Purse> {
        self.purse.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the fetching thread tells.
enum Told<'a> {
    /// So many bytes are here, of so many.
    Progress(u64, u64),
    /// A batch is here.
    Batch(Vec<Missing>),
    /// An object could not be had, and the full one was fetched.
    Instead(&'a StorePath, String),
}

/// Fetches what is missing, each object from where the last run stopped, and imports it as it comes. Objects that
/// nothing needs any more are removed first.
pub fn deliver(job: &Job<'_>, progress: impl FnMut(u64, u64)) -> Delivered {
    let mut notes = Vec::new();
    let end = clean(job).and_then(|()| in_batches(job, &mut notes, progress));
    let saved = job.purse().save().map_err(Halt::into_error);
    Delivered { notes, end: end.and(saved) }
}

fn in_batches(
    job: &Job<'_>,
    notes: &mut Vec<String>,
    mut progress: impl FnMut(u64, u64),
) -> anyhow::Result<()> {
    let infos: BTreeMap<&StorePath, &PathInfo> =
        job.closure.paths.iter().map(|info| (&info.path, info)).collect();
    let stop = AtomicBool::new(false);
    let (tell, told) = channel();
    let (permit, permits) = channel();
    (0..AHEAD).try_for_each(|_| permit.send(()))?;
    let lan = Lan::of(job.host);
    let fetcher = Fetcher { job, infos: &infos, stop: &stop, lan };
    std::thread::scope(|scope| {
        let fetching = scope.spawn(|| fetcher.run(tell, permits));
        let imported = told.iter().try_for_each(|told| match told {
            Told::Progress(done, total) => {
                progress(done, total);
                Ok(())
            }
            Told::Instead(path, why) => {
                notes.push(format!("{path} was fetched as a full object: {why}"));
                Ok(())
            }
            Told::Batch(batch) => {
                let done = import_batch(job, &fetcher, &batch, notes);
                // The fetching thread may have ended; then it needs no permit.
                let _ = permit.send(());
                done
            }
        });
        stop.store(imported.is_err(), Ordering::Relaxed);
        drop((permit, told));
        let fetched = fetching.join().unwrap_or_else(|_| Err(anyhow::anyhow!("fetching failed")));
        imported.and(fetched)
    })
}

/// Step 7 for one batch. A patch that does not make its path is replaced by the full object.
fn import_batch(
    job: &Job<'_>,
    fetcher: &Fetcher<'_>,
    batch: &[Missing],
    notes: &mut Vec<String>,
) -> anyhow::Result<()> {
    let mut batch = batch.to_vec();
    let mut from = 0;
    while from < batch.len() {
        match import::import(job.host, job.nix, &batch[from..], fetcher.infos)? {
            Ok(()) => break,
            Err(Bad { done, why }) => {
                from += done;
                let item = &mut batch[from];
                notes.push(format!("the patch for {} does not serve: {why}", item.path));
                forget(job.host, item)?;
                *item = fetcher.instead(item)?;
                let spend = &mut |bytes| job.purse().spend(bytes);
                fetcher.fetch(std::slice::from_ref(item), spend)?;
            }
        }
    }
    batch.iter().try_for_each(|item| forget(job.host, item))?;
    Ok(())
}

fn forget(host: &Host, item: &Missing) -> std::io::Result<()> {
    files::remove_if_there(&host.download(&item.object.id))
}

struct Fetcher<'a> {
    job: &'a Job<'a>,
    infos: &'a BTreeMap<&'a StorePath, &'a PathInfo>,
    stop: &'a AtomicBool,
    /// The other hosts of the site, if they help each other.
    lan: Option<Lan>,
}

impl<'a> Fetcher<'a> {
    /// The thread that fetches.
    fn run(&self, tell: Sender<Told<'a>>, permits: Receiver<()>) -> anyhow::Result<()> {
        let missing = self.job.missing;
        let total: u64 = missing.iter().map(|m| m.object.size).sum();
        let done = AtomicU64::new(missing.iter().map(|m| here(self.job.host, &m.object)).sum());
        let mut count = |n: u64| {
            let done = done.fetch_add(n, Ordering::Relaxed) + n;
            // Who listens has gone when the import failed; the flag tells.
            let _ = tell.send(Told::Progress(done.min(total), total));
            match self.stop.load(Ordering::Relaxed) {
                true => Err(Halt::Paused("the import failed".into())),
                false => self.job.purse().spend(n),
            }
        };
        for batch in batches(missing) {
            if permits.recv().is_err() {
                return Ok(());
            }
            let mut batch = batch.to_vec();
            while let Err(halt) = self.fetch(&batch, &mut count) {
                let (item, why) = self.way_out(&mut batch, halt)?;
                let _ = tell.send(Told::Instead(item, why));
            }
            let _ = tell.send(Told::Batch(batch));
        }
        Ok(())
    }

    /// Brings the objects of some paths, with as few requests as they can be had.
    fn fetch(&self, batch: &[Missing], meter: &mut Meter<'_>) -> Result<(), Halt> {
        let folder = self.job.host.own("downloads");
        let Some(lan) = &self.lan else {
            return self.fetch_outside(&folder, batch, meter);
        };
        let wanted: Vec<&ObjectRef> = batch.iter().map(|item| &item.object).collect();
        loop {
            // What the neighbours have, or fetch, is not asked for outside.
            let mine = lan.gather(&folder, &wanted);
            if mine.is_empty() {
                return Ok(());
            }
            let items = batch.iter().filter(|item| mine.contains(&&item.object));
            let items: Vec<Missing> = items.cloned().collect();
            self.fetch_outside(&folder, &items, &mut |bytes| {
                lan.progress();
                meter(bytes)
            })?;
            mine.iter().for_each(|object| lan.keep(object, &obtain::place(&folder, &object.id)));
        }
    }

    fn fetch_outside(
        &self,
        folder: &Path,
        batch: &[Missing],
        meter: &mut Meter<'_>,
    ) -> Result<(), Halt> {
        obtain_all(self.job.host, folder, runs(folder, batch), meter)
    }

    /// A patch that no source gives as it was signed is replaced by the full object; a link that is down is not the
    /// patch's fault.
    fn way_out(
        &self,
        batch: &mut [Missing],
        halt: Halt,
    ) -> anyhow::Result<(&'a StorePath, String)> {
        let lacking = batch.iter_mut().find(|item| {
            !item.bases.is_empty() && here(self.job.host, &item.object) < item.object.size
        });
        match (&halt, lacking) {
            (Halt::Refused(refusal), Some(item)) if !refusal.is_link() => {
                let info = self.infos.get(&item.path).context("a path of no closure")?;
                *item = self.instead(item)?;
                Ok((&info.path, refusal.to_string()))
            }
            _ => Err(halt.into_error()),
        }
    }

    fn instead(&self, item: &Missing) -> anyhow::Result<Missing> {
        let info = self.infos.get(&item.path).context("a path of no closure")?;
        Ok(self.job.delivery.instead(info, |object| here(self.job.host, object))?)
    }
}

/// Fetches one object by itself, from where the last run stopped.
pub fn whole(host: &Host, object: &ObjectRef) -> anyhow::Result<()> {
    let run = Run::whole(object_name(&object.id), object);
    let mut count = |bytes| {
        host.documents.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    };
    obtain(host, &host.own("downloads"), &run, &mut count).map_err(Halt::into_error)
}

/// What is to be asked for: pieces that stand one after the other in a pack are one run. What is here is left out, and
/// what is here in part begins a run.
fn runs(folder: &Path, batch: &[Missing]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut items: Vec<&Missing> = batch.iter().collect();
    items.sort_by_key(|m| m.slice.as_ref().map(|s| (s.pack.id, s.offset)));
    items.dedup_by_key(|m| m.object.id);
    for item in items {
        if obtain::place(folder, &item.object.id).exists() {
            continue;
        }
        let Some(slice) = &item.slice else {
            runs.push(Run::whole(object_name(&item.object.id), &item.object));
            continue;
        };
        let name = object_name(&slice.pack.id);
        let begun = obtain::here(folder, &item.object) > 0;
        match runs.last_mut().filter(|r| !begun && r.name == name && r.end() == slice.offset) {
            Some(run) => run.pieces.push(item.object.clone()),
            None => runs.push(Run {
                name,
                size: slice.pack.size,
                offset: slice.offset,
                pieces: vec![item.object.clone()],
            }),
        }
    }
    runs
}

/// Removes downloads that are not among the wanted ones.
fn clean(job: &Job<'_>) -> anyhow::Result<()> {
    let folder = job.host.own("downloads");
    fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    let mut wanted: Vec<String> = Vec::new();
    for item in job.missing {
        wanted.push(item.object.id.hex());
        // A patch that did not serve has left its full object here, whole or in part.
        wanted.push(job.delivery.full(&item.path)?.id.hex());
    }
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        let stem = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
        if !wanted.contains(&stem) {
            files::remove_if_there(&path)?;
        }
    }
    Ok(())
}

impl Refusal {
    /// Whether the link failed, and not what was asked for.
    pub fn is_link(&self) -> bool {
        use crate::source::SourceError;
        matches!(self, Self::Unreachable(SourceError::Failed { .. }))
    }
}
