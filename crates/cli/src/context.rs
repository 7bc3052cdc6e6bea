//! What commands share: where the fleet folder is, what day it is, and where output goes.

use std::path::{Path, PathBuf};

use afield_core::fleet::{self, Finding, Fleet, Severity, Sources};
use anyhow::Context as _;
use zeroize::Zeroize;

use crate::cli::GlobalArgs;
use crate::exit::Failure;
use crate::folder;
use crate::output::Output;

/// What commands share; made once from the global arguments and the environment.
pub struct Context {
    fleet: Option<PathBuf>,
    cwd: PathBuf,
    /// The day by which expiry is judged (UTC, unless `--today` says otherwise).
    pub today: jiff::civil::Date,
    /// Where output goes.
    pub out: Output,
}

impl Context {
    /// Reads the environment: working directory, NO_COLOR and the clock.
    pub fn new(global: &GlobalArgs) -> Result<Self, Failure> {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let cwd = std::env::current_dir().context("the working directory is gone")?;
        let today = match global.today {
            Some(day) => day,
            None => jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date(),
        };
        let out = Output::stdout(global.json, global.color, no_color);
        Ok(Self { fleet: global.fleet.clone(), cwd, today, out })
    }

    /// Where this person's programs keep what can be made again (XDG Base Directory Specification); none without a home.
    pub fn cache_dir(&self) -> Option<PathBuf> {
        let given = |name: &str| {
            let value = std::env::var_os(name).map(PathBuf::from);
            value.filter(|path| path.is_absolute())
        };
        let base = given("XDG_CACHE_HOME").or_else(|| Some(given("HOME")?.join(".cache")));
        base.map(|base| base.join("afield"))
    }

    /// The fleet folder: `--fleet`, or the nearest one from the working directory upwards.
    ///
    /// A folder is one if it has `json/users.json`; a folder that has it below `org-config/` stands for that.
    pub fn fleet_dir(&self) -> Result<PathBuf, Failure> {
        if let Some(given) = &self.fleet {
            // What was named is taken even if it lacks files: `check` tells which.
            let folders = ["json", "hosts", "app_configs"].map(|folder| given.join(folder));
            let itself = folders.iter().any(|folder| folder.is_dir()).then(|| given.clone());
            let below = Some(given.join("org-config")).filter(|below| below.is_dir());
            return below.or(itself).ok_or_else(|| {
                Failure::usage(format!("{} is no fleet folder", given.display()))
                    .hint("a fleet folder has json/users.json, or org-config/json/users.json")
            });
        }
        self.cwd.ancestors().find_map(fleet_at).ok_or_else(|| {
            Failure::usage("there is no fleet folder here or above")
                .hint("go into a fleet's repository, or give --fleet DIR")
        })
    }

    /// Reads and checks the fleet folder.
    pub fn folder(&self) -> Result<Folder, Failure> {
        self.read_folder(&self.fleet_dir()?)
    }

    /// Reads and checks this folder.
    pub fn read_folder(&self, dir: &Path) -> Result<Folder, Failure> {
        self.folder_opened(dir, |_| Ok(()))
    }

    /// The same for a caller who opens secrets; what they hold is wiped when it has been looked at.
    pub fn folder_opened(
        &self,
        dir: &Path,
        open: impl FnOnce(&mut Sources) -> Result<(), Failure>,
    ) -> Result<Folder, Failure> {
        let dir = dir.canonicalize().with_context(|| format!("cannot open {}", dir.display()))?;
        let mut sources = folder::read(&dir)?;
        open(&mut sources)?;
        let (fleet, findings) = fleet::load(&sources).check(self.today);
        sources.opened_secrets.values_mut().for_each(Zeroize::zeroize);
        Ok(Folder { dir, sources, fleet, findings })
    }

    /// The working directory.
    pub fn cwd(&self) -> &Path {
        &self.cwd
    }
}

/// A fleet folder that has been read.
pub struct Folder {
    /// Where it is.
    pub dir: PathBuf,
    /// Its bytes.
    pub sources: Sources,
    /// What could be understood of it.
    pub fleet: Fleet,
    /// What could not, and every rule that is broken, sorted by file and line.
    pub findings: Vec<Finding>,
}

impl Folder {
    /// The folder as it would be with other bytes; for showing what is wrong in them.
    pub fn with(&self, sources: Sources) -> Self {
        let fleet = Fleet::default();
        Self { dir: self.dir.clone(), sources, fleet, findings: Vec::new() }
    }

    /// The path of a file of the fleet folder, as `base` names it.
    pub fn path(&self, file: &str, base: &Path) -> PathBuf {
        let full = self.dir.join(file);
        full.strip_prefix(base).map(Path::to_path_buf).unwrap_or(full)
    }

    /// Refuses to go on while there is a finding of severity `error`.
    pub fn require_sound(&self) -> Result<(), Failure> {
        let errors = self.findings.iter().filter(|finding| finding.severity == Severity::Error);
        let (mut errors, count) = (errors.clone(), errors.count());
        match errors.next() {
            None => Ok(()),
            Some(first) => Err(Failure::failed(anyhow::anyhow!(
                "the fleet folder has {count} error(s); the first: {}:{}: {} ({})",
                first.file,
                first.line,
                first.message,
                first.code
            ))
            .hint("run `afield check` to see all of them")),
        }
    }
}

/// The fleet folder that a directory is or has.
fn fleet_at(dir: &Path) -> Option<PathBuf> {
    let below = dir.join("org-config");
    [below, dir.to_path_buf()].into_iter().find(|d| d.join("json/users.json").is_file())
}
