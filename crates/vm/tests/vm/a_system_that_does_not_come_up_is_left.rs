//! Real firmware and real boot loaders. A system whose kernel panics, whose initrd hangs, which comes up without network or
//! without an agent that could judge it, is left within a bounded number of tries for the last good one, and not tried
//! again. A good one is started from then on: health decides at `boot-complete.target`.

use std::time::{Duration, Instant};

use afield_core::ids::ReleaseId;
use afield_core::report::{Event, Report};
use afield_testkit::host::key;
use afield_testkit::system::System;
use afield_vm::bed::Bed;
use afield_vm::firmware::{Loader, kernel_line};
use afield_vm::guest::{Guest, Options};
use afield_vm::machine::{BOOT, Machine};

/// Several boots, on cores that may be shared with anything.
const BOOTS: Duration = Duration::from_secs(600);
/// A good system is judged as soon as its boot is over, so that the longest patience costs nothing.
const CONFIG: &str = "reboot-window = \"00:00-00:00\"\nboot-patience = \"2h\"\nreach-patience = \"10s\"\nuplink-patience = \"20s\"";

/// What is wrong with a system.
struct Trouble {
    text: &'static str,
    params: &'static str,
    at_boot: &'static str,
    /// What the console says at each start, and how often it is started by systemd-boot.
    console: Option<(&'static str, usize)>,
    /// In the report.
    why: &'static str,
}

const PANICS: Trouble = Trouble {
    text: "panics",
    params: "afield.trouble=panic",
    at_boot: "",
    console: Some(("Kernel panic - not syncing", 3)),
    why: "did not come up",
};
const HANGS: Trouble = Trouble {
    text: "hangs",
    params: "afield.watchdog=5 afield.trouble=hang",
    at_boot: "",
    console: Some(("the initrd hangs", 3)),
    why: "did not come up",
};
const NO_NETWORK: Trouble = Trouble {
    text: "no-network",
    params: "systemd.mask=systemd-networkd.service systemd.mask=systemd-networkd.socket",
    at_boot: "",
    console: None,
    why: "could be reached before, and nothing can now",
};
const NO_AGENT: Trouble = Trouble {
    text: "no-agent",
    params: "afield.trouble=no-agent",
    at_boot: "$b mount --bind /dev/null /usr/local/bin/afield-agent",
    console: None,
    why: "did not come up",
};

#[test]
fn systemd_boot_leaves_a_system_that_panics_and_keeps_a_good_one() {
    let mut host = Host::with(Loader::SystemdBoot);
    host.leaves(&PANICS);
    host.keeps("good");
    // systemd's own word comes after the agent's.
    let blessed = "systemctl --quiet is-active boot-complete.target && systemctl --quiet is-active systemd-bless-boot && \
                   /lib/systemd/systemd-bless-boot status | grep -qx good";
    host.bed.machine.wait_for("systemd's blessing", BOOT, blessed);
}

#[test]
fn grub_leaves_a_system_that_panics_and_keeps_a_good_one() {
    let mut host = Host::with(Loader::Grub);
    host.leaves(&PANICS);
    host.keeps("good");
}

#[test]
#[ignore = "slow: six boots"]
fn systemd_boot_leaves_whatever_is_not_well() {
    let mut host = Host::with(Loader::SystemdBoot);
    for trouble in [&HANGS, &NO_NETWORK, &NO_AGENT] {
        host.leaves(trouble);
    }
}

#[test]
#[ignore = "slow: six boots"]
fn grub_leaves_whatever_is_not_well() {
    let mut host = Host::with(Loader::Grub);
    for trouble in [&HANGS, &NO_NETWORK, &NO_AGENT] {
        host.leaves(trouble);
    }
}

struct Host {
    bed: Bed<Guest>,
    loader: Loader,
    good: String,
}

impl Host {
    /// A host at release 1, whose agent runs as its unit.
    fn with(loader: Loader) -> Self {
        let began = Instant::now();
        let guest = Guest::start(Options { loader: Some(loader), ..Options::default() });
        guest.exec("mount -o ro /dev/vdb /opt/afield && mount /dev/vda1 /boot");
        let mut bed = Bed::new(guest);
        let url = format!("http://{}:8470", bed.machine.world_address());
        bed.machine.exec(&format!(
            "echo '/dev/vda1 /boot vfat umask=0077 0 2' >> /etc/fstab\n\
             mv /etc/afield/root.json /root/ && rm /etc/afield/agent.toml\n\
             /opt/afield/afield-agent install --host clinic --fleet field --repository {url} --hub {url} --trust-root /root/root.json\n\
             systemctl stop afield-agent"
        ));
        bed.machine.write("/etc/afield/agent.toml", bed.config(CONFIG).as_bytes());
        let (release, good) = offer(&mut bed, "one", "", "");
        bed.machine.exec("systemctl start afield-agent");
        let is_one = |report: &Report| report.release == Some(release);
        bed.reported_within("release 1", BOOTS, is_one);
        // As if it had been booted with it. Every scenario comes back to it by a boot.
        bed.machine.exec(&format!("ln -s {good} /run/booted-system"));
        if loader == Loader::SystemdBoot {
            // Somebody else's, which the loader sorts before all others.
            bed.machine.exec("cp /boot/loader/entries/debian.conf /boot/loader/entries/zz-other.conf");
        }
        println!("{loader:?}: ready after {:?}", began.elapsed());
        Self { bed, loader, good }
    }

