//! A container: systemd as the first process of a namespace, on an overlay of the Debian tree.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use afield_testkit::net::{self, Net};

use crate::cgroup::Cgroup;
use crate::image::{self, Image};
use crate::machine::{BOOT, Machine, text};
use crate::{boot_files, programs};

/// The cable between the world (10.77.1.1) and the machine (10.77.1.2).
const CABLE: u8 = 1;

/// Starts systemd again when it asks for a reboot (133), as a machine does. `$1` is the folder of the container, `$2` the
/// tree, `$3` the programs; the rest are further arguments of systemd-nspawn. Its network is its own to change.
const MACHINE: &str = r#"
set -u
here=$1 tree=$2 programs=$3
shift 3
own=$here
if [ -f "$here/disk" ]; then
    own=$here/small
    # As at every boot.
    /sbin/e2fsck -p "$here/disk" > /dev/null
    mount -o loop "$here/disk" "$own" || exit 1
fi
mount -t overlay overlay -o "lowerdir=$tree,upperdir=$own/upper,workdir=$own/work" "$here/root" || exit 1
while :; do
    echo boot >> "$here/boots"
    systemd-nspawn --quiet --register=no --keep-unit --boot --directory="$here/root" --machine=machine \
        --network-namespace-path=/proc/self/ns/net --capability=CAP_NET_ADMIN --bind-ro="$programs:/opt/afield" --console=pipe "$@"
    code=$?
    echo "systemd-nspawn ended with $code"
    [ "$code" = 133 ] || exit "$code"
done
"#;

/// What is to be known before a container is made.
#[derive(Debug, Default)]
pub struct Options {
    /// Further arguments of systemd-nspawn, such as `--capability=all`.
    pub nspawn: Vec<String>,
    /// Size of a small disk of its own for everything that it writes, MiB; else it writes to the machine's.
    pub disk: Option<u32>,
    /// Debian packages besides those that every machine has.
    pub packages: Vec<&'static str>,
    /// Files that are there before the first boot: path and content.
    pub files: Vec<(String, Vec<u8>)>,
}

/// The container.
pub struct Container {
    // Ends first: it holds the mounts and the group.
    process: Option<Child>,
    folder: tempfile::TempDir,
    tree: PathBuf,
    options: Options,
    group: Cgroup,
    world: Net,
    own: Net,
}

impl Container {
    /// Makes one and starts it; back when it is up.
    pub fn start(options: Options) -> Self {
        let tree = Image::ready().tree_with(&options.packages);
        let folder = tempfile::Builder::new().prefix("afield-vm-").tempdir().unwrap();
        let (world, own) = (Net::new(), Net::new());
        world.cable(CABLE, &own);
        own.run("ip", &["route", "add", "default", "via", "10.77.1.1"]);
        let name = folder.path().file_name().unwrap().to_string_lossy().into_owned();
        let group = Cgroup::new(&name);
        let mut machine = Self { process: None, folder, tree, options, group, world, own };
        machine.prepare();
        machine.power_on();
        machine
    }

    /// A plain one.
    pub fn plain() -> Self {
        Self::start(Options::default())
    }

    /// The machine's own network; its end of the cable is `up1`.
    pub fn net(&self) -> &Net {
        &self.own
    }

    /// Pulls or lays the cable to the world.
    pub fn link(&self, up: bool) {
        self.world.run("ip", &["link", "set", "cable1", if up { "up" } else { "down" }]);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn prepare(&self) {
        for name in ["upper", "work", "root", "small"] {
            fs::create_dir(self.path(name)).unwrap();
        }
        for (path, content) in &self.options.files {
            let file = self.path("upper").join(path.trim_start_matches('/'));
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, content).unwrap();
        }
        if let Some(size) = self.options.disk {
            for name in ["upper", "work"] {
                fs::rename(self.path(name), self.path("small").join(name)).unwrap();
            }
            let size = format!("{size}M");
            boot_files::make_file_system(&self.path("small"), &self.path("disk"), &size);
            fs::remove_dir_all(self.path("small")).unwrap();
            fs::create_dir(self.path("small")).unwrap();
        }
    }

    /// Its small disk becomes one that the kernel has given up: nothing can be written until the machine starts again.
    pub fn break_disk(&self) {
        let mounts = self.process.as_ref().and_then(|p| child(p.id())).expect("the machine is on");
        let mut command = Command::new("nsenter");
        command.args(["--target", &mounts.to_string(), "--mount", "mount", "-o", "remount,abort"]);
        image::run(command.arg(self.path("small")));
    }

