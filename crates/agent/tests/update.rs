//! What a host does with honest releases, good and bad, on links good and bad. Real Nix, real processes.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;

use afield_core::ids::ReleaseId;
use afield_core::report::Event;
use afield_testkit::server::{Lie, Server};
use afield_testkit::system::Contract;
use common::Bed;

#[test]
fn a_release_reaches_the_host() {
    let bed = Bed::settled();
    assert_eq!(bed.host.text("etc/site"), "one");
    assert_eq!(bed.host.text("run/.app_configs/app/settings.yml"), "config one");
    let profile = std::fs::read_link(bed.host.path("nix/var/nix/profiles/system-1-link")).unwrap();
    assert_eq!(Some(profile.to_string_lossy().into_owned()), bed.host.current());
}

#[test]
fn an_up_to_date_host_costs_one_small_request() {
    let bed = Bed::settled();
    let toml = bed.host.text("etc/afield/agent.toml").replace("\"0s\"", "\"1h\"");
    std::fs::write(bed.host.config(), toml).unwrap();
    let (code, said) = bed.host.once();
    assert_eq!((code, &said["event"]["is"]), (0, &"healthy".into()), "{said}");
    let asked: Vec<_> = bed.server.requests().into_iter().map(|r| r.path).collect();
    assert_eq!(asked, ["assignments/clinic.json"]);
}

#[test]
fn only_what_is_missing_travels() {
    let mut bed = Bed::settled();
    bed.offer("two", Contract::Honest, "config one");
    assert_eq!(bed.host.once().0, 0);
    assert_eq!(bed.host.text("etc/site"), "two");
    let objects: Vec<_> = bed.server.requests().into_iter().collect();
    // Closure, delivery and the new toplevel; host data and busybox are there already.
    let objects = objects.iter().filter(|r| r.path.starts_with("objects/")).count();
    assert_eq!(objects, 3);
}

#[test]
fn host_data_alone_needs_no_switch() {
    let mut bed = Bed::settled();
    let before = bed.host.current();
    bed.offer("one", Contract::Honest, "config two");
    let (code, said) = bed.host.once();
    assert_eq!(code, 0, "{said}");
    assert_eq!(bed.host.text("run/.app_configs/app/settings.yml"), "config two");
    assert_eq!(bed.host.current(), before);
    let generations = std::fs::read_link(bed.host.path("nix/var/nix/profiles/system")).unwrap();
    assert_eq!(generations.to_string_lossy(), "system-1-link");
}

#[test]
fn a_broken_release_is_rolled_back_and_reported() {
    let mut bed = Bed::settled();
    let before = bed.host.current();
    bed.offer("two", Contract::BrokenService, "config two");
    let (code, said) = bed.host.once();
    assert_eq!((code, &said["event"]["is"]), (1, &"rolled-back".into()), "{said}");
    assert_eq!(bed.host.current(), before);
    assert_eq!(bed.host.text("etc/site"), "one");
    assert_eq!(bed.host.text("run/.app_configs/app/settings.yml"), "config one");
    let reports = bed.server.reports();
    let Event::RolledBack { from, why, log } = &reports.last().unwrap().event else {
        panic!("{reports:?}")
    };
    assert_eq!(*from, ReleaseId(2));
    assert!(why.contains("check site") && why.contains("etc/site"), "{why}");
    assert!(log.contains(&"no site".to_owned()), "{log:?}");
    // It is not tried again, and a newer release is.
    bed.server.requests();
    assert_eq!(bed.host.once().0, 0);
    assert!(bed.server.requests().iter().all(|r| !r.path.starts_with("objects/")));
    bed.offer("three", Contract::Honest, "config three");
    assert_eq!(bed.host.once().0, 0);
    assert_eq!(bed.host.text("etc/site"), "three");
}

#[test]
fn an_activation_that_says_zero_and_does_nothing_is_a_failure() {
    let mut bed = Bed::settled();
    bed.offer("two", Contract::SaysZeroDoesNothing, "config one");
    let (code, said) = bed.host.once();
    assert_eq!((code, &said["event"]["is"]), (1, &"rolled-back".into()), "{said}");
    assert_eq!(bed.host.text("etc/site"), "one");
}

#[test]
fn an_activation_that_says_one_after_its_work_is_good() {
    let mut bed = Bed::settled();
    bed.offer("two", Contract::SaysOneAfterItsWork, "config one");
    let (code, said) = bed.host.once();
    assert_eq!(code, 0, "{said}");
    assert_eq!(bed.host.text("etc/site"), "two");
}

#[test]
fn an_activation_without_end_is_ended() {
    let mut bed = Bed::settled();
    bed.offer("two", Contract::Hangs, "config one");
    let (code, said) = bed.host.once();
    assert_eq!((code, &said["event"]["is"]), (1, &"rolled-back".into()), "{said}");
    assert!(said["event"]["why"].as_str().unwrap().contains("took longer"), "{said}");
}

