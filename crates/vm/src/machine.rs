//! One interface to containers and guests.

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use afield_testkit::net::{self, Net};

/// Until a machine is up. The cores may be shared with anything.
pub const BOOT: Duration = Duration::from_secs(240);

/// A machine. What must not go wrong panics, with what the machine said.
pub trait Machine {
    /// Runs a script in bash as root. It needs neither the machine's network nor its sshd.
    fn try_exec(&self, script: &str) -> Output;

    /// Puts bytes into a file of the machine; its folder is made if need be.
    fn write(&self, path: &str, bytes: &[u8]);

    /// An orderly reboot; back when the machine is up again.
    fn reboot(&mut self);

    /// Ends the machine within an instant, as if its power failed.
    fn cut_power(&mut self);

    /// Starts a machine whose power was cut; back when it is up.
    fn start(&mut self);

    /// How often it was started or rebooted, itself included.
    fn boots(&self) -> usize;

    /// What it wrote to its console since it was made.
    fn console(&self) -> String;

    /// The network that tests serve it from: what listens there on all addresses can be reached by it.
    fn world(&self) -> &Net;

    /// The address of [`Machine::world`] as the machine knows it.
    fn world_address(&self) -> &str;

    /// Where its sshd can be reached from [`Machine::world`], address and port.
    fn ssh_address(&self) -> (String, u16);

    /// Runs a script that must succeed; what it wrote.
    fn exec(&self, script: &str) -> String {
        let done = self.try_exec(script);
        let (out, err) = (text(&done.stdout), text(&done.stderr));
        assert!(done.status.success(), "`{script}`: {}\n{out}{err}", done.status);
        out
    }

    /// Whether a script succeeds.
    fn holds(&self, script: &str) -> bool {
        self.try_exec(script).status.success()
    }

    /// Asks until a script succeeds; panics with the journal's end if it has not within `within`.
    fn wait_for(&self, what: &str, within: Duration, script: &str) {
        let until = std::time::Instant::now() + within;
        while !self.holds(script) {
            if std::time::Instant::now() > until {
                panic!("{what}: not within {within:?}\n{}", self.journal(60));
            }
            std::thread::sleep(net::LOOK);
        }
    }

    /// Copies a file into the machine, with its permission bits.
    fn copy(&self, from: &Path, to: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        self.write(to, &std::fs::read(from).unwrap());
        let mode = std::fs::metadata(from).unwrap().permissions().mode() & 0o7777;
        self.exec(&format!("chmod {mode:o} {to}"));
    }

    /// A text file of the machine; empty if it is not there.
    fn text(&self, path: &str) -> String {
        text(&self.try_exec(&format!("cat {path}")).stdout)
    }

    /// The last lines of the machine's journal, all boots.
    fn journal(&self, lines: usize) -> String {
        let script = format!("journalctl --no-pager --quiet --lines={lines} -o short-monotonic");
        text(&self.try_exec(&script).stdout)
    }

    /// Keeps console and journal in the folder of this scenario, for whoever has to find out why it failed.
    fn keep_logs(&self) {
        let folder = crate::programs::logs();
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("console.log"), self.console()).unwrap();
        std::fs::write(folder.join("journal.log"), self.journal(20_000)).unwrap();
        eprintln!("console and journal are kept in {}", folder.display());
    }
}

/// Bytes as text.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
