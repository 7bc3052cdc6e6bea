//! A guest: Debian's kernel and systemd under qemu, with a disk that can lose what it had not written yet.
//!
//! One guest runs at a time, whoever starts it, with its twins: the emulation takes all cores there are. No KVM is needed.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use afield_testkit::net::{LOOK, Net};

use crate::disk::{self, Disk};
use crate::firmware::Loader;
use crate::image::{self, Image};
use crate::machine::{BOOT, Machine, text};
use crate::monitor::Monitor;
use crate::shell::Shell;
use crate::{boot_files, firmware, lean, programs};

/// sshd of the guest, on the world's loopback.
const SSH_PORT: u16 = 2222;

/// How often a guest that reboots is asked.
const PAUSE: Duration = Duration::from_millis(300);
/// A short script that takes longer than this was lost.
const PATIENCE: Duration = Duration::from_secs(60);

/// Without the abilities for which Debian loads drivers at every boot: virtualisation, AES, vectors. They only cost time.
const PROCESSOR: &str = "qemu64,-svm";

/// Tells two boots apart.
pub const BOOT_ID: &str = "cat /proc/sys/kernel/random/boot_id";

/// What is to be known before a guest is made.
#[derive(Debug, Clone)]
pub struct Options {
    /// Memory, MiB.
    pub memory: u32,
    /// Cores. A boot keeps little more than one busy.
    pub cores: u32,
    /// Added to the kernel's command line.
    pub kernel: String,
    /// Further arguments of qemu, such as a TPM.
    pub qemu: Vec<String>,
    /// Real firmware starts this from the disk's first partition; none: qemu starts the kernel.
    pub loader: Option<Loader>,
    /// What few scenarios need is left out, as always with a boot loader; see [`lean`].
    pub lean: bool,
}

impl Default for Options {
    fn default() -> Self {
        let (kernel, qemu) = (String::new(), Vec::new());
        Self { memory: 768, cores: 2, kernel, qemu, loader: None, lean: false }
    }
}

/// The guest.
pub struct Guest {
    // Ends first.
    process: Option<Child>,
    shell: Option<Shell>,
    monitor: Option<Monitor>,
    folder: tempfile::TempDir,
    options: Options,
    image: Image,
    /// Its disk, `/dev/vda`.
    pub disk: Disk,
    programs: PathBuf,
    world: Arc<Net>,
    ssh_port: u16,
    starts: usize,
    reboots: usize,
    only_one: Arc<File>,
}

/// A running guest, kept: its memory, its devices, its disk.
pub struct Snapshot {
    memory: PathBuf,
    disk: disk::Saved,
}

impl Guest {
    /// Makes one and starts it; back when it is up.
    pub fn start(options: Options) -> Self {
        let image = Image::ready();
        let folder = tempfile::Builder::new().prefix("afield-vm-").tempdir().unwrap();
        let disk = match options.loader {
            Some(loader) => firmware::disk(&image, loader),
            None if options.lean => lean::disk(&image),
            None => image.derived("disk.raw", boot_files::make_disk),
        };
        let programs = folder.path().join("programs.raw");
        boot_files::make_file_system(&programs::folder(), &programs, "256M");
        let mut guest = Self {
            process: None,
            shell: None,
            monitor: None,
            disk: Disk::of(&disk),
            world: Arc::new(Net::new()),
            ssh_port: SSH_PORT,
            only_one: Arc::new(only_one()),
            starts: 0,
            reboots: 0,
            programs,
            folder,
            options,
            image,
        };
        guest.disk.serve(&guest.path("disk"));
        guest.power_on(None);
        guest.wait_until_up();
        guest
    }

    /// A plain one.
    pub fn plain() -> Self {
        Self::start(Options::default())
    }

