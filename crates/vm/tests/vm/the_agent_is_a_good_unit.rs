//! On a plain Debian one command makes the host: configuration, trust root, program and unit; run again it changes nothing,
//! and it does not replace what somebody wrote on purpose. The unit says when it is ready and that it is alive, comes back
//! when it is killed or hangs, writes fields into the journal, and keeps to its limits.

use std::time::Duration;

use afield_testkit::system::Contract;
use afield_vm::bed::Bed;
use afield_vm::container::Container;
use afield_vm::machine::{Machine, text};

const SOON: Duration = Duration::from_secs(120);

fn install(url: &str) -> String {
    format!(
        "/opt/afield/afield-agent install --host clinic --fleet field --repository {url} --hub {url} \
         --trust-root /root/root.json"
    )
}

#[test]
fn the_agent_is_a_good_unit() {
    let mut bed = Bed::new(Container::plain());
    // Only the key is known to the fleet already; all else is as on a plain Debian.
    bed.machine.exec("mv /etc/afield/root.json /root/; rm -r /etc/afield /usr/local/bin/afield-agent");
    installs_itself(&bed);
    is_ready_and_alive(&bed);
    says_what_it_does_with_fields(&mut bed);
    comes_back(&bed);
}

fn installs_itself(bed: &Bed<Container>) {
    let (machine, command) = (&bed.machine, install("http://10.77.1.1:8470"));
    let said = machine.exec(&format!("{command} --dry-run"));
    assert!(said.contains("would write /etc/afield/agent.toml"), "{said}");
    assert!(!machine.holds("ls /etc/afield || ls /usr/local/bin/afield-agent"));

    let said = machine.exec(&command);
    assert!(said.contains("write /etc/systemd/system/afield-agent.service"), "{said}");
    machine.exec("systemctl is-active afield-agent && systemctl is-enabled afield-agent");
    let said = machine.exec(&command);
    assert!(said.contains("everything is in place"), "{said}");

    let other = machine.try_exec(&install("http://10.77.1.9"));
    assert_eq!(other.status.code(), Some(3), "{}", text(&other.stdout));
    assert!(text(&other.stdout).contains("/etc/afield/agent.toml is there"));
    assert!(machine.text("/etc/afield/agent.toml").contains("10.77.1.1:8470"));
}

fn is_ready_and_alive(bed: &Bed<Container>) {
    let show = "systemctl show afield-agent --property Type,NotifyAccess,WatchdogUSec,OOMPolicy,OOMScoreAdjust";
    let said = bed.machine.exec(show);
    for wanted in ["Type=notify", "WatchdogUSec=5min", "OOMPolicy=continue", "OOMScoreAdjust=-500"] {
        assert!(said.contains(wanted), "{wanted} is not in {said}");
    }
    bed.machine.wait_for("a status for systemctl", SOON, "systemctl status afield-agent | grep -q 'Status:.*no release'");
    let alive = "test \"$(systemctl show afield-agent --property WatchdogTimestampMonotonic --value)\" -gt 0";
    bed.machine.wait_for("a sign of life", SOON, alive);
}

fn says_what_it_does_with_fields(bed: &mut Bed<Container>) {
    bed.machine.exec("sed -i '$a interval = \"1s\"' /etc/afield/agent.toml && systemctl restart afield-agent");
    bed.offer("one", Contract::Honest, "config one");
    bed.machine.wait_for("the release", SOON, "grep -q one /etc/site");
    let line = "journalctl --quiet AFIELD_HOST=clinic AFIELD_RELEASE=1 AFIELD_STEP=activate -o cat | grep -q activating";
    bed.machine.wait_for("the step in the journal", SOON, line);
    bed.machine.wait_for(
        "the event in the journal",
        SOON,
        "journalctl --quiet AFIELD_HOST=clinic AFIELD_EVENT=healthy PRIORITY=6 -o cat | grep -q 'release 1'",
    );
    let said = bed.machine.exec("afield-agent status");
    assert!(said.contains("release       1") && said.contains("host          clinic"), "{said}");
}

fn comes_back(bed: &Bed<Container>) {
    let pid = "systemctl show afield-agent --property MainPID --value";
    let before = bed.machine.exec(pid);
    bed.machine.exec(&format!("kill -KILL {before}"));
    let again = format!("p=$({pid}); test \"$p\" -gt 0 && test \"$p\" != {} && systemctl is-active afield-agent", before.trim());
    bed.machine.wait_for("the agent after it was killed", SOON, &again);

    // One that hangs says nothing any more; systemd ends it.
    bed.machine.exec("mkdir -p /run/systemd/system/afield-agent.service.d && printf '[Service]\\nWatchdogSec=2s\\n' > /run/systemd/system/afield-agent.service.d/quick.conf && systemctl daemon-reload && systemctl restart afield-agent");
    let before = bed.machine.exec(pid);
    bed.machine.exec(&format!("kill -STOP {before}"));
    let again = format!("p=$({pid}); test \"$p\" -gt 0 && test \"$p\" != {} && systemctl is-active afield-agent", before.trim());
    bed.machine.wait_for("the agent after it hung", SOON, &again);
    bed.machine.exec("journalctl --quiet --unit afield-agent | grep -qi 'watchdog'");
}
