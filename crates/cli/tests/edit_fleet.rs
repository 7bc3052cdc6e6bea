//! `afield init`, `host add`, `user add` and `user remove` on the golden fleet: what is not edited stays byte for byte.

#![allow(clippy::unwrap_used)]

#[path = "secrets/support.rs"]
mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use support::{everything, fails, golden_fleet, ok, run, scratch};

const USERS: &str = "org-config/json/users.json";
const KEYS: &str = "org-config/json/keys.json";
const FIELD: &str = "org-config/json/tunnels.d/tunnels-field.json";
const WAVES: &str = "org-config/waves-and-staging-hosts.nix";

/// A real key that nobody in the golden fleet has, made for this test.
const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAvDMNgPF5wGrCNCbOtAVbwsQh1YBsjKoOc/xjiW9GPo";

fn read(dir: &Path, path: &str) -> String {
    fs::read_to_string(dir.join(path)).unwrap()
}

/// Lines that are new, and lines that are gone, in order. Good for edits, which move nothing.
fn changed(before: &str, after: &str) -> (Vec<String>, Vec<String>) {
    let (old, new): (Vec<&str>, Vec<&str>) =
        (before.split('\n').collect(), after.split('\n').collect());
    // The longest common subsequence, since a file has some hundred lines.
    let mut table = vec![vec![0; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            let skip = table[i + 1][j].max(table[i][j + 1]);
            table[i][j] = if old[i] == new[j] { table[i + 1][j + 1] + 1 } else { skip };
        }
    }
    let (mut i, mut j, mut added, mut gone) = (0, 0, Vec::new(), Vec::new());
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            (i, j) = (i + 1, j + 1);
        } else if j < new.len() && (i == old.len() || table[i][j + 1] >= table[i + 1][j]) {
            added.push(new[j].to_owned());
            j += 1;
        } else {
            gone.push(old[i].to_owned());
            i += 1;
        }
    }
    (added, gone)
}

