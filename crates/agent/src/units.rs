//! Units of systemd that failed: an activation that says 0 and leaves one behind has failed.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use afield_core::report::{clip, tail};

use crate::config::Config;
use crate::nix;

/// How often systemd is asked whether it is done.
const LOOK: Duration = Duration::from_millis(500);
/// Of one unit's log, at most this many lines are told.
const LINES: &str = "--lines=10";
/// Units that are under way because the agent is.
const OWN: [&str; 4] =
    ["afield-", "boot-complete.target", "systemd-bless-boot", "systemd-update-done"];

/// Whether systemd runs the host.
pub fn run_the_host(config: &Config) -> bool {
    config.is_machine() && Path::new("/run/systemd/system").exists()
}

/// Units that have failed, and those that systemd starts again and again.
pub fn failed(config: &Config) -> BTreeSet<String> {
    if !run_the_host(config) {
        return BTreeSet::new();
    }
    let mut list = systemctl(&["list-units", "--all", "--state=failed,auto-restart"]);
    let list = nix::run(&mut list).unwrap_or_default();
    let names = list.lines().filter_map(|line| line.split_whitespace().next());
    names.filter(|name| name.contains('.')).map(str::to_owned).collect()
}

/// Waits until systemd has nothing to do any more, or until the time is over.
pub fn settle(config: &Config, most: Duration) {
    let until = Instant::now() + most;
    // Between two units that follow each other nothing may run for an instant.
    let mut quiet = 0;
    while run_the_host(config) && Instant::now() < until {
        let jobs = nix::run(&mut systemctl(&["list-jobs"])).unwrap_or_default();
        quiet = if busy(&jobs) { 0 } else { quiet + 1 };
        if quiet == 2 {
            return;
        }
        std::thread::sleep(LOOK);
    }
}

/// Whether systemd does something that is not the agent's own. What only waits does so for something that runs; in a boot
/// on trial multi-user.target waits for the agent itself.
fn busy(jobs: &str) -> bool {
    jobs.lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, unit, _, "running"] = words[..] else { return false };
        !OWN.iter().any(|own| unit.starts_with(own))
    })
}

/// Units that failed and had not before, in a sentence; and the last lines of their logs.
pub fn worse(before: &BTreeSet<String>, now: &BTreeSet<String>) -> Option<(String, Vec<String>)> {
    let new: Vec<&str> = now.difference(before).map(String::as_str).collect();
    if new.is_empty() {
        return None;
    }
    let log = new.iter().flat_map(|unit| log(unit)).collect();
    Some((clip(&format!("failed units: {}", new.join(", "))), log))
}

/// Of these, those that systemd orders by the network's being there: without an uplink they fail in any system.
pub fn of_the_network(units: &BTreeSet<String>) -> BTreeSet<String> {
    let orders = |unit: &str| {
        let mut show = systemctl(&["show", "--property=After", "--property=Before", unit]);
        nix::run(&mut show).unwrap_or_default()
    };
    let needs = |unit: &&String| orders(unit).contains("network-online.target");
    units.iter().filter(needs).cloned().collect()
}

fn log(unit: &str) -> Vec<String> {
    let mut journal = Command::new("journalctl");
    journal.args(["--no-pager", LINES, "--output=cat", "--boot", "--unit", unit]);
    let output = journal.stdin(Stdio::null()).output();
    let lines = output.map(|o| tail(&String::from_utf8_lossy(&o.stdout))).unwrap_or_default();
    lines.into_iter().map(|line| clip(&format!("{unit}: {line}"))).collect()
}

/// systemd's `systemctl`, for programs.
pub fn systemctl(args: &[&str]) -> Command {
    let mut command = Command::new("systemctl");
    command.args(args).args(["--no-pager", "--no-legend", "--plain"]).stdin(Stdio::null());
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_the_agent_itself_holds_no_proof_back() {
        let boot = "  1 multi-user.target start waiting\n 87 afield-boot-check.service start running\n\
                    88 boot-complete.target start waiting\n 2 graphical.target start waiting\n";
        assert!(!busy(boot) && !busy("") && !busy("No jobs running.\n"));
        assert!(busy(&format!("{boot}90 postgresql.service start running\n")));
    }
}