#[test]
fn a_broken_first_release_says_that_there_is_no_way_back() {
    let mut bed = Bed::new();
    bed.offer("one", Contract::BrokenService, "config one");
    let (code, said) = bed.host.once();
    assert_eq!((code, &said["event"]["is"]), (1, &"stuck".into()), "{said}");
    bed.offer("two", Contract::Honest, "config one");
    assert_eq!(bed.host.once().0, 0);
    assert_eq!(bed.host.text("etc/site"), "two");
}

#[test]
fn a_cut_transfer_goes_on_where_it_stopped() {
    let mut bed = Bed::new();
    bed.offer("one", Contract::Honest, "config one");
    bed.server.lie("objects/", Lie::Cut { after: 100_000, times: 4 });
    let (code, said) = bed.host.once();
    assert_eq!(code, 0, "{said}");
    // Requests for one stretch end at the same byte.
    let mut stretches: BTreeMap<_, Vec<u64>> = BTreeMap::new();
    for request in bed.server.requests().iter().filter(|r| r.path.starts_with("objects/")) {
        stretches.entry((request.path.clone(), request.to)).or_default().push(request.from);
    }
    let goes_on = |from: &Vec<u64>| from.windows(2).all(|w| w[1] == w[0] + 100_000);
    assert!(stretches.values().all(goes_on), "{stretches:?}");
    assert!(stretches.values().any(|from| from.len() > 1), "{stretches:?}");
}

#[test]
fn a_server_that_ignores_ranges_is_put_up_with() {
    let mut bed = Bed::new();
    bed.offer("one", Contract::Honest, "config one");
    bed.server.lie("objects/", Lie::Cut { after: 100_000, times: 100 });
    bed.host.once();
    bed.server.lie("objects/", Lie::IgnoresRange);
    let (code, said) = bed.host.once();
    assert_eq!(code, 0, "{said}");
}

#[test]
fn reports_wait_until_the_hub_is_back() {
    let mut bed = Bed::settled();
    bed.server.hub_is_down(true);
    bed.offer("two", Contract::BrokenService, "config one");
    assert_eq!(bed.host.once().0, 1);
    assert_eq!(bed.server.reports(), []);
    bed.server.hub_is_down(false);
    bed.host.once();
    let reports = bed.server.reports();
    assert!(reports.iter().any(|r| matches!(r.event, Event::RolledBack { .. })), "{reports:?}");
    assert!(reports.is_sorted_by_key(|r| r.seq));
}

#[test]
fn drift_is_reported_by_name_and_put_back() {
    let bed = Bed::settled();
    std::fs::write(bed.host.path("run/.app_configs/app/settings.yml"), "changed by hand").unwrap();
    std::fs::write(bed.host.path("run/.app_configs/extra"), "put there by hand").unwrap();
    let (code, said) = bed.host.once();
    assert_eq!(code, 0, "{said}");
    let notes = said["notes"].to_string();
    assert!(notes.contains("settings.yml has another content"), "{notes}");
    assert!(notes.contains("extra is not declared"), "{notes}");
    assert_eq!(bed.host.text("run/.app_configs/app/settings.yml"), "config one");
    assert!(!bed.host.path("run/.app_configs/extra").exists());
    let notes: Vec<_> = bed.server.reports().into_iter().flat_map(|r| r.notes).collect();
    assert!(notes.iter().any(|n| n.contains("settings.yml")), "{notes:?}");
}

#[test]
fn a_system_switched_by_hand_is_put_back() {
    let bed = Bed::settled();
    let before = bed.host.current();
    std::fs::remove_file(bed.host.path("run/current-system")).unwrap();
    let (code, said) = bed.host.once();
    assert_eq!(code, 0, "{said}");
    assert_eq!(bed.host.current(), before);
    assert!(said["notes"].to_string().contains("drift: the current system is nothing"), "{said}");
}

#[test]
fn without_anyone_to_ask_the_host_keeps_what_it_has() {
    let bed = Bed::settled();
    bed.server.lie("", Lie::Gone);
    bed.server.hub_is_down(true);
    let before = bed.host.fingerprint();
    let (code, said) = bed.host.once();
    assert_eq!(code, 0, "{said}");
    assert_eq!(bed.host.fingerprint(), before);
}

#[test]
fn metadata_is_there_at_every_moment_of_its_exchange() {
    let mut bed = Bed::settled();
    bed.offer("two", Contract::Honest, "config one");
    let metadata = |host: &afield_testkit::host::Host| {
        !host.text("var/lib/afield/metadata/timestamp.json").is_empty()
    };
    for point in ["verify:metadata-fetched:1", "folder:exchanged:1", "verify:metadata-kept:1"] {
        let server = Server::start(bed.fleet.path());
        let host = bed.host.copy(&server);
        assert_eq!(host.once_with(&[("AFIELD_FAULT", point)]).0, -1, "{point} was not passed");
        assert!(metadata(&host), "{point}: offline, nothing can be verified any more");
        let (code, said) = host.once();
        assert_eq!((code, host.text("etc/site")), (0, "two".to_owned()), "{point}: {said}");
    }
}

