//! A stick that was plugged in: mounted read-only while it is read, writable only at the end, for the reports.

use std::path::{Path, PathBuf};
use std::process::Command;

use afield_core::bundle;
use anyhow::{Context as _, bail};

/// File systems that sticks have; others are not even tried.
const TYPES: &str = "vfat,exfat,ext4";
/// Whatever is on the stick, it is data: no programs, no devices, no rights.
const ALWAYS: &str = "nosuid,nodev,noexec,noatime";
/// Where a bundle lies on a stick: a folder, a file, or the stick itself.
const PLACES: [&str; 3] = ["afield", "afield.tar", ""];

/// A mounted stick; unmounted when dropped.
#[derive(Debug)]
pub struct Mounted {
    at: PathBuf,
}

impl Mounted {
    /// Mounts a device, read-only.
    pub fn read_only(device: &Path, at: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(at).with_context(|| at.display().to_string())?;
        run(Command::new("mount")
            .args(["-t", TYPES, "-o", &format!("ro,{ALWAYS}")])
            .arg(device)
            .arg(at))?;
        Ok(Self { at: at.to_owned() })
    }

    /// Lets it be written to.
    pub fn writable(&self) -> anyhow::Result<()> {
        run(Command::new("mount").args(["-o", &format!("remount,rw,{ALWAYS}")]).arg(&self.at))
    }

    /// The bundle on it.
    pub fn bundle(&self) -> anyhow::Result<PathBuf> {
        let is_bundle = |path: &PathBuf| {
            let inside = |name: &str| path.join(name).exists();
            path.is_file() || inside(bundle::NOTE) || inside("metadata/timestamp.json")
        };
        let found = PLACES.iter().map(|place| self.at.join(place)).find(is_bundle);
        found.with_context(|| {
            format!(
                "there is no bundle on the stick: it has neither afield/{} nor afield.tar; \
                 make one with afield bundle export -o /media/STICK/afield",
                bundle::NOTE
            )
        })
    }

    /// Unmounts it; from then on it may be pulled out.
    pub fn done(self) -> anyhow::Result<()> {
        let result = run(Command::new("umount").arg(&self.at));
        std::mem::forget(self);
        result
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // A run that failed has said why; a stick that was pulled out is only detached lazily.
        let _ = run(Command::new("umount").arg("--lazy").arg(&self.at));
    }
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output =
        command.output().with_context(|| format!("{:?} cannot run", command.get_program()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{:?} failed: {}", command.get_program(), said.trim());
    }
    Ok(())
}
