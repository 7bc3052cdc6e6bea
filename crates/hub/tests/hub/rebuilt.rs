//! Restarts, a lost database, and a repository that comes late or changes.

use afield_core::ids::ReleaseId;
use afield_core::report::Event;
use afield_core::rollout::Status;
use afield_hub::database::{Database, KEPT_REPORTS};
use afield_hub::hub::{Hub, Setup};

use crate::support::{ROLLOUT, WAVES, World, key, name, report, rolled_back};
use crate::waves::everywhere;

#[test]
fn a_restart_in_the_middle_forgets_nothing() {
    let mut world = World::new();
    everywhere(&world, 1);
    world.publish(2, WAVES);
    world.start_release(2, "10m").ok();
    world.healthy("aachen", 2, 2);
    world.wait("10m");
    let before = world.status();
    let assignment = world.assignment("aachen");
    world.restart();
    assert_eq!(world.status(), before);
    assert_eq!(world.assignment("aachen"), assignment, "it was signed again for nothing");
    world.healthy("aachen", 3, 2);
    assert_eq!(world.assigned(), "aachen=2 bergen=2 bremen=2 calais=1");
    world.report(&rolled_back("bergen", 2, 1, 2, &["one", "two"])).ok();
    let before = world.status();
    world.restart();
    assert_eq!(world.status(), before);
    assert!(matches!(before.rollout.unwrap().status, Status::Stopped { .. }));
}

#[test]
fn a_hub_whose_database_is_gone_finds_itself_in_the_repository() {
    let mut world = World::new();
    everywhere(&world, 1);
    world.publish(2, WAVES);
    world.start_release(2, "0s").ok();
    world.healthy("aachen", 2, 2);
    assert_eq!(world.assigned(), "aachen=2 bergen=2 bremen=2 calais=1");
    let counters: Vec<u64> =
        ["aachen", "calais"].map(|h| world.assignment(h).unwrap().counter).into();
    world.stop();
    std::fs::remove_file(world.database()).unwrap();
    world.start();

    assert_eq!(world.assigned(), "aachen=2 bergen=2 bremen=2 calais=1");
    let status = world.status();
    assert_eq!((status.rollout, status.problems), (None, vec![]));
    assert_eq!(status.waves[2].reached, Some(ReleaseId(1)));
    world.start_release(1, "0s").refused(409, "not newer than 2");
    // Half handed out: it can be started once more, and goes on by new reports alone.
    world.start_release(2, "0s").ok();
    assert_eq!(world.assigned(), "aachen=2 bergen=2 bremen=2 calais=1");
    for host in ["aachen", "bergen", "bremen"] {
        world.healthy(host, 50, 2);
    }
    assert_eq!(world.assigned(), "aachen=2 bergen=2 bremen=2 calais=2");
    let calais = world.assignment("calais").unwrap();
    assert!(calais.counter > *counters.iter().max().unwrap());
}

#[test]
fn counters_grow_whatever_is_lost_and_whatever_the_clock_says() {
    let mut world = World::new();
    world.start_release(1, "0s").ok();
    let first = world.assignment("aachen").unwrap().counter;
    assert!(first > u64::try_from(world.now().as_second()).unwrap() - 10);
    // The database is restored from before the rollout, and an assignment is lost.
    world.healthy("aachen", 1, 1);
    let newest = world.assignment("bremen").unwrap().counter;
    world.stop();
    std::fs::remove_file(world.database()).unwrap();
    std::fs::remove_file(world.repository().assignment_path(&name("aachen"))).unwrap();
    world.start();
    world.start_release(1, "0s").ok();
    assert!(world.assignment("aachen").unwrap().counter > newest);
}

#[test]
fn a_hub_that_starts_before_the_first_release_waits_for_it() {
    let mut world = World::empty();
    world.start();
    let status = world.status();
    assert!(status.problems[0].contains("repository is not accepted"), "{:?}", status.problems);
    assert_eq!(world.as_operator("GET /healthz", b"").status, 503);
    world.report(&report("aachen", 1, 1, Event::Healthy)).refused(503, "no release yet");
    world.publish(1, WAVES);
    world.tick();
    assert_eq!(world.status().problems, Vec::<String>::new());
    assert_eq!(world.as_operator("GET /healthz", b"").body, "ok\n");
    world.start_release(1, "0s").ok();
}

#[test]
fn a_damaged_repository_is_a_problem_and_not_the_end() {
    let mut world = World::new();
    everywhere(&world, 1);
    let timestamp = world.repository().metadata().join("timestamp.json");
    let good = std::fs::read(&timestamp).unwrap();
    std::fs::write(&timestamp, "{").unwrap();
    world.tick();
    let problems = world.status().problems;
    assert!(problems[0].contains("the last good one counts"), "{problems:?}");
    world.healthy("aachen", 2, 1);
    std::fs::write(&timestamp, &good).unwrap();
    world.tick();
    assert_eq!(world.status().problems, Vec::<String>::new());
    // An older repository is not accepted, also after a restart.
    world.publish(2, WAVES);
    world.tick();
    std::fs::write(&timestamp, &good).unwrap();
    world.restart();
    let problems = world.status().problems;
    assert!(problems[0].contains("older than what was seen"), "{problems:?}");
}

#[test]
fn a_key_that_the_root_does_not_name_signs_nothing() {
    let mut world = World::empty();
    world.publish(1, WAVES);
    let setup = Setup { rollout_key: key(ROLLOUT + 1), ..world.setup() };
    world.start_with(setup);
    world.start_release(1, "0s").ok();
    assert_eq!(world.assigned(), "");
    assert!(world.status().problems[0].contains("does not name this hub's rollout key"));
    world.restart();
    assert_eq!(world.assigned(), "aachen=1");
}

#[test]
fn of_each_host_the_last_reports_are_kept() {
    let mut world = World::new();
    let kept = u64::try_from(KEPT_REPORTS).unwrap();
    for seq in 1..=kept + 5 {
        world.healthy("aachen", seq, 1);
    }
    world.healthy("bergen", 1, 1);
    world.stop();
    let count = async |host| {
        let mut database = Database::open(&world.database()).await.unwrap();
        database.count_reports(&name(host)).await.unwrap()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    assert_eq!(runtime.block_on(count("aachen")), KEPT_REPORTS);
    assert_eq!(runtime.block_on(count("bergen")), 1);
}

#[test]
fn a_dry_run_tells_and_leaves_everything_as_it_is() {
    let world = World::new();
    world.start_release(1, "10m").ok();
    world.wait("16d");
    let before = std::fs::read(world.database()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (changes, assignments) =
        runtime.block_on(async { Hub::look(world.setup()).await.unwrap().plan().await });
    assert_eq!(changes, []);
    assert_eq!(assignments.len(), 1);
    assert_eq!(assignments[0].host, name("aachen"));
    assert_eq!(std::fs::read(world.database()).unwrap(), before);
    assert_ne!(world.assignment("aachen").unwrap(), assignments[0]);
}
