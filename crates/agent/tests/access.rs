//! Who may log in: accounts, keys, sudo rules and expiry from host data, without a switch. Real files below a root
//! folder, real visudo, real nss-systemd.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};

use afield_core::host_data::HostData;
use afield_core::host_plan::RelayKeys;
use afield_core::ids::ReleaseId;
use afield_testkit::fleet::days;
use afield_testkit::host::Host;
use afield_testkit::server::Lie;
use afield_testkit::system::Contract;
use common::{Bed, people, public_key};

const KEYS: &str = "var/lib/afield-access/authorized_keys.d";

fn staff() -> HostData {
    people(&[
        ("ann", "admin", None),
        ("fay", "fieldSupport", None),
        ("rem", "remoteTunnel", None),
        ("robot", "robot", None),
    ])
}

fn keys(host: &Host, account: &str) -> String {
    host.text(&format!("{KEYS}/{account}"))
}

fn record(host: &Host, file: &str) -> serde_json::Value {
    serde_json::from_str(&host.text(&format!("etc/userdb/{file}"))).unwrap()
}

fn mode(host: &Host, path: &str) -> u32 {
    fs::metadata(host.path(path)).unwrap().permissions().mode() & 0o7777
}

#[test]
fn people_become_accounts_keys_and_rules() {
    let bed = Bed::settled_with(&staff());
    let host = &bed.host;
    let ann = record(host, "ann.user");
    let uid = ann["uid"].as_u64().unwrap();
    assert_eq!((&ann["homeDirectory"], &ann["shell"]), (&"/home/ann".into(), &"/bin/sh".into()));
    assert_eq!(record(host, &format!("{uid}.user"))["userName"], "ann");
    assert_eq!(record(host, "ann.group")["gid"], uid);
    assert_eq!(fs::metadata(host.path("home/ann")).unwrap().uid(), uid as u32);
    assert_eq!(mode(host, "home/ann"), 0o700);
    for group in ["wheel", "docker", "ssh-users", "ssh-fwd-tun-users", "shell-users", "users"] {
        assert_eq!(host.text(&format!("etc/userdb/ann:{group}.membership")), "{}\n", "{group}");
    }
    // remoteTunnel: no shell, no home, no group but those of the tunnel.
    assert_eq!(record(host, "rem.user")["shell"], "/bin/false");
    assert!(!host.path("home/rem").exists());
    assert!(!host.path("etc/userdb/rem:shell-users.membership").exists());
    assert!(host.path("etc/userdb/rem:ssh-fwd-tun-users.membership").exists());
    // A group that no system made is made; docker's would be in the way of docker.
    assert_eq!(record(host, "wheel.group")["disposition"], "system");
    assert!(!host.path("etc/userdb/docker.group").exists());

    assert_eq!(keys(host, "ann"), format!("{} ann\n", public_key(b'a')));
    assert_eq!(keys(host, "root"), keys(host, "ann"), "an admin's keys are root's too");
    assert_eq!(mode(host, &format!("{KEYS}/ann")), 0o644);

    let sudo = host.text("etc/sudoers.d/afield");
    assert_eq!(mode(host, "etc/sudoers.d/afield"), 0o440);
    assert!(sudo.contains("ann ALL=(ALL:ALL) NOPASSWD:SETENV: ALL\n"), "{sudo}");
    assert!(
        sudo.contains("fay ALL=(root) NOPASSWD: ") && sudo.contains("/usr/bin/systemctl reboot")
    );
    assert!(!sudo.contains("rem ") && !sudo.contains("fay ALL=(root) NOPASSWD:SETENV"), "{sudo}");
    let mut visudo = Command::new("visudo");
    visudo.args(["-c", "-f"]).arg(host.path("etc/sudoers.d/afield")).stdout(Stdio::null());
    assert!(visudo.status().unwrap().success());
}

