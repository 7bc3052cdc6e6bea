//! Proved files from sources that nobody trusts: what stands one after the other is read as one stream, each piece is
//! kept as soon as it is proved, and what is here is never asked for again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use afield_core::ids::ObjectId;
use afield_core::release::ObjectRef;
use afield_store::object::{self, ObjectError};
use afield_store::repository::object_name;
use afield_store::{fault, files};

use crate::host::Host;
use crate::refusal::Refusal;
use crate::source::{Source, SourceError, Stretch};

/// Finished pieces are written to the disk together once they have so many bytes.
const SYNC_AFTER: u64 = 64 * 1024;

/// A source that sends fewer bytes a second in one of two streams is left, as long as there is another.
const FLOOR: u64 = 100;

/// After a cut so many rounds more may bring nothing, each after a longer pause: 1, 2, 4 and 8 seconds.
const EMPTY: u32 = 4;

/// How a source keeps up.
struct Pace {
    patience: Duration,
    since: Instant,
    bytes: u64,
}

impl Pace {
    fn new(patience: Duration) -> Self {
        Self { patience, since: Instant::now(), bytes: 0 }
    }

    /// So many bytes more came. False if it trickles.
    fn keeps_up(&mut self, bytes: u64) -> bool {
        self.bytes += bytes;
        let elapsed = self.since.elapsed();
        if elapsed < self.patience {
            return true;
        }
        let enough = self.bytes as f64 >= FLOOR as f64 * elapsed.as_secs_f64();
        (self.since, self.bytes) = (Instant::now(), 0);
        enough
    }
}

/// Pieces that stand one after the other in one file of the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The file.
    pub name: String,
    /// Its length.
    pub size: u64,
    /// Where the first piece begins.
    pub offset: u64,
    /// The pieces.
    pub pieces: Vec<ObjectRef>,
}

impl Run {
    /// A file that is one piece.
    pub fn whole(name: String, object: &ObjectRef) -> Self {
        Self { name, size: object.size, offset: 0, pieces: vec![object.clone()] }
    }

    /// Where the last piece ends.
    pub fn end(&self) -> u64 {
        self.offset + self.pieces.iter().map(|p| p.size).sum::<u64>()
    }

    fn is_pack(&self) -> bool {
        self.name != object_name(&self.pieces[0].id) && self.size != self.pieces[0].size
    }
}

