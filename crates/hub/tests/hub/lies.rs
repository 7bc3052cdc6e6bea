//! What the hub refuses; each lie by its name, and nothing changed after.

use afield_core::assignment::Action;
use afield_core::report::Event;
use afield_core::status::FleetStatus;
use jiff::SignedDuration;
use serde_json::json;

use crate::support::{OPERATOR, WAVES, World, host_key, key, report, rolled_back, sealed};

/// As the status is, but for the time.
fn still(world: &World) -> FleetStatus {
    FleetStatus { time: jiff::Timestamp::UNIX_EPOCH, ..world.status() }
}

#[test]
fn reports_that_lie() {
    let world = World::new();
    world.start_release(1, "10m").ok();
    world.healthy("aachen", 5, 1);
    let before = still(&world);
    let good = || report("aachen", 6, 1, Event::Healthy);

    let stranger = sealed(&good(), &key(77));
    world.send(&[stranger]).refused(403, "0 valid signature(s)");
    let other_host = sealed(&good(), &host_key("bergen"));
    world.send(&[other_host]).refused(403, "0 valid signature(s)");
    let mut changed = sealed(&good(), &host_key("aachen"));
    changed.payload = changed.payload.replace("\"seq\":6", "\"seq\":9");
    world.send(&[changed]).refused(403, "0 valid signature(s)");
    let mut twice = sealed(&good(), &host_key("aachen"));
    twice.signatures.push(twice.signatures[0].clone());
    world.send(&[twice]).refused(403, "signed it twice");
    let unknown = sealed(&report("nowhere", 1, 1, Event::Healthy), &key(77));
    world.send(&[unknown]).refused(403, "no host nowhere");
    let mut elsewhere = good();
    elsewhere.fleet = "other".parse().unwrap();
    world.report(&elsewhere).refused(400, "the fleet other");
    let mut wrong_kind = sealed(&good(), &host_key("aachen"));
    wrong_kind.kind = "order".into();
    world.send(&[wrong_kind]).refused(400, "not a \"report\"");
    let mut huge_number = good();
    huge_number.seq = u64::MAX;
    world.report(&huge_number).refused(400, "no number of a report");
    world.send(&[]).refused(400, "no report");

    // A good one together with another host's: none is taken.
    let both = [
        sealed(&good(), &host_key("aachen")),
        sealed(&report("bergen", 1, 1, Event::Healthy), &host_key("bergen")),
    ];
    world.send(&both).refused(403, "report of aachen");
    assert_eq!(still(&world), before);
}

#[test]
fn a_replayed_report_is_passed_over_and_answered_with_the_newest_number() {
    let world = World::new();
    world.start_release(1, "10m").ok();
    let first = sealed(&report("aachen", 1, 1, Event::Healthy), &host_key("aachen"));
    assert_eq!(world.send(std::slice::from_ref(&first)).ok(), json!({"accepted": 1, "seq": 1}));
    world.healthy("aachen", 2, 1);
    world.wait("10m");
    let replayed = world.send(std::slice::from_ref(&first)).ok();
    assert_eq!(replayed, json!({"accepted": 0, "seq": 2}));
    assert_eq!(world.assigned(), "aachen=1", "a replayed report counted as health");
}

#[test]
fn bodies_that_are_too_long_or_no_json() {
    let world = World::new();
    let before = still(&world);
    let long = format!("POST /v1/reports\nContent-Length: {}\r\n", 2 << 20);
    world.as_host(&long, b"[").refused(413, "longer than 1048576");
    let long = format!("POST /v1/orders\nContent-Length: {}\r\n", 2 << 20);
    world.as_operator(&long, b"{").refused(413, "longer than 1048576");
    // One that does not say its length, and is a byte too long.
    let chunked = [format!("{:x}\r\n", (1 << 20) + 1).as_bytes(), &[b' '; (1 << 20) + 1]].concat();
    world.ask_chunked("POST /v1/reports", &chunked).refused(413, "longer than 1048576");
    for bad in ["", "{", "[{}]", "null", "[[[[", "{\"kind\":1}", "\u{0}"] {
        world
            .as_host("POST /v1/reports", bad.as_bytes())
            .refused(400, "not a list of signed reports");
        world.as_operator("POST /v1/orders", bad.as_bytes()).refused(400, "not a signed order");
    }
    let deep = "[".repeat(100_000);
    world.as_host("POST /v1/reports", deep.as_bytes()).refused(400, "not a list");
    let lines = vec!["x".repeat(400); 1000];
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    world.report(&rolled_back("aachen", 1, 1, 2, &lines)).refused(413, "a report has");
    assert_eq!(still(&world), before);
}