#[test]
fn nss_systemd_finds_what_is_written() {
    let data = people(&[("ann", "admin", Some("2099-01-01")), ("fay", "fieldSupport", None)]);
    let bed = Bed::settled_with(&data);
    let uid = record(&bed.host, "ann.user")["uid"].as_u64().unwrap();
    let wheel = record(&bed.host, "wheel.group")["gid"].as_u64().unwrap();
    // In a mount namespace of its own /etc has the host's records; the machine's are not touched.
    let etc = bed.host.path("etc");
    let script = format!(
        "mount -t overlay overlay -o lowerdir={}:/etc /etc
        getent -s systemd passwd ann {uid} && getent -s systemd group wheel
        getent -s systemd shadow ann && getent -s systemd initgroups ann",
        etc.display()
    );
    let output = Command::new("unshare").args(["-m", "sh", "-euc", &script]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<&str> = said.lines().collect();
    let account = format!("ann:x:{uid}:{uid}:ann:/home/ann:/bin/sh");
    assert_eq!((lines[0], lines[1]), (account.as_str(), account.as_str()));
    assert_eq!(lines[2], format!("wheel:x:{wheel}:ann"));
    // The first closed day in days since 1970, as shadow counts.
    assert_eq!(lines[3], "ann:!*::::::47117:");
    assert!(lines[4].split_whitespace().any(|gid| gid == wheel.to_string()), "{said}");
}

#[test]
fn who_is_removed_is_out_and_no_number_is_given_twice() {
    let mut bed = Bed::settled_with(&staff());
    let number = |host: &Host, name: &str| record(host, &format!("{name}.user"))["uid"].clone();
    let fay = number(&bed.host, "fay");
    let before = bed.host.current();
    bed.offer_data(
        "one",
        Contract::Honest,
        &people(&[("ann", "admin", None), ("zed", "devops", None)]),
    );
    assert_eq!(bed.host.once().0, 0);
    let host = &bed.host;
    assert_eq!((keys(host, "fay"), keys(host, "rem")), (String::new(), String::new()));
    let left = fs::read_dir(host.path("etc/userdb")).unwrap();
    let left: Vec<String> = left.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!left.iter().any(|name| name.contains("fay") || name.contains("rem")), "{left:?}");
    assert!(!host.text("etc/sudoers.d/afield").contains("fay"));
    assert!(host.path("home/fay").is_dir(), "what people have written stays");
    assert_eq!(host.current(), before, "no switch");
    assert_ne!(number(host, "zed"), fay);
    bed.offer_data("one", Contract::Honest, &staff());
    assert_eq!(bed.host.once().0, 0);
    assert_eq!(number(&bed.host, "fay"), fay, "who comes back has the files of before");

    // Without its memory the agent finds the numbers on the host.
    fs::remove_file(bed.host.path("var/lib/afield/accounts.json")).unwrap();
    bed.offer_data(
        "one",
        Contract::Honest,
        &people(&[("fay", "devops", None), ("new", "devops", None)]),
    );
    assert_eq!(bed.host.once().0, 0);
    assert_eq!(number(&bed.host, "fay"), fay);
    assert!(number(&bed.host, "new").as_u64() > fay.as_u64());
    assert!(
        !bed.host.path("etc/userdb/ann.user").exists(),
        "what it wrote before goes all the same"
    );
}

#[test]
fn access_ends_by_the_hosts_own_clock() {
    let now = afield_testkit::fleet::Fleet::new().now;
    let last = days(now, 2).to_string()[..10].to_owned();
    let bed = Bed::settled_with(&people(&[("ann", "admin", None), ("fay", "devops", Some(&last))]));
    let line = keys(&bed.host, "fay");
    assert!(
        line.starts_with(&format!("expiry-time=\"{}\" ssh-ed25519 ", last.replace('-', ""))),
        "{line}"
    );
    assert!(record(&bed.host, "fay.user")["notAfterUSec"].as_i64().is_some());
    // Nobody can be asked, and the day has come.
    bed.server.lie("", Lie::Gone);
    bed.server.hub_is_down(true);
    let later = days(now, 3).to_string();
    let (code, said) = bed.host.once_with(&[("AFIELD_CLOCK", &later)]);
    assert_eq!(code, 0, "{said}");
    assert!(
        said["notes"].to_string().contains(&format!("the access of fay ended on {last}")),
        "{said}"
    );
    assert_eq!(keys(&bed.host, "fay"), "");
    assert!(!bed.host.path("etc/userdb/fay.user").exists());
    assert!(!bed.host.text("etc/sudoers.d/afield").contains("fay"));
    assert_ne!(keys(&bed.host, "ann"), "");
}

