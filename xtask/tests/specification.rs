//! What the documents name exists: every `path.rs::name` is a function of that file, and where a promise is said to
//! be held, the name is that of a test.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn document(name: &str) -> String {
    let path = root().join(name);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The code spans `path.rs::name` of a text.
fn named(text: &str) -> Vec<(&str, &str)> {
    let spans = text.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    spans.filter_map(|span| span.split_once(".rs::")).collect()
}

/// Why a name does not stand for what it should; none if it does.
fn wrong((path, name): (&str, &str), test: bool) -> Option<String> {
    let shown = format!("{path}.rs::{name}");
    let Ok(source) = fs::read_to_string(root().join(format!("{path}.rs"))) else {
        return Some(format!("{shown}: there is no such file"));
    };
    let lines: Vec<&str> = source.lines().map(str::trim_start).collect();
    let is_it = |line: &&str| {
        let after = line.split_once("fn ").map(|(_, rest)| rest);
        let after = after.and_then(|rest| rest.strip_prefix(name));
        after.is_some_and(|rest| rest.starts_with(['(', '<']))
    };
    let Some(at) = lines.iter().position(is_it) else {
        return Some(format!("{shown}: there is no such function"));
    };
    let mut above = lines[..at].iter().rev();
    let is_test =
        above.by_ref().take_while(|line| line.starts_with('#')).any(|line| *line == "#[test]");
    // The demo is a test of its own: `cargo ci` plays it.
    let held = !test || is_test || path.starts_with("xtask/src/demo/");
    (!held).then(|| format!("{shown}: it is no test"))
}

fn check(document_name: &str, test: bool) {
    let text = document(document_name);
    let found = named(&text);
    assert!(!found.is_empty(), "{document_name} names nothing");
    let wrong: Vec<String> = found.into_iter().filter_map(|n| wrong(n, test)).collect();
    assert!(wrong.is_empty(), "{document_name} names what does not exist:\n{}", wrong.join("\n"));
}

#[test]
fn every_test_that_the_specification_names_exists() {
    check("SPECIFICATION.md", true);
}

#[test]
fn every_test_that_the_threat_model_names_exists() {
    check("SECURITY.md", true);
}

#[test]
fn every_function_that_the_architecture_names_exists() {
    check("ARCHITECTURE.md", false);
}

/// A row that names no test belongs under `## Not held yet`.
#[test]
fn every_promise_that_is_held_names_a_test() {
    let text = document("SPECIFICATION.md");
    let (held, rest) = text.split_once("\n## Not held yet").expect("a section of what is not held");
    assert!(!rest.contains("\n## Held"), "what is held stands before what is not");
    let is_head = |line: &str| line.starts_with("| promise") || line.starts_with("| ---");
    let rows = held.lines().filter(|line| line.starts_with("| ") && !is_head(line));
    let rows: Vec<&str> = rows.collect();
    assert!(rows.len() > 20, "only {} rows", rows.len());
    let bare: Vec<&&str> = rows.iter().filter(|row| named(row).is_empty()).collect();
    assert!(bare.is_empty(), "no test is named in {bare:#?}");
}

#[test]
fn a_name_that_is_nowhere_is_found_out() {
    let text = "See `xtask/tests/specification.rs::document`, `xtask/tests/no.rs::f` and `f.rs`.";
    let found = named(text);
    let lies = [("xtask/tests/specification", "document"), ("xtask/tests/no", "f")];
    assert_eq!(found, lies);
    assert_eq!(wrong(lies[0], false), None);
    assert!(wrong(lies[0], true).unwrap().contains("no test"));
    assert!(wrong(lies[1], false).unwrap().contains("no such file"));
    let half = ("xtask/tests/specification", "docu");
    assert!(wrong(half, false).unwrap().contains("no such function"));
}

#[test]
fn the_readme_shows_the_flake_that_a_new_fleet_gets() {
    let flake = document("templates/fleet/flake.nix");
    assert!(flake.lines().count() < 15, "it is said to be short");
    let readme = document("README.md");
    assert!(readme.contains(&format!("```nix\n{flake}```")), "README.md shows another flake");
}
