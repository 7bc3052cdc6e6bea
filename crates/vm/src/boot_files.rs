//! What a guest boots from: kernel and a small initrd of the tree, and the tree as a disk, with or without a boot loader.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use afield_core::ids::ObjectId;

use crate::image::{Image, run};

/// Quiet, without what only slows an emulated processor down.
pub const KERNEL_LINE: &str = "rw console=ttyS0 quiet mitigations=off no_timer_check audit=0 \
                               net.ifnames=0 systemd.show_status=false panic=1";

/// Loads the drivers of disk and serial port, and goes on from the disk with the `init=` of the command line, as NixOS'
/// initrd does. Debian's own takes ten seconds longer. `afield.watchdog=` arms the kernel's watchdog before anything else,
/// `afield.trouble=` is what is wrong with a system that does not come up.
const INIT: &str = r#"#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sysfs /sys
$b mount -t devtmpfs dev /dev
root=/dev/vda init=/sbin/init trouble=none watchdog=
read -r line < /proc/cmdline
for word in $line; do
    case $word in
        root=*) root=${word#*=} ;;
        init=*) init=${word#*=} ;;
        afield.watchdog=*) watchdog=${word#*=} ;;
        afield.trouble=*) trouble=${word#*=} ;;
    esac
done
if [ "$watchdog" ]; then
    $b insmod /modules/watchdog.ko && $b insmod /modules/softdog.ko "soft_margin=$watchdog" && echo > /dev/watchdog
fi
case $trouble in
    panic) echo c > /proc/sysrq-trigger ;;
    hang) echo "the initrd hangs" > /dev/console; while :; do $b sleep 1000; done ;;
esac
while read -r module; do $b insmod "/modules/$module.ko"; done < /modules/order
while ! [ -b "$root" ]; do $b usleep 10000; done
$b mount -o rw "$root" /new || exec $b sh
$b umount /sys /proc
$b mount --move /dev /new/dev
exec $b switch_root /new "$init"
"#;

/// In this order, since each needs those before it.
const MODULES: &[&str] = &[
    "virtio/virtio_ring",
    "virtio/virtio",
    "virtio/virtio_pci_legacy_dev",
    "virtio/virtio_pci_modern_dev",
    "virtio/virtio_pci",
    "block/virtio_blk",
    "char/virtio_console",
    "char/hw_random/virtio-rng",
];

/// Loaded when it is asked for.
const WATCHDOG: [&str; 2] = ["watchdog/watchdog", "watchdog/softdog"];

/// Kernel and initrd.
pub fn of(image: &Image) -> (PathBuf, PathBuf) {
    let kernel = image.tree().join("boot").join(format!("vmlinuz-{}", version(image)));
    let recipe = ObjectId::of(format!("{INIT}{MODULES:?}").as_bytes()).hex();
    (kernel, image.derived(&format!("initrd-{}", &recipe[..16]), make_initrd))
}

/// Version of the tree's kernel.
pub fn version(image: &Image) -> String {
    let mut versions = fs::read_dir(image.tree().join("lib/modules")).unwrap();
    versions.next().expect("a kernel").unwrap().file_name().into_string().unwrap()
}

fn make_initrd(image: &Image, to: &Path) {
    let dir = tempfile::tempdir().unwrap();
    for folder in ["bin", "modules", "dev", "proc", "sys", "new"] {
        fs::create_dir(dir.path().join(folder)).unwrap();
    }
    fs::copy(image.tree().join("bin/busybox"), dir.path().join("bin/busybox")).unwrap();
    let drivers = image.tree().join("lib/modules").join(version(image)).join("kernel/drivers");
    let mut order = String::new();
    let copy = |module: &str| {
        let file = drivers.join(module).with_extension("ko");
        fs::copy(&file, dir.path().join("modules").join(file.file_name().unwrap())).unwrap();
        file.file_stem().unwrap().to_string_lossy().into_owned()
    };
    WATCHDOG.iter().copied().map(copy).for_each(drop);
    for module in MODULES {
        order += &format!("{}\n", copy(module));
    }
    fs::write(dir.path().join("modules/order"), order).unwrap();
    fs::write(dir.path().join("init"), INIT).unwrap();
    let pack = r#"cd "$0" && chmod 755 init && find . | busybox cpio -o -H newc 2>/dev/null | gzip -1 > "$1""#;
    run(Command::new("sh").args(["-c", pack]).arg(dir.path()).arg(to));
}

/// The tree as a disk that is one file system.
pub fn make_disk(image: &Image, to: &Path) {
    make_file_system(&image.tree(), to, "3G");
}

/// A folder as an ext4 file system.
pub fn make_file_system(folder: &Path, to: &Path, size: &str) {
    run(Command::new("truncate").args(["--size", size]).arg(to));
    file_system_at(0, folder, to, size);
}

/// The same from this byte of a disk on.
pub fn file_system_at(offset: u64, folder: &Path, disk: &Path, size: &str) {
    let mut mkfs = Command::new("/sbin/mkfs.ext4");
    // What is put off here would be done while a test runs.
    let options = format!("lazy_itable_init=0,lazy_journal_init=0,offset={offset}");
    mkfs.args(["-q", "-F", "-b", "4096", "-E", &options, "-d"]);
    run(mkfs.arg(folder).arg(disk).arg(size));
}