#[test]
fn drift_of_access_is_named_and_put_back() {
    let bed = Bed::settled_with(&staff());
    assert_eq!(bed.notes().iter().filter(|n| n.starts_with("drift")).count(), 0);
    let path = |path: &str| bed.host.path(path);
    let before = bed.host.fingerprint();
    fs::write(path(&format!("{KEYS}/ann")), "ssh-ed25519 AAAA mallory\n").unwrap();
    fs::write(path(&format!("{KEYS}/mallory")), "ssh-ed25519 AAAA mallory\n").unwrap();
    fs::set_permissions(path("etc/sudoers.d/afield"), fs::Permissions::from_mode(0o666)).unwrap();
    fs::remove_file(path("etc/userdb/fay.user")).unwrap();
    fs::remove_file(path("etc/userdb/wheel.group")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", path("etc/userdb/wheel.group")).unwrap();
    std::os::unix::fs::chown(path(&format!("{KEYS}/rem")), Some(20_002), None).unwrap();
    let notes = bed.notes().join("\n");
    for said in [
        "authorized_keys.d/ann has another content",
        "authorized_keys.d/mallory is not declared any more",
        "/etc/sudoers.d/afield has the mode 0666, not 0440",
        "/etc/userdb/fay.user is missing",
        "/etc/userdb/wheel.group is no plain file",
        "authorized_keys.d/rem belongs to 20002:0, not to root",
    ] {
        assert!(notes.contains(said), "{said:?} is not told in {notes}");
    }
    assert_eq!(bed.host.fingerprint(), before);
    assert_eq!(bed.notes().iter().filter(|n| n.starts_with("drift")).count(), 0);
}

#[test]
fn what_nobody_declared_is_told_and_left_alone() {
    let bed = Bed::settled_with(&staff());
    let write = |path: &str, text: &str| {
        let path = bed.host.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write(
        "etc/passwd",
        "root:x:0:0::/root:/bin/sh\ntoor:x:0:0::/root:/bin/sh\nold:x:1000:1000::/home/old:/bin/bash\nsvc:x:1001:1001::/:/usr/sbin/nologin\n",
    );
    write("etc/group", "wheel:x:998:root,ann,fay\nsudo:x:27:ann,old\nusers:x:100:old\n");
    write("etc/sudoers.d/mine", "# a comment\nold ALL=(ALL) ALL\n");
    write("etc/sudoers.d/README", "# only comments\n");
    write("etc/userdb/hid.user", "{\"userName\":\"hid\",\"uid\":4000}");
    write("etc/ssh/authorized_keys.d/ann", &format!("{} ann\n", public_key(b'a')));
    write("root/.ssh/authorized_keys", &format!("{} x\n{} ann\n", public_key(7), public_key(b'a')));
    let before = bed.host.fingerprint();
    let undeclared = |notes: Vec<String>| -> Vec<String> {
        notes.iter().filter_map(|n| n.strip_prefix("undeclared: ").map(str::to_owned)).collect()
    };
    // The system has its own wheel now; that the agent's is no longer wanted is drift of the first run.
    bed.notes();
    let mut found = undeclared(bed.notes());
    found.sort();
    assert_eq!(
        found,
        [
            "1 keys for root in /root/.ssh/authorized_keys",
            "fay is in the group wheel",
            "old is in the group sudo",
            "sudo rules in /etc/sudoers.d/mine",
            "the account old has a shell (/bin/bash)",
            "the account record /etc/userdb/hid.user",
            "the account toor is root under another name",
        ]
    );
    let after = bed.host.fingerprint();
    let changed = before.iter().filter(|(path, what)| after.get(*path) != Some(what));
    let changed: Vec<_> = changed.map(|(path, _)| path.display().to_string()).collect();
    assert!(
        changed.iter().all(|path| path.starts_with("etc/userdb/") && !path.contains("hid")),
        "{changed:?}"
    );
}

#[test]
fn keys_that_come_with_the_system_stay_whatever_the_agent_does() {
    let bed = Bed::settled();
    let path = bed.host.path("etc/ssh/authorized_keys.d/ann");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, format!("{} ann\n", public_key(b'a'))).unwrap();
    let mut bed = bed;
    for list in [&[("ann", "admin", None)][..], &[("fay", "devops", None)], &[]] {
        bed.offer_data("one", Contract::Honest, &people(list));
        assert_eq!(bed.host.once().0, 0);
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{} ann\n", public_key(b'a')));
    }
    assert!(
        bed.notes().iter().any(|n| n.contains("1 keys for ann in /etc/ssh/authorized_keys.d/ann"))
    );
}

#[test]
fn a_broken_release_takes_its_people_back_with_it() {
    let mut bed = Bed::settled_with(&people(&[("ann", "admin", None), ("fay", "devops", None)]));
    let before = bed.host.fingerprint();
    let two = people(&[("ann", "devops", None), ("eve", "admin", None)]);
    bed.offer_data("two", Contract::BrokenService, &two);
    let (code, said) = bed.host.once();
    assert_eq!((code, &said["event"]["is"]), (1, &"rolled-back".into()), "{said}");
    let mut after = bed.host.fingerprint();
    after.retain(|path, _| {
        path.starts_with("etc/userdb")
            || path.starts_with("etc/sudoers.d")
            || path.starts_with("var")
    });
    for (path, what) in &after {
        assert_eq!(before.get(path), Some(what), "{}", path.display());
    }
    assert!(keys(&bed.host, "fay").ends_with(" fay\n") && keys(&bed.host, "eve").is_empty());
}

#[test]
fn a_relay_gets_the_keys_of_its_two_accounts() {
    let mut data = people(&[("ann", "admin", None), ("mon", "remoteTunnelMonitor", None)]);
    let tunnel =
        format!("restrict,port-forwarding,permitlisten=\"2001\" {} tunnel@x", public_key(1));
    let tunneller =
        format!("restrict,port-forwarding,permitopen=\"localhost:2001\" {} ann", public_key(b'a'));
    let relay = RelayKeys { tunnel: vec![tunnel.clone()], tunneller: vec![tunneller.clone()] };
    data.relay = Some(relay);
    let config = serde_json::json!({
        "relays": [{"name": "bru", "addresses": ["192.0.2.7"], "host_key": "ssh-ed25519 AAAA"}],
        "forwards": [{"listen": 2001, "target": 22}],
    });
    data.tunnel = Some(serde_json::from_value(config).unwrap());
    let mut bed = Bed::settled_with(&data);
    assert_eq!(keys(&bed.host, "tunnel"), format!("{tunnel}\n"));
    assert_eq!(keys(&bed.host, "tunneller"), format!("{tunneller}\n"));
    let monitor = keys(&bed.host, "mon");
    assert!(monitor.starts_with("command=\"ss ") && monitor.contains(",no-pty,"), "{monitor}");
    assert_eq!(record(&bed.host, "mon.user")["shell"], "/bin/sh", "the command runs in it");
    let notes = bed.notes();
    assert!(notes.iter().any(|n| n.contains("there is no account tunneller")), "{notes:?}");
    // What the tunnel reads is in order, in its own words, with the key that agent.toml names.
    let file = bed.host.path("var/lib/afield-access/tunnel.json");
    let output =
        bed.host.run(&["tunnel", "--check", "--tunnel-config", file.to_str().unwrap()], &[]);
    assert!(output.status.success(), "{output:?}");
    let written: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(written["key"], "/etc/ssh/ssh_host_ed25519_key");
    // No relay any more: all of it goes, the monitor too.
    bed.offer_data("one", Contract::Honest, &people(&[("mon", "remoteTunnelMonitor", None)]));
    assert_eq!(bed.host.once().0, 0);
    assert!(!file.exists());
    assert!(
        ["tunnel", "tunneller", "mon"].iter().all(|account| keys(&bed.host, account).is_empty())
    );
}

#[test]
fn rules_that_visudo_refuses_never_get_there() {
    let bed = Bed::settled_with(&people(&[("ann", "admin", None)]));
    let mut bed = bed;
    let before = bed.host.text("etc/sudoers.d/afield");
    let bin = bed.host.path("bin-that-refuses");
    fs::create_dir_all(&bin).unwrap();
    fs::write(bin.join("visudo"), "#!/bin/sh\necho 'syntax error near line 2' >&2\nexit 1\n")
        .unwrap();
    fs::set_permissions(bin.join("visudo"), fs::Permissions::from_mode(0o755)).unwrap();
    bed.offer_data(
        "one",
        Contract::Honest,
        &people(&[("ann", "admin", None), ("eve", "admin", None)]),
    );
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let (code, said) = bed.host.once_with(&[("PATH", &path)]);
    assert_eq!((code, &said["event"]["is"]), (1, &"rolled-back".into()), "{said}");
    let why = said["event"]["why"].as_str().unwrap();
    assert!(
        why.contains("/etc/sudoers.d/afield") && why.contains("syntax error near line 2"),
        "{why}"
    );
    assert_eq!(bed.host.text("etc/sudoers.d/afield"), before);
    let left = fs::read_dir(bed.host.path("etc/sudoers.d")).unwrap().count();
    assert_eq!(left, 1, "nothing is left beside");
}

#[test]
fn who_may_not_log_in_any_more_is_thrown_out_if_so_declared() {
    let mut bed = Bed::settled_with(&staff());
    let uid = record(&bed.host, "fay.user")["uid"].as_u64().unwrap();
    let system = bed.host.current().unwrap();
    let script = bed.host.text(&format!("{}/bin/switch-to-configuration", &system[1..]));
    let shell = script.lines().next().unwrap().trim_start_matches("#!").to_owned();
    let session = |uid: u64| {
        let mut command = Command::new("chroot");
        command.arg(format!("--userspec={uid}:{uid}")).arg(bed.host.path("")).arg(&shell);
        command.args(["-c", "echo here; read x"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = [0; 5];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
        child
    };
    let (mut fay, mut ann) =
        (session(uid), session(record(&bed.host, "ann.user")["uid"].as_u64().unwrap()));
    let mut without = people(&[("ann", "admin", None)]);
    bed.offer_data("one", Contract::Honest, &without);
    assert_eq!(bed.host.once().0, 0);
    assert!(fay.try_wait().unwrap().is_none(), "by default nobody's work is cut off");
    without.end_sessions = true;
    bed.offer_data("one", Contract::Honest, &without);
    assert_eq!(bed.host.once().0, 0);
    assert_eq!(fay.wait().unwrap().signal(), Some(9));
    assert!(ann.try_wait().unwrap().is_none(), "who stays is left alone");
    ann.kill().unwrap();
    ann.wait().unwrap();
}

#[test]
fn accounts_of_the_system_are_left_to_it() {
    let bed = Bed::new();
    let toml = bed.host.text("etc/afield/agent.toml");
    fs::write(bed.host.config(), format!("accounts = \"system\"\n{toml}")).unwrap();
    let mut bed = bed;
    bed.offer_data("one", Contract::Honest, &staff());
    assert_eq!(bed.host.once().0, 0);
    assert!(keys(&bed.host, "fay").ends_with(" fay\n"));
    for path in ["etc/userdb", "etc/sudoers.d", "home"] {
        assert!(!bed.host.path(path).exists(), "{path}");
    }
}

#[test]
fn host_data_of_format_1_is_read_and_only_carried() {
    let one = staff().as_format_1();
    let mut bed = Bed::settled_with(&one);
    assert!(!bed.host.path("etc/userdb").exists() && !bed.host.path(KEYS).exists());
    let mut newer = staff();
    newer.format = 3;
    bed.offer_data("two", Contract::Honest, &newer);
    let (code, said) = bed.host.once();
    assert_eq!((code, &said["event"]["code"]), (3, &"release-flawed".into()), "{said}");
    assert!(said["event"]["why"].as_str().unwrap().contains("update the agent first"), "{said}");
    assert_eq!(bed.server.reports().last().unwrap().release, Some(ReleaseId(1)));
}
