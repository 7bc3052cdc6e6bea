//! `afield keys`: made once, replaced one by one, and hosts that know only the first root follow.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use afield_core::ids::ReleaseId;
use common::Field;

const GOOD: &str = r#"mk "good" "echo fine > $out/x""#;

fn with_release() -> (Field, Vec<u8>) {
    let field = Field::new(&[("aa", GOOD)]);
    field.waves(&["aa"], &[]);
    field.run(&["keys", "init", "--out", "keys"]).code(0);
    let root = fs::read(field.path("keys/root.json")).unwrap();
    field.run(&["release", "--keys", "keys"]).code(0);
    (field, root)
}

#[test]
fn init_makes_all_keys_once() {
    let field = Field::new(&[("aa", GOOD)]);
    let dry = field.run(&["keys", "init", "--out", "keys", "--dry-run", "--json"]).code(0).json();
    assert_eq!(dry["dry_run"], true);
    assert!(!field.path("keys").exists() && !field.path("repository").exists());

    let report = field.run(&["keys", "init", "--out", "keys", "--json"]).code(0).json();
    assert_eq!((&report["fleet"], &report["root_version"]), (&"test".into(), &1.into()));
    for name in ["root-1", "root-2", "root-3", "release", "rollout", "operator"] {
        let mode =
            fs::metadata(field.path(&format!("keys/{name}.pem"))).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let root = fs::read(field.path("keys/root.json")).unwrap();
    assert_eq!(root, fs::read(field.path("repository/metadata/1.root.json")).unwrap());
    let content = afield_store::trust::read_root(&root).unwrap();
    assert_eq!((content.root.keys.len(), content.root.threshold), (3, 2));

    let again = field.run(&["keys", "init", "--out", "keys"]).code(3);
    assert!(again.err.contains("already") && again.err.contains("rotate"), "{}", again.err);
    let other = field.run(&["keys", "init", "--out", "other"]).code(3);
    assert!(other.err.contains("1.root.json"), "{}", other.err);
    assert!(!field.path("other").exists());
}

#[test]
fn a_fleet_without_a_folder_gets_keys_by_name() {
    let field = Field::new(&[("aa", GOOD)]);
    fs::remove_file(field.path("afield.toml")).unwrap();
    let report = field
        .run(&["keys", "init", "--out", "keys", "--fleet-name", "sea", "--json"])
        .code(0)
        .json();
    assert_eq!(report["fleet"], "sea");
    assert!(!field.path("repository").exists());
    field.run(&["keys", "init", "--out", "more"]).code(2);
}

#[test]
fn every_key_can_be_replaced_and_old_hosts_follow() {
    let (field, root) = with_release();
    let mut version = 1;
    for role in ["root-1", "root-2", "root-3", "release", "rollout", "operator", "expiry"] {
        let before = field.trusted(&root);
        let report =
            field.run(&["keys", "rotate", "--keys", "keys", role, "--json"]).code(0).json();
        version += 1;
        assert_eq!(report["root_version"], version, "{role}");
        let after = field.trusted(&root);
        assert_eq!(after.root_version, version);
        assert_eq!(after.releases, before.releases, "{role} lost a release");
        assert_eq!(after.rollout == before.rollout, role != "rollout");
        assert_eq!(after.operators == before.operators, role != "operator");
        let old = field.path(&format!("keys/{role}.replaced-{}.pem", version - 1));
        assert_eq!(old.exists(), role != "expiry");
    }
    field.run(&["release", "--keys", "keys"]).code(0);
    assert!(field.trusted(&root).releases.contains_key(&ReleaseId(2)));

    // The old release key signs nothing more.
    fs::rename(field.path("keys/release.replaced-4.pem"), field.path("keys/release.pem")).unwrap();
    let ran = field.run(&["release", "--keys", "keys"]).code(3);
    assert!(ran.err.contains("is not the release key"), "{}", ran.err);
}

#[test]
fn one_lost_root_key_is_replaced_with_the_others() {
    let (field, root) = with_release();
    fs::remove_file(field.path("keys/root-2.pem")).unwrap();
    let files = field.repository();
    field.run(&["keys", "rotate", "--keys", "keys", "root-2", "--dry-run"]).code(0);
    assert_eq!(files, field.repository(), "a dry run wrote something");
    field.run(&["keys", "rotate", "--keys", "keys", "root-2"]).code(0);
    assert_eq!(field.trusted(&root).root_version, 2);

    // Root keys kept elsewhere are named; one alone is not enough.
    fs::create_dir(field.path("stick")).unwrap();
    fs::rename(field.path("keys/root-1.pem"), field.path("stick/root-1.pem")).unwrap();
    fs::rename(field.path("keys/root-3.pem"), field.path("stick/root-3.pem")).unwrap();
    let ran = field.run(&["keys", "rotate", "--keys", "keys", "release"]).code(3);
    assert!(
        ran.err.contains("2 of the 3 root keys") && ran.err.contains("--root-key"),
        "{}",
        ran.err
    );
    assert_eq!(field.trusted(&root).root_version, 2);
    field
        .run(&["keys", "rotate", "--keys", "keys", "release", "--root-key", "stick/root-3.pem"])
        .code(0);
    assert_eq!(field.trusted(&root).root_version, 3);
}

#[test]
fn root_metadata_that_does_not_follow_is_not_built_upon() {
    let (field, _) = with_release();
    // Someone with the repository, but without root keys, puts his own root metadata there.
    field.run(&["keys", "init", "--out", "thief", "--fleet-name", "thief"]).code(0);
    let theirs = fs::read_to_string(field.path("thief/root.json")).unwrap();
    let forged = theirs
        .replace("\"version\":1", "\"version\":2")
        .replace("\"version\": 1", "\"version\": 2");
    assert_ne!(theirs, forged);
    field.write("repository/metadata/2.root.json", &forged);
    let files = field.repository();
    let ran = field.run(&["keys", "rotate", "--keys", "keys", "rollout"]).code(3);
    assert!(ran.err.contains("2.root.json does not follow"), "{}", ran.err);
    let ran = field.run(&["release", "--keys", "keys"]).code(3);
    assert!(ran.err.contains("2.root.json does not follow"), "{}", ran.err);
    assert_eq!(files, field.repository());
}

#[test]
fn expired_root_metadata_stops_releases_until_it_is_renewed() {
    let field = Field::new(&[("aa", GOOD)]);
    field.waves(&["aa"], &[]);
    let settings = |days: u32| {
        let text = "fleet = \"test\"\n[build]\nfile = \"systems.nix\"\n[repository]\npath = \"repository\"\n";
        field.write("afield.toml", &format!("{text}[trust]\nroot-days = {days}\n"));
    };
    settings(0);
    field.run(&["keys", "init", "--out", "keys"]).code(0);
    let ran = field.run(&["release", "--keys", "keys"]).code(3);
    assert!(ran.err.contains("expired on") && ran.err.contains("expiry"), "{}", ran.err);
    settings(730);
    field.run(&["keys", "rotate", "--keys", "keys", "expiry"]).code(0);
    field.run(&["release", "--keys", "keys"]).code(0);
}

/// The fault points that replacing the release key passes, in order.
fn points(field: &Field) -> Vec<String> {
    let log = field.path("points");
    let set = [("AFIELD_FAULT_LOG", log.to_str().unwrap())];
    field.run_with(&["keys", "rotate", "--keys", "keys", "release"], &set).code(0);
    fs::read_to_string(&log).unwrap_or_default().lines().map(str::to_owned).collect()
}

#[test]
fn a_replacement_that_is_cut_off_anywhere_is_finished_by_the_next() {
    let points = points(&with_release().0);
    if points.is_empty() {
        // Built without the feature `faults` of afield-store; `cargo ci` has it.
        return;
    }
    assert!(points.iter().any(|p| p.starts_with("rotate:replaced")), "{points:?}");
    for point in points {
        let (field, root) = with_release();
        let rotate = ["keys", "rotate", "--keys", "keys", "release"];
        field.killed(&rotate, &[("AFIELD_FAULT", &point)]);
        if field.path("keys/rotation").exists() {
            let ran = field.run(&["release", "--keys", "keys"]).code(3);
            assert!(ran.err.contains("keys rotate"), "{point}: {}", ran.err);
            let ran = field.run(&rotate).code(0);
            assert!(ran.out.contains("finished"), "{point}: {}", ran.out);
        }
        // Hosts that know only the first root metadata take what is there, and the next release.
        assert!(field.trusted(&root).releases.contains_key(&ReleaseId(1)), "{point}");
        field.run(&["release", "--keys", "keys"]).code(0);
        assert!(field.trusted(&root).releases.contains_key(&ReleaseId(2)), "{point}");
        assert!(!field.path("keys/rotation").exists(), "{point}");
    }
}
