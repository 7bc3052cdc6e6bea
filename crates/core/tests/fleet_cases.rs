//! The golden error cases: what the older tools refuse is refused, by a finding that names file and line.

#![cfg(feature = "fleet")]
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;

use afield_core::fleet::audit::{Table, audit};
use afield_core::fleet::{Finding, Severity, Sources, WavesResult, render};
use common::{TODAY, check, clean, files, golden, set, shared, told, waves_json};
use serde_json::Value;

/// Codes, without places.
fn codes(findings: &[Finding]) -> Vec<String> {
    let mut codes: Vec<String> = findings.iter().map(|f| f.code.to_string()).collect();
    codes.dedup();
    codes
}

/// Every case of the folder with what Afield says of it, in the order of files and lines.
///
/// The base of these cases has one host `h1` and no relay host, which Afield tells too; that is left out below.
const NIX: &[(&str, &[&str])] = &[
    ("cycle-self", &["AF0102 json/users.json:14"]),
    // Goes unnoticed there.
    (
        "cycle-unused",
        &["AF0108 json/users.json:12", "AF0104 json/users.json:14", "AF0109 json/users.json:7"],
    ),
    ("diamond", &["AF0109 json/users.json:25"]),
    // Reaches the host there.
    ("expires-impossible-date", &["AF0111 json/users.json:5", "AF0109 json/users.json:10"]),
    ("global-admin-other-profile", &["AF0107 json/users.json:7", "AF0109 json/users.json:3"]),
    ("global-admins-missing", &["AF0006 json/users.json:1"]),
    ("key-bad", &["AF0203 json/keys.json:5", "AF0109 json/users.json:7"]),
    ("key-option-ok", &[]),
    ("key-unknown-attr", &["AF0007 json/keys.json:4", "AF0201 json/keys.json:3"]),
    (
        "profile-duplicate",
        &[
            "AF0105 json/users.json:5",
            "AF0105 json/users.json:5",
            "AF0109 json/users.json:15",
            "AF0109 json/users.json:16",
        ],
    ),
    ("profile-same-twice", &["AF0109 json/users.json:7"]),
    ("relay-none", &["AF0314 json/relay-servers.json:1"]),
    ("role-missing-host", &["AF0101 json/users.json:7", "AF0108", "AF0108"]),
    ("role-missing-with-profile", &["AF0101 json/users.json:7", "AF0108 json/users.json:12"]),
    ("tun-duplicate-port", &["AF0302 json/tunnels.d/t.json:10"]),
    ("tun-empty-key", &["AF0304 json/tunnels.d/t.json:5"]),
    ("tun-host-absent-not-enabled", &["AF0311 hosts/h1.nix:1"]),
    ("tun-host-name-type", &["AF0401 json/tunnels.d/t.json:4"]),
    ("tun-no-per-host", &["AF0311 hosts/h1.nix:1", "AF0006 json/tunnels.d/t.json:2"]),
    ("tun-port-1", &["AF0301 json/tunnels.d/t.json:6"]),
    ("tun-port-1999", &["AF0301 json/tunnels.d/t.json:6"]),
    ("tun-port-9999", &[]),
    ("user-without-key", &["AF0109 json/users.json:7"]),
    ("with-profile-and-role", &["AF0105 json/users.json:5", "AF0109 json/users.json:17"]),
    ("wave-duplicate-own", &["AF0403"]),
    ("wave-missing-host", &["AF0402 hosts/lap-kabul.nix:1"]),
    ("wave-ok-relay-bru", &[]),
    ("wave-ok-vm-uat", &[]),
    // Inside host files, which are Nix: told when systems are built, not by `check`.
    ("ap-uplink-self", &[]),
    ("host-bad-platform", &[]),
    ("host-no-timezone", &[]),
    ("hostname-A1", &[]),
    ("hostname-a-b", &[]),
    ("hostname-adotb", &[]),
    ("mount-keyfile-readonly", &[]),
    ("mount-ok", &[]),
    ("option-unknown", &[]),
    ("traefik-no-docker", &[]),
];