#[test]
fn plan_changes_nothing_and_says_what_would_be_done() {
    let mut bed = Bed::settled();
    bed.offer("two", Contract::Honest, "config two");
    let before = bed.host.fingerprint();
    let output = bed.host.run(&["plan"], &[]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("release 2 is assigned") && text.contains("fetch "), "{text}");
    assert_eq!(bed.host.fingerprint(), before);
}

#[test]
fn one_report_that_the_hub_dislikes_does_not_hold_back_the_others() {
    let bed = Bed::settled();
    let state: serde_json::Value =
        serde_json::from_str(&bed.host.text("var/lib/afield/state.json")).unwrap();
    let last = state["seq"].as_u64().unwrap();
    bed.server.hub_is_down(true);
    for _ in 0..5 {
        bed.host.once();
    }
    bed.server.hub_is_down(false);
    bed.server.dislike(last + 2);
    bed.host.once();
    bed.host.once();
    let seqs: Vec<_> = bed.server.reports().into_iter().map(|r| r.seq - last).collect();
    assert!(seqs.starts_with(&[1, 3, 4, 5]), "{seqs:?}");
}

/// Another server of the same repository, which the host asks first.
fn asked_first(bed: &Bed, folder: &std::path::Path) -> Server {
    let first = Server::start(folder);
    let toml = bed.host.text("etc/afield/agent.toml");
    let both = format!("repositories = [\"{}\", ", first.url());
    let toml = toml.replace("repositories = [", &both);
    std::fs::write(bed.host.config(), format!("patience = \"1s\"\n{toml}")).unwrap();
    first
}

#[test]
fn a_source_that_trickles_is_left_for_the_next_one() {
    let mut bed = Bed::new();
    bed.offer("one", Contract::Honest, "config one");
    let slow = asked_first(&bed, bed.fleet.path());
    let pack = bed.delivery(ReleaseId(1)).packs[0].id.hex();
    slow.lie(&pack, Lie::Trickle);
    let (code, said) = bed.host.once();
    assert_eq!(code, 0, "{said}");
    let from = |server: &Server| -> Vec<u64> {
        server.requests().iter().filter(|r| r.path.ends_with(&pack)).map(|r| r.from).collect()
    };
    let (first, then) = (from(&slow), from(&bed.server));
    assert_eq!(first.len(), then.len(), "{first:?}, then {then:?}");
    assert!(then.iter().all(|byte| !first.contains(byte)), "what had come was kept: {then:?}");
}

#[test]
fn a_mirror_that_lags_does_not_hold_the_host_back() {
    let mut bed = Bed::settled();
    let copy = tempfile::tempdir().unwrap();
    let from = bed.fleet.path().join(".");
    let status = std::process::Command::new("cp").arg("-a").arg(from).arg(copy.path()).status();
    assert!(status.unwrap().success());
    let mirror = asked_first(&bed, copy.path());
    bed.offer("two", Contract::Honest, "config two");
    let (code, said) = bed.host.once();
    assert_eq!(code, 0, "{said}");
    assert_eq!(bed.host.text("etc/site"), "two");
    // It has the new assignment, and not yet the new metadata.
    let (_, three) = bed.offer("three", Contract::Honest, "config three");
    let name = "assignments/clinic.json";
    std::fs::copy(bed.fleet.path().join(name), copy.path().join(name)).unwrap();
    bed.server.lie("assignments/", Lie::Gone);
    let (code, said) = bed.host.once();
    assert_eq!(code, 0, "{said}");
    assert_eq!(bed.host.current(), Some(three));
    assert!(mirror.requests().iter().any(|r| r.path == "metadata/timestamp.json"));
}

#[test]
fn a_source_that_lies_does_not_keep_the_host_from_an_honest_one() {
    let mut bed = Bed::settled();
    let liar = Server::start(bed.fleet.path());
    let toml = bed.host.text("etc/afield/agent.toml");
    let both = format!("repositories = [\"{}\", ", liar.url());
    std::fs::write(bed.host.config(), toml.replace("repositories = [", &both)).unwrap();
    bed.offer("two", Contract::Honest, "config two");
    for lie in ["assignments/", "timestamp.json", "targets/", "objects/"] {
        liar.lie(lie, Lie::Content(b"a lie".to_vec()));
    }
    let (code, said) = bed.host.once();
    assert_eq!(code, 0, "{said}");
    assert_eq!(bed.host.text("etc/site"), "two");
}

/// Folders of accounts without rights hold nobody up: a pipe that nobody writes to is no file.
#[test]
fn a_pipe_in_the_folder_of_another_account_is_passed_over() {
    let mut bed = Bed::settled();
    for path in ["run/afield-tunnel/status.json", "home/fay/.ssh/authorized_keys"] {
        let path = bed.host.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
    }
    let elsewhere = bed.host.path("root/.ssh/authorized_keys");
    std::fs::create_dir_all(elsewhere.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink(bed.host.path("home/fay/.ssh/authorized_keys"), elsewhere).unwrap();
    bed.offer("two", Contract::Honest, "config two");
    let (code, said) = bed.host.once();
    assert_eq!(code, 0, "{said}");
    assert_eq!(bed.host.text("etc/site"), "two");
}
