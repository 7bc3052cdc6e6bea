//! Whether GRUB can write its environment. It does so in place and block by block, which its own drivers of LVM, RAID,
//! btrfs and ZFS cannot (GRUB's manual, "Environment block").

use std::fs;
use std::path::{Path, PathBuf};

use afield_store::files;

use crate::config::Config;

const MOUNTS: &str = "/proc/self/mountinfo";
const MAX: u64 = 4 << 20;
/// File systems whose blocks stay where they are.
const IN_PLACE: [&str; 6] = ["ext2", "ext3", "ext4", "vfat", "xfs", "jfs"];

/// Why GRUB cannot write in a folder, in words; none if it can, or nothing is known of it.
pub fn hindrance(config: &Config, folder: &Path) -> Option<String> {
    let text = files::read_limited(&config.inside(Path::new(MOUNTS)), MAX).ok()?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let (device, kind) = mounted(&text, folder)?;
    if !IN_PLACE.contains(&kind.as_str()) {
        return Some(kind);
    }
    let block = config.inside(Path::new("/sys/dev/block")).join(device);
    (!is_plain(&block)).then(|| "LVM or RAID".to_owned())
}

/// Number of the device and kind of the file system that a folder is on; proc_pid_mountinfo(5).
fn mounted(mounts: &str, folder: &Path) -> Option<(String, String)> {
    let mount = |line: &str| {
        let (head, tail) = line.split_once(" - ")?;
        let mut head = head.split(' ');
        let (device, point) = (head.nth(2)?.to_owned(), PathBuf::from(head.nth(1)?));
        let kind = tail.split(' ').next()?.to_owned();
        folder.starts_with(&point).then(|| (point.components().count(), device, kind))
    };
    // Of two at one place the later one is seen.
    let found = mounts.lines().filter_map(mount).max_by_key(|(depth, ..)| *depth)?;
    Some((found.1, found.2))
}

/// A disk or its partition, encrypted perhaps: GRUB can write through that.
fn is_plain(block: &Path) -> bool {
    let Ok(uuid) = fs::read_to_string(block.join("dm/uuid")) else {
        return ![block.join("md"), block.join("../md")].iter().any(|md| md.exists());
    };
    let below = fs::read_dir(block.join("slaves")).into_iter().flatten().flatten();
    uuid.starts_with("CRYPT-") && below.map(|slave| slave.path()).all(|path| is_plain(&path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_that_is_seen_counts() {
        let mounts = "1 0 253:0 / / rw,noatime shared:1 - ext4 /dev/mapper/vg-root rw\n\
                      2 1 0:30 / /boot rw - autofs systemd-1 rw\n\
                      3 1 8:1 / /boot rw master:2 shared:3 - vfat /dev/sda1 rw\n";
        let found = |folder: &str| mounted(mounts, Path::new(folder));
        assert_eq!(found("/boot/grub"), Some(("8:1".into(), "vfat".into())));
        assert_eq!(found("/bootx"), Some(("253:0".into(), "ext4".into())));
        assert_eq!(mounted("1 0 8:1\n - \n\n", Path::new("/")), None);
    }
}
