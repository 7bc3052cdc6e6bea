//! Whether a system needs a boot of its own, and the restart.

use std::fs;
use std::path::Path;
use std::process::Command;

use afield_core::ids::StorePath;
use anyhow::Context as _;

use crate::config::Config;
use crate::nix;

/// What cannot be replaced in a running machine. The last one is for a system that says so itself: a file
/// whose content differs from that of the booted system.
const PARTS: [&str; 5] = ["kernel", "initrd", "kernel-modules", "kernel-params", "reboot-required"];
/// Of a part that is a file, this much counts.
const MAX_PART: u64 = 64 * 1024;

/// In a sentence, if it does.
pub fn needed(config: &Config, booted: Option<&StorePath>, to: &StorePath) -> Option<String> {
    let booted = booted?;
    let part = |system: &StorePath, name: &str| {
        let path = config.inside(&Path::new(system.as_str()).join(name));
        match fs::read_link(&path) {
            Ok(link) => Some(link.into_os_string().into_encoded_bytes()),
            Err(_) => afield_store::files::read_limited(&path, MAX_PART).ok(),
        }
    };
    let differ: Vec<&str> =
        PARTS.into_iter().filter(|name| part(booted, name) != part(to, name)).collect();
    (!differ.is_empty()).then(|| format!("it has another {}", differ.join(", another ")))
}

/// Names this boot of the machine. A root folder says it in a file, since its machine is not this one.
pub fn boot_id(config: &Config) -> String {
    let path = match config.is_machine() {
        true => Path::new("/proc/sys/kernel/random/boot_id").to_owned(),
        false => config.inside(Path::new("/run/boot-id")),
    };
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// Restarts the machine. A root folder has none: there only the wish is written down.
pub fn ask(config: &Config, why: &str) -> anyhow::Result<()> {
    if !config.is_machine() {
        return Ok(fs::write(config.inside(Path::new("/run/reboot-asked")), why)?);
    }
    let mut command = Command::new("systemctl");
    // A unit that keeps the machine from going down would keep the old system for ever.
    command.args(["reboot", "--ignore-inhibitors", "--no-block", "--message"]).arg(why);
    nix::run(&mut command).map(drop).context("the machine cannot be restarted")
}
