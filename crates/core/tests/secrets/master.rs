//! Master files: the golden error cases and more, and adding to them.

use std::time::{Duration, Instant};

use afield_core::secrets::add;
use afield_core::secrets::master::{self, MasterSecret};
use afield_core::secrets::{seal, sealed};

use crate::fixtures::{golden_hosts, hosts_of};
use crate::support::{golden, golden_text};

fn refused(text: &str) -> String {
    let problems = match master::parse("f.yml", text) {
        Ok(secrets) => seal::plan(&golden_hosts(), &secrets).err().unwrap_or_default(),
        Err(problems) => problems,
    };
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn golden_case(case: &str) -> String {
    let folder = format!("outputs/errors-python/{case}/input/secrets-plain");
    let mut files: Vec<_> =
        std::fs::read_dir(golden(&folder)).unwrap().map(|file| file.unwrap().file_name()).collect();
    files.sort();
    let hosts = hosts_of(&format!("outputs/errors-python/{case}/input/tunnels.d"));
    let mut secrets = Vec::new();
    for file in files {
        let name = file.to_str().unwrap();
        match master::parse(name, &golden_text(&format!("{folder}/{name}"))) {
            Ok(found) => secrets.extend(found),
            Err(problems) => {
                return problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
            }
        }
    }
    match seal::plan(&hosts, &secrets) {
        Ok(plan) => format!("ok: {:?} {:?}", plan.hosts.keys(), plan.skipped),
        Err(problems) => problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
    }
}

#[test]
fn golden_error_cases() {
    for (case, want) in [
        ("sec-duplicate", "b-secrets.yml:2: secret `dup` stands also in a-secrets.yml:2"),
        ("sec-no-content", "a-secrets.yml:2: secret `s` has no `content`"),
        (
            "sec-not-mapping",
            "a-secrets.yml:2: secret `s` must be a map with path, content and servers, not text",
        ),
        ("sec-null-section", "a-secrets.yml:1: `secrets:` holds nothing; write `secrets: {}`"),
        ("sec-path-empty", "a-secrets.yml:3: `path` of secret `s`: the path is empty"),
        (
            "sec-unknown-server",
            "a-secrets.yml:2: secret `s` names host `zz`, which is not in tunnels.d",
        ),
        ("sec-empty-servers-ok", "ok: []"),
        (
            "key-bad-base64",
            "cannot seal to host `a1` with its public_key in tunnels.d: this is no OpenSSH public key",
        ),
        ("key-rsa", "this is a key of type ssh-rsa"),
        ("key-trailing-comment", "ok: [\"a1\"]"),
        ("key-whitespace", "ok: [] {\"a1\": NoKey}"),
    ] {
        let told = golden_case(case);
        assert!(told.contains(want), "{case}: {told}");
    }
}

#[test]
fn master_refusals_name_the_line() {
    let entry =
        |lines: &str| refused(&format!("# comment\nsecrets:\n  s:\n    servers: []\n{lines}"));
    for (lines, want) in [
        ("    path: /x\n    content: c\n", "f.yml:5: `path` of secret `s`: the path is absolute"),
        ("    path: a/../b\n    content: c\n", "f.yml:5: `path` of secret `s`: the path leaves"),
        ("    content: c\n", "f.yml:3: secret `s` has no `path`"),
        ("    path: p\n    content: 12\n", "f.yml:6: `content` of secret `s` is a number"),
        ("    path: p\n    content:\n", "f.yml:6: `content` of secret `s` is nothing"),
        (
            "    path: p\n    content: c\n    default_extract: 3\n",
            "f.yml:7: `default_extract` of secret `s` must be",
        ),
        (
            "    path: p\n    content: c\n  s:\n    path: q\n    content: c\n    servers: []\n",
            "f.yml:7: secret `s` stands twice",
        ),
        (
            "    path: p\n    content: c\n    content: d\n",
            "f.yml:7: secret `s` has `content` twice",
        ),
        ("    path: p\n    content: c\nsecrets: {}\n", "f.yml:7: `secrets:` stands twice"),
        ("    path: p\n    content: !vault c\n", "f.yml:6: YAML tags"),
        ("    path: p\n    content: *x\n", "f.yml:6: this is not YAML"),
    ] {
        let told = entry(lines);
        assert!(told.contains(want), "{lines}: {told}");
    }
    assert!(
        refused("secrets: {s: {path: p, content: c, servers: x}}")
            .contains("`servers` of secret `s` is text")
    );
    assert!(
        refused("secrets: {s: {path: p, content: c, servers: [no]}}").contains("not a host name")
    );
    assert!(refused("configs: {}").contains("there is no map `secrets:`"));
}

#[test]
fn master_reads_merges_tags_and_remarks_as_pyyaml_does() {
    let text = "_comment: x\nsecrets:\n  _comment: a remark\n  a: &a {path: a, content: c, servers: [nuc-pap]}\n  \
                b: {<<: *a, path: b, default_extract: !!bool \"false\"}\n  c: {<<: [{content: !!str 7}, *a], path: c}\n";
    let secrets = master::parse("f.yml", text).unwrap();
    let told = secrets
        .iter()
        .map(|s| format!("{} {} {} {}", s.name, s.path, *s.content, s.extract.unpacks()));
    assert_eq!(told.collect::<Vec<_>>(), ["a a c true", "b b c false", "c c 7 true"]);
    assert!(secrets.iter().all(|secret| secret.servers == ["nuc-pap"]));
    assert!(refused("secrets: {a: {<<: 5}}").contains("`<<` takes a map"));
}

#[test]
fn master_takes_anchors_and_all_spellings_of_default_extract() {
    let text = "x: &hosts [nuc-pap]\nsecrets:\n  a: {path: a, content: c, servers: *hosts, default_extract: FALSE}\n  \
                b: {path: b, content: c, servers: *hosts, default_extract: 'fAlse'}\n  c: {path: c, content: c, servers: *hosts, default_extract: no}\n  \
                d: {path: d, content: c, servers: *hosts, default_extract: true}\n  e: {path: e, content: c, servers: *hosts}\n";
    let secrets = master::parse("f.yml", text).unwrap();
    let unpacks: Vec<bool> = secrets.iter().map(|secret| secret.extract.unpacks()).collect();
    assert_eq!(unpacks, [false, false, false, true, true]);
    let plan = seal::plan(&golden_hosts(), &secrets).unwrap();
    let sealed = sealed::tree(&plan.hosts["nuc-pap"].padded).unwrap();
    assert_eq!(sealed.secrets.iter().map(|secret| secret.extract).collect::<Vec<_>>(), unpacks);
}

#[test]
fn aliases_that_explode_are_refused() {
    let mut text = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..12 {
        let before = level - 1;
        text += &format!("a{level}: &a{level} [{}]\n", vec![format!("*a{before}"); 10].join(","));
    }
    let start = Instant::now();
    assert!(refused(&text).contains("repeat too much"), "{}", refused(&text));
    assert!(start.elapsed() < Duration::from_secs(20));
    assert!(refused(&format!("secrets: {}", "[".repeat(100_000))).contains("f.yml:1:"));
}

fn keys_for(host: &str) -> Vec<MasterSecret> {
    let text = |text: &str| zeroize::Zeroizing::new(text.repeat(64));
    add::host_keys(host, &text("AB"), &text("CD"))
}

#[test]
fn host_keys_in_a_new_file_are_as_the_older_tool_wrote_them_but_with_the_recovery_key() {
    let text = add::add("f.yml", "", &keys_for("nuc-juba")).unwrap();
    let older = golden_text("outputs/python/add_encryption_key/file-after-decrypt.yml");
    let lost = "content: nuc-juba-recovery-encryption-key";
    assert_eq!(*text, older.replace(lost, &format!("content: {}", "CD".repeat(64))));
}

#[test]
fn adding_keeps_comments_where_it_can() {
    let old = "# keep me\nsecrets:\n    a:\n        path: a # and me\n        content: |+\n          x\n\n        servers: []";
    let text = add::add("f.yml", old, &keys_for("h1")).unwrap();
    assert!(
        text.starts_with(old) && text.contains("\n    h1-recovery-encryption-key:\n"),
        "{}",
        *text
    );
    assert_eq!(master::parse("f", &text).unwrap().len(), 3);
    let again = add::add("f.yml", &text, &keys_for("h1")).unwrap_err();
    assert!(
        again[0].to_string().contains("f.yml:9: secret `h1-encryption-key` is there already"),
        "{}",
        again[0]
    );
    for old in ["secrets: {}\n", "secrets: {a: {path: a, content: b, servers: []}}\nother: 1\n"] {
        let text = add::add("f.yml", old, &keys_for("h1")).unwrap();
        let read = master::parse("f", &text).unwrap();
        assert_eq!(
            *read.iter().find(|s| s.name == "h1-recovery-encryption-key").unwrap().content,
            "CD".repeat(64)
        );
    }
}
