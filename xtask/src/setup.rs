//! What the machine must have: said, and installed from Debian where it is missing.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::process::{self, find};

/// `cargo xtask setup`.
#[derive(clap::Args)]
pub struct Args {
    /// Also what takes the picture of the hub's page
    #[arg(long)]
    picture: bool,
}

struct Need {
    package: &'static str,
    why: &'static str,
    present: fn() -> bool,
}

const NEEDS: &[Need] = &[
    Need {
        package: "nix-bin",
        why: "evaluates and builds the hosts' systems",
        present: || ["nix", "nix-store", "nix-build"].iter().all(|p| find(p).is_some()),
    },
    Need {
        package: "busybox-static",
        why: "is what the example's systems are made of",
        present: static_busybox,
    },
    Need { package: "git", why: "holds the fleet folder", present: || find("git").is_some() },
    Need {
        package: "openssh-server",
        why: "is the relay in the tests of tunnels",
        present: || Path::new("/usr/sbin/sshd").exists(),
    },
    Need {
        package: "iproute2",
        why: "makes the networks in the tests of tunnels",
        present: || find("ip").is_some(),
    },
    Need {
        package: "nftables",
        why: "blocks all but SSH in a test of tunnels",
        present: || find("nft").is_some(),
    },
    Need { package: "rsync", why: "is tried through relays", present: || find("rsync").is_some() },
    Need {
        package: "python3-venv",
        why: "holds the older tools that secrets are compared with",
        present: || {
            let modules = Command::new("python3").args(["-c", "import venv, ensurepip"]).output();
            modules.is_ok_and(|output| output.status.success())
        },
    },
    Need {
        package: "xz-utils",
        why: "makes files that patches are to make again",
        present: || find("xz").is_some(),
    },
    Need {
        package: "zstd",
        why: "makes files that patches are to make again",
        present: || find("zstd").is_some(),
    },
    Need {
        package: "sudo",
        why: "has visudo, which judges the sudo rules that hosts get",
        present: || Path::new("/usr/sbin/visudo").exists(),
    },
    Need {
        package: "libnss-systemd",
        why: "finds the accounts that hosts get, in the tests",
        present: || {
            let root = Command::new("getent").args(["-s", "systemd", "passwd", "root"]).output();
            root.is_ok_and(|output| output.status.success())
        },
    },
    Need {
        package: "openssh-client",
        why: "makes the hosts' keys",
        present: || find("ssh-keygen").is_some(),
    },
];

const PICTURE: &[Need] = &[
    Need {
        package: "chromium",
        why: "takes the picture of the hub's page",
        present: || find("chromium").is_some(),
    },
    Need {
        package: "fonts-dejavu-core",
        why: "is the letters in the picture",
        present: || Path::new("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf").is_file(),
    },
];

#[cfg(feature = "delivery")]
const DELIVERY: &[Need] = &[
    Need {
        package: "patchelf",
        why: "writes store paths into programs, as Nix does",
        present: || find("patchelf").is_some(),
    },
    Need { package: "bsdiff", why: "is compared with", present: || find("bsdiff").is_some() },
    Need { package: "xdelta3", why: "is compared with", present: || find("xdelta3").is_some() },
    Need { package: "casync", why: "is compared with", present: || find("casync").is_some() },
];

const MACHINES: &[Need] = &[
    Need {
        package: "systemd-container",
        why: "starts the containers of cargo vm",
        present: || find("systemd-nspawn").is_some(),
    },
    Need {
        package: "mmdebstrap",
        why: "makes the Debian tree of the machines",
        present: || find("mmdebstrap").is_some(),
    },
    Need {
        package: "qemu-system-x86",
        why: "runs the guests of cargo vm",
        present: || find("qemu-system-x86_64").is_some(),
    },
    Need {
        package: "e2fsprogs",
        why: "makes their disks",
        present: || Path::new("/sbin/mkfs.ext4").is_file(),
    },
    Need {
        package: "fdisk",
        why: "parts the disks of those with a boot loader",
        present: || Path::new("/sbin/sfdisk").is_file(),
    },
    Need {
        package: "dosfstools",
        why: "makes the partition that their firmware reads",
        present: || Path::new("/sbin/mkfs.vfat").is_file(),
    },
    Need { package: "mtools", why: "fills that partition", present: || find("mcopy").is_some() },
    Need {
        package: "ovmf",
        why: "is their firmware",
        present: || Path::new("/usr/share/OVMF/OVMF_CODE_4M.fd").is_file(),
    },
    Need {
        package: "systemd-boot-efi",
        why: "is the boot loader of some of them",
        present: || Path::new("/usr/lib/systemd/boot/efi/systemd-bootx64.efi").is_file(),
    },
    Need {
        package: "grub-efi-amd64-bin",
        why: "is the boot loader of others",
        present: || Path::new("/usr/lib/grub/x86_64-efi/normal.mod").is_file(),
    },
    Need {
        package: "grub-common",
        why: "puts that boot loader together",
        present: || find("grub-mkimage").is_some(),
    },
];

