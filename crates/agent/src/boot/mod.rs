//! The boot loader, as far as the agent needs it: a new system gets a bounded number of tries, and if none of
//! them is proved the machine starts the last good one by itself.
//!
//! The system's own contract (`switch-to-configuration boot`) writes the entries. What is owned here is only
//! which of them is tried, and which is fallen back to. Entries are found by the system that they start
//! (`init=<toplevel>/init`), so that no name of an entry has to be known.

use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use afield_core::ids::StorePath;
use afield_core::plan::Lack;

use crate::config::Config;
use crate::contract;

mod grub;
mod room;
mod systemd_boot;
mod variable;
mod writable;

/// How a machine is started.
#[derive(Debug)]
pub enum Loader {
    /// Boot counting: the loader itself counts the tries in the entry's file name.
    SystemdBoot(systemd_boot::Entries),
    /// A one-shot entry: the loader forgets it when it starts it.
    Grub(grub::Grub),
    /// None that the agent knows, as in a container: the contract's `boot` is all there is.
    Unknown,
}

impl Loader {
    /// Looks which one there is.
    pub fn find(config: &Config) -> Self {
        if let Some(entries) = systemd_boot::Entries::find(config) {
            return Self::SystemdBoot(entries);
        }
        grub::Grub::find(config).map_or(Self::Unknown, Self::Grub)
    }

    /// Whether a new system gets tries and the machine falls back by itself.
    pub fn counts(&self) -> bool {
        match self {
            Self::SystemdBoot(_) => true,
            Self::Grub(grub) => grub.hindrance().is_none(),
            Self::Unknown => false,
        }
    }

    /// Whether it can start a system.
    pub fn has(&self, system: &StorePath) -> bool {
        match self {
            Self::SystemdBoot(entries) => entries.has(system),
            Self::Grub(grub) => grub.has(system),
            Self::Unknown => false,
        }
    }

    /// Before entries are rewritten: the last system that was booted is what is started. Returns what had used up its
    /// tries, which the contract does not know.
    pub fn hold(&self, safe: &StorePath) -> anyhow::Result<Vec<String>> {
        match self {
            Self::SystemdBoot(entries) => entries.hold(safe),
            Self::Grub(grub) => grub.hold(safe).map(|()| Vec::new()),
            Self::Unknown => Ok(Vec::new()),
        }
    }

    /// Gives a system its tries. What is started after them is `safe`, the last one that was booted, and nothing else:
    /// what was proved without a boot waits for a trial of its own.
    pub fn arm(
        &self,
        system: &StorePath,
        safe: &StorePath,
        spent: &[String],
    ) -> anyhow::Result<()> {
        match self {
            Self::SystemdBoot(entries) => entries.arm(system, safe, spent),
            Self::Grub(grub) => grub.arm(system, safe),
            Self::Unknown => Ok(()),
        }
    }

    /// A system that was started has proved itself: it is what is started from now on.
    pub fn bless(&self, system: &StorePath) -> anyhow::Result<()> {
        match self {
            Self::SystemdBoot(entries) => entries.bless(system),
            Self::Grub(grub) => grub.bless(system),
            Self::Unknown => Ok(()),
        }
    }

    /// Starts the last good system from now on, without writing an entry; false if it has none.
    pub fn retreat(&self, good: &StorePath) -> anyhow::Result<bool> {
        match self {
            Self::SystemdBoot(entries) => entries.retreat(good),
            Self::Grub(grub) => grub.retreat(good),
            Self::Unknown => Ok(false),
        }
    }

    /// Whether a system used up its tries.
    pub fn gave_up(&self, system: &StorePath) -> bool {
        match self {
            Self::SystemdBoot(entries) => entries.gave_up(system),
            Self::Grub(grub) => grub.gave_up(system),
            Self::Unknown => false,
        }
    }

    /// Why a system that needs a restart cannot be tried: nothing that is known starts this machine. A container has its
    /// kernel from elsewhere.
    pub fn no_trial(&self, config: &Config) -> Option<String> {
        let there = |path: &str| config.inside(Path::new(path)).exists();
        let machine = contract::booted(config).is_some() && !there("/run/systemd/container");
        match self {
            Self::Unknown if machine => Some(
                "neither entries of systemd-boot nor GRUB's grub.cfg are to be found below /boot/efi, /boot or /efi; \
                 mount the boot partition, or name its place as `esp` in agent.toml"
                    .into(),
            ),
            Self::Grub(grub) => grub.hindrance().map(|what| {
                format!(
                    "GRUB cannot write to {what}, where /boot/grub is, and would start a system on trial again and \
                     again; give /boot a partition of its own"
                )
            }),
            _ => None,
        }
    }

    /// Room that a system's kernel and initrd lack where the loader reads them.
    pub fn lack(&self, config: &Config, system: &StorePath) -> Option<Lack> {
        match self {
            Self::SystemdBoot(entries) => room::lack(config, system, entries.partition()),
            Self::Grub(grub) => room::lack(config, system, grub.kernels()?),
            Self::Unknown => None,
        }
    }
}

/// How an entry names the system that it starts.
fn starts(text: &str, system: &StorePath) -> bool {
    let init = format!("init={system}/init");
    text.split_whitespace().any(|word| word == init)
}

/// Overwrites a small file where it is: needs no free space, and no more than the blocks it has.
fn overwrite(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file =
        std::fs::OpenOptions::new().write(true).custom_flags(libc_nofollow()).open(path)?;
    file.write_all(text)?;
    file.set_len(text.len() as u64)?;
    file.sync_all()
}

/// A link in its place is not followed.
fn libc_nofollow() -> i32 {
    i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or(0)
}