fn findings(dir: &Path) -> BTreeSet<String> {
    let output = run(dir, &["--json", "check"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let all = json["findings"].as_array().unwrap().iter();
    all.map(|f| format!("{} {}", f["code"].as_str().unwrap(), f["message"].as_str().unwrap()))
        .collect()
}

#[test]
fn a_person_is_added_in_place_and_removed_without_a_trace() {
    let dir = scratch();
    golden_fleet(dir.path());
    let (before, known) = (everything(dir.path()), findings(dir.path()));
    let (users, keys) = (read(dir.path(), USERS), read(dir.path(), KEYS));
    let commented = format!("{KEY} new person@laptop");
    let add = [
        "user",
        "add",
        "new_p",
        "--key",
        &commented,
        "--role",
        "devops_core",
        "--host",
        "lap-kabul",
        "--profile",
        "devops",
        "--expires",
        "2027-05-01",
    ];
    ok(dir.path(), &[&add[..], &["--dry-run"]].concat());
    assert_eq!(everything(dir.path()), before);
    ok(dir.path(), &add);
    let (added, gone) = changed(&users, &read(dir.path(), USERS));
    assert_eq!(
        added,
        [
            "      \"amara_okafor\": \"2020-01-01\",",
            "      \"new_p\": \"2027-05-01\"",
            "          \"nurse_lucie\": \"localDockerAdmin\",",
            "          \"new_p\": \"devops\"",
            "          \"chen_wei\": \"devops\",",
            "          \"new_p\": \"devops\"",
        ]
    );
    // Only commas are new on the lines before.
    assert_eq!(gone.len(), 3);
    let (added, gone) = changed(&keys, &read(dir.path(), KEYS));
    assert!(added.contains(&format!("      \"public_keys\": [\"{KEY}\"]")), "{added:?}");
    assert!(gone.is_empty(), "{gone:?}");
    assert_eq!(findings(dir.path()), known);
    assert!(ok(dir.path(), &add).contains("all of it is there already"));

    ok(dir.path(), &["user", "remove", "new_p"]);
    assert_eq!(everything(dir.path()), before);
}

#[test]
fn what_check_would_find_is_not_written() {
    let dir = scratch();
    golden_fleet(dir.path());
    let before = everything(dir.path());
    let refused: [(&[&str], i32, &str); 9] = [
        (
            &["--host", "lap-kabul", "--profile", "localShell"],
            3,
            "new_p is enabled, but has no key",
        ),
        (&["--key", KEY, "--role", "nobody", "--profile", "admin"], 2, "there is no role"),
        (&["--key", KEY, "--host", "lap-kabull", "--profile", "admin"], 2, "is lap-kabul meant?"),
        (&["--key", KEY, "--host", "lap-kabul", "--profile", "boss"], 2, "profiles are admin"),
        (&["--key", KEY, "--host", "lap-kabul"], 2, "--profile"),
        (&["--key", KEY], 2, "nothing would be given"),
        (&["--key", "ssh-ed25519 AAAA", "--global-admin"], 2, "is no SSH public key"),
        (&["--key", "-----BEGIN OPENSSH PRIVATE KEY-----", "--global-admin"], 2, ""),
        (
            &["--key", KEY, "--host", "vm-uat", "--profile", "remoteTunnelMonitor"],
            3,
            "which is no relay",
        ),
    ];
    for (args, code, why) in refused {
        let told = fails(run(dir.path(), &[&["user", "add", "new_p"], args].concat()), code);
        assert!(told.contains(why), "{args:?}: {told}");
    }
    let told = fails(
        run(dir.path(), &["user", "add", "dr_amal", "--host", "nuc-juba", "--profile", "admin"]),
        3,
    );
    assert!(told.contains("dr_amal has several profiles on nuc-juba"), "{told}");
    let told = fails(run(dir.path(), &["host", "add", "new-1"]), 2);
    assert!(told.contains("tunnels-field.json, tunnels.json"), "{told}");
    for (args, why) in [
        (["nuc-pap", "--port", "0"], "nuc-pap is there already"),
        (["new-1", "--port", "3001"], "new-1 has port 3001, as vm-uat has"),
        (["new-1", "--port", "1999"], "remote_forward_port is 1999"),
    ] {
        let told = fails(
            run(dir.path(), &[&["host", "add", "--tunnels", "tunnels.json"], &args[..]].concat()),
            3,
        );
        assert!(told.contains(why), "{args:?}: {told}");
    }
    assert_eq!(everything(dir.path()), before);
    // A file that already has an error is not edited: who knows what was meant.
    let users = read(dir.path(), USERS).replace("\"2027-03-31\"", "\"2027-13-31\"");
    fs::write(dir.path().join(USERS), &users).unwrap();
    let told = fails(run(dir.path(), &["user", "add", "new_p", "--key", KEY, "--global-admin"]), 3);
    assert!(told.contains("json/users.json:8 has an error"), "{told}");
    assert_eq!(read(dir.path(), USERS), users);
}

#[test]
fn files_keep_their_own_form() {
    let dir = scratch();
    golden_fleet(dir.path());
    // Tabs, Windows line ends, a byte order mark, no line end at the end, several values a line.
    let users = "\u{feff}{\r\n\t\"global_admins\": [\"amara_okafor\"], \"_comment\": [1, 2],\r\n\t\"users\": {\r\n\t\t\"per-host\": {\r\n\
                 \t\t\t\"vm-uat\": {\"_comment\": \"x\", \"enable\": {\"bruno_dias\": \"admin\"}}\r\n\t\t},\r\n\t\t\"roles\": {}\r\n\t}\r\n}";
    fs::write(dir.path().join(USERS), users).unwrap();
    ok(dir.path(), &["user", "add", "new_p", "--key", KEY, "--global-admin"]);
    let after = read(dir.path(), USERS);
    assert_eq!(after, users.replace("[\"amara_okafor\"]", "[\"amara_okafor\", \"new_p\"]"));
    ok(dir.path(), &["user", "add", "chen_wei", "--host", "vm-prod", "--profile", "devops"]);
    let (added, gone) = changed(&after, &read(dir.path(), USERS));
    assert!(added.iter().all(|line| line.ends_with('\r') && line.starts_with("\t\t")), "{added:?}");
    assert_eq!(
        gone,
        ["\t\t\t\"vm-uat\": {\"_comment\": \"x\", \"enable\": {\"bruno_dias\": \"admin\"}}\r"]
    );
    assert!(added[0] == format!("{},\r", gone[0].trim_end()), "{added:?}");
}

#[test]
fn a_host_gets_a_file_a_free_port_and_a_place_in_a_wave() {
    let dir = scratch();
    golden_fleet(dir.path());
    let (known, tunnels, waves) =
        (findings(dir.path()), read(dir.path(), FIELD), read(dir.path(), WAVES));
    let add = [
        "host",
        "add",
        "nuc-new",
        "--tunnels",
        "tunnels-field.json",
        "--wave",
        "middle",
        "--like",
        "nuc-juba",
    ];
    let before = everything(dir.path());
    ok(dir.path(), &[&add[..], &["--dry-run"]].concat());
    assert_eq!(everything(dir.path()), before);
    let told = ok(dir.path(), &add);
    assert!(
        told.contains("left to you: put its public_key into json/tunnels.d/tunnels-field.json"),
        "{told}"
    );
    let (added, gone) = changed(&tunnels, &read(dir.path(), FIELD));
    let entry = [
        "      },",
        "      \"nuc-new\": {",
        "        \"remote_forward_port\": 2000,",
        "        \"public_key\": \"\"",
    ];
    assert_eq!((added, gone), (entry.map(str::to_owned).to_vec(), Vec::new()));
    assert_eq!(
        read(dir.path(), WAVES),
        waves.replace("[ \"nuc-pap\" \"lap-kabul\" ]", "[ \"nuc-pap\" \"lap-kabul\" \"nuc-new\" ]")
    );
    let like =
        read(dir.path(), "org-config/hosts/nuc-juba.nix").replace("\"nuc-juba\"", "\"nuc-new\"");
    assert_eq!(read(dir.path(), "org-config/hosts/nuc-new.nix"), like);
    let new: Vec<String> = findings(dir.path()).difference(&known).cloned().collect();
    assert_eq!(new, ["AF0304 the key of nuc-new is empty"]);
    // With its key there is nothing new at all; and the next one gets the next port.
    let key = KEY.to_owned();
    ok(
        dir.path(),
        &[
            "host",
            "add",
            "ub-1",
            "--ubuntu",
            "--tunnels",
            "tunnels.json",
            "--wave",
            "first",
            "--key",
            &key,
        ],
    );
    assert!(
        read(dir.path(), "org-config/json/tunnels.d/tunnels.json")
            .contains("\"remote_forward_port\": 2003,")
    );
    assert!(dir.path().join("org-config/hosts/ubuntu/ub-1.nix").exists());
    assert!(
        read(dir.path(), WAVES).contains("firstWave = stagingHosts ++ [ \"prov-new\" \"ub-1\" ];")
    );
    assert_eq!(findings(dir.path()).len(), known.len() + 1);
}

#[test]
fn a_wave_that_is_no_plain_list_is_left_to_the_person() {
    let dir = scratch();
    golden_fleet(dir.path());
    let waves = [
        // Computed by a function; and by an expression.
        "{ stagingHosts = []; firstWave = [ \"vm-uat\" \"prov-new\" ]; middleWave = builtins.fromJSON ''[\"nuc-pap\", \"lap-kabul\"]''; finalWave = [ \"nuc-juba\" \"vm-prod\" ]; latestWave = [ \"relay-bru\" \"relay-fra\" ]; }\n",
        "let middleWave = [ \"nuc-pap\" ]; in { stagingHosts = []; middleWave = middleWave ++ map (x: x) [ (\"lap-\" + \"kabul\") ]; firstWave = [ \"vm-uat\" \"prov-new\" ]; finalWave = [ \"nuc-juba\" \"vm-prod\" ]; latestWave = [ \"relay-bru\" \"relay-fra\" ]; }\n",
    ];
    for text in waves {
        fs::write(dir.path().join(WAVES), text).unwrap();
        let told = ok(
            dir.path(),
            &["host", "add", "new-1", "--tunnels", "tunnels.json", "--wave", "middle", "--dry-run"],
        );
        assert!(told.contains("left to you: add \"new-1\" to middleWave"), "{told}");
    }
    let lines = "{\n  stagingHosts = [ ];\n  # firstWave = [ \"x\" ];\n  firstWave = [\n    \"vm-uat\" # one\n    \"prov-new\" # two\n  ];\n  \
                 middleWave = [ \"nuc-pap\" \"lap-kabul\" ];\n  finalWave = [ \"nuc-juba\" \"vm-prod\" ];\n  latestWave = [\"relay-bru\" \"relay-fra\"];\n}\n";
    fs::write(dir.path().join(WAVES), lines).unwrap();
    ok(dir.path(), &["host", "add", "new-1", "--tunnels", "tunnels.json", "--wave", "first"]);
    ok(
        dir.path(),
        &["host", "add", "new-2", "--tunnels", "tunnels.json", "--wave", "latest", "--port", "0"],
    );
    let expected = lines.replace("\"prov-new\" # two", "\"prov-new\"\n    \"new-1\" # two");
    assert_eq!(
        read(dir.path(), WAVES),
        expected.replace("\"relay-fra\"]", "\"relay-fra\" \"new-2\"]")
    );
    // No file is left behind of those that Nix was asked about.
    let names: Vec<_> = fs::read_dir(dir.path().join("org-config"))
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().starts_with(".afield")), "{names:?}");
}