    /// It runs the last good system, booted and judged.
    fn is_good(&mut self) {
        let well = format!(
            "test $(readlink /run/booted-system) = {0} && test $(readlink /run/current-system) = {0} && \
             systemctl --quiet is-active afield-boot-check && systemctl --quiet is-active afield-agent",
            self.good
        );
        self.bed.machine.wait_through_boots("the last good system", BOOTS, &well);
        let profile = self.bed.machine.exec("readlink -f /nix/var/nix/profiles/system");
        assert_eq!(profile.trim(), self.good);
    }

    fn leaves(&mut self, trouble: &Trouble) {
        let began = Instant::now();
        let from = self.bed.machine.console().len();
        let (release, system) = offer(&mut self.bed, trouble.text, trouble.params, trouble.at_boot);
        let failed = |report: &Report| why(&report.event, release).is_some();
        let reports = self.bed.reported_within("it is left", BOOTS, failed);
        let told: Vec<String> = reports.iter().filter_map(|r| why(&r.event, release)).collect();
        assert!(told.len() == 1 && told[0].contains(trouble.why), "{}: {told:?}", trouble.text);
        self.is_good();
        let took = began.elapsed();
        if let Some((text, tries)) = trouble.console {
            // GRUB's one-shot entry has one try.
            let tries = if self.loader == Loader::Grub { 1 } else { tries };
            let console = self.bed.machine.console();
            assert_eq!(console[from..].matches(text).count(), tries, "{}", &console[from..]);
        }
        // It is not tried again, until a newer release comes.
        self.bed.reported_within("another check-in", BOOTS, |r| r.event == Event::Healthy);
        self.is_good();
        let said = self.bed.machine.exec("afield-agent status");
        let quarantined = said.lines().any(|line| line.starts_with("failed here") && line.ends_with(&format!(" {release}")));
        assert!(quarantined, "{said}");
        let entries = self.entries();
        assert!(!entries.iter().any(|entry| ["+3", "next_entry", "LoaderEntryDefault"].iter().any(|left| entry.contains(left))), "{entries:?}");
        println!("{:?}: {} is left after {took:?}, {system}: {}; {entries:?}\n{said}", self.loader, trouble.text, told[0]);
    }

    fn keeps(&mut self, text: &str) {
        let began = Instant::now();
        let (_, system) = offer(&mut self.bed, text, "afield.trouble=no", "");
        self.good = system;
        self.is_good();
        let kept = match self.loader {
            Loader::SystemdBoot => "grep -qx 'default generation-[0-9]*.conf' /boot/loader/loader.conf && ! ls /boot/loader/entries | grep -v +0 | grep -F +",
            Loader::Grub => "! grep -aq next_entry /boot/grub/grubenv",
        };
        self.bed.machine.wait_for("its promotion", BOOT, kept);
        println!("{:?}: {text} is kept after {:?}; {:?}", self.loader, began.elapsed(), self.entries());
    }

    /// What the boot loader has.
    fn entries(&self) -> Vec<String> {
        let script = match self.loader {
            Loader::SystemdBoot => "ls /boot/loader/entries; cat /boot/loader/loader.conf; ls /sys/firmware/efi/efivars | grep Default || true",
            Loader::Grub => "grep -a = /boot/grub/grubenv",
        };
        self.bed.machine.exec(script).lines().map(str::to_owned).collect()
    }
}

fn offer(bed: &mut Bed<Guest>, text: &str, params: &str, at_boot: &str) -> (ReleaseId, String) {
    let system = System::bootable(text, &format!("{} {params}", kernel_line()), at_boot);
    let release = bed.fleet.release(&[("clinic", key().public())], &system, "config");
    bed.fleet.assign("clinic", release);
    (release, system.path().to_string())
}

fn why(event: &Event, release: ReleaseId) -> Option<String> {
    match event {
        Event::RolledBack { from, why, .. } if *from == release => Some(why.clone()),
        _ => None,
    }
}