    /// Runs a script as [`Machine::try_exec`] does, with so many MiB of memory for all of it but what it has systemd
    /// start. Also how much it used at most, KiB.
    pub fn exec_within(&self, mib: u32, script: &str) -> (Output, u64) {
        let group = Cgroup::memory(self.group.name(), mib);
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{}exec \"$@\"", group.enter()), "sh", "nsenter"]);
        let done = self.finish(command, script);
        (done, group.peak())
    }

    fn power_on(&mut self) {
        let console = fs::File::options().create(true).append(true).open(self.path("console"));
        let console = console.unwrap();
        // Whoever ends this process ends every process of the machine, also if a test is killed.
        let enter = format!(
            "{}exec setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child=KILL --mount-proc \
             --propagation private sh -c \"$0\" machine \"$@\"",
            self.group.enter()
        );
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.own.path())).args(["sh", "-c", &enter, MACHINE]);
        command.arg(self.folder.path()).arg(&self.tree).arg(programs::folder());
        command.args(&self.options.nspawn).stdin(Stdio::null());
        let process = command.stdout(console.try_clone().unwrap()).stderr(console).spawn();
        let boots = self.boots();
        self.process = Some(process.unwrap());
        self.wait_until_up(boots + 1);
    }

    fn wait_until_up(&self, boots: usize) {
        let up = || {
            self.boots() >= boots && self.leader().is_some() && {
                let state = self.try_exec("systemctl is-system-running");
                ["running", "degraded"].contains(&text(&state.stdout).trim())
            }
        };
        let until = std::time::Instant::now() + BOOT;
        while !up() {
            assert!(std::time::Instant::now() < until, "it does not start:\n{}", self.console());
            std::thread::sleep(afield_testkit::net::LOOK);
        }
    }

    /// Ends a command that begins with `nsenter`, and runs it.
    fn finish(&self, mut command: Command, script: &str) -> Output {
        let Some(leader) = self.leader() else { panic!("the machine is off:\n{}", self.console()) };
        command.args(["--target", &leader.to_string()]);
        command.args(["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd"]);
        command.args(["/bin/bash", "-c", script]).env_clear();
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("HOME", "/root").stdin(Stdio::null()).output().unwrap()
    }

    /// The first process of the machine, as seen from here: shell, systemd-nspawn, systemd.
    pub fn leader(&self) -> Option<u32> {
        let process = self.process.as_ref()?.id();
        let systemd = child(child(child(process)?)?)?;
        let name = fs::read_to_string(format!("/proc/{systemd}/comm")).ok()?;
        (name.trim() == "systemd").then_some(systemd)
    }
}

fn child(process: u32) -> Option<u32> {
    let path = format!("/proc/{process}/task/{process}/children");
    fs::read_to_string(path).ok()?.split(' ').next()?.parse().ok()
}

impl Machine for Container {
    fn try_exec(&self, script: &str) -> Output {
        self.finish(Command::new("nsenter"), script)
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        let leader = self.leader().expect("the machine is on");
        let mut command = Command::new("nsenter");
        command.args(["--target", &leader.to_string(), "--mount", "--root", "--wd", "sh", "-c"]);
        command.args([r#"mkdir -p "${0%/*}" && cat > "$0""#, path]);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(bytes).unwrap();
        assert!(child.wait().unwrap().success(), "{path} cannot be written");
    }

    fn reboot(&mut self) {
        let boots = self.boots();
        self.exec("systemctl reboot");
        self.wait_until_up(boots + 1);
    }

    fn cut_power(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
        // Its disk must not be in use any more when it is started again.
        let disk = self.path("disk");
        if disk.exists() {
            let in_use = || image::run(Command::new("losetup").arg("--associated").arg(&disk));
            net::wait_for("the disk to be free", BOOT, || in_use().is_empty());
        }
    }

    fn start(&mut self) {
        assert!(self.process.is_none(), "it runs already");
        self.power_on();
    }

    fn boots(&self) -> usize {
        fs::read_to_string(self.path("boots")).unwrap_or_default().lines().count()
    }

    fn console(&self) -> String {
        text(&fs::read(self.path("console")).unwrap_or_default())
    }

    fn world(&self) -> &Net {
        &self.world
    }

    fn world_address(&self) -> &str {
        "10.77.1.1"
    }

    fn ssh_address(&self) -> (String, u16) {
        ("10.77.1.2".into(), 22)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if let (true, Some(leader)) = (std::thread::panicking(), self.leader()) {
            self.keep_logs();
            programs::keep(&format!("nsenter --target {leader} --all"));
        }
        self.cut_power();
    }
}
