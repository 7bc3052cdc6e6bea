//! What commands share: where the fleet folder is, what day it is, and where output goes.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::cli::GlobalArgs;
use crate::exit::Failure;
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
            None => jiff::Timestamp::now()
                .to_zoned(jiff::tz::TimeZone::UTC)
                .date(),
        };
        let out = Output::stdout(global.json, global.color, no_color);
        Ok(Self {
            fleet: global.fleet.clone(),
            cwd,
            today,
            out,
        })
    }

    /// The fleet folder: `--fleet`, or the nearest one from the working directory upwards.
    ///
    /// A folder is one if it has `json/users.json`; a folder that has it below `org-config/` stands for that.
    pub fn fleet_dir(&self) -> Result<PathBuf, Failure> {
        if let Some(given) = &self.fleet {
            return fleet_at(given).ok_or_else(|| {
                Failure::usage(format!("{} is no fleet folder", given.display()))
                    .hint("a fleet folder has json/users.json, or org-config/json/users.json")
            });
        }
        self.cwd.ancestors().find_map(fleet_at).ok_or_else(|| {
            Failure::usage("there is no fleet folder here or above")
                .hint("go into a fleet's repository, or give --fleet DIR")
        })
    }
}

/// The fleet folder that a directory is or has.
fn fleet_at(dir: &Path) -> Option<PathBuf> {
    let below = dir.join("org-config");
    [below, dir.to_path_buf()]
        .into_iter()
        .find(|d| d.join("json/users.json").is_file())
}
