//! `LoaderEntryDefault` in the firmware's memory: what systemd-boot starts whatever `loader.conf` says. It is there only
//! from the moment when entries are rewritten until the trial is judged, so that nothing stays behind in the firmware.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use afield_store::files;
use anyhow::Context as _;
use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};

use crate::config::Config;

const FOLDER: &str = "/sys/firmware/efi/efivars";
/// systemd-boot's vendor number.
const VENDOR: &str = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
/// It is kept over a restart, and seen by the loader and by the running system.
const ATTRIBUTES: [u8; 4] = [7, 0, 0, 0];
/// A name of an entry has at most this many bytes.
const MAX: u64 = 4096;

/// The variable, on a machine that systemd-boot started.
#[derive(Debug)]
pub struct Variable {
    path: PathBuf,
}

impl Variable {
    /// None where nobody would read it: the loader leaves its own name there at every start.
    pub fn find(config: &Config) -> Option<Self> {
        let folder = config.inside(Path::new(FOLDER));
        let loader = files::read_if_there(&folder.join(format!("LoaderInfo-{VENDOR}")), MAX);
        let name = text(&loader.ok()??);
        let path = folder.join(format!("LoaderEntryDefault-{VENDOR}"));
        name.starts_with("systemd-boot").then_some(Self { path })
    }

    /// Whether it decides now.
    pub fn is_there(&self) -> bool {
        self.path.exists()
    }

    /// Names an entry, or a pattern.
    pub fn set(&self, pattern: &str) -> anyhow::Result<()> {
        let old = files::read_if_there(&self.path, MAX)?;
        if old.is_some_and(|old| text(&old) == pattern) {
            return Ok(());
        }
        self.write(pattern).with_context(|| self.remedy("written"))
    }

    /// In one piece, which is how the firmware takes it: the new value replaces the old one as a whole.
    fn write(&self, pattern: &str) -> io::Result<()> {
        let value = pattern.encode_utf16().chain([0]).flat_map(u16::to_le_bytes);
        let variable: Vec<u8> = ATTRIBUTES.into_iter().chain(value).collect();
        self.unlock()?;
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).custom_flags(super::libc_nofollow());
        match options.open(&self.path)?.write(&variable)? {
            written if written == variable.len() => Ok(()),
            _ => Err(io::ErrorKind::WriteZero.into()),
        }
    }

    /// `loader.conf` decides again.
    pub fn remove(&self) -> anyhow::Result<()> {
        let remove = || self.unlock().and_then(|()| files::remove_if_there(&self.path));
        remove().with_context(|| self.remedy("removed"))
    }

    /// The kernel guards variables from careless hands.
    fn unlock(&self) -> io::Result<()> {
        let file = match File::open(&self.path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            file => file?,
        };
        // A file system without such flags guards nothing.
        match ioctl_getflags(&file) {
            Ok(flags) if flags.contains(IFlags::IMMUTABLE) => {
                Ok(ioctl_setflags(&file, flags - IFlags::IMMUTABLE)?)
            }
            _ => Ok(()),
        }
    }

    fn remedy(&self, done: &str) -> String {
        let path = self.path.display();
        format!("{path} cannot be {done}; is {FOLDER} writable, and is there room in the firmware?")
    }
}

/// A variable's value: attributes, then UTF-16.
fn text(variable: &[u8]) -> String {
    let value = variable.get(ATTRIBUTES.len()..).unwrap_or_default();
    let units = value.as_chunks().0.iter().map(|two| u16::from_le_bytes(*two));
    let units: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
    String::from_utf16_lossy(&units)
}
