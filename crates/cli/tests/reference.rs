//! Fleets of 40 hosts with everything in them, against an implementation that shares nothing with Afield: Python, with
//! PyYAML and PyNaCl, which follows the written rules (`data/reference-fleet.py`).

#![allow(clippy::unwrap_used)]

#[path = "secrets/support.rs"]
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Map, Value, json};
use support::{PASSWORD, copy, ok, python_tool, scratch, success};

/// `AFIELD_REFERENCE_SEEDS=1000` looks at so many fleets.
fn seeds() -> std::ops::Range<u64> {
    let text = std::env::var("AFIELD_REFERENCE_SEEDS").ok();
    0..text.and_then(|text| text.parse().ok()).unwrap_or(3)
}

fn reference(args: &[&str]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/reference-fleet.py");
    success(Command::new(python_tool("python")).arg(script).args(args).output().unwrap())
}

#[test]
fn a_fleet_of_forty_hosts_resolves_as_the_rules_say() {
    for seed in seeds() {
        println!("seed {seed}");
        let dir = scratch();
        reference(&["make", dir.path().to_str().unwrap(), &seed.to_string()]);
        let expected: Value =
            serde_json::from_slice(&fs::read(dir.path().join("expected.json")).unwrap()).unwrap();
        let afield = |args: &[&str]| ok(dir.path(), &[&["--today", "2026-11-23"], args].concat());

        let found: Value = serde_json::from_str(&afield(&["--json", "check"])).unwrap();
        assert_eq!(codes(&found), expected["codes"], "seed {seed}: {found:#}");
        let plans: Value = serde_json::from_str(&afield(&["--json", "show", "hosts"])).unwrap();
        let hosts = expected["hosts"].as_object().unwrap();
        assert_eq!(hosts.len(), 40);
        for (host, expected) in hosts {
            assert_eq!(plan(&plans[host], expected), *expected, "seed {seed}: {host}");
        }
        for relay in ["relay-a", "Relay-B"] {
            assert_eq!(plans[relay]["relay_keys"], expected["relay"], "seed {seed}: {relay}");
        }
        assert_eq!(
            afield(&["configs", "render", "--out", "-"]),
            expected["generated"],
            "seed {seed}"
        );
        afield(&["access", "audit", "-o", dir.path().to_str().unwrap()]);
        for (name, table) in expected["csv"].as_object().unwrap() {
            assert_eq!(
                fs::read_to_string(dir.path().join(name)).unwrap(),
                *table,
                "seed {seed}: {name}"
            );
        }
    }
}

fn codes(found: &Value) -> Value {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for finding in found["findings"].as_array().unwrap() {
        *counts.entry(finding["code"].as_str().unwrap()).or_default() += 1;
    }
    json!(counts)
}

/// The part of a plan that the reference knows, in its shape.
fn plan(plan: &Value, expected: &Value) -> Value {
    let access = plan["access"].as_object().unwrap().iter().map(|(user, access)| {
        let line = |key: &Value| {
            let options: Vec<&str> = key["options"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|o| o.as_str().unwrap())
                .collect();
            let start =
                if options.is_empty() { String::new() } else { format!("{} ", options.join(",")) };
            format!("{start}{} {user}", key["key"].as_str().unwrap())
        };
        let keys: Vec<String> = access["keys"].as_array().unwrap().iter().map(line).collect();
        (
            user.clone(),
            json!({ "profile": access["profile"], "expires": access["expires"], "keys": keys }),
        )
    });
    let configs = plan["configs"].as_object().unwrap().iter().map(|(name, config)| {
        // How content that is no text reaches a host is told as a finding, and not for the reference to say.
        let text = expected["configs"][name]["content"].is_string();
        let content = if text { config["content"].clone() } else { Value::Null };
        (name.clone(), json!({ "path": config["path"], "content": content }))
    });
    json!({
        "kind": plan["kind"],
        "wave": plan["wave"],
        "branch": plan["branch"],
        "access": access.collect::<Map<_, _>>(),
        "tunnel": plan["tunnel"],
        "configs": configs.collect::<Map<_, _>>(),
    })
}

#[test]
fn what_is_sealed_to_forty_hosts_is_opened_by_the_older_decrypter() {
    for seed in seeds() {
        println!("seed {seed}");
        let dir = scratch();
        let root = dir.path().to_str().unwrap();
        reference(&["make", root, &seed.to_string()]);
        let expected: Value =
            serde_json::from_slice(&fs::read(dir.path().join("expected.json")).unwrap()).unwrap();
        let master = dir.path().join("org-config/secrets/master");
        copy(&dir.path().join("secrets-plain"), &master);
        ok(
            dir.path(),
            &[
                "secrets",
                "encrypt",
                "--vault-id",
                "prod",
                "org-config/secrets/master/part0-secrets.yml",
            ],
        );
        // The other one by the real ansible-vault.
        fs::write(dir.path().join("pw"), PASSWORD).unwrap();
        let mut ansible = Command::new(python_tool("ansible-vault"));
        ansible.args([
            "encrypt",
            "--vault-password-file",
            "pw",
            "org-config/secrets/master/deep/part1-secrets.yml",
        ]);
        success(ansible.current_dir(dir.path()).env("HOME", dir.path()).output().unwrap());
        fs::create_dir_all(dir.path().join("org-config/secrets/generated")).unwrap();
        ok(dir.path(), &["secrets", "seal"]);
        let opened: Value = serde_json::from_str(&reference(&["open", root])).unwrap();
        assert_eq!(opened, expected["padded"], "seed {seed}");
    }
}
