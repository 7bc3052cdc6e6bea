//! `docs/refusals.md` has every code that the agent can refuse with, and no other.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The texts behind `=> "` in a source file: the codes of its `code()`.
fn in_source(file: &str) -> BTreeSet<String> {
    let text = read(file);
    let codes = text.split("=> \"").skip(1);
    codes.map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
}

/// The first cell of every row of the tables in the document.
fn in_document() -> Vec<String> {
    let text = read("../../docs/refusals.md");
    let cells = text.lines().filter_map(|line| line.strip_prefix("| `"));
    cells.map(|rest| rest.split('`').next().unwrap().to_owned()).collect()
}

fn read(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[test]
fn every_code_is_documented_once() {
    let mut codes = in_source("src/refusal.rs");
    codes.extend(in_source("../store/src/trust/refusal.rs"));
    // Both files say codes as this test reads them, or it would prove nothing.
    assert!(codes.contains("no-space") && codes.contains("metadata-expired"));
    let rows = in_document();
    let documented: BTreeSet<String> = rows.iter().cloned().collect();
    assert_eq!(documented, codes, "docs/refusals.md does not fit the code");
    assert_eq!(rows.len(), documented.len(), "a code stands there twice");
}
