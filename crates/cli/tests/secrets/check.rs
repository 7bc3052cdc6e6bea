//! `afield check` looks into encrypted files if it is given a key, shows nothing of them, and says what stayed closed.

use serde_json::Value;

use crate::support::{
    AGE_PUBLIC, AGE_SECRET, PASSWORD, afield, golden_fleet, ok, run, scratch, write,
};

const LIE: &str = "org-config/secrets/master/lie-secrets.yml";
const TEXT: &str =
    "secrets:\n  relay:\n    path: relay.env\n    content: hunter2\n    servers: [no-such-host]\n";

/// What it prints as JSON.
fn check(dir: &std::path::Path, args: &[&str], password: Option<&str>) -> (Value, String) {
    let mut command = afield(dir, &[&["check", "--json"], args].concat());
    command.envs(password.map(|word| ("AFIELD_VAULT_PASSWORD", word)));
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stdout.clone()).unwrap();
    (serde_json::from_str(&said).unwrap_or_else(|e| panic!("{e}: {output:?}")), said)
}

fn found(report: &Value) -> Vec<String> {
    let mine = |f: &&Value| f["file"] == "secrets/master/lie-secrets.yml";
    let findings = report["findings"].as_array().unwrap().iter().filter(mine);
    findings.map(|f| format!("{}:{}: {}", f["code"], f["line"], f["message"])).collect()
}

fn closed(report: &Value) -> Vec<String> {
    let files = report["not_checked"].as_array().unwrap().iter();
    let secrets = files.filter(|f| f["file"].as_str().unwrap().starts_with("secrets/"));
    secrets.map(|f| format!("{}: {}", f["file"], f["why"])).collect()
}

#[test]
fn a_vault_is_looked_into_with_its_password() {
    let dir = scratch();
    golden_fleet(dir.path());
    write(&dir.path().join(LIE), TEXT);
    ok(dir.path(), &["secrets", "encrypt", LIE]);

    let (report, _) = check(dir.path(), &[], None);
    assert_eq!(found(&report), [""; 0]);
    assert!(
        closed(&report).iter().any(|f| f.contains("lie-secrets.yml") && f.contains("password"))
    );

    write(&dir.path().join("word"), format!("{PASSWORD}\n"));
    for (args, word) in [
        (&[][..], Some(PASSWORD)),
        (&["--password-file", "word"], None),
        (&["--password-command", "cat word"], None),
    ] {
        let (report, said) = check(dir.path(), args, word);
        let [finding] = &found(&report)[..] else { panic!("{report}") };
        assert!(finding.contains(":5: ") && finding.contains("no-such-host"), "{finding}");
        assert_eq!(closed(&report), [""; 0]);
        assert!(!said.contains("hunter2"), "{said}");
    }
    // For people the place is told, and nothing of what stands there.
    let output = run(dir.path(), &["check"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("lie-secrets.yml:5") && !said.contains("hunter2"), "{said}");
    assert!(!said.contains("$ANSIBLE_VAULT"), "{said}");

    let (report, _) = check(dir.path(), &[], Some("wrong"));
    assert_eq!(found(&report), [""; 0]);
    let why = closed(&report).into_iter().find(|f| f.contains("lie-secrets.yml")).unwrap();
    assert!(why.contains("password"), "{why}");
}

#[test]
fn an_age_file_is_encrypted_too_and_is_looked_into_with_the_key() {
    let dir = scratch();
    let fleet = golden_fleet(dir.path());
    write(&fleet.join("secrets/operators.pub"), AGE_PUBLIC);
    write(&dir.path().join("key"), AGE_SECRET);
    write(&dir.path().join(LIE), TEXT);
    ok(dir.path(), &["secrets", "encrypt", "--age", LIE]);
    let (report, _) = check(dir.path(), &[], None);
    assert_eq!(found(&report), [""; 0], "an age file is not in clear");
    assert!(closed(&report).iter().any(|f| f.contains("lie-secrets.yml")));
    let (report, _) = check(dir.path(), &["--identity", "key"], Some(PASSWORD));
    assert!(found(&report)[0].contains("no-such-host"), "{report}");
    assert_eq!(closed(&report), [""; 0]);
}
