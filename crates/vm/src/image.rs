//! The Debian tree that every machine starts from, made once and kept under the hash of its recipe.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use afield_core::ids::ObjectId;

use crate::shell;

/// Debian packages in the tree. Containers pass over the kernel.
const PACKAGES: &[&str] = &[
    "systemd",
    "systemd-sysv",
    "systemd-boot",
    "cryptsetup-bin",
    "libpam-systemd",
    "dbus",
    "udev",
    "openssh-server",
    "nix-bin",
    "nix-setup-systemd",
    "sudo",
    "libnss-systemd",
    "iproute2",
    "procps",
    "busybox-static",
    "linux-image-cloud-amd64",
];

/// Files in the tree. What is for guests alone has a condition.
const FILES: &[(&str, &str)] = &[
    ("etc/systemd/system/afield-vm-shell.service", shell::SERVICE),
    ("usr/local/lib/afield-vm-shell", shell::SCRIPT),
    ("etc/systemd/system/opt-afield.mount", PROGRAMS),
    ("etc/systemd/network/eth0.network", NETWORK),
];

/// The second disk of a guest has Afield's programs; containers have them bound there.
const PROGRAMS: &str = "[Unit]
ConditionVirtualization=!container
[Mount]
What=/dev/vdb
Where=/opt/afield
Type=ext4
Options=ro,noload
[Install]
WantedBy=local-fs.target
";

/// As qemu's network is.
const NETWORK: &str = "[Match]
Name=eth0
[Network]
Address=10.0.2.15/24
Gateway=10.0.2.2
LinkLocalAddressing=no
IPv6AcceptRA=no
";

/// Runs in the finished tree, `$1`.
const FINISH: &str = r#"
set -eu
cd "$1"
echo afield > etc/hostname
# Empty: each machine makes its own at its first boot.
: > etc/machine-id
# The journal outlives a reboot and a power cut.
mkdir -p var/log/journal opt/afield
# No host key is shared; machines get theirs from the test.
rm -f etc/ssh/ssh_host_*
chmod 755 usr/local/lib/afield-vm-shell
chroot . systemctl --quiet enable afield-vm-shell.service opt-afield.mount systemd-networkd.service
# Nothing here may wake up by itself and make a test flaky.
rm -f etc/systemd/system/timers.target.wants/*
chroot . systemctl --quiet mask getty.target serial-getty@ttyS0.service e2scrub_reap.service
printf 'substituters =\n' >> etc/nix/nix.conf
chroot . passwd -l root >/dev/null
"#;

/// Puts Debian packages (from the third argument on) into a layer `$2/upper` over the tree `$1`. They are chosen and
/// fetched with this machine's apt, which knows the way to the mirror; nothing is started.
const ADD: &str = r#"
tree=$1 to=$2
shift 2
mkdir -p "$to/upper" "$to/work" "$to/merged" "$to/debs/partial"
apt-get -qq --yes --no-install-recommends --download-only install -o Debug::NoLocking=1 -o APT::Sandbox::User=root \
    -o "Dir::State::status=$tree/var/lib/dpkg/status" -o "Dir::Cache::archives=$to/debs" "$@"
mount -t overlay overlay -o "lowerdir=$tree,upperdir=$to/upper,workdir=$to/work" "$to/merged"
printf '#!/bin/sh\nexit 101\n' > "$to/merged/usr/sbin/policy-rc.d"
chmod 755 "$to/merged/usr/sbin/policy-rc.d"
mkdir "$to/merged/debs"
mount --bind "$to/debs" "$to/merged/debs"
DEBIAN_FRONTEND=noninteractive chroot "$to/merged" sh -c \
    'apt-get -qq --yes --no-install-recommends install -o Dpkg::Options::=--force-unsafe-io /debs/*.deb >&2'
umount "$to/merged/debs"
rm -r "$to/merged/debs" "$to/merged/usr/sbin/policy-rc.d"
umount "$to/merged"
rm -r "$to/debs" "$to/merged" "$to/work"
"#;

/// A finished tree, and what is made of it.
#[derive(Debug, Clone)]
pub struct Image {
    folder: PathBuf,
}

impl Image {
    /// The tree, made now if this recipe has not been made yet: a minute.
    pub fn ready() -> Self {
        let recipe = format!("1 {PACKAGES:?} {FILES:?} {FINISH}");
        let name = ObjectId::of(recipe.as_bytes()).hex()[..16].to_owned();
        let folder = cache().join(name);
        let image = Self { folder };
        once(&image.folder, "the Debian tree", make_tree);
        image
    }

    /// The root folder. Nobody may write to it.
    pub fn tree(&self) -> PathBuf {
        self.folder.join("tree")
    }

    /// The tree with further Debian packages, as layers of an overlay: what only few machines need, so that the others
    /// stay small.
    pub fn tree_with(&self, packages: &[&str]) -> PathBuf {
        if packages.is_empty() {
            return self.tree();
        }
        let recipe = ObjectId::of(format!("{packages:?} {ADD}").as_bytes()).hex();
        let layer = self.derived(&format!("layer-{}", &recipe[..16]), |image, to| {
            let mut add = Command::new("unshare");
            add.args(["--mount", "sh", "-euc", ADD, "add"]).arg(image.tree()).arg(to);
            run(add.args(packages));
        });
        let mut layers = layer.join("upper").into_os_string();
        layers.push(":");
        layers.push(self.tree());
        layers.into()
    }

    /// A file or folder made from the tree, made by `make` if it is not there yet.
    pub fn derived(&self, name: &str, make: impl FnOnce(&Self, &Path)) -> PathBuf {
        let path = self.folder.join(name);
        once(&path, name, |to| make(self, to));
        path
    }
}

/// Where images are kept: `AFIELD_VM_CACHE`, or a folder of the machine that all checkouts share.
pub fn cache() -> PathBuf {
    let folder = std::env::var_os("AFIELD_VM_CACHE");
    let folder = folder.map_or_else(|| PathBuf::from("/var/cache/afield-vm"), PathBuf::from);
    fs::create_dir_all(&folder)
        .unwrap_or_else(|e| panic!("{}: {e}; is this root?", folder.display()));
    folder
}

/// Makes `path` if it is not there: beside, then renamed, one process at a time.
fn once(path: &Path, what: &str, make: impl FnOnce(&Path)) {
    if path.exists() {
        return;
    }
    let lock = File::create(cache().join("image.lock")).unwrap();
    lock.lock().unwrap();
    if path.exists() {
        return;
    }
    eprintln!("making {what} in {}, once", path.display());
    let beside = path.with_extension("new");
    run(Command::new("rm").arg("-rf").arg(&beside));
    make(&beside);
    fs::rename(&beside, path).unwrap();
}

fn make_tree(folder: &Path) {
    let tree = folder.join("tree");
    fs::create_dir_all(folder).unwrap();
    let mut debian = Command::new("mmdebstrap");
    debian.args(["--quiet", "--variant=minbase", "--mode=root"]);
    debian.arg(format!("--include={}", PACKAGES.join(",")));
    debian.arg("--aptopt=Apt::Install-Recommends false");
    for left_out in ["/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*"] {
        debian.arg(format!("--dpkgopt=path-exclude={left_out}"));
    }
    run(debian.arg("bookworm").arg(&tree));
    for (path, content) in FILES {
        let path = tree.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    run(Command::new("sh").args(["-c", FINISH, "finish"]).arg(&tree));
}

/// Runs a program; panics with what it said if it fails.
pub fn run(command: &mut Command) -> String {
    let done = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{command:?}: {}: {said}", done.status);
    String::from_utf8_lossy(&done.stdout).into_owned()
}
