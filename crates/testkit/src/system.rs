//! Systems without nixpkgs: a busybox, and a toplevel with the contract of `switch-to-configuration`.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use afield_core::ids::{NarHash, StorePath};
use afield_core::release::PathInfo;

/// What the activation of a system does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contract {
    /// What it should.
    Honest,
    /// It becomes current, and what the check looks for is not there.
    BrokenService,
    /// It says 0 and does nothing.
    SaysZeroDoesNothing,
    /// It does its work and says 1.
    SaysOneAfterItsWork,
    /// It never ends.
    Hangs,
    /// It is what it should be until the machine is started with it.
    DiesAtBoot,
}

/// A system's kernel: another one needs a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernel<'a> {
    /// It has none, as in a container.
    None,
    /// A file that says this.
    Named(&'a str),
    /// A link to a large file of the store, as on NixOS.
    Large,
}

/// A store path, and its archive.
#[derive(Debug, Clone)]
pub struct Built {
    /// What Nix would know of it.
    pub info: PathInfo,
    /// Its NAR.
    pub nar: Vec<u8>,
}

impl Built {
    /// A store path that is one file.
    pub fn file(name: &str, content: &[u8]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, content).unwrap();
        Self::of(name, dump(&file), vec![])
    }

    /// A store path with any archive, honest or not.
    pub fn of(name: &str, nar: Vec<u8>, references: Vec<StorePath>) -> Self {
        let nar_hash = NarHash::of(&nar);
        let path = store_path(name, nar_hash.hex().as_bytes());
        let info = PathInfo { path, nar_hash, nar_size: nar.len() as u64, references };
        Self { info, nar }
    }

    /// Puts the content into a folder; returns where it is.
    pub fn restore(&self, folder: &Path) -> PathBuf {
        let place = folder.join(self.info.path.base_name());
        let mut command = Command::new("nix-store");
        let mut child = command.arg("--restore").arg(&place).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(&self.nar).unwrap();
        assert!(child.wait().unwrap().success());
        place
    }
}

/// A system with all its paths, references first; the last one is its toplevel.
#[derive(Debug, Clone)]
pub struct System {
    /// Busybox and toplevel.
    pub paths: Vec<Built>,
}

impl System {
    /// A system that puts `text` into `/etc/site`.
    pub fn new(text: &str, contract: Contract) -> Self {
        Self::with_kernel(text, contract, Kernel::None)
    }

    /// The same with a kernel.
    pub fn with_kernel(text: &str, contract: Contract, kernel: Kernel<'_>) -> Self {
        Self::made(text, contract, kernel, "", &[])
    }

    /// The same with further programs in `bin`: name and content.
    pub fn with_programs(text: &str, contract: Contract, programs: &[(&str, &[u8])]) -> Self {
        Self::made(text, contract, Kernel::None, "", programs)
    }

    fn made(
        text: &str,
        contract: Contract,
        kernel: Kernel<'_>,
        more: &str,
        programs: &[(&str, &[u8])],
    ) -> Self {
        Self::with_files(text, contract, kernel, more, |root, _, _| {
            for (name, content) in programs {
                executable(&root.join("bin").join(name), content);
            }
        })
    }

    /// `add` gets the toplevel's folder, and the store paths of busybox and of the toplevel.
    fn with_files(
        text: &str,
        contract: Contract,
        kernel: Kernel<'_>,
        more: &str,
        add: impl FnOnce(&Path, &StorePath, &StorePath),
    ) -> Self {
        let busybox = busybox();
        let tools = busybox.info.path.clone();
        let path =
            store_path("system", format!("{text} {more} {contract:?} {kernel:?}").as_bytes());
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("system");
        fs::create_dir_all(root.join("bin")).unwrap();
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::write(root.join("etc/site"), text).unwrap();
        match kernel {
            Kernel::None => {}
            Kernel::Named(kernel) => fs::write(root.join("kernel"), kernel).unwrap(),
            Kernel::Large => {
                symlink(format!("{tools}/bin/busybox"), root.join("kernel")).unwrap();
            }
        }
        if contract == Contract::DiesAtBoot {
            fs::write(root.join("dies-at-boot"), "").unwrap();
        }
        let script = script(&tools, &path, contract) + more;
        executable(&root.join("bin/switch-to-configuration"), script.as_bytes());
        add(&root, &tools, &path);
        let mut toplevel = Built::of("system", dump(&root), vec![tools]);
        toplevel.info.path = path;
        Self { paths: vec![busybox, toplevel] }
    }

    /// A system that also runs `more` in the host's shell when it is made current, after its work.
    pub fn scripted(text: &str, more: &str) -> Self {
        Self::made(text, Contract::Honest, Kernel::None, more, &[])
    }

    /// A system that a real machine is booted with, as NixOS is: its boot entry has `params` in the kernel's command
    /// line, its `init` runs `at_boot` in the host's shell before systemd.
    pub fn bootable(text: &str, params: &str, at_boot: &str) -> Self {
        Self::with_files(text, Contract::Honest, Kernel::None, "", |root, tools, path| {
            fs::write(root.join("kernel-params"), params).unwrap();
            let init = format!(
                "#!{tools}/bin/sh\nb={tools}/bin/busybox\ns={path}\n{INIT}{at_boot}\n{LAST}"
            );
            executable(&root.join("init"), init.as_bytes());
        })
    }