/// Installs everything.
pub fn run(args: &Args) -> Result<()> {
    if !ensure(args.picture)? {
        println!("everything is here already");
    }
    Ok(())
}

/// Installs what is missing; whether anything was.
pub fn ensure(picture: bool) -> Result<bool> {
    ensure_also(if picture { PICTURE } else { &[] })
}

/// The same, with what `cargo vm` needs.
pub fn ensure_machines() -> Result<bool> {
    ensure_also(MACHINES)
}

/// The same, with what `cargo bench-delivery` needs.
#[cfg(feature = "delivery")]
pub fn ensure_delivery() -> Result<bool> {
    ensure_also(DELIVERY)
}

fn ensure_also(extra: &[Need]) -> Result<bool> {
    let missing = || NEEDS.iter().chain(extra).filter(|need| !(need.present)());
    let packages: Vec<&str> = missing().map(|need| need.package).collect();
    if packages.is_empty() {
        return Ok(false);
    }
    for need in missing() {
        println!("missing: {}, which {}", need.package, need.why);
    }
    install(&packages)?;
    if let Some(need) = missing().next() {
        bail!("{} is installed and still not usable here", need.package);
    }
    Ok(true)
}

fn install(packages: &[&str]) -> Result<()> {
    let by_hand = format!("install by hand: {}", packages.join(" "));
    if find("apt-get").is_none() {
        bail!("this machine has no apt-get; {by_hand}");
    }
    println!("installing: {}", packages.join(" "));
    let apt = || {
        let mut command = Command::new("apt-get");
        // Somebody else's apt may be at work for a while.
        command.args(["-qq", "-o", "DPkg::Lock::Timeout=300"]);
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    process::run(apt().arg("update")).context("is this user root?")?;
    process::run(apt().args(["install", "--yes", "--no-install-recommends"]).args(packages))
        .context(by_hand)
}

/// Debian has two packages with this file; only the one without a dynamic loader runs inside a bare root.
fn static_busybox() -> bool {
    std::fs::read("/usr/bin/busybox").is_ok_and(|elf| needs_no_loader(&elf) == Some(true))
}

/// Whether a 64-bit ELF file has no PT_INTERP among its program headers; none if it is no such file.
fn needs_no_loader(elf: &[u8]) -> Option<bool> {
    let number = |at: usize, bytes: usize| {
        let field = elf.get(at..at.checked_add(bytes)?)?;
        field
            .iter()
            .rev()
            .try_fold(0usize, |n, byte| n.checked_mul(256)?.checked_add((*byte).into()))
    };
    if elf.get(..5) != Some(b"\x7fELF\x02") {
        return None;
    }
    let (first, size, count) = (number(0x20, 8)?, number(0x36, 2)?, number(0x38, 2)?);
    for header in 0..count {
        const PT_INTERP: usize = 3;
        if number(first + header * size, 4)? == PT_INTERP {
            return Some(false);
        }
    }
    Some(true)
}

#[cfg(test)]
mod tests {
    use super::needs_no_loader;

    /// A 64-bit ELF file that is nothing but program headers of these types.
    fn elf(types: &[u8]) -> Vec<u8> {
        let mut file = vec![0; 0x40 + 0x38 * types.len()];
        file[..5].copy_from_slice(b"\x7fELF\x02");
        (file[0x20], file[0x36]) = (0x40, 0x38);
        file[0x38] = u8::try_from(types.len()).unwrap_or(u8::MAX);
        for (place, kind) in types.iter().enumerate() {
            file[0x40 + 0x38 * place] = *kind;
        }
        file
    }

    #[test]
    fn a_static_program_has_no_interpreter() {
        assert_eq!(needs_no_loader(&elf(&[1, 1, 4])), Some(true));
        assert_eq!(needs_no_loader(&elf(&[6, 3, 1])), Some(false));
        assert_eq!(needs_no_loader(b"#!/bin/sh\n"), None);
        assert_eq!(needs_no_loader(&elf(&[1, 3])[..0x60]), None);
    }
}
