//! When the machine may be restarted for a new kernel: as host data says, else as `agent.toml` says.

use std::fmt;
use std::path::Path;

use afield_core::ids::ReleaseId;
use afield_core::plan::Generation;
use afield_core::window::{Opening, Window};
use afield_store::files;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::config::Config;
use crate::data;
use crate::state::State;
use crate::verify::Verified;

/// A time zone has at most this many bytes.
const MAX_ZONE: u64 = 256 * 1024;

/// The window that holds on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    /// From when to when.
    pub window: Window,
    /// Who says so.
    pub from: Origin,
}

/// Where a window is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The host data of this release.
    HostData(Option<ReleaseId>),
    /// `reboot-window` in `agent.toml`.
    File,
    /// Nobody says anything.
    Default,
}

impl Holding {
    /// What is assigned counts first, so that a host that waits can be given another window; then what is under way,
    /// then what is good. Host data without a window leaves it to `agent.toml`.
    pub fn find(config: &Config, state: &State, verified: Option<&Verified>) -> Self {
        let assigned = verified.filter(|v| !state.quarantined.contains(&v.assignment.release));
        let (release, window) = match assigned {
            Some(v) => (Some(v.assignment.release), v.data.reboot_window),
            None => {
                let generation = state.attempt.as_ref().map_or(&state.good, |a| &a.to);
                (generation.release, kept(config, generation))
            }
        };
        match (window, config.reboot_window) {
            (Some(window), _) => Self { window, from: Origin::HostData(release) },
            (None, Some(window)) => Self { window, from: Origin::File },
            (None, None) => Self { window: Window::default(), from: Origin::Default },
        }
    }

    /// When the machine may be restarted now, or next.
    pub fn around(&self, config: &Config, now: Timestamp) -> Opening {
        // What is wrong with it is told; see `zone_is_lost`.
        let zone = zone(config).unwrap_or(TimeZone::UTC);
        self.window.around(&now.to_zoned(zone))
    }
}

/// The host's own; without a file that is UTC.
fn zone(config: &Config) -> Result<TimeZone, String> {
    let path = config.inside(Path::new("/etc/localtime"));
    if path.symlink_metadata().is_err() {
        return Ok(TimeZone::UTC);
    }
    let bytes = files::read_limited(&path, MAX_ZONE).map_err(|e| e.to_string())?;
    TimeZone::tzif("local", &bytes).map_err(|e| e.to_string())
}

/// In a sentence, if the host's time zone cannot be read.
pub fn zone_is_lost(config: &Config) -> Option<String> {
    let why = zone(config).err()?;
    Some(format!("/etc/localtime cannot be read ({why}): the reboot window is taken to be in UTC"))
}

fn kept(config: &Config, generation: &Generation) -> Option<Window> {
    // Host data that cannot be read is drift, and told there.
    data::read(config, &generation.data?).ok()?.reboot_window
}

impl fmt::Display for Holding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, by {}", self.window, self.from)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HostData(Some(release)) => write!(f, "the host data of release {release}"),
            Self::HostData(None) => write!(f, "the host data"),
            Self::File => write!(f, "agent.toml"),
            Self::Default => write!(f, "default"),
        }
    }
}