    /// Its toplevel.
    pub fn path(&self) -> &StorePath {
        &self.paths.last().unwrap().info.path
    }
}

fn script(tools: &StorePath, system: &StorePath, contract: Contract) -> String {
    let service = "$b cp $s/etc/site /etc/site.new && $b mv /etc/site.new /etc/site";
    let current =
        "$b rm -f /run/new && $b ln -s $s /run/new && $b mv -T /run/new /run/current-system";
    let work = match contract {
        Contract::Honest | Contract::DiesAtBoot => format!("{service}\n{current}\n"),
        Contract::BrokenService => format!("$b rm -f /etc/site\necho no site\n{current}\n"),
        Contract::SaysZeroDoesNothing => "exit 0\n".to_owned(),
        Contract::SaysOneAfterItsWork => format!("{service}\n{current}\nexit 1\n"),
        Contract::Hangs => "while :; do $b sleep 1; done\n".to_owned(),
    };
    format!(
        "#!{tools}/bin/sh\nb={tools}/bin/busybox\ns={system}\n$b mkdir -p /run /etc /boot\n\
         echo activating: $1\nif [ $1 = boot ]; then\n{BOOT}exit 0\nfi\n{work}"
    )
}

/// What `boot` does: an entry for each generation if there is a boot loader, as NixOS's installers write them. The
/// kernel is the one that stands in the partition already, and GRUB's menu begins with what stands in `head.cfg`.
const BOOT: &str = "\
    if [ -d /boot/loader/entries ]; then
    for l in /nix/var/nix/profiles/system-*-link; do
    n=${l##*/system-}; n=${n%-link}; t=$($b readlink $l)
    echo \"title generation $n\" > /boot/entry
    if [ -e /boot/linux ]; then echo linux /linux >> /boot/entry; echo initrd /initrd >> /boot/entry; fi
    echo \"options init=$t/init quiet $($b cat $t/kernel-params 2>/dev/null)\" >> /boot/entry
    $b mv /boot/entry /boot/loader/entries/generation-$n.conf
    if [ $t = $s ]; then echo \"default generation-$n.conf\" > /boot/loader.conf; fi
    done
    $b mv /boot/loader.conf /boot/loader/loader.conf
    fi
    if [ -f /boot/grub/head.cfg ]; then
    start() {
    echo \"menuentry \\\"$1\\\" --class nixos --unrestricted {\"
    echo \"linux /linux init=$2/init quiet $($b cat $2/kernel-params 2>/dev/null)\"
    echo initrd /initrd; echo '}'
    }
    $b cp /boot/grub/head.cfg /boot/grub/new.cfg
    start 'NixOS - Default' $s >> /boot/grub/new.cfg
    echo 'submenu \"NixOS - All configurations\" --class submenu {' >> /boot/grub/new.cfg
    for l in /nix/var/nix/profiles/system-*-link; do
    n=${l##*/system-}; start \"NixOS - Configuration ${n%-link}\" $($b readlink $l) >> /boot/grub/new.cfg
    done
    echo '}' >> /boot/grub/new.cfg
    $b mv /boot/grub/new.cfg /boot/grub/grub.cfg
    fi
    $b rm -f /boot/new && $b ln -s $s /boot/new 2>/dev/null && $b mv -T /boot/new /boot/system
";

/// What NixOS does before systemd.
const INIT: &str = "\
$b mount -t tmpfs -o mode=755,nosuid,nodev run /run
$b ln -s $s /run/booted-system
$b ln -s $s /run/current-system
$b cp $s/etc/site /etc/site.new && $b mv /etc/site.new /etc/site
";

const LAST: &str = "exec /lib/systemd/systemd\n";

pub(crate) fn busybox() -> Built {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("busybox");
    fs::create_dir_all(root.join("bin")).unwrap();
    let program = fs::read("/bin/busybox")
        .expect("/bin/busybox must be there and static (apt-get install busybox-static)");
    executable(&root.join("bin/busybox"), &program);
    symlink("busybox", root.join("bin/sh")).unwrap();
    Built::of("busybox", dump(&root), vec![])
}

pub(crate) fn executable(path: &Path, content: &[u8]) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

pub(crate) fn dump(path: &Path) -> Vec<u8> {
    let output = Command::new("nix-store").arg("--dump").arg(path).output();
    let output = output.expect("nix-store must be installed (apt-get install nix-bin)");
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

/// A store path whose hash part comes from `content`.
pub(crate) fn store_path(name: &str, content: &[u8]) -> StorePath {
    const DIGITS: &[u8] = b"0123456789abcdfghijklmnpqrsvwxyz";
    let hash = NarHash::of(content).hex();
    let digits = hash.bytes().take(32).map(|b| char::from(DIGITS[usize::from(b % 32)]));
    format!("/nix/store/{}-{name}", digits.collect::<String>()).parse().unwrap()
}
