//! A power cut took bytes of a store path that Nix calls valid: the next run finds it and gets it again.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use afield_testkit::host::{Host, NIX_CONFIG, key};
use afield_testkit::server::Lie;
use afield_testkit::system::{Contract, System};
use common::Bed;
use common::site::{Serving, with_lan, write_peers};

/// The page of the system's busybox, as a disk leaves it that had written the size and not the content.
fn damage(host: &Host) -> PathBuf {
    let mut paths =
        fs::read_dir(host.path("nix/store")).unwrap().map(|entry| entry.unwrap().path());
    let path = paths.find(|path| path.to_string_lossy().ends_with("-busybox")).unwrap();
    let file = path.join("bin/busybox");
    damage_file(host, &file);
    file
}

fn damage_file(host: &Host, file: &Path) {
    fs::set_permissions(file, Permissions::from_mode(0o755)).unwrap();
    let bytes = fs::read(file).unwrap();
    fs::write(file, vec![0; bytes.len()]).unwrap();
    // As if the agent had last run in another boot, which had no orderly end.
    fs::write(host.path("var/lib/afield/boot"), "another boot\n").unwrap();
}

/// A file of a system that no other system has.
fn of_its_own(host: &Host, system: &str) -> PathBuf {
    host.path(system.trim_start_matches('/')).join("etc/site")
}

fn store_is_well(host: &Host) -> bool {
    let mut verify = Command::new("nix-store");
    verify.arg("--store").arg(host.path("")).args(["--verify", "--check-contents"]);
    verify.env("NIX_CONFIG", NIX_CONFIG).output().unwrap().status.success()
}

#[test]
fn what_a_power_cut_took_is_found_and_repaired() {
    let bed = Bed::settled();
    damage(&bed.host);
    assert!(!store_is_well(&bed.host));
    let (code, said) = bed.host.once();
    assert_eq!(code, 0, "{said}");
    assert!(said["notes"].to_string().contains("is repaired"), "{said}");
    assert!(store_is_well(&bed.host));
    assert!(!bed.host.path("var/lib/afield/unclean.json").exists());
}

#[test]
fn a_nix_that_fails_says_nothing_about_the_paths() {
    let bed = Bed::settled();
    damage(&bed.host);
    bed.server.requests();
    let path = std::env::var("PATH").unwrap();
    let real = Command::new("which").arg("nix-store").output().unwrap().stdout;
    let real = String::from_utf8(real).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let fake = folder.path().join("nix-store");
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in *--verify-path*) echo 'error: cannot connect to daemon' >&2; exit 1;; esac\n\
         exec {real}"
    );
    fs::write(&fake, script.trim_end().to_owned() + " \"$@\"\n").unwrap();
    fs::set_permissions(&fake, Permissions::from_mode(0o755)).unwrap();
    let both = format!("{}:{path}", folder.path().display());
    let (code, said) = bed.host.once_with(&[("PATH", &both)]);
    assert_eq!(code, 0, "{said}");
    assert!(said["notes"].to_string().contains("cannot connect to daemon"), "{said}");
    let asked = bed.server.requests();
    assert!(asked.iter().all(|r| !r.path.starts_with("objects/")), "{asked:?}");
    // It is looked at again when Nix answers.
    let (_, said) = bed.host.once();
    assert!(said["notes"].to_string().contains("is repaired"), "{said}");
    assert!(store_is_well(&bed.host));
}

#[test]
fn what_cannot_be_repaired_now_is_told_and_repaired_later() {
    let bed = Bed::settled();
    damage(&bed.host);
    bed.server.lie("objects/", Lie::Gone);
    let (_, said) = bed.host.once();
    assert!(said["notes"].to_string().contains("was damaged by a power cut"), "{said}");
    assert!(!store_is_well(&bed.host));
    bed.server.be_honest();
    let (code, said) = bed.host.once();
    assert_eq!(code, 0, "{said}");
    assert!(store_is_well(&bed.host));
}

/// Reading the whole system costs minutes on a slow disk; an orderly boot is not a reason.
#[test]
fn after_an_orderly_end_nothing_is_read() {
    let bed = Bed::settled();
    damage(&bed.host);
    let ended = bed.host.run(&["ended"], &[("SERVICE_RESULT", "success")]);
    assert!(ended.status.success(), "{ended:?}");
    let (_, said) = bed.host.once();
    assert!(!said["notes"].to_string().contains("power cut"), "{said}");
}

/// The release before is what the host goes back to.
#[test]
fn a_path_of_the_release_that_runs_is_repaired_although_another_one_is_assigned() {
    let mut bed = Bed::new();
    let (_, one) = bed.offer("one", Contract::Honest, "config one");
    assert_eq!(bed.host.once().0, 0);
    bed.offer("two", Contract::BrokenService, "config two");
    bed.host.once();
    assert_eq!(bed.host.current().as_ref(), Some(&one));
    damage_file(&bed.host, &of_its_own(&bed.host, &one));
    // Nothing of it is here any more but what the metadata says.
    fs::remove_dir_all(bed.host.path("var/lib/afield/documents")).unwrap();
    let (_, said) = bed.host.once();
    assert!(said["notes"].to_string().contains("is repaired"), "{said}");
    assert!(store_is_well(&bed.host));
}

/// What somebody else says to everything.
fn liar() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\nsomething el");
        }
    });
    address
}

/// Also what only the release before has, whose signed documents are kept for that.
#[test]
fn a_neighbour_repairs_what_no_repository_can_and_one_that_lies_does_not() {
    let mut bed = Bed::new();
    let bela = Host::new("bela", env!("CARGO_BIN_EXE_afield-agent"), &bed.fleet, &bed.server);
    let system = System::new("one", Contract::Honest);
    let hosts = [("clinic", key().public()), ("bela", key().public())];
    let one = bed.fleet.release(&hosts, &system, "config one");
    for (name, host) in [("clinic", &bed.host), ("bela", &bela)] {
        bed.fleet.assign(name, one);
        with_lan(host, "2s");
        assert_eq!(host.once().0, 0);
    }
    bed.offer("two", Contract::BrokenService, "config two");
    bed.host.once();
    damage_file(&bed.host, &of_its_own(&bed.host, system.path().as_str()));
    damage(&bed.host);
    let toml = bed.host.text("etc/afield/agent.toml");
    fs::write(bed.host.config(), toml.replace(&bed.server.url(), "http://127.0.0.1:9")).unwrap();
    fs::remove_dir_all(bed.host.path("var/lib/afield-lan/objects")).unwrap();

    write_peers(&bed.host, &[liar()]);
    let (_, said) = bed.host.once();
    assert_eq!(
        said["notes"].to_string().matches("was damaged by a power cut").count(),
        2,
        "{said}"
    );
    assert!(!store_is_well(&bed.host));

    let (_serving, peer) = Serving::on_loopback(&bela);
    write_peers(&bed.host, &[liar(), peer]);
    let (_, said) = bed.host.once();
    assert_eq!(said["notes"].to_string().matches("is repaired").count(), 2, "{said}");
    assert!(store_is_well(&bed.host));
}
