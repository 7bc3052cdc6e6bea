//! What is kept for others: proved objects, within limits of space and time, and what is being fetched. The agent
//! writes here; the server, which has no rights, reads.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use afield_core::ids::ObjectId;
use afield_store::files;

use super::{Fetching, MAX_CLAIM, Settings, is_address};

/// Name of the claim.
const CLAIM: &str = "fetching.json";

/// The folder.
#[derive(Debug, Clone)]
pub struct Shelf {
    dir: PathBuf,
    most: u64,
    longest: Duration,
}

impl Shelf {
    /// The shelf in `dir`, with the limits of the settings.
    pub fn new(dir: PathBuf, settings: &Settings) -> Self {
        let most = settings.keep_mib.saturating_mul(1024 * 1024);
        Self { dir, most, longest: settings.keep.duration() }
    }

    /// Makes the folders.
    pub fn make(&self) -> io::Result<()> {
        fs::create_dir_all(self.dir.join("objects"))?;
        for dir in [self.dir.clone(), self.dir.join("objects")] {
            fs::set_permissions(dir, Permissions::from_mode(0o755))?;
        }
        Ok(())
    }

    fn object(&self, hex: &str) -> PathBuf {
        self.dir.join("objects").join(hex)
    }

    /// Keeps an object that has been proved. It costs no space while the agent has it, too.
    pub fn keep(&self, id: &ObjectId, proved: &Path) -> io::Result<()> {
        let kept = self.object(&id.hex());
        match fs::hard_link(proved, &kept) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
            // Another file system.
            Err(_) => drop(fs::copy(proved, &kept)?),
            Ok(()) => {}
        }
        fs::set_permissions(&kept, Permissions::from_mode(0o644))
    }

    /// An object for a peer, if it is here.
    pub(super) fn open(&self, hex: &str) -> Option<File> {
        if !is_address(hex) {
            return None;
        }
        let file = File::open(self.object(hex)).ok()?;
        file.metadata().is_ok_and(|m| m.is_file()).then_some(file)
    }

    /// Removes what is too old, then the oldest until the rest fits.
    pub fn tidy(&self) -> io::Result<()> {
        let now = SystemTime::now();
        let mut kept = Vec::new();
        for entry in fs::read_dir(self.dir.join("objects"))? {
            let entry = entry?;
            let meta = entry.metadata()?;
            // When it came here; the link's file was written just before.
            let when = meta.modified().unwrap_or(now);
            kept.push((when, meta.len(), entry.path()));
        }
        kept.sort();
        let mut total: u64 = kept.iter().map(|(_, size, _)| size).sum();
        for (when, size, path) in kept {
            let age = now.duration_since(when).unwrap_or_default();
            if age > self.longest || total > self.most {
                files::remove_if_there(&path)?;
                total -= size;
            }
        }
        Ok(())
    }

    /// Says what this host fetches from outside; nothing, when it is done.
    pub(super) fn claim(&self, claim: &Fetching) -> io::Result<()> {
        let path = self.dir.join(CLAIM);
        if claim.objects.is_empty() {
            return files::remove_if_there(&path);
        }
        files::write_atomic(&path, &serde_json::to_vec(claim)?)
    }

    /// Says that the fetch goes on.
    pub(super) fn touch(&self) -> io::Result<()> {
        let file = File::options().append(true).open(self.dir.join(CLAIM))?;
        file.set_modified(SystemTime::now())
    }

    /// The claim as peers see it.
    pub(super) fn claimed(&self) -> Option<Fetching> {
        let path = self.dir.join(CLAIM);
        let bytes = files::read_foreign(&path, MAX_CLAIM).ok()?;
        let mut claim: Fetching = serde_json::from_slice(&bytes).ok()?;
        let age = fs::metadata(&path).ok()?.modified().ok()?.elapsed().unwrap_or_default();
        claim.age = age.as_secs();
        Some(claim)
    }
}
