//! systemd-boot: an entry `NAME+3.conf` has three tries. The loader renames it to `NAME+2-1.conf` when it
//! starts it, down to `NAME+0-3.conf`; one without a number is good.
//!
//! What is named to be started is a new entry only as long as it has tries left (`NAME+[1-9]*.conf`). After that the
//! pattern fits nothing. Where the firmware keeps variables, it stands in one, which holds the last good entry while
//! others are written, and `default` in `loader.conf` names what is started after it. Elsewhere it stands in
//! `loader.conf` itself, and after it the loader takes the newest entry that is not used up.

use std::fs;
use std::path::{Path, PathBuf};

use afield_core::ids::StorePath;
use afield_store::files;
use anyhow::Context as _;

use super::variable::Variable;
use crate::config::Config;
use crate::journal::{self, Level};

/// A boot is tried this often.
const TRIES: u32 = 3;
/// An entry or `loader.conf` has at most this many bytes.
const MAX_FILE: u64 = 64 * 1024;

/// The partition that the firmware reads.
#[derive(Debug)]
pub struct Entries {
    partition: PathBuf,
    variable: Option<Variable>,
}

struct Entry {
    /// Its file name without tries and `.conf`.
    name: String,
    /// Tries left, if they are counted.
    tries: Option<u32>,
    path: PathBuf,
    text: String,
}

impl Entries {
    /// Where it is mounted, if systemd-boot is there.
    pub fn find(config: &Config) -> Option<Self> {
        let usual = ["/boot/efi", "/boot", "/efi"].map(PathBuf::from);
        let places = config.esp.clone().into_iter().chain(usual);
        let mut partitions = places.map(|place| config.inside(&place));
        let partition = partitions.find(|p| p.join("loader/entries").is_dir())?;
        Some(Self { partition, variable: Variable::find(config) })
    }

    pub fn partition(&self) -> &Path {
        &self.partition
    }

