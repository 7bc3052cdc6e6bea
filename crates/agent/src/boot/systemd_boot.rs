//! systemd-boot: an entry `NAME+3.conf` has three tries. The loader renames it to `NAME+2-1.conf` when it
//! starts it, down to `NAME+0-3.conf`; one without a number is good.
//!
//! Which one is started is told by `default` in `loader.conf`. A blessed system is named there. On trial it is a
//! pattern that fits all of the host's systems: the first that fits is started, and what is used up comes last, so
//! that it is the one on trial and after it the last good one. No name there has tries in it: to systemd-boot before
//! 258 they belong to an entry's name, and since then they do not. Where the firmware keeps variables, one of them holds
//! the last good one while entries are written: the contract knows of no trial.

use std::fs;
use std::path::{Path, PathBuf};

use afield_core::ids::StorePath;
use afield_store::files;
use anyhow::{Context as _, bail, ensure};

use super::variable::Variable;
use crate::config::Config;
use crate::journal::{self, Level};

mod order;
use order::{first_in_the_menu, split};

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

    /// The newest first, as the loader sorts them.
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
        entries.sort_by(first_in_the_menu);
        Ok(entries)
    }

    /// The newest entry that starts a system.
    fn of(&self, system: &StorePath) -> anyhow::Result<Option<Entry>> {
        Ok(self.all()?.into_iter().find(|entry| entry.starts(system)))
    }

    pub fn has(&self, system: &StorePath) -> bool {
        self.of(system).is_ok_and(|entry| entry.is_some())
    }

    fn rename(&self, entry: &Entry, tries: Option<(u32, u32)>) -> anyhow::Result<()> {
        if entry.tries == tries.map(|(left, _)| left) {
            return Ok(());
        }
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

    /// The last booted system is what starts while entries are written. Those with tries would stay beside what the
    /// contract writes anew without; the names of those that were used up are returned.
    pub fn hold(&self, safe: &StorePath) -> anyhow::Result<Vec<String>> {
        if let Some(entry) = self.of(safe)? {
            self.only(&entry)?;
            self.name_in_the_firmware(&entry)?;
        }
        let mut spent = Vec::new();
        for entry in self.all()?.into_iter().filter(|entry| entry.tries.is_some()) {
            self.rename(&entry, None)?;
            if entry.tries == Some(0) {
                spent.push(entry.name);
            }
        }
        Ok(spent)
    }

    fn name_in_the_firmware(&self, entry: &Entry) -> anyhow::Result<()> {
        let Some(variable) = &self.variable else {
            return Ok(());
        };
        match variable.set(&format!("{}.conf", entry.name)) {
            Err(e) if !variable.is_there() => {
                // It goes without, as on a firmware that keeps nothing.
                journal::say(Level::Notice, &format!("{e:#}"));
                Ok(())
            }
            named => named,
        }
    }

    /// `loader.conf` decides again.
    fn release(&self) -> anyhow::Result<()> {
        let there = self.variable.as_ref().filter(|variable| variable.is_there());
        there.map_or(Ok(()), Variable::remove)
    }

    /// Whatever tries others have, this one starts. An entry without tries has one name under both rules.
    fn only(&self, entry: &Entry) -> anyhow::Result<()> {
        self.rename(entry, None)?;
        self.set_default(&format!("{}.conf", entry.name))
    }

    /// A system is on trial; behind it stands `safe`, and nothing between them that was never booted.
    pub fn arm(
        &self,
        system: &StorePath,
        safe: &StorePath,
        spent: &[String],
    ) -> anyhow::Result<()> {
        let entries = self.all()?;
        let starts = |system: &StorePath, from: usize| {
            let found = entries.iter().skip(from).position(|entry| entry.starts(system));
            found.map(|place| from + place)
        };
        let at = starts(system, 0).with_context(|| format!("no boot entry starts {system}"))?;
        let behind = starts(safe, at + 1).with_context(|| {
            format!("no boot entry behind that of {system} starts {safe}, which was booted last")
        })?;
        let (trial, good) = (&entries[at], &entries[behind]);
        let pattern = pattern(&trial.name, &good.name)?;
        let (fits, spent_before) = (
            |entry: &Entry| entry.name.starts_with(&pattern),
            |entry: &Entry| spent.contains(&entry.name) && !entry.starts(safe),
        );
        if let Some(other) = entries.iter().take(behind).find(|e| fits(e) && !e.is_ours()) {
            bail!("{} would be started instead of {}", other.path.display(), good.name);
        }
        // First of all it is not started for ever, and then nothing else is.
        self.rename(trial, Some((trial.tries.filter(|n| *n > 0).unwrap_or(TRIES), 0)))?;
        self.only(good)?;
        for (i, entry) in entries.iter().enumerate().filter(|(i, e)| *i != at && fits(e)) {
            if i < behind || spent_before(entry) {
                self.rename(entry, Some((0, TRIES)))?;
            }
        }
        self.set_default(&format!("{pattern}*.conf"))?;
        self.release()
    }

    pub fn bless(&self, system: &StorePath) -> anyhow::Result<()> {
        let Some(entry) = self.of(system)? else {
            bail!("no boot entry starts {system}, which was started");
        };
        self.only(&entry)?;
        self.release()
    }

    /// The good one is what starts, which needs no room. What was on trial is used up as well: that is a help and
    /// no need, and may fail on a partition without room for a longer name.
    pub fn retreat(&self, good: &StorePath) -> anyhow::Result<bool> {
        let entry = self.of(good)?;
        if let Some(entry) = &entry {
            self.only(entry)?;
        }
        self.release()?;
        let mut marked = Ok(());
        for other in self.all()? {
            if other.tries.is_some_and(|left| left > 0) && !other.starts(good) {
                marked = marked.and(self.rename(&other, Some((0, TRIES))));
            }
        }
        if entry.is_none() {
            marked?;
        }
        Ok(entry.is_some())
    }

    pub fn gave_up(&self, system: &StorePath) -> bool {
        self.of(system).is_ok_and(|e| e.is_some_and(|entry| entry.tries == Some(0)))
    }
}

impl Entry {
    fn starts(&self, system: &StorePath) -> bool {
        super::starts(&self.text, system)
    }

    /// It starts a system of Nix's, and not one of somebody else's.
    fn is_ours(&self) -> bool {
        self.text.split_whitespace().any(|word| word.starts_with("init=/nix/store/"))
    }
}

/// How the names of both begin, up to their numbers.
fn pattern(one: &str, other: &str) -> anyhow::Result<String> {
    let common = one.chars().zip(other.chars()).take_while(|(a, b)| a == b).map(|(a, _)| a);
    let common: String = common.take_while(|c| !"*?[]\\".contains(*c)).collect();
    let common = common.trim_end_matches(|c: char| c.is_ascii_digit());
    ensure!(!common.is_empty(), "the boot entries {one} and {other} have nothing in common");
    Ok(common.to_owned())
}