#[test]
fn orders_that_lie() {
    let mut world = World::new();
    world.start_release(1, "10m").ok();
    world.wait("1s");
    let before = still(&world);
    let order = || world.signed_now(Action::Cancel);
    let mine = |order: &_| sealed(order, &key(OPERATOR));

    world.send_order(&sealed(&order(), &key(77))).refused(403, "0 valid signature(s)");
    let mut expired = order();
    expired.expires = world.now();
    world.send_order(&mine(&expired)).refused(409, "expired");
    let mut ahead = order();
    ahead.issued += SignedDuration::from_mins(11);
    ahead.expires += SignedDuration::from_mins(30);
    world.send_order(&mine(&ahead)).refused(409, "it is only");
    let mut elsewhere = order();
    elsewhere.fleet = "other".parse().unwrap();
    world.send_order(&mine(&elsewhere)).refused(409, "the fleet other");
    let report = sealed(&report("aachen", 1, 1, Event::Healthy), &key(OPERATOR));
    world.send_order(&report).refused(400, "not a \"order\"");
    assert_eq!(still(&world), before);

    world.start_release(1, "10m").refused(409, "still being rolled out");
    world.order(Action::Cancel).ok();
    world.start_release(9, "10m").refused(409, "no release 9");
    world.start_release(1, "10m").refused(409, "not newer than 1");
    world.order(Action::Pause).refused(409, "cancelled");
    world.publish(2, WAVES);
    world.start_release(2, "10m").ok();
}

#[test]
fn a_replayed_order_changes_nothing_even_if_it_was_refused_the_first_time() {
    let mut world = World::new();
    let replayed = "not newer than the last one";
    let pause = sealed(&world.signed_now(Action::Pause), &key(OPERATOR));
    world.send_order(&pause).refused(409, "no rollout");
    world.start_release(1, "10m").ok();
    world.send_order(&pause).refused(409, replayed);

    world.wait("1s");
    let cancel = sealed(&world.signed_now(Action::Cancel), &key(OPERATOR));
    world.send_order(&cancel).ok();
    world.publish(2, WAVES);
    world.start_release(2, "10m").ok();
    world.restart();
    world.send_order(&cancel).refused(409, replayed);
    assert_eq!(world.status().rollout.unwrap().status.word(), "running");
}

#[test]
fn paths_stay_in_the_repositorys_folders() {
    let world = World::new();
    std::fs::write(world.dir.path().join("secret.pem"), "secret").unwrap();
    std::fs::write(world.dir.path().join("repository/secret.pem"), "secret").unwrap();
    let public = world.as_host("GET /repository/metadata/timestamp.json", b"");
    assert_eq!(public.status, 200);
    for path in [
        "/repository/secret.pem",
        "/repository/../secret.pem",
        "/repository/metadata/../secret.pem",
        "/repository/metadata/../../secret.pem",
        "/repository/metadata/..%2f..%2fsecret.pem",
        "/repository/metadata/%2e%2e/%2e%2e/secret.pem",
        "/repository/metadata/..\\..\\secret.pem",
        "/repository/metadata//etc/passwd",
        "/repository/metadata/%00",
        "/hub.sqlite",
        "/repository/hub.sqlite",
        "/repository/metadata/..%2f..%2fhub.sqlite",
        "/repository/",
        "/repository/metadata",
        "/repository/metadata/",
        "/repository/assignments/",
        "/v1/status",
        "/v1/orders",
        "/",
    ] {
        let answer = world.as_host(&format!("GET {path}"), b"");
        assert!((400..500).contains(&answer.status), "{path} gave {}", answer.status);
        assert!(
            !answer.body.contains("secret") && !answer.body.contains("timestamp.json"),
            "{path}"
        );
    }
}

#[test]
fn a_file_is_fetched_from_the_byte_where_it_stopped() {
    let world = World::new();
    let repository = world.repository();
    let object = repository.add_nar(&b"some bytes of an archive"[..]).unwrap();
    let path = afield_store::repository::object_name(&object.id);
    let whole = std::fs::read(repository.object_path(&object.id)).unwrap();
    let digits = b"0123456789";
    std::fs::write(repository.object_path(&object.id), digits).unwrap();
    assert_ne!(whole, digits);
    let answer = world.as_host(&format!("GET /repository/{path}\nRange: bytes=4-\r\n"), b"");
    assert_eq!((answer.status, answer.body.as_str()), (206, "456789"));
}
