//! A stick: one more source, the first of a run that was given one; and the way back, for what the hub should know.
//! Nothing on it is trusted, and what is written onto it only the hub can read.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use afield_core::bundle::{self, NOTE, Note, Package, REPORTS, SEALED, Standing};
use afield_core::secrets::age::{self, Recipient};
use afield_core::secrets::hostkey::HostPublic;
use afield_core::signed::Envelope;
use afield_store::{fault, files, trust};
use anyhow::Context as _;
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::config::Config;
use crate::host::Host;
use crate::refusal::Refusal;
use crate::source::{Source, SourceError};
use crate::state::{State, Store};
use crate::{activate, report};

/// A note has at most this many bytes: 10,000 hosts.
const MAX_NOTE: u64 = 1024 * 1024;

/// A stick, or any folder or file that a person names.
#[derive(Debug)]
pub struct Stick {
    /// What is fetched from.
    pub source: Source,
    note: Option<Note>,
    /// The folder in which the folder for reports is.
    outside: PathBuf,
}

impl Stick {
    /// A folder that holds a repository or a piece of one, or a bundle that is one file.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let shown = || format!("{} cannot be used as a stick", path.display());
        let path = std::fs::canonicalize(path).with_context(shown)?;
        let source = Source::at(&path).with_context(shown)?;
        // A copy of a whole repository has none; a note that cannot be read says nothing.
        let note = source.get(NOTE, MAX_NOTE).ok();
        let note = note.and_then(|bytes| serde_json::from_slice::<Note>(&bytes).ok());
        let outside = match &source {
            Source::Archive(_) => path.parent().unwrap_or(&path).to_owned(),
            _ => path,
        };
        Ok(Self { source, note: note.filter(|n| n.format <= bundle::FORMAT), outside })
    }

    /// Why there can be nothing for this host on it, as far as its note says. The note is not signed: a false one can
    /// say no, never yes.
    pub fn refusal(&self, config: &Config) -> Option<Refusal> {
        let note = self.note.as_ref()?;
        if note.fleet != config.fleet {
            let (found, own) = (note.fleet.clone(), config.fleet.clone());
            return Some(Refusal::OtherFleet { found, own });
        }
        (!note.hosts.contains(&config.host)).then(|| {
            let names: Vec<&str> = note.hosts.iter().map(|h| h.as_str()).take(20).collect();
            self.for_others(format!("it was made for {}", names.join(", ")), config)
        })
    }

    fn for_others(&self, what: String, config: &Config) -> Refusal {
        Refusal::StickForOthers { place: self.source.place(), what, own: config.host.clone() }
    }

    /// What a source's error means if it is this stick's: a person put it here, so that there is nothing is news.
    pub fn explain(&self, host: &Host, error: SourceError) -> Refusal {
        match &error {
            SourceError::NotThere { name, place } if *place == self.source.place() => {
                self.for_others(format!("there is no {name}"), &host.config)
            }
            _ => error.into(),
        }
    }

    /// Puts how this host stands, and every report that waits, onto the stick: each time as new files, sealed to the
    /// hub. Returns how many reports that were.
    pub fn give(&self, host: &Host) -> anyhow::Result<usize> {
        self.write(host).with_context(|| {
            let folder = self.outside.join(REPORTS);
            format!("{} cannot be written; the reports wait on the host", folder.display())
        })
    }

    fn write(&self, host: &Host) -> anyhow::Result<usize> {
        let state = Store::peek(&host.config.state_dir())?;
        let hub = hub_keys(host, &state).context("there is nobody to seal reports to")?;
        let folder = reports_folder(&self.outside)?;
        report::carry(host, |reports| {
            let standing = Envelope::seal(&standing(host, &state), &host.key)?;
            let first = reports.first().and_then(number).unwrap_or_default();
            let package = Package { format: bundle::FORMAT, standing, reports };
            let sealed = sealed(&serde_json::to_vec(&package)?, &hub)?;
            let name = format!("{}-{first:020}-{:016x}.{SEALED}", host.config.host, random()?);
            Ok(put(&folder, &name, sealed.as_bytes())?)
        })
    }
}

fn number(envelope: &Envelope) -> Option<u64> {
    serde_json::from_str::<serde_json::Value>(&envelope.payload).ok()?.get("seq")?.as_u64()
}

fn standing(host: &Host, state: &State) -> Standing {
    Standing {
        fleet: host.config.fleet.clone(),
        host: host.config.host.clone(),
        time: host.now(state).time,
        agent: env!("CARGO_PKG_VERSION").to_owned(),
        release_seen: state.release_seen,
        good: state.good.clone(),
        attempt: state.attempt.clone(),
        failed: state.quarantined.iter().copied().collect(),
        log: activate::log(host),
    }
}

/// The hub's keys: those that sign assignments, as the newest root metadata names them.
fn hub_keys(host: &Host, state: &State) -> anyhow::Result<Vec<Recipient>> {
    let root = match &state.trust.root {
        Some(root) => root.clone().into_bytes(),
        None => files::read_limited(&host.config.inside(&host.config.trust_root), trust::MAX_ROOT)?,
    };
    let keys = trust::read_root(&root)?.afield.rollout.keys;
    let recipients = keys.iter().map(|key| HostPublic::from_bytes(key.as_bytes()));
    Ok(recipients.map(|key| key.map(Recipient::Ssh)).collect::<Result<_, _>>()?)
}

fn sealed(plain: &[u8], to: &[Recipient]) -> anyhow::Result<String> {
    let mut failed = None;
    let mut fill = |buffer: &mut [u8]| failed = failed.or(getrandom::fill(buffer).err());
    let sealed = age::encrypt(plain, to, &mut fill)?;
    match failed {
        None => Ok(sealed.file),
        Some(e) => anyhow::bail!("the kernel gives no randomness: {e}"),
    }
}

fn random() -> anyhow::Result<u64> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|e| anyhow::anyhow!("no randomness: {e}"))?;
    Ok(u64::from_le_bytes(bytes))
}

/// Opens the folder for reports, itself and not what a link in its place leads to.
fn reports_folder(outside: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let outside = rustix::fs::open(outside, flags, Mode::empty())?;
    match rustix::fs::mkdirat(&outside, REPORTS, Mode::from_raw_mode(0o755)) {
        Ok(()) => rustix::fs::fsync(&outside)?,
        Err(Errno::EXIST) => {}
        Err(e) => return Err(e.into()),
    }
    Ok(rustix::fs::openat(&outside, REPORTS, flags | OFlags::NOFOLLOW, Mode::empty())?)
}

/// Writes a new file, all or nothing: half a file never gets the name of a whole one, and none is replaced.
fn put(folder: &OwnedFd, name: &str, bytes: &[u8]) -> io::Result<()> {
    let part = format!("{name}.part");
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = rustix::fs::openat(folder, &part, flags, Mode::from_raw_mode(0o644))?;
    let written = (|| {
        let mut file = File::from(file);
        file.write_all(bytes)?;
        fault::point("stick:written");
        file.sync_all()?;
        // FAT and old kernels cannot refuse to replace; the name is random.
        let once = RenameFlags::NOREPLACE;
        match rustix::fs::renameat_with(folder, &part, folder, name, once) {
            Err(Errno::INVAL | Errno::NOSYS) => {
                rustix::fs::renameat(folder, &part, folder, name)?;
            }
            other => other?,
        }
        fault::point("stick:renamed");
        rustix::fs::fsync(folder)?;
        Ok(())
    })();
    if written.is_err() {
        // The stick may be gone.
        let _ = rustix::fs::unlinkat(folder, &part, AtFlags::empty());
    }
    written
}