    fn all(&self) -> anyhow::Result<Vec<Entry>> {
        let folder = self.partition.join("loader/entries");
        let mut entries = Vec::new();
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            let file = path.file_name().map(|n| n.to_string_lossy().into_owned());
            let Some(stem) = file.as_deref().and_then(|f| f.strip_suffix(".conf")) else {
                continue;
            };
            let (name, tries) = split(stem);
            let text = files::read_limited(&path, MAX_FILE)?;
            let text = String::from_utf8_lossy(&text).into_owned();
            entries.push(Entry { name, tries, path, text });
        }
        entries.sort_by_key(|entry| natural(&entry.name));
        Ok(entries)
    }

    /// The newest entry that starts a system.
    fn of(&self, system: &StorePath) -> anyhow::Result<Option<Entry>> {
        Ok(self.all()?.into_iter().rfind(|entry| super::starts(&entry.text, system)))
    }

    fn rename(&self, entry: &Entry, tries: Option<(u32, u32)>) -> anyhow::Result<()> {
        let to = match tries {
            None => format!("{}.conf", entry.name),
            Some((left, 0)) => format!("{}+{left}.conf", entry.name),
            Some((left, done)) => format!("{}+{left}-{done}.conf", entry.name),
        };
        let to = entry.path.with_file_name(to);
        fs::rename(&entry.path, &to).with_context(|| to.display().to_string())?;
        Ok(rustix::fs::syncfs(fs::File::open(&self.partition)?)?)
    }

    fn set_default(&self, pattern: &str) -> anyhow::Result<()> {
        let path = self.partition.join("loader/loader.conf");
        let old = files::read_if_there(&path, MAX_FILE)?.unwrap_or_default();
        let old = String::from_utf8_lossy(&old).into_owned();
        let is_default = |line: &&str| line.split_whitespace().next() == Some("default");
        let mut lines: Vec<&str> = old.lines().filter(|line| !is_default(line)).collect();
        let new = format!("default {pattern}");
        lines.insert(0, &new);
        let text = lines.join("\n") + "\n";
        if text == old {
            return Ok(());
        }
        // A full partition has no room for a second copy.
        let beside = files::write_atomic(&path, text.as_bytes());
        beside.or_else(|_| super::overwrite(&path, text.as_bytes()))?;
        Ok(())
    }

    /// The variable, while it decides what is started.
    fn deciding(&self) -> Option<&Variable> {
        self.variable.as_ref().filter(|variable| variable.is_there())
    }

    /// While entries are written, the last good one is what starts: the contract knows of no trial.
    pub fn hold(&self, good: Option<&StorePath>) -> anyhow::Result<()> {
        let good = good.map(|good| self.of(good)).transpose()?.flatten();
        if let (Some(variable), Some(good)) = (&self.variable, good) {
            let held = variable.set(&format!("{}.conf", good.name));
            if variable.is_there() {
                held?;
            } else if let Err(e) = held {
                // It goes without, as on a firmware that keeps nothing.
                journal::say(Level::Notice, &format!("{e:#}"));
            }
        }
        self.forget_trials()
    }

    /// Entries with tries would stay beside those that the contract writes anew without.
    fn forget_trials(&self) -> anyhow::Result<()> {
        for entry in self.all()?.into_iter().filter(|entry| entry.tries.is_some()) {
            self.rename(&entry, None)?;
        }
        Ok(())
    }

    pub fn count(&self, system: &StorePath) -> anyhow::Result<String> {
        let entry = self.of(system)?;
        let entry = entry.with_context(|| format!("no boot entry starts {system}"))?;
        if entry.tries.is_none_or(|left| left == 0) {
            self.rename(&entry, Some((TRIES, 0)))?;
        }
        Ok(entry.name)
    }

    /// `next` is what starts when the tries are used up.
    pub fn arm(&self, system: &StorePath, next: &StorePath) -> anyhow::Result<()> {
        let name = self.count(system)?;
        let trial = format!("{name}+[1-9]*.conf");
        let (Some(variable), Some(next)) = (self.deciding(), self.of(next)?) else {
            return self.set_default(&trial);
        };
        self.set_default(&match next.tries {
            None => format!("{}.conf", next.name),
            Some(_) => format!("{}+[1-9]*.conf", next.name),
        })?;
        variable.set(&trial)
    }

    pub fn bless(&self, system: &StorePath) -> anyhow::Result<()> {
        let Some(entry) = self.of(system)? else {
            anyhow::bail!("no boot entry starts {system}, which was started");
        };
        // Named first where something else would start as soon as the variable's pattern fits no more.
        let default = format!("{}.conf", entry.name);
        if self.deciding().is_some() {
            self.set_default(&default)?;
        }
        if entry.tries.is_some() {
            self.rename(&entry, None)?;
        }
        self.set_default(&default)?;
        self.release()
    }

    fn release(&self) -> anyhow::Result<()> {
        self.deciding().map_or(Ok(()), Variable::remove)
    }

    /// Every entry that is still on trial is used up. Then the newest good one is what starts, and naming it
    /// is a help and no need.
    pub fn retreat(&self, good: &StorePath) -> anyhow::Result<bool> {
        for entry in self.all()? {
            if entry.tries.is_some_and(|left| left > 0) && !super::starts(&entry.text, good) {
                self.rename(&entry, Some((0, TRIES)))?;
            }
        }
        let Some(entry) = self.of(good)? else {
            self.release()?;
            return Ok(false);
        };
        if entry.tries.is_some() {
            self.rename(&entry, None)?;
        }
        self.set_default(&format!("{}.conf", entry.name))?;
        self.release()?;
        Ok(true)
    }

    pub fn gave_up(&self, system: &StorePath) -> bool {
        self.of(system).is_ok_and(|e| e.is_some_and(|entry| entry.tries == Some(0)))
    }
}

/// Name and tries of `NAME+LEFT` or `NAME+LEFT-DONE`.
fn split(stem: &str) -> (String, Option<u32>) {
    let counted = stem.rsplit_once('+').and_then(|(name, tries)| {
        let left = tries.split_once('-').map_or(tries, |(left, _)| left);
        Some((name.to_owned(), left.parse().ok()?))
    });
    match counted {
        Some((name, left)) => (name, Some(left)),
        None => (stem.to_owned(), None),
    }
}

/// Sorts `generation-9` before `generation-10`.
fn natural(name: &str) -> Vec<(String, u64)> {
    let mut parts = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let text = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (word, tail) = rest.split_at(text);
        let digits = tail.find(|c: char| !c.is_ascii_digit()).unwrap_or(tail.len());
        let (number, tail) = tail.split_at(digits);
        parts.push((word.to_owned(), number.parse().unwrap_or(0)));
        rest = tail;
    }
    parts
}
