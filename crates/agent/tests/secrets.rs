//! Secrets and app configs on the host: opened in memory, replaced as a whole or not at all, readable for few.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use afield_core::host_data::{HostData, Sealed};
use afield_core::secrets::Extract;
use afield_core::secrets::age::{self, Recipient};
use afield_core::secrets::hostkey::HostPrivate;
use afield_core::secrets::master::MasterSecret;
use afield_core::secrets::seal::{self, Plan};
use afield_testkit::host::Host;
use afield_testkit::server::Lie;
use afield_testkit::system::Contract;
use common::{Bed, people};

/// The seed of the key of every host in these tests.
const HOST: u8 = 99;
const STRANGER: u8 = 98;

/// Secrets of `clinic`: name, path, content, and whether they are unpacked; planned for the key of a seed.
fn plan(seed: u8, list: &[(&str, &str, &str, bool)]) -> Plan {
    let public = HostPrivate::from_seed(&[seed; 32]).public().to_bytes();
    let blob = [b"\0\0\0\x0bssh-ed25519\0\0\0\x20".as_slice(), &public].concat();
    let public_key = format!("ssh-ed25519 {}", data_encoding::BASE64.encode(&blob));
    let secret = |(name, path, content, extract): &(&str, &str, &str, bool)| MasterSecret {
        name: (*name).to_owned(),
        path: (*path).to_owned(),
        content: (*content).to_owned().into(),
        extract: if *extract { Extract::Absent } else { Extract::Text("false".into()) },
        servers: vec!["clinic".into()],
        file: "x".into(),
        line: 1,
    };
    let secrets: Vec<MasterSecret> = list.iter().map(secret).collect();
    let host = seal::Host { name: "clinic".into(), public_key, generate: true };
    seal::plan(&[host], &secrets).unwrap()
}

/// Not random, which only these tests may do.
fn counting() -> impl FnMut(&mut [u8]) {
    let mut n = 0_u8;
    move |bytes: &mut [u8]| {
        bytes.iter_mut().for_each(|b| {
            n = n.wrapping_mul(31).wrapping_add(7);
            *b = n;
        })
    }
}

/// `generated-secrets.yml`.
fn file(plan: &Plan) -> String {
    seal::seal(plan, &mut counting()).unwrap()
}

fn with_nacl(plan: &Plan) -> HostData {
    let entry = afield_core::secrets::sealed::parse(&file(plan)).unwrap().remove("clinic").unwrap();
    let mut data = people(&[("ann", "admin", None)]);
    data.sealed = Some(Sealed {
        encrypted_key: data_encoding::BASE64.encode(&entry.key),
        encrypted_secrets: data_encoding::BASE64.encode(&entry.secrets),
    });
    data
}

fn with_age(seed: u8, plan: &Plan) -> HostData {
    let to = Recipient::Ssh(HostPrivate::from_seed(&[seed; 32]).public());
    let sealed = age::encrypt(&plan.hosts["clinic"].padded, &[to], &mut counting()).unwrap();
    let mut data = people(&[("ann", "admin", None)]);
    data.age = Some(sealed.file);
    data
}

const WORD: &[(&str, &str, &str, bool)] = &[
    ("word", "word", "open-sesame", true),
    ("deep", "app/db.env", "PASS=x\n", true),
    ("later", "later", "not yet", false),
];

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// The group entries of the ACL of a file, as the kernel keeps them.
fn readers(path: &Path) -> Vec<u32> {
    let mut bytes = [0; 512];
    let length = rustix::fs::getxattr(path, "system.posix_acl_access", &mut bytes[..]).unwrap();
    let entries = bytes[4..length].chunks(8).filter(|entry| entry[0] == 8);
    entries.map(|entry| u32::from_le_bytes(entry[4..8].try_into().unwrap())).collect()
}

