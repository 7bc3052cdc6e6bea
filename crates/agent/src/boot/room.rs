//! Whether a system's kernel and initrd fit where the boot loader reads them.

use std::fs;
use std::path::Path;

use afield_core::ids::StorePath;
use afield_core::plan::Lack;

use crate::config::Config;

/// For entries, folders, and what is rewritten beside the old.
const SPARE: u64 = 1024 * 1024;
/// Kernels stand at most this deep in the partition.
const MAX_DEPTH: usize = 4;

/// Bytes that are needed and not there; none if it fits, or if nothing is to be copied.
pub fn lack(config: &Config, system: &StorePath, partition: &Path) -> Option<Lack> {
    let mut names = Vec::new();
    list(partition, 0, &mut names);
    let sizes =
        ["kernel", "initrd"].into_iter().filter_map(|part| size(config, system, part, &names));
    let needed: u64 = sizes.sum();
    let stat = rustix::fs::statvfs(partition).ok()?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    (needed > 0 && needed + SPARE > free).then_some(Lack { needed: needed + SPARE, free })
}

/// Length of a part of a system that is not in the partition yet. It stands there under a name with the
/// store path's hash in it, so that systems with one kernel share it.
fn size(config: &Config, system: &StorePath, part: &str, there: &[String]) -> Option<u64> {
    let link = fs::read_link(config.inside(&Path::new(system.as_str()).join(part))).ok()?;
    let hash = link.strip_prefix("/nix/store").ok()?.to_str()?.get(..32)?.to_owned();
    let length = fs::metadata(config.inside(&link)).ok()?.len();
    (!there.iter().any(|name| name.contains(&hash))).then_some(length)
}

fn list(folder: &Path, depth: usize, names: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        names.push(entry.file_name().to_string_lossy().into_owned());
        if depth < MAX_DEPTH && entry.file_type().is_ok_and(|t| t.is_dir()) {
            list(&entry.path(), depth + 1, names);
        }
    }
}