/// A golden case as sources: its changed files, on a base in which nothing is wrong.
fn nix_case(case: &Value) -> Sources {
    if let Some(waves) = case.get("waves_file") {
        let mut sources = common::golden_sources();
        set(&mut sources, "waves-and-staging-hosts.nix", waves.as_str().unwrap());
        // As Nix evaluates them; the command's own tests ask the real one.
        let middle: &[&str] = match case["case"].as_str().unwrap() {
            "wave-duplicate-own" => &["nuc-pap", "lap-kabul", "vm-prod"],
            "wave-missing-host" => &["nuc-pap"],
            _ => &["nuc-pap", "lap-kabul"],
        };
        let (first, last) = (["vm-uat", "prov-new"], ["nuc-juba", "vm-prod"]);
        let latest = ["relay-bru", "relay-fra"];
        sources.waves = waves_json(&first, middle, &last, &latest, &["vm-uat"]);
        return sources;
    }
    let mut sources = clean();
    sources.hosts = ["hosts/h1.nix".to_owned()].into();
    sources.waves = waves_json(&["h1"], &[], &[], &[], &[]);
    if case["case"] == "relay-none" {
        let none = sources.files["json/relay-servers.json"].clone();
        let none = String::from_utf8(none).unwrap().replace("\"r1\": {", "\"_comment\": {");
        set(&mut sources, "json/relay-servers.json", &none);
    }
    for (path, content) in case["changed_inputs"].as_object().unwrap() {
        match content.as_str() {
            Some(_) => {
                sources.hosts.insert(path.clone());
            }
            None => set(&mut sources, path, &serde_json::to_string_pretty(content).unwrap()),
        }
    }
    sources
}

#[test]
fn what_nix_refuses_is_told_with_file_and_line() {
    let mut expected: BTreeMap<&str, &[&str]> = NIX.iter().copied().collect();
    for (name, bytes) in files(&shared().join("golden/outputs/errors-nix")) {
        let Some(name) = name.strip_suffix(".json") else {
            continue;
        };
        let case: Value = serde_json::from_slice(&bytes).unwrap();
        let want = expected.remove(name).unwrap_or_else(|| panic!("the case {name} has no row"));
        let (_, findings) = check(&nix_case(&case));
        // What the base brings along, and what no case is about.
        let base = ["AF0310", "AF0312", "AF0315"];
        let golden_fleet = case.get("waves_file").is_some();
        let own: Vec<Finding> = findings
            .into_iter()
            .filter(|f| !base.contains(&f.code.to_string().as_str()))
            .filter(|f| !golden_fleet || f.code.to_string().starts_with("AF04"))
            .collect();
        let (mut got, mut want) = (told(&own), want.to_vec());
        got.sort();
        want.sort_unstable();
        let alike = got.len() == want.len() && got.iter().zip(&want).all(|(g, w)| g.starts_with(w));
        assert!(alike, "{name}:\n got {got:#?}\nwant {want:#?}");
    }
    assert!(expected.is_empty(), "no golden case for {:?}", expected.keys());
}

/// Every case with input files, and what Afield says of it beyond the base.
const PYTHON: &[(&str, &[&str])] = &[
    ("cfg-content-int", &["AF0506 app_configs/master/a-configs.yml:4"]),
    ("cfg-duplicate", &["AF0502 app_configs/master/b-configs.yml:2"]),
    ("cfg-empty-servers", &["AF0501 app_configs/master/a-configs.yml:5"]),
    ("cfg-none", &[]),
    ("dec-default-extract-bool-true", &[]),
    ("key-bad-base64", &["AF0203 json/tunnels.d/tunnels.json:6"]),
    ("key-rsa", &["AF0305 json/tunnels.d/tunnels.json:6"]),
    // The spec has a key as exactly two words, and Nix refuses more.
    ("key-trailing-comment", &["AF0203 json/tunnels.d/tunnels.json:6"]),
    ("key-whitespace", &["AF0203 json/tunnels.d/tunnels.json:6"]),
    ("sec-duplicate", &["AF0502 secrets/master/b-secrets.yml:2"]),
    ("sec-empty-servers-ok", &[]),
    ("sec-no-content", &["AF0501 secrets/master/a-secrets.yml:2"]),
    ("sec-not-mapping", &["AF0501 secrets/master/a-secrets.yml:2"]),
    ("sec-null-section", &["AF0005 secrets/master/a-secrets.yml:1"]),
    ("sec-path-empty", &["AF0501 secrets/master/a-secrets.yml:3"]),
    ("sec-unknown-server", &["AF0503 secrets/master/a-secrets.yml:5"]),
    // The older tool trips over its own merging here.
    ("tun-comment-two-files", &[]),
    (
        "tun-no-per-host",
        &["AF0503 secrets/master/a-secrets.yml:5", "AF0006 json/tunnels.d/tunnels.json:2"],
    ),
    ("tun-type-mismatch", &["AF0005 json/tunnels.d/z.json:2"]),
];