#[test]
fn secrets_of_both_formats_are_opened_with_narrow_rights() {
    let plan = plan(HOST, WORD);
    for data in [with_nacl(&plan), with_age(HOST, &plan)] {
        let bed = Bed::settled_with(&data);
        let path = |path: &str| bed.host.path("run/.secrets").join(path);
        assert_eq!(bed.host.text("run/.secrets/word"), "open-sesame");
        assert_eq!(bed.host.text("run/.secrets/app/db.env"), "PASS=x\n");
        assert!(!path("later").exists(), "default_extract is false");
        assert_eq!((mode(&path("")), mode(&path("app"))), (0o750, 0o750));
        assert_eq!(mode(&path("app/db.env")), 0o640);
        let wheel = bed.host.text("etc/userdb/wheel.group");
        let wheel: serde_json::Value = serde_json::from_str(&wheel).unwrap();
        let wheel = u32::try_from(wheel["gid"].as_u64().unwrap()).unwrap();
        for place in ["", "app", "word"] {
            assert_eq!(readers(&path(place)), [wheel], "{place:?}");
        }
        assert_eq!(readers(&bed.host.path("run/.app_configs/app/settings.yml")), [wheel]);
        let drift: Vec<_> = bed.notes().into_iter().filter(|n| n.starts_with("drift")).collect();
        assert_eq!(drift, [""; 0]);
    }
}

#[test]
fn a_wrong_key_leaves_what_is_there_and_says_so() {
    let mut bed = Bed::settled_with(&with_nacl(&plan(HOST, WORD)));
    let changed = &[("word", "word", "changed", true)];
    for data in [with_nacl(&plan(STRANGER, changed)), with_age(STRANGER, &plan(STRANGER, changed))]
    {
        bed.offer_data("one", Contract::Honest, &data);
        let (code, said) = bed.host.once();
        assert_eq!((code, &said["event"]["is"]), (1, &"rolled-back".into()), "{said}");
        let why = said["event"]["why"].as_str().unwrap();
        assert!(why.contains("secrets") && why.contains("not sealed to this host's key"), "{why}");
        assert_eq!(bed.host.text("run/.secrets/word"), "open-sesame");
    }
    // Damaged on the way to the release: the same.
    let mut data = with_nacl(&plan(HOST, changed));
    let sealed = data.sealed.as_mut().unwrap();
    sealed.encrypted_secrets.replace_range(100..104, "AAAA");
    bed.offer_data("one", Contract::Honest, &data);
    let (_, said) = bed.host.once();
    assert!(said["event"]["why"].as_str().unwrap().contains("was changed or cut off"), "{said}");
    assert_eq!(bed.host.text("run/.secrets/word"), "open-sesame");
    bed.offer_data("one", Contract::Honest, &with_nacl(&plan(HOST, changed)));
    assert_eq!(bed.host.once().0, 0);
    assert_eq!(bed.host.text("run/.secrets/word"), "changed");
    assert!(!bed.host.path("run/.secrets/app").exists(), "the tree is replaced as a whole");
}

#[test]
fn secrets_changed_by_hand_are_named_and_put_back() {
    let bed = Bed::settled_with(&with_age(HOST, &plan(HOST, WORD)));
    let path = |path: &str| bed.host.path("run/.secrets").join(path);
    fs::write(path("word"), "changed by hand").unwrap();
    fs::write(path("extra"), "").unwrap();
    fs::set_permissions(path("app"), fs::Permissions::from_mode(0o755)).unwrap();
    rustix::fs::removexattr(path("app/db.env"), "system.posix_acl_access").unwrap();
    let notes = bed.notes().join("\n");
    for said in [
        "/run/.secrets/word has another content",
        "/run/.secrets/extra is not declared",
        "/run/.secrets/app has the mode 0755, not 0750",
        "/run/.secrets/app/db.env can be read by other groups than declared",
    ] {
        assert!(notes.contains(said), "{said:?} is not told in {notes}");
    }
    assert!(!notes.contains("open-sesame") && !notes.contains("PASS"), "{notes}");
    assert_eq!(bed.host.text("run/.secrets/word"), "open-sesame");
    assert!(!path("extra").exists());
    assert_eq!(bed.notes().iter().filter(|n| n.starts_with("drift")).count(), 0);
}