/// Why pieces are not here.
#[derive(Debug, thiserror::Error)]
pub enum Halt {
    /// No source gave them; why the one did not that said most.
    #[error(transparent)]
    Refused(#[from] Box<Refusal>),
    /// They cannot be kept here.
    #[error("{path} cannot be written")]
    Here {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Whoever asked for them wants no more now.
    #[error("{0}")]
    Paused(String),
}

impl From<SourceError> for Halt {
    fn from(e: SourceError) -> Self {
        Self::Refused(Box::new(Refusal::from(e)))
    }
}

impl From<ObjectError> for Halt {
    fn from(e: ObjectError) -> Self {
        Self::Refused(Box::new(Refusal::Object(e)))
    }
}

impl Halt {
    /// As the end of a step.
    pub fn into_error(self) -> anyhow::Error {
        match self {
            Self::Refused(refusal) => (*refusal).into(),
            other => other.into(),
        }
    }
}

/// Where a piece is kept.
pub fn place(folder: &Path, id: &ObjectId) -> PathBuf {
    folder.join(id.hex())
}

fn part(path: &Path) -> PathBuf {
    path.with_extension("part")
}

/// Bytes of an object that are here already, whole or in part.
pub fn here(folder: &Path, object: &ObjectRef) -> u64 {
    let len = |path: &Path| fs::metadata(path).map_or(0, |m| m.len());
    let path = place(folder, &object.id);
    len(&path).max(len(&part(&path))).min(object.size)
}

/// Brings the pieces of a run into a folder, from one source after the other, and round again as long as that brings
/// something: a connection that was cut costs a new one, no more. What comes is told to `meter`, which may end it. Only
/// the first piece may be here in part.
pub fn obtain(
    host: &Host,
    folder: &Path,
    run: &Run,
    meter: &mut dyn FnMut(u64) -> Result<(), Halt>,
) -> Result<(), Halt> {
    fs::create_dir_all(folder).map_err(|source| Halt::Here { path: folder.into(), source })?;
    let mut pieces = Pieces::new(folder, run);
    match pieces.skip() {
        // What an earlier run left was not what it should be, and is gone.
        Err(Halt::Refused(_)) => {}
        other => other?,
    }
    let begun = pieces.come();
    let patient = (host.sources.len() > 1).then(|| host.config.patience.duration());
    let (mut patience, mut empty) = (patient, 0);
    loop {
        pieces.most = pieces.come().max(pieces.most);
        let before = pieces.most;
        let Some(refusal) = round(host, &mut pieces, patience, meter)? else {
            return Ok(());
        };
        let cut = pieces.most > begun && refusal.is_link();
        match pieces.most > before {
            true if cut => (patience, empty) = (patient, 0),
            // When all of them trickle, each is better than none.
            _ if patience.is_some() => patience = None,
            false if cut && empty < EMPTY => {
                std::thread::sleep(Duration::from_secs(1 << empty));
                empty += 1;
            }
            _ => return Err(Halt::Refused(refusal)),
        }
    }
}

/// Asks each source in turn. None if all is here; else why the one did not serve that said most.
fn round(
    host: &Host,
    pieces: &mut Pieces<'_>,
    patience: Option<Duration>,
    meter: &mut dyn FnMut(u64) -> Result<(), Halt>,
) -> Result<Option<Box<Refusal>>, Halt> {
    let mut refusal: Option<Box<Refusal>> = None;
    for source in &host.sources {
        // What another source left half may be a lie; then this one is asked for all of it.
        let mut tries = if pieces.half { 2 } else { 1 };
        while tries > 0 {
            tries -= 1;
            match from_source(source, pieces, patience, meter) {
                Ok(()) => return Ok(None),
                Err(Halt::Refused(e)) => {
                    let lie = matches!(*e, Refusal::Object(_));
                    if lie || refusal.as_ref().is_none_or(|r| r.is_silence()) {
                        refusal = Some(e);
                    }
                    if !lie {
                        break;
                    }
                }
                Err(other) => return Err(other),
            }
        }
    }
    match pieces.left() {
        None => Ok(None),
        Some(_) => Ok(Some(refusal.unwrap_or_else(|| no_repository(&pieces.run.name)))),
    }
}

fn trickles(source: &Source, name: &str) -> Halt {
    let why = format!("it sends less than {FLOOR} bytes a second");
    SourceError::Failed { place: source.place(), name: name.to_owned(), why }.into()
}

fn no_repository(name: &str) -> Box<Refusal> {
    let (place, why) = ("this host".into(), "no repository is configured".into());
    Box::new(Refusal::from(SourceError::Failed { place, name: name.to_owned(), why }))
}

/// As long as each request brings something, the next one may bring the rest.
fn from_source(
    source: &Source,
    pieces: &mut Pieces<'_>,
    patience: Option<Duration>,
    meter: &mut dyn FnMut(u64) -> Result<(), Halt>,
) -> Result<(), Halt> {
    let mut packed = true;
    let mut pace = patience.map(Pace::new);
    let mut slow = false;
    while let Some((piece, at)) = pieces.left() {
        let (name, range, size) = match packed {
            true => (pieces.run.name.clone(), at..pieces.run.end(), pieces.run.size),
            // A source that does not have the pack may have the object: another host of the site, a stick.
            false => (object_name(&piece.id), pieces.length..piece.size, piece.size),
        };
        let stretch = Stretch { name: &name, range, size };
        let read = source.read(&stretch, |bytes| {
            // Whatever the meter says, what came is kept.
            let told = meter(bytes.len() as u64);
            pieces.take(bytes)?;
            told?;
            slow = pace.as_mut().is_some_and(|pace| !pace.keeps_up(bytes.len() as u64));
            match slow {
                true => Err(trickles(source, &name)),
                false => Ok(()),
            }
        });
        pieces.close()?;
        match read {
            Ok(()) => {}
            Err(e) => match e {
                Halt::Refused(e) if matches!(*e, Refusal::Unreachable(_)) => {
                    let went_on = pieces.left().is_none_or(|(_, now)| now > at);
                    let not_there =
                        matches!(*e, Refusal::Unreachable(SourceError::NotThere { .. }));
                    if packed && not_there && pieces.run.is_pack() {
                        packed = false;
                    } else if !went_on || slow {
                        return Err(Halt::Refused(e));
                    }
                }
                other => return Err(other),
            },
        }
    }
    Ok(())
}

/// The pieces of a run on the disk.
struct Pieces<'a> {
    folder: &'a Path,
    run: &'a Run,
    /// The first one that is not here.
    next: usize,
    /// How much of it is.
    length: u64,
    /// The most bytes of the run that were ever here, lies among them.
    most: u64,
    /// Whether that came from an earlier run or another source.
    half: bool,
    file: Option<File>,
    /// Proved, and not yet known to be on the disk.
    unsynced: Vec<PathBuf>,
    unsynced_bytes: u64,
}

impl<'a> Pieces<'a> {
    fn new(folder: &'a Path, run: &'a Run) -> Self {
        let (unsynced, unsynced_bytes) = (Vec::new(), 0);
        let file = None;
        Self {
            folder,
            run,
            next: 0,
            length: 0,
            most: 0,
            half: false,
            file,
            unsynced,
            unsynced_bytes,
        }
    }

