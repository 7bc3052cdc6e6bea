//! Real firmware: a disk with an EFI system partition and a real boot loader, for guests that start as machines do.
//!
//! GRUB starts from UEFI too, as it does on most machines of today; its menu and environment are the same from a BIOS.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use afield_core::ids::ObjectId;

use crate::boot_files::{self, KERNEL_LINE};
use crate::image::{Image, run};
use crate::lean;

/// UEFI for qemu, and its empty memory.
const CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
const VARS: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";
/// Debian's systemd-boot.
const SYSTEMD_BOOT: &str = "/usr/lib/systemd/boot/efi/systemd-bootx64.efi";

const MIB: u64 = 1 << 20;
/// Where the EFI system partition begins, and how long it is.
const ESP: (u64, u64) = (MIB, 128 * MIB);
/// Of the second partition, the root.
const ROOT_SIZE: &str = "3G";
const DISK: u64 = ESP.0 + ESP.1 + (3 << 30) + MIB;

/// What a disk has for a boot loader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loader {
    /// It counts tries by itself.
    SystemdBoot,
    /// Its menu asks for `next_entry` and `saved_entry`.
    Grub,
}

/// Every system's command line on such a disk. Whoever hangs for a minute is started again.
pub fn kernel_line() -> String {
    format!("root=/dev/vda2 {KERNEL_LINE} afield.watchdog=60 systemd.watchdog_sec=60s")
}

/// How GRUB's menu begins on a NixOS with `boot.loader.grub.default = "saved"`: in meaning, not in words.
const GRUB_HEAD: &str = r#"serial --unit=0 --speed=115200
terminal_output serial
if [ -s $prefix/grubenv ]; then
  load_env
fi
set timeout=0
if [ "${next_entry}" ]; then
  set default="${next_entry}"
  set next_entry=
  save_env next_entry
  set boot_once=true
else
  set default="${saved_entry}"
fi
"#;

/// What GRUB has built in.
const GRUB_MODULES: &[&str] = &[
    "part_gpt",
    "fat",
    "normal",
    "linux",
    "loadenv",
    "test",
    "echo",
    "search",
    "configfile",
    "serial",
    "terminal",
    "reboot",
];

/// Starts the Debian of the tree.
const FIRST_ENTRY: &str = "title Debian\nlinux /linux\ninitrd /initrd\noptions ";

/// The disk, made once.
pub fn disk(image: &Image, loader: Loader) -> PathBuf {
    let recipe = format!("{GRUB_HEAD}{GRUB_MODULES:?}{FIRST_ENTRY}{}{DISK}", kernel_line());
    let initrd = boot_files::of(image).1;
    let recipe = format!("{recipe}{}{}", initrd.display(), lean::recipe());
    let recipe = ObjectId::of(recipe.as_bytes()).hex();
    image.derived(&format!("{loader:?}-{}.raw", &recipe[..16]), |image, to| make(image, loader, to))
}

/// qemu's arguments; the firmware's memory is kept in `folder`.
pub fn arguments(folder: &Path) -> Vec<String> {
    let vars = folder.join("firmware-memory");
    if !vars.exists() {
        fs::copy(VARS, &vars).unwrap();
    }
    let flash = |more: String| ["-drive".to_owned(), format!("if=pflash,format=raw,{more}")];
    let code = flash(format!("readonly=on,file={CODE}"));
    [code, flash(format!("file={}", vars.display()))].concat()
}

fn make(image: &Image, loader: Loader, to: &Path) {
    run(Command::new("truncate").args(["--size", &DISK.to_string()]).arg(to));
    let (start, size) = (ESP.0 / 512, ESP.1 / 512);
    let table = format!("label: gpt\nstart={start}, size={size}, type=U\ntype=L\n");
    let parts = to.with_extension("parts");
    fs::write(&parts, table).unwrap();
    let mut sfdisk = Command::new("sh");
    sfdisk.args(["-c", r#"/sbin/sfdisk --quiet "$0" < "$1""#]).arg(to).arg(&parts);
    run(&mut sfdisk);
    fs::remove_file(&parts).unwrap();
    let folder = tempfile::tempdir().unwrap();
    fill(image, loader, folder.path());
    // Made by itself, since mkfs.vfat measures the whole disk; and then put into its place.
    let esp = to.with_extension("esp");
    let place = r#"truncate --size "$2" "$1" && /sbin/mkfs.vfat -F 32 "$1" && (cd "$0" && mcopy -s -i "$1" -- * ::) &&
        dd if="$1" of="$3" bs=1M seek=1 conv=notrunc,sparse && rm "$1""#;
    let mut make = Command::new("sh");
    make.args(["-c", place]).arg(folder.path()).arg(esp).arg(ESP.1.to_string());
    run(make.arg(to));
    boot_files::file_system_at(ESP.0 + ESP.1, &image.tree(), to, ROOT_SIZE);
    lean::make(to, ESP.0 + ESP.1);
}

/// What stands in the EFI system partition.
fn fill(image: &Image, loader: Loader, folder: &Path) {
    let (kernel, initrd) = boot_files::of(image);
    fs::copy(kernel, folder.join("linux")).unwrap();
    fs::copy(initrd, folder.join("initrd")).unwrap();
    fs::create_dir_all(folder.join("EFI/BOOT")).unwrap();
    let program = folder.join("EFI/BOOT/BOOTX64.EFI");
    match loader {
        Loader::SystemdBoot => {
            fs::copy(SYSTEMD_BOOT, program).unwrap();
            let entries = folder.join("loader/entries");
            fs::create_dir_all(&entries).unwrap();
            let entry = format!("{FIRST_ENTRY}{}\n", kernel_line());
            fs::write(entries.join("debian.conf"), entry).unwrap();
            fs::write(folder.join("loader/loader.conf"), "default debian.conf\n").unwrap();
        }
        Loader::Grub => {
            let mut grub = Command::new("grub-mkimage");
            grub.args(["-O", "x86_64-efi", "-p", "/grub", "-o"]).arg(program);
            run(grub.args(GRUB_MODULES));
            fs::create_dir(folder.join("grub")).unwrap();
            fs::write(folder.join("grub/head.cfg"), GRUB_HEAD).unwrap();
            let first = format!(
                "menuentry Debian {{\nlinux /linux {}\ninitrd /initrd\n}}\n",
                kernel_line()
            );
            fs::write(folder.join("grub/grub.cfg"), format!("{GRUB_HEAD}{first}")).unwrap();
            let env = format!("{:#<1024}", "# GRUB Environment Block\n");
            fs::write(folder.join("grub/grubenv"), env).unwrap();
        }
    }
}