/// A case as sources; its secrets stand for encrypted files that have been opened.
fn python_case(folder: &std::path::Path) -> Sources {
    let mut sources = clean();
    sources.files.remove("json/tunnels.d/t.json");
    for (path, bytes) in files(folder) {
        let text = String::from_utf8(bytes.clone()).unwrap();
        if let Some(name) = path.strip_prefix("configs/") {
            set(&mut sources, &format!("app_configs/master/{name}"), &text);
        } else if let Some(name) = path.strip_prefix("secrets-plain/") {
            let path = format!("secrets/master/{name}");
            set(&mut sources, &path, "$ANSIBLE_VAULT;1.1;AES256\n3030\n");
            sources.opened_secrets.insert(path, bytes);
        } else {
            set(&mut sources, &format!("json/{path}"), &text);
        }
    }
    sources
}

#[test]
fn what_python_refuses_is_told_with_file_and_line() {
    let mut expected: BTreeMap<&str, &[&str]> = PYTHON.iter().copied().collect();
    let root = shared().join("golden/outputs/errors-python");
    for entry in std::fs::read_dir(&root).unwrap() {
        let folder = entry.unwrap().path();
        let input = folder.join("input");
        if !input.is_dir() {
            continue;
        }
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        let want = expected.remove(&*name).unwrap_or_else(|| panic!("{name} has no row"));
        let (fleet, findings) = check(&python_case(&input));
        // The cases have tunnels without host files, and the base has hosts without tunnels.
        let base = ["AF0312", "AF0311", "AF0310"];
        let own: Vec<Finding> =
            findings.into_iter().filter(|f| !base.contains(&f.code.to_string().as_str())).collect();
        let mut got = told(&own);
        let mut want: Vec<String> = want.iter().map(|want| (*want).to_owned()).collect();
        got.sort();
        want.sort();
        assert_eq!(got, want, "{name}");
        let generated = folder.join("generated-app-configs.yml");
        if generated.is_file() {
            let text = std::fs::read_to_string(&generated).unwrap();
            assert_eq!(render::app_configs(&fleet), text, "{name}");
        }
    }
    assert!(expected.is_empty(), "no golden case for {:?}", expected.keys());
}

#[test]
fn the_audit_refuses_or_tells_the_truth_where_the_older_one_erred() {
    let fleet_of = |name: &str| {
        let case: Value =
            serde_json::from_str(&golden(&format!("outputs/audit/errors/{name}.json"))).unwrap();
        let users = serde_json::json!({ "global_admins": [], "users": case["users"] });
        let mut sources = clean();
        set(&mut sources, "json/users.json", &serde_json::to_string_pretty(&users).unwrap());
        (check(&sources), case)
    };
    // Refused: the first was refused, the others told something that is not so.
    let refused = [
        ("conflict", "AF0105"),
        ("direct-beats-role", "AF0105"),
        ("missing-role-host", "AF0101"),
        ("nested-overrides-direct", "AF0105"),
    ];
    for (name, code) in refused {
        let ((fleet, _), _) = fleet_of(name);
        let findings = audit(&fleet, TODAY).expect_err(name);
        assert_eq!(codes(&findings), [code], "{name}");
        assert!(findings[0].file == "json/users.json" && findings[0].line > 1, "{name}");
    }
    // The order of roles in the file does not matter.
    let ((fleet, _), case) = fleet_of("order-good");
    let table = audit(&fleet, TODAY).unwrap().csv(Table::PeopleOfRoles);
    assert_eq!(table, case["files_written"]["users_privs_per_role.csv"].as_str().unwrap());
    let ((fleet, _), _) = fleet_of("role-without-direct-users");
    let table = audit(&fleet, TODAY).unwrap().csv(Table::PeopleOfRoles);
    assert_eq!(table, "User ↓ Role →,u,\nlow,admin,\nmid,admin,\ntop,admin,\n");
    // A missing role that no host uses is a warning, and the audit goes on.
    let ((fleet, findings), _) = fleet_of("missing-role");
    assert!(findings.iter().any(|f| f.code.to_string() == "AF0103"));
    assert!(!findings.iter().any(|f| f.severity == Severity::Error));
    assert!(audit(&fleet, TODAY).is_ok());
}

#[test]
fn waves_that_were_not_evaluated_are_told() {
    let mut sources = clean();
    sources.waves = WavesResult::NotEvaluated("nix-instantiate is not on the PATH".to_owned());
    let (fleet, findings) = check(&sources);
    assert_eq!(told(&findings), ["AF0011 waves-and-staging-hosts.nix:1"]);
    assert_eq!(findings[0].severity, Severity::Note);
    assert!(findings[0].message.contains("PATH"));
    assert!(fleet.waves.is_none());
}