    fn here(&self, source: io::Error) -> Halt {
        Halt::Here { path: self.folder.into(), source }
    }

    /// The next piece that is not here, and the first byte of the run's file that is missing.
    fn left(&self) -> Option<(ObjectRef, u64)> {
        let piece = self.run.pieces.get(self.next)?;
        Some((piece.clone(), self.run.offset + self.come()))
    }

    /// Bytes of the run that are here.
    fn come(&self) -> u64 {
        let before: u64 = self.run.pieces[..self.next].iter().map(|p| p.size).sum();
        before + self.length
    }

    /// Passes over what is here.
    fn skip(&mut self) -> Result<(), Halt> {
        while let Some(piece) = self.run.pieces.get(self.next) {
            let path = place(self.folder, &piece.id);
            if path.exists() {
                self.next += 1;
                continue;
            }
            self.length = here(self.folder, piece);
            self.half = self.length > 0;
            if self.length < piece.size {
                return Ok(());
            }
            self.finish()?;
        }
        self.close()
    }

    /// Takes bytes as they come.
    fn take(&mut self, mut bytes: &[u8]) -> Result<(), Halt> {
        self.most = self.most.max(self.come() + bytes.len() as u64);
        while let Some(piece) = self.run.pieces.get(self.next).filter(|_| !bytes.is_empty()) {
            let room = usize::try_from(piece.size - self.length).unwrap_or(usize::MAX);
            let (now, rest) = bytes.split_at(room.min(bytes.len()));
            self.write(now)?;
            bytes = rest;
            fault::point("fetch:chunk");
            if self.length == piece.size {
                self.finish()?;
            }
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Halt> {
        let piece = &self.run.pieces[self.next];
        if self.file.is_none() {
            let path = part(&place(self.folder, &piece.id));
            let mut options = OpenOptions::new();
            let file = match self.length {
                0 => options.create(true).write(true).truncate(true).open(path),
                _ => options.append(true).open(path),
            };
            self.file = Some(file.map_err(|e| self.here(e))?);
        }
        let written = self.file.as_mut().map_or(Ok(()), |file| file.write_all(bytes));
        written.map_err(|e| self.here(e))?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Proves the piece that is complete.
    fn finish(&mut self) -> Result<(), Halt> {
        let piece = &self.run.pieces[self.next];
        self.file = None;
        let path = place(self.folder, &piece.id);
        if let Err(e) = object::prove_bytes(&part(&path), piece) {
            // Nothing tells which bytes are wrong, so all are fetched again.
            files::remove_if_there(&part(&path)).map_err(|e| self.here(e))?;
            self.length = 0;
            self.half = false;
            return Err(e.into());
        }
        fault::point("fetch:proved");
        self.next += 1;
        self.length = 0;
        self.half = false;
        self.unsynced.push(path);
        self.unsynced_bytes += piece.size;
        if self.unsynced_bytes >= SYNC_AFTER {
            self.sync()?;
        }
        Ok(())
    }

    /// Gives proved pieces their names, once they are on the disk.
    fn sync(&mut self) -> Result<(), Halt> {
        let all = std::mem::take(&mut self.unsynced);
        self.unsynced_bytes = 0;
        if all.is_empty() {
            return Ok(());
        }
        let kept = (|| {
            all.iter().try_for_each(|path| File::open(part(path))?.sync_all())?;
            all.iter().try_for_each(|path| fs::rename(part(path), path))?;
            files::sync_dir(self.folder)
        })();
        kept.map_err(|e| self.here(e))?;
        fault::point("fetch:kept");
        Ok(())
    }

    /// After an answer: what came stays.
    fn close(&mut self) -> Result<(), Halt> {
        if let Some(file) = self.file.take() {
            file.sync_all().map_err(|e| self.here(e))?;
        }
        self.sync()
    }
}
