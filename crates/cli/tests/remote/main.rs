//! `afield ssh` and its like, `afield relay config` and certificates: an office, two relays and a host, all with real
//! OpenSSH, each in a network of its own.
#![allow(clippy::unwrap_used)]

mod certificates;
mod office;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;

use afield_testkit::net::wait_for;
use afield_testkit::relay::{SshKey, SshRelay};
use serde_json::json;

use office::{Office, SOON, host_script, text, tunnel};

#[test]
fn people_find_the_relay_on_which_the_host_is() {
    let office = Office::new();
    let keys = tempfile::tempdir().unwrap();
    let [clinic_key, relay_key] = ["clinic", "relay"].map(|name| SshKey::new(keys.path(), name));
    let people = [("amara", &office.person), ("robot", &office.robot)];
    office.write_fleet(&clinic_key, &relay_key, &people);

    // The relays are set up by the documented command; the host is on the second only.
    let script = office.relay_script("bru");
    let relays = [
        SshRelay::with_key(&script, Some(&relay_key)),
        SshRelay::with_key(&script, Some(&relay_key)),
    ];
    let host = SshRelay::with_key(&host_script(&people), Some(&clinic_key));
    office.net.cable(1, &relays[0].net);
    office.net.cable(2, &relays[1].net);
    host.net.cable(3, &relays[1].net);
    let mut tunnel = tunnel(&host, &clinic_key.path, "10.77.3.2", 2001);
    wait_for("the host's tunnel", SOON, || relays[1].greeting(2001).is_some());

    let done = office.afield(&["ssh", "amara@clinic", "echo", "hello;", "exit", "7"]);
    assert_eq!(
        (text(&done.stdout).as_str(), done.status.code()),
        ("hello\n", Some(7)),
        "{}",
        text(&done.stderr)
    );

    let file = keys.path().join("file");
    fs::write(&file, "content").unwrap();
    let (from, to) = (file.to_str().unwrap(), "amara@clinic:/tmp/../dev/null");
    let done = office.afield(&["scp", "-q", from, to]);
    assert!(done.status.success(), "{}", text(&done.stderr));

    // Plain ssh with the file to include.
    let out = keys.path().join("include");
    let done = office.afield(&["ssh-config", "--out", out.to_str().unwrap()]);
    assert!(done.status.success() && text(&done.stdout).contains("3 hosts"), "{done:?}");
    let mut plain = office.command("timeout");
    plain
        .args(["60", "ssh", "-F"])
        .arg(out.join("config"))
        .args(["-l", "amara", "clinic", "id", "-un"]);
    let done = office.net.enter(|| plain.output().unwrap());
    assert_eq!(text(&done.stdout), "amara\n", "{}", text(&done.stderr));

    rsync(&office, &out);
    forward(&office);
    deploy_hook(&office, &clinic_key, &relay_key);

    // An impostor on the host's port is found out by the host's own key.
    tunnel.kill().unwrap();
    tunnel.wait().unwrap();
    wait_for("the port is free", SOON, || relays[1].greeting(2001).is_none());
    let done = office.afield(&["ssh", "amara@clinic", "true"]);
    assert_eq!(done.status.code(), Some(255));
    assert!(
        text(&done.stderr).contains("clinic is on none of the relays that answer"),
        "{}",
        text(&done.stderr)
    );
    let other_key = SshKey::new(keys.path(), "impostor");
    let impostor = SshRelay::with_key(&host_script(&people), Some(&other_key));
    impostor.net.cable(4, &relays[1].net);
    let mut false_tunnel = office::tunnel(&impostor, &clinic_key.path, "10.77.4.2", 2001);
    wait_for("the impostor's tunnel", SOON, || relays[1].greeting(2001).is_some());
    let done = office.afield(&["ssh", "amara@clinic", "echo", "trusted"]);
    false_tunnel.kill().unwrap();
    false_tunnel.wait().unwrap();
    assert_eq!((text(&done.stdout).as_str(), done.status.code()), ("", Some(255)));
    assert!(text(&done.stderr).contains("Host key verification failed"), "{}", text(&done.stderr));
}