#[test]
fn after_a_restart_what_lay_in_memory_is_put_back_and_is_no_drift() {
    let bed = Bed::settled_with(&with_age(HOST, &plan(HOST, WORD)));
    bed.server.lie("", Lie::Gone);
    fs::remove_dir_all(bed.host.path("run/.secrets")).unwrap();
    fs::remove_dir_all(bed.host.path("run/.app_configs")).unwrap();
    let notes = bed.notes();
    assert!(!notes.iter().any(|n| n.starts_with("drift")), "{notes:?}");
    assert_eq!(bed.host.text("run/.secrets/word"), "open-sesame");
    assert_eq!(bed.host.text("run/.app_configs/app/settings.yml"), "config");
}

/// Runs `afield-agent secrets` as the unit does at boot.
fn at_boot(host: &Host, into: &Path, more: &[&str]) -> (Option<i32>, String) {
    let key = host.path("etc/ssh/ssh_host_ed25519_key");
    let paths = [key.to_str().unwrap(), into.to_str().unwrap()];
    let mut args = vec!["secrets", "--host", "clinic", "--key", paths[0], "--into", paths[1]];
    args.extend(["--allow-group", "root"]);
    args.extend(more);
    let output = host.run(&args, &[]);
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

#[test]
fn at_boot_secrets_are_opened_without_network_from_what_was_kept() {
    let memory = tempfile::tempdir_in("/dev/shm").unwrap();
    let into = memory.path().join("secrets");
    let mut bed = Bed::new();
    let (code, said) = at_boot(&bed.host, &into, &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("no secrets for clinic yet") && !into.exists(), "{said}");
    bed.offer_data("one", Contract::Honest, &with_age(HOST, &plan(HOST, WORD)));
    assert_eq!(bed.host.once().0, 0);
    bed.server.lie("", Lie::Gone);
    let (code, said) = at_boot(&bed.host, &into, &[]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(fs::read_to_string(into.join("word")).unwrap(), "open-sesame");
    assert_eq!((mode(&into), mode(&into.join("word"))), (0o750, 0o640));
    assert!(!into.join("later").exists());
    let asked = memory.path().join("asked");
    assert_eq!(at_boot(&bed.host, &asked, &["--extract", "later"]).0, Some(0));
    assert_eq!(fs::read_to_string(asked.join("later")).unwrap(), "not yet");
    let (code, said) = at_boot(&bed.host, &asked, &["--extract", "nosuch"]);
    assert!(code == Some(1) && said.contains("no secret nosuch"), "{said}");
    // Never onto a disk.
    let disk = bed.host.path("var/secrets");
    let (code, said) = at_boot(&bed.host, &disk, &[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("not in memory") && !disk.exists(), "{said}");
}

#[test]
fn at_boot_the_older_file_is_opened_too_and_a_wrong_key_takes_nothing_away() {
    let memory = tempfile::tempdir_in("/dev/shm").unwrap();
    let into = memory.path().join("secrets");
    let bed = Bed::new();
    let sealed = bed.host.path("generated-secrets.yml");
    let argument = ["--sealed", sealed.to_str().unwrap()];
    fs::write(&sealed, file(&plan(HOST, WORD))).unwrap();
    assert_eq!(at_boot(&bed.host, &into, &argument).0, Some(0));
    assert_eq!(fs::read_to_string(into.join("word")).unwrap(), "open-sesame");
    fs::write(&sealed, file(&plan(STRANGER, WORD))).unwrap();
    let (code, said) = at_boot(&bed.host, &into, &argument);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("not sealed to this host's key"), "{said}");
    assert_eq!(fs::read_to_string(into.join("word")).unwrap(), "open-sesame");
}
