//! `afield bundle` with real Nix releases: what is on a stick is enough, and no more; what comes back gets to the hub.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use afield_core::assignment::Assignment;
use afield_core::ids::ReleaseId;
use afield_core::release::{Closure, Delivery};
use afield_core::signed::Envelope;
use afield_store::keys::read_secret;
use afield_store::repository::{Repository, object_name};
use common::{Field, answering};
use jiff::{Timestamp, ToSpan as _};
use serde_json::{Value, json};

const SHARED: &str = r#"mk "shared" "echo s > $out/s""#;

fn system(name: &str) -> String {
    format!(r#"mk "{name}" "echo ${{{SHARED}}} > $out/x""#)
}

fn fleet() -> Field {
    let (one, two) = (system("one"), system("two"));
    let field = Field::new(&[("aa", &one), ("bb", &two)]);
    field.waves(&["aa"], &["bb"]);
    field.run(&["keys", "init", "--out", "keys"]).code(0);
    field.run(&["release", "--keys", "keys"]).code(0);
    assign(&field, "aa", 1);
    assign(&field, "bb", 1);
    field
}

/// Hands a release out, as the hub does.
fn assign(field: &Field, host: &str, release: u64) {
    let root = fs::read(field.path("keys/root.json")).unwrap();
    let trusted = field.trusted(&root);
    let now = Timestamp::now();
    let assignment = Assignment {
        fleet: "test".parse().unwrap(),
        host: host.parse().unwrap(),
        release: ReleaseId(release),
        manifest: trusted.releases[&ReleaseId(release)].id,
        counter: release,
        issued: now,
        expires: now + (24 * 30).hours(),
    };
    let key = read_secret(&field.path("keys/rollout.pem")).unwrap();
    let bytes = Envelope::seal(&assignment, &key).unwrap().to_vec().unwrap();
    field.write(&format!("repository/assignments/{host}.json"), &String::from_utf8(bytes).unwrap());
}

/// The files below a folder.
fn files(folder: &Path) -> BTreeSet<String> {
    let items = afield_store::mirror::everything(folder).unwrap();
    items.into_iter().map(|item| item.name).collect()
}

/// A hub that says what hosts run, and takes packages with one answer each.
fn hub(status: Value, answers: Vec<(u16, Value)>) -> String {
    let mut answers = answers.into_iter();
    answering(move |line, _| match line.starts_with("POST /v1/packages ") {
        true => answers.next().unwrap(),
        false => (200, status.clone()),
    })
}

fn running(host: &str, release: u64) -> Value {
    let value = json!({
        "fleet": "test", "time": "2026-11-23T12:00:00Z", "newest": release, "rollout": null, "waves": [],
        "hosts": [{ "host": host, "wave": "first", "assigned": release, "running": release, "system": null,
                    "state": "healthy", "heard": null, "checks": [], "notes": [], "failure": null }],
    });
    // The stand-in says only what a hub can say.
    serde_json::from_value::<afield_core::status::FleetStatus>(value.clone()).unwrap();
    value
}

#[test]
fn a_bundle_is_enough_for_its_hosts_and_no_more() {
    let field = fleet();
    let report =
        field.run(&["bundle", "export", "--host", "aa", "-o", "stick", "--json"]).code(0).json();
    assert_eq!(report["hosts"]["aa"]["release"], 1, "{report:#}");
    assert!(report["notes"][0].as_str().unwrap().contains("no hub is named"), "{report:#}");
    let there = files(&field.path("stick"));
    // It stands by itself: all that the release names for this host is there and proves.
    let root = fs::read(field.path("keys/root.json")).unwrap();
    let trusted = afield_store::trust::load(&field.path("stick/metadata"), &root, None).unwrap();
    let stick = Repository::open(&field.path("stick")).unwrap();
    let manifest = stick.manifest(&trusted, ReleaseId(1)).unwrap();
    let share = |host: &str| manifest.hosts[&host.parse().unwrap()].clone();
    let closure: Closure = stick.document(&share("aa").closure).unwrap();
    let delivery: Delivery = stick.document(&share("aa").delivery).unwrap();
    for info in &closure.paths {
        let full = delivery.full(&info.path).unwrap();
        afield_store::object::prove(&stick.object_path(&full.id), full, info).unwrap();
    }
    // And no other host's.
    assert!(there.contains("assignments/aa.json") && there.contains("bundle.json"), "{there:?}");
    assert!(!there.contains("assignments/bb.json"), "{there:?}");
    assert!(!there.contains(&object_name(&share("bb").delivery.id)), "{there:?}");
    // Once more costs nothing, and a file that was cut off is put right.
    let half = field.path("stick").join(object_name(&share("aa").closure.id));
    fs::write(&half, b"half").unwrap();
    let again =
        field.run(&["bundle", "export", "--host", "aa", "-o", "stick", "--json"]).code(0).json();
    // The note, which says when it was made, and the half file.
    assert_eq!(again["files"], 2, "{again:#}");
    assert!(stick.document::<Closure>(&share("aa").closure).is_ok());
}

#[test]
fn what_a_host_runs_already_is_left_out() {
    let field = fleet();
    let next = system("three");
    field.systems(&[("aa", &next), ("bb", &system("two"))]);
    field.run(&["release", "--keys", "keys"]).code(0);
    assign(&field, "aa", 2);
    let hub = hub(running("aa", 1), vec![]);
    let to = |out: &str, more: &[&str]| {
        let args = ["bundle", "export", "--host", "aa", "--json", "-o", out];
        field.run(&[&args[..], more].concat()).code(0).json()
    };
    let all = to("all", &[]);
    let dry = to("none", &["--hub", &hub, "--dry-run"]);
    let less = to("less", &["--hub", &hub]);
    assert_eq!(less["hosts"]["aa"]["runs"], 1, "{less:#}");
    assert_eq!(dry["files"], less["files"]);
    assert!(!field.path("none").exists(), "a dry run wrote something");
    let objects = |out: &str| -> BTreeSet<String> {
        files(&field.path(out)).into_iter().filter(|n| n.starts_with("objects/")).collect()
    };
    assert!(objects("less").is_subset(&objects("all")));
    assert_eq!(objects("all").len(), objects("less").len() + 1, "{all:#} {less:#}");
    // Everything is everything.
    to("full", &["--full"]);
    let mut whole = files(&field.path("repository"));
    whole.insert("bundle.json".to_owned());
    assert_eq!(files(&field.path("full")), whole);
}

#[test]
fn a_bundle_for_a_site_as_one_file() {
    let field = fleet();
    let toml = fs::read_to_string(field.path("afield.toml")).unwrap();
    field.write("afield.toml", &format!("{toml}[sites.juba]\nhosts = [\"aa\", \"bb\"]\n"));
    field.run(&["bundle", "export", "--site", "wau", "-o", "x.tar"]).code(2);
    field.run(&["bundle", "export", "--site", "juba", "-o", "x.tar"]).code(0);
    field.run(&["bundle", "export", "--site", "juba", "-o", "folder"]).code(0);
    // Any tar reads it.
    let list = Command::new("tar").arg("-tf").arg(field.path("x.tar")).output().unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    let names: BTreeSet<String> = list.lines().map(ToOwned::to_owned).collect();
    assert_eq!(names, files(&field.path("folder")));
    assert!(names.contains("assignments/bb.json"));
}

#[test]
fn what_no_host_would_take_is_not_exported() {
    let field = fleet();
    fs::remove_file(field.path("repository/assignments/bb.json")).unwrap();
    let ran = field.run(&["bundle", "export", "--host", "bb", "-o", "stick"]).code(3);
    assert!(ran.err.contains("nothing is assigned to bb") && ran.err.contains("hint"), "{ran:?}");
    field.write("repository/assignments/bb.json", "{}");
    field.run(&["bundle", "export", "--host", "bb", "-o", "stick"]).code(3);
    assert!(!field.path("stick").exists());
    // A stick that another release of the same number was put onto.
    field.run(&["bundle", "export", "--host", "aa", "-o", "stick"]).code(0);
    field.run(&["release", "--keys", "keys", "--refresh"]).code(0);
    let newer = fs::read(field.path("repository/metadata/timestamp.json")).unwrap();
    fs::write(field.path("stick/metadata/timestamp.json"), newer).unwrap();
    let old = fleet();
    let ran =
        old.run(&["bundle", "export", "--host", "aa", "-o", field.path("stick").to_str().unwrap()]);
    assert!(ran.code == 3 && ran.err.contains("another fleet"), "{ran:?}");
}

#[test]
fn reports_are_brought_to_the_hub_oldest_first_and_refusals_are_told_by_name() {
    let field = fleet();
    let answer = |host: &str, new: u64| {
        let generation = json!({ "release": 1, "system": null, "data": null });
        let value = json!({
            "standing": { "fleet": "test", "host": host, "time": "2026-11-20T12:00:00Z", "agent": "0.1.0",
                          "release_seen": 1, "good": generation, "attempt": null, "failed": [], "log": [] },
            "reports": 4, "taken": { "accepted": new, "seq": 9 },
        });
        serde_json::from_value::<afield_core::bundle::Unpacked>(value.clone()).unwrap();
        (200, value)
    };
    let refused = (400, json!({ "error": "the package cannot be opened", "remedy": "it was cut" }));
    let hub = hub(json!({}), vec![answer("aa", 4), refused, answer("bb", 0)]);
    for name in ["bb-0001-x.age", "aa-0001-x.age", "aa-0005-y.age", "aa-0009-z.age.part", "other"] {
        field.write(&format!("stick/reports/{name}"), name);
    }
    let args = ["bundle", "import", "stick", "--hub", &hub, "--remove", "--json"];
    let report = field.run(&args).code(1).json();
    let told: Vec<(String, bool)> = report["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| {
            let name = f["file"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
            (name, f["error"].is_null())
        })
        .collect();
    let names = ["aa-0001-x.age", "aa-0005-y.age", "aa-0009-z.age.part", "bb-0001-x.age"];
    let good = [true, false, false, true];
    let wanted: Vec<_> = names.iter().map(|n| (*n).to_owned()).zip(good).collect();
    assert_eq!(told, wanted, "{report:#}");
    // Only what the hub took is gone.
    assert!(!field.path("stick/reports/aa-0001-x.age").exists());
    assert!(field.path("stick/reports/aa-0005-y.age").exists());
    field.run(&["bundle", "import", "keys", "--hub", &hub]).code(2);
}