/// rsync and scp with the file to include, both ways; the host is the machine's own file system.
fn rsync(office: &Office, include: &Path) {
    let there = tempfile::tempdir().unwrap();
    fs::set_permissions(there.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let here = office.dir.path().join("sent");
    fs::write(&here, "by rsync").unwrap();
    let config = include.join("config");
    let ssh = format!("ssh -F {} -l amara", config.display());
    let target = |name: &str| format!("clinic:{}", there.path().join(name).display());
    let mut rsync = office.command("timeout");
    rsync.args(["60", "rsync", "-e", &ssh]).arg(&here).arg(target("a"));
    let mut scp = office.command("timeout");
    scp.args(["60", "scp", "-q", "-F"]).arg(&config);
    scp.arg(format!("amara@{}", target("a"))).arg(office.dir.path().join("back"));
    for mut command in [rsync, scp] {
        let done = office.net.enter(|| command.output().unwrap());
        assert!(done.status.success(), "{}", text(&done.stderr));
    }
    assert_eq!(fs::read_to_string(office.dir.path().join("back")).unwrap(), "by rsync");
}

fn forward(office: &Office) {
    let mut command = office.command(env!("CARGO_BIN_EXE_afield"));
    command.arg("--fleet").arg(office.fleet()).args([
        "forward",
        "amara@clinic",
        "22",
        "--local",
        "4022",
    ]);
    let mut forward = office.net.enter(|| command.stderr(Stdio::null()).spawn().unwrap());
    let is_open = || office.net.enter(|| std::net::TcpStream::connect("127.0.0.1:4022").is_ok());
    wait_for("the forwarded port", SOON, is_open);
    forward.kill().unwrap();
    forward.wait().unwrap();
}

fn deploy_hook(office: &Office, clinic: &SshKey, relay: &SshKey) {
    let at = |name: &str| office.dir.path().join(name).to_str().unwrap().to_owned();
    fs::write(
        at("known"),
        format!(
            "10.77.2.2 {}\n[localhost]:2001 {}\n[localhost]:2002 {0}\n",
            relay.public, clinic.public
        ),
    )
    .unwrap();
    fs::write(
        at("event"),
        json!({"commits": [{"message": "Fix (x-nixos:rebuild:relay_port:2001)"}]}).to_string(),
    )
    .unwrap();
    let (event, key, known) = (at("event"), at("robot"), at("known"));
    let hook = |more: &[&str]| {
        let start = [
            "deploy-hook",
            "--eventlog",
            &event,
            "--sshrelay_domain",
            "10.77.2.2",
            "--sshrelay_port",
            "22",
        ];
        let rest = ["--keyfile", &key, "--known-hosts", &known, "--timeout", "20"];
        office.afield(&[&start[..], &rest[..], more].concat())
    };
    let done = hook(&["--command", "test $(id -un) = robot"]);
    assert_eq!(text(&done.stdout), "tunnelled_2001: done\n", "{}", text(&done.stderr));
    assert_eq!(done.status.code(), Some(0));
    // Those that cannot be reached are listed, the others done, and the exit code tells.
    let done = hook(&["--command", "true", "--fixedtunnelports", "2002 70000"]);
    let said = text(&done.stdout);
    assert!(said.contains("tunnelled_2001: done\ntunnelled_2002: FAILED: unreachable: "), "{said}");
    assert!(said.contains("tunnelled_70000: FAILED: no such port"), "{said}");
    assert_eq!(done.status.code(), Some(1));
    let done = hook(&["--command", "exit 3"]);
    assert!(
        text(&done.stdout).contains("it was reached, and the command ended with 3"),
        "{}",
        text(&done.stdout)
    );
}
