//! What of Debian no scenario needs that boots again and again, left out of its disk: an emulated processor takes a second
//! for every four programs that are started.
//!
//! What an update and its proof touch stays as Debian has it: udev, journal, network, dbus, logind, targets.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use afield_core::ids::ObjectId;

use crate::boot_files;
use crate::image::{Image, run};

/// Below /etc/systemd.
const MASKED: &[&str] = &[
    "system/dev-hugepages.mount",
    "system/dev-mqueue.mount",
    "system/kmod-static-nodes.service",
    "system/modprobe@.service",
    // By hand, before the agent is installed.
    "system/opt-afield.mount",
    "system/proc-sys-fs-binfmt_misc.automount",
    "system/sys-fs-fuse-connections.mount",
    "system/sys-kernel-config.mount",
    "system/sys-kernel-debug.mount",
    "system/sys-kernel-tracing.mount",
    "system/systemd-modules-load.service",
    "system/systemd-network-generator.service",
    "system/systemd-pstore.service",
    "system/systemd-random-seed.service",
    "system/systemd-remount-fs.service",
    "system/systemd-repart.service",
    "system/systemd-sysctl.service",
    "system/systemd-sysusers.service",
    "system/systemd-tmpfiles-setup-dev.service",
    "system/systemd-update-utmp.service",
    "system/systemd-update-utmp-runlevel.service",
    "system/systemd-user-sessions.service",
    "system-generators/systemd-cryptsetup-generator",
    "system-generators/systemd-getty-generator",
    "system-generators/systemd-gpt-auto-generator",
    "system-generators/systemd-hibernate-resume-generator",
    "system-generators/systemd-integritysetup-generator",
    "system-generators/systemd-rc-local-generator",
    "system-generators/systemd-run-generator",
    "system-generators/systemd-system-update-generator",
    "system-generators/systemd-sysv-generator",
    "system-generators/systemd-veritysetup-generator",
];

/// Started when they are asked for, not at every boot.
const NOT_WANTED: &[&str] = &[
    "system/multi-user.target.wants/ssh.service",
    "system/multi-user.target.wants/nix-daemon.service",
];

/// Of all devices, those that a boot waits for. The drivers of the others take longer than the boot.
const DEVICES: &str = "[Service]
ExecStart=
ExecStart=-udevadm trigger --type=devices --action=add --subsystem-match=block --subsystem-match=net --subsystem-match=virtio
";

/// Names what is left out.
pub fn recipe() -> String {
    format!("{MASKED:?}{NOT_WANTED:?}{DEVICES}")
}

/// A disk that is one file system, without it.
pub fn disk(image: &Image) -> PathBuf {
    let recipe = ObjectId::of(recipe().as_bytes()).hex();
    image.derived(&format!("lean-{}.raw", &recipe[..16]), |image, to| {
        boot_files::make_disk(image, to);
        make(to, 0);
    })
}

/// Leaves it out of the file system that begins at this byte of a disk.
pub fn make(disk: &Path, offset: u64) {
    let folder = tempfile::tempdir().unwrap();
    let (devices, script) = (folder.path().join("devices"), folder.path().join("script"));
    fs::write(&devices, DEVICES).unwrap();
    let mut text = String::from("cd /etc/systemd\nmkdir system-generators\n");
    for name in NOT_WANTED {
        writeln!(text, "rm {name}").unwrap();
    }
    for name in MASKED {
        writeln!(text, "rm {name}\nsymlink {name} /dev/null").unwrap();
    }
    let place = "system/systemd-udev-trigger.service.d";
    // It writes into the folder where it is, and nowhere else.
    let write = format!("mkdir {place}\ncd {place}\nwrite {} devices.conf\nls", devices.display());
    text += &write;
    text.push('\n');
    fs::write(&script, text).unwrap();
    let disk = format!("{}?offset={offset}", disk.display());
    let said = run(Command::new("/sbin/debugfs").args(["-w", "-f"]).arg(&script).arg(disk));
    let listed = said.rsplit("debugfs:").next().unwrap_or_default();
    assert!(listed.contains("devices.conf"), "{said}");
}