#[test]
fn a_new_fleet_is_the_template_and_nothing_is_overwritten() {
    let dir = scratch();
    let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../templates/fleet");
    ok(dir.path(), &["init", "fleet", "--dry-run"]);
    assert!(!dir.path().join("fleet").exists());
    ok(dir.path(), &["init", "fleet", "--name", "boats"]);
    let made = everything(&dir.path().join("fleet"));
    let relative =
        |root: &Path, all: Vec<(std::path::PathBuf, Vec<u8>)>| -> Vec<(String, Vec<u8>)> {
            let name = |path: &Path| path.strip_prefix(root).unwrap().display().to_string();
            all.into_iter().map(|(path, bytes)| (name(&path), bytes)).collect()
        };
    let mut expected = relative(&template, everything(&template));
    for (path, bytes) in &mut expected {
        if path == "afield.toml" {
            *bytes = String::from_utf8(bytes.clone())
                .unwrap()
                .replace("\"example\"", "\"boats\"")
                .into_bytes();
        }
    }
    assert_eq!(relative(&dir.path().join("fleet"), made.clone()), expected);
    // It has no error, and every step that `init` names can be taken.
    ok(&dir.path().join("fleet"), &["check"]);
    ok(&dir.path().join("fleet"), &["host", "add", "boat-1", "--wave", "first"]);
    let told = fails(run(dir.path(), &["init", "fleet"]), 3);
    assert!(told.contains("afield.toml is there already"), "{told}");
    fs::remove_file(dir.path().join("fleet/org-config/json/users.json")).unwrap();
    let told = fails(run(dir.path(), &["init", "fleet"]), 3);
    assert!(told.contains("nothing was changed") && told.contains("flake.nix"), "{told}");
    assert!(!dir.path().join("fleet/org-config/json/users.json").exists());
}

#[test]
fn a_fleet_that_is_there_is_adopted_unchanged() {
    let dir = scratch();
    golden_fleet(dir.path());
    let before = everything(dir.path());
    ok(dir.path(), &["init", "--dry-run"]);
    assert_eq!(everything(dir.path()), before);
    let told = ok(dir.path(), &["init"]);
    assert!(told.contains("found: 8 hosts, 10 people, 9 roles, 2 relays"), "{told}");
    assert!(
        told.contains("next: correct 1 error,") && told.contains("next: write a flake.nix"),
        "{told}"
    );
    assert!(read(dir.path(), "afield.toml").contains("fleet = \"example-ngo\"\n"));
    let after = everything(dir.path());
    assert_eq!(after.len(), before.len() + 1);
    assert!(before.iter().all(|file| after.contains(file)));
    // The commands that need it can read it: this one gets as far as its own refusal.
    let told = fails(run(dir.path(), &["status"]), 2);
    assert!(told.contains("hub"), "{told}");
    let told = fails(run(dir.path(), &["init"]), 3);
    assert!(told.contains("is there already"), "{told}");
}