    /// Another guest of the same kind in the same world, off: it goes on from a snapshot of this one. Whoever has cores
    /// for both plays twice as much in the same time.
    pub fn twin(&self, number: u16) -> Self {
        let folder = tempfile::Builder::new().prefix("afield-vm-").tempdir().unwrap();
        let guest = Self {
            process: None,
            shell: None,
            monitor: None,
            folder,
            options: self.options.clone(),
            image: self.image.clone(),
            disk: self.disk.another(),
            programs: self.programs.clone(),
            world: Arc::clone(&self.world),
            ssh_port: SSH_PORT + number,
            starts: 0,
            reboots: 0,
            only_one: Arc::clone(&self.only_one),
        };
        guest.disk.serve(&guest.path("disk"));
        guest
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Keeps the guest as it runs now, and ends it; [`Guest::resume`] goes on from here in a few seconds.
    pub fn snapshot(&mut self) -> Snapshot {
        self.exec("sync");
        let memory = self.path("memory");
        self.monitor().run("stop", serde_json::json!({}));
        self.monitor().migrate(&memory);
        let disk = self.disk.save();
        self.cut_power();
        Snapshot { memory, disk }
    }

    /// Goes on from a snapshot.
    pub fn resume(&mut self, snapshot: &Snapshot) {
        self.cut_power();
        self.disk.restore(&snapshot.disk);
        self.power_on(Some(&snapshot.memory));
        self.monitor().run("cont", serde_json::json!({}));
        self.exec("true");
    }

    /// Presses the power button for good: the process ends, and the disk loses of what it had not flushed whatever
    /// `chance` says.
    pub fn cut_power_with(&mut self, chance: impl FnMut() -> bool) -> usize {
        self.cut_power();
        self.disk.lose(chance)
    }

    /// Waits until the guest writes a line with this text to its console; the whole line.
    pub fn wait_for_console(&self, from: usize, what: &str) -> String {
        let until = Instant::now() + BOOT;
        loop {
            let console = self.console();
            let mut lines = console.get(from..).unwrap_or_default().lines();
            if let Some(line) = lines.find(|line| line.contains(what)) {
                return line.to_owned();
            }
            if Instant::now() > until {
                panic!("{what:?} is not said within {BOOT:?}:\n{console}");
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Pulls or lays the network cable.
    pub fn link(&mut self, up: bool) {
        self.monitor().run("set_link", serde_json::json!({ "name": "net0", "up": up }));
    }

    /// qemu's monitor.
    pub fn monitor(&mut self) -> &mut Monitor {
        self.monitor.as_mut().expect("the guest is on")
    }

    fn power_on(&mut self, memory: Option<&PathBuf>) {
        self.starts += 1;
        for socket in ["shell", "monitor"] {
            drop(fs::remove_file(self.path(socket)));
        }
        let log = File::options().create(true).append(true).open(self.path("qemu.log")).unwrap();
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.world.path()));
        command.args(["setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64"]);
        command.args(self.arguments());
        if let Some(memory) = memory {
            command.arg("-incoming").arg(format!("exec:cat {}", memory.display()));
        }
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let mut process = command.spawn().unwrap();
        self.monitor = Some(Monitor::connect(&self.path("monitor"), &mut process));
        self.shell = Some(Shell::connect(&self.path("shell")));
        self.process = Some(process);
        if memory.is_some() {
            self.monitor().wait_until_loaded();
        }
    }

    fn arguments(&self) -> Vec<String> {
        let here = |name: &str| self.path(name).display().to_string();
        let console = format!("file,id=console,path={},append=on", here("console"));
        let disk = format!("nbd,node-name=disk,server.type=unix,server.path={}", here("disk"));
        let programs =
            format!("file,node-name=programs,read-only=on,filename={}", self.programs.display());
        let network = format!("user,id=net0,hostfwd=tcp:127.0.0.1:{}-:22", self.ssh_port);
        let cores = self.options.cores.to_string();
        let memory = self.options.memory.to_string();
        let mut words: Vec<String> = [
            "-nodefaults",
            "-display",
            "none",
            "-accel",
            "tcg,thread=multi,tb-size=512",
            "-machine",
            "q35",
            "-cpu",
            PROCESSOR,
            "-smp",
            &cores,
            "-m",
            &memory,
            "-chardev",
            &console,
            "-serial",
            "chardev:console",
            "-chardev",
            &format!("socket,id=shell,server=on,wait=off,path={}", here("shell")),
            "-device",
            "virtio-serial-pci",
            "-device",
            "virtserialport,chardev=shell,name=shell",
            "-qmp",
            &format!("unix:{},server=on,wait=off", here("monitor")),
            "-blockdev",
            &disk,
            "-device",
            "virtio-blk-pci,drive=disk,bootindex=1",
            "-blockdev",
            &programs,
            "-device",
            "virtio-blk-pci,drive=programs",
            "-netdev",
            &network,
            "-device",
            "virtio-net-pci,netdev=net0,romfile=",
            "-device",
            "virtio-rng-pci",
        ]
        .map(str::to_owned)
        .into();
        if self.options.loader.is_some() {
            words.extend(firmware::arguments(self.folder.path()));
        } else {
            let (kernel, initrd) = boot_files::of(&self.image);
            let line = format!("root=/dev/vda {} {}", boot_files::KERNEL_LINE, self.options.kernel);
            words.extend(["-kernel".into(), kernel.display().to_string()]);
            words.extend(["-initrd".into(), initrd.display().to_string(), "-append".into(), line]);
        }
        words.extend(self.options.qemu.iter().cloned());
        words
    }

    /// Waits until another boot than that answers, and is up.
    pub fn wait_until_rebooted(&mut self, before: &str) {
        let another = format!("test \"$({BOOT_ID})\" != {}", before.trim());
        self.wait_through_boots("another boot", BOOT, &another);
        self.reboots += 1;
        self.wait_until_up();
    }

    /// Waits through any number of boots until a script succeeds. What it writes is nobody's.
    pub fn wait_through_boots(&mut self, what: &str, within: Duration, script: &str) {
        let until = Instant::now() + within;
        let script = format!("( {script}\n) > /dev/null 2>&1");
        while !self.says_yes(&script) {
            assert!(Instant::now() < until, "{what}: not within {within:?}:\n{}", self.console());
            std::thread::sleep(PAUSE);
        }
    }

    /// Whether a script succeeds; not if the guest is down, or goes down meanwhile. It is asked only if it listens: what
    /// it was asked in vain it would do in the next boot, one after the other.
    fn says_yes(&mut self, script: &str) -> bool {
        let until = Instant::now() + PATIENCE;
        if !self.monitor().is_open("shell") {
            return false;
        }
        let Ok(number) = self.shell().send(script) else { return false };
        loop {
            if let Ok(done) = self.shell().answer(number, PAUSE) {
                return done.status.success();
            }
            if Instant::now() > until || !self.monitor().is_open("shell") {
                return false;
            }
        }
    }

    fn shell(&self) -> &Shell {
        self.shell.as_ref().expect("the guest is on")
    }

    fn wait_until_up(&mut self) {
        // The shell answers early in the boot, and says when the rest is there.
        let state = self.try_exec("systemctl is-system-running --wait");
        let state = text(&state.stdout);
        let state = state.trim();
        assert!(["running", "degraded"].contains(&state), "{state}:\n{}", self.console());
    }
}

/// Waits for its turn. Its holder's end, however it comes, ends the lock.
fn only_one() -> File {
    let file = File::create(image::cache().join("qemu.lock")).unwrap();
    file.lock().unwrap();
    file
}

impl Machine for Guest {
    fn try_exec(&self, script: &str) -> Output {
        let Some(shell) = &self.shell else { panic!("the guest is off:\n{}", self.console()) };
        shell.run(script).unwrap_or_else(|e| {
            panic!(
                "`{script}`: {e}\n{}\n{}",
                self.console(),
                text(&fs::read(self.path("qemu.log")).unwrap())
            )
        })
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        let encoded = data_encoding::BASE64.encode(bytes);
        self.exec(&format!(
            "p={path}; mkdir -p \"${{p%/*}}\" && base64 -d > \"$p\" <<'END'\n{encoded}\nEND"
        ));
    }

    fn reboot(&mut self) {
        let before = self.exec(BOOT_ID);
        self.exec("systemctl reboot --no-block");
        self.wait_until_rebooted(&before);
    }

    fn cut_power(&mut self) {
        self.shell = None;
        self.monitor = None;
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    fn start(&mut self) {
        assert!(self.process.is_none(), "it runs already");
        self.power_on(None);
        self.wait_until_up();
    }

    fn boots(&self) -> usize {
        self.starts + self.reboots
    }

    fn console(&self) -> String {
        text(&fs::read(self.path("console")).unwrap_or_default())
    }

    fn world(&self) -> &Net {
        &self.world
    }

    fn world_address(&self) -> &str {
        "10.0.2.2"
    }

    fn ssh_address(&self) -> (String, u16) {
        ("127.0.0.1".into(), self.ssh_port)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Its journal may be what cannot be had any more.
            let logs = programs::logs();
            drop(fs::create_dir_all(&logs));
            drop(fs::copy(self.path("console"), logs.join("console.log")));
            drop(fs::copy(self.path("qemu.log"), logs.join("qemu.log")));
            if let Some(shell) = &self.shell
                && let Ok(journal) =
                    shell.run_within("journalctl --no-pager --quiet", Duration::from_secs(60))
            {
                drop(fs::write(logs.join("journal.log"), journal.stdout));
            }
            programs::keep(&format!("socat - UNIX:{}", self.path("shell").display()));
        }
        self.cut_power();
    }
}
