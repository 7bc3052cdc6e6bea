//! Step 7: archives out of objects, proved while they pass into the Nix store.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use afield_core::ids::StorePath;
use afield_core::plan::Missing;
use afield_core::release::PathInfo;
use afield_store::nar::{self, NarError};
use afield_store::object::{self, ObjectError};
use afield_store::patch::{self, Source};
use afield_store::{export, fault, files};
use anyhow::Context as _;

use crate::host::Host;
use crate::nix::Nix;
use crate::refusal::Refusal;

/// A patch that does not make its path.
#[derive(Debug)]
pub struct Bad {
    /// Paths before it, which are in the store now.
    pub done: usize,
    /// What is wrong.
    pub why: String,
}

/// Why an archive did not get into the store.
#[derive(Debug)]
enum Stop {
    /// The object is not what was signed.
    Object(ObjectError),
    /// The patch does not make it.
    Patch(String),
    /// Nix takes no more; it says why.
    Pipe(io::Error),
}

impl From<io::Error> for Stop {
    fn from(e: io::Error) -> Self {
        Self::Pipe(e)
    }
}

/// Imports paths whose objects are here, references first. When it returns, their bytes are on the disk.
pub fn import(
    host: &Host,
    nix: &Nix,
    items: &[Missing],
    infos: &BTreeMap<&StorePath, &PathInfo>,
) -> anyhow::Result<Result<(), Bad>> {
    let bases = bases(nix, items)?;
    let mut done = 0;
    let mut stop = None;
    let imported = nix.import(|mut out| {
        for item in items {
            let info = infos.get(&item.path).context("a path of no closure")?;
            let path = export::path(&mut out, info, |out| archive(host, item, info, &bases, out));
            match path {
                Ok(()) => done += 1,
                Err(e) => {
                    stop = Some(e);
                    anyhow::bail!("it was stopped");
                }
            }
            fault::point("import:path");
        }
        Ok(export::end(&mut out)?)
    });
    // Nix has registered the paths; their bytes must be on the disk before the objects go.
    nix.sync().context("the Nix store cannot be written to the disk")?;
    match (imported, stop) {
        (Ok(()), None) => {
            fault::point("import:done");
            Ok(Ok(()))
        }
        (_, Some(Stop::Patch(why))) => Ok(Err(Bad { done, why })),
        (_, Some(Stop::Object(e))) => {
            // It can be fetched again; what cannot be removed is refused again by the next run.
            let _ = files::remove_if_there(&host.download(&items[done].object.id));
            Err(Refusal::Object(e).into())
        }
        (Err(e), _) => Err(refused(nix, items, &e).into()),
        (Ok(()), Some(Stop::Pipe(e))) => Err(e.into()),
    }
}

/// Nix did not take a path; which, the store tells.
fn refused(nix: &Nix, items: &[Missing], error: &anyhow::Error) -> Refusal {
    let paths: Vec<StorePath> = items.iter().map(|m| m.path.clone()).collect();
    let left = nix.missing(&paths).unwrap_or_default();
    let path = left.first().map(ToString::to_string).unwrap_or_default();
    Refusal::Import { path, why: format!("{error:#}") }
}

/// What Nix knows of the bases of patches, by path.
fn bases(nix: &Nix, items: &[Missing]) -> anyhow::Result<BTreeMap<StorePath, PathInfo>> {
    let mut paths: Vec<StorePath> =
        items.iter().flat_map(|m| m.bases.iter().map(|b| b.path.clone())).collect();
    paths.sort();
    paths.dedup();
    let infos = nix.infos(&paths)?;
    Ok(infos.into_iter().map(|info| (info.path.clone(), info)).collect())
}

/// Writes the archive of a path. What was written counts only if this succeeds.
fn archive(
    host: &Host,
    item: &Missing,
    info: &PathInfo,
    bases: &BTreeMap<StorePath, PathInfo>,
    out: &mut impl Write,
) -> Result<(), Stop> {
    let path = host.download(&item.object.id);
    let id = item.object.id;
    object::prove_bytes(&path, &item.object).map_err(Stop::Object)?;
    let unreadable = |source| Stop::Object(ObjectError::Io { id, source });
    let file = File::open(&path).map_err(unreadable)?;
    if item.bases.is_empty() {
        let nar = object::unpack(file).map_err(unreadable)?;
        return prove(nar, info, out, |source| Stop::Object(ObjectError::Nar { id, source }));
    }
    let found = item.bases.iter().map(|base| {
        let info = bases.get(&base.path).filter(|info| info.nar_hash == base.nar_hash);
        let dir = host.config.inside(Path::new(base.path.as_str()));
        info.map(|info| (info, dir)).ok_or_else(|| Stop::Patch(format!("{} is gone", base.path)))
    });
    let found: Vec<(&PathInfo, PathBuf)> = found.collect::<Result<_, _>>()?;
    let sources: Vec<Source<'_>> = found.iter().map(|(info, dir)| Source { info, dir }).collect();
    patched(host, file, info, &sources, out)
}

/// Makes an archive from a patch. It is proved while it passes, and what a lie would write is never completed.
fn patched(
    host: &Host,
    patch: File,
    info: &PathInfo,
    sources: &[Source<'_>],
    out: &mut impl Write,
) -> Result<(), Stop> {
    let (reader, writer) = io::pipe()?;
    let scratch = host.own("downloads");
    std::thread::scope(|scope| {
        let making = scope.spawn(|| {
            let out = BufWriter::with_capacity(1 << 16, writer);
            patch::apply(io::BufReader::new(patch), info, sources, &scratch, out)
        });
        let wrong = |e: NarError| Stop::Patch(e.to_string());
        let proved = prove(io::BufReader::with_capacity(1 << 16, reader), info, out, wrong);
        let made = making.join();
        match (proved, made) {
            (Ok(()), Ok(Ok(()))) => Ok(()),
            (Err(Stop::Pipe(e)), _) => Err(Stop::Pipe(e)),
            // Which base is not what it was says more than what came of it.
            (proved, made) => Err(Stop::Patch(match (patch::blame(sources), made, proved) {
                (Err(e), ..) | (_, Ok(Err(e)), Ok(())) => e.to_string(),
                (_, Ok(Err(e)), Err(Stop::Patch(_))) if !is_closed(&e) => e.to_string(),
                (_, _, Err(Stop::Patch(why))) => why,
                _ => "it was not made".into(),
            })),
        }
    })
}

/// Whether the one who read what a patch makes has had enough.
fn is_closed(error: &patch::PatchError) -> bool {
    matches!(error, patch::PatchError::Write(_))
}

/// Passes an archive on while proving it.
fn prove(
    nar: impl Read,
    info: &PathInfo,
    out: &mut impl Write,
    wrong: impl FnOnce(NarError) -> Stop,
) -> Result<(), Stop> {
    let mut tee = Tee { nar, out, failed: None };
    let proved = nar::prove(&mut tee, info.nar_size, info.nar_hash);
    match (tee.failed, proved) {
        (Some(e), _) => Err(Stop::Pipe(e)),
        (None, proved) => proved.map_err(wrong),
    }
}

/// Writes what is read from it.
struct Tee<R, W> {
    nar: R,
    out: W,
    /// Why it could not be written.
    failed: Option<io::Error>,
}

impl<R: Read, W: Write> Read for Tee<R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.nar.read(buffer)?;
        if let Err(e) = self.out.write_all(&buffer[..n]) {
            self.failed = Some(e);
            return Err(io::Error::other("it cannot be passed on"));
        }
        Ok(n)
    }
}
