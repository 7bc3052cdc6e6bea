//! The boundaries of `design.md`: core ← store ← {agent, hub, cli}, and those three never depend on each other.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail};

use super::Skipped;
use super::workspace::Workspace;
use crate::process;

/// Every edge that may exist; `testkit` is for tests only, so nothing that ships may depend on it.
const ALLOWED: &[(&str, &str)] = &[
    ("afield-store", "afield-core"),
    ("afield-agent", "afield-core"),
    ("afield-agent", "afield-store"),
    ("afield-hub", "afield-core"),
    ("afield-hub", "afield-store"),
    ("afield-cli", "afield-core"),
    ("afield-cli", "afield-store"),
    ("afield-testkit", "afield-core"),
    ("afield-testkit", "afield-store"),
    // Fuzz targets reach every parser; nothing depends on them.
    ("afield-fuzz", "afield-agent"),
    ("afield-fuzz", "afield-core"),
    ("afield-fuzz", "afield-store"),
    ("afield-fuzz", "afield-testkit"),
    // Tests on real machines: nothing depends on it.
    ("afield-vm", "afield-core"),
    ("afield-vm", "afield-testkit"),
    // The Nix tests compare the modules with what core resolves.
    ("xtask", "afield-core"),
    // The bench of delivery makes and applies patches.
    ("xtask", "afield-store"),
];

/// Compares the manifests with the boundaries, and the picture in ARCHITECTURE.md with the manifests.
pub fn check(workspace: &Workspace) -> Result<Skipped> {
    let edges = workspace.edges();
    let forbidden: Vec<String> = edges
        .iter()
        .filter(|edge| !ALLOWED.contains(edge))
        .map(|(from, to)| format!("{from} depends on {to}"))
        .collect();
    if !forbidden.is_empty() {
        bail!("{}; see the boundaries in ARCHITECTURE.md", forbidden.join(", "));
    }
    let file = process::root().join("ARCHITECTURE.md");
    if !file.exists() {
        return Ok(vec![
            "ARCHITECTURE.md is not there, so its picture of the crates was not compared".into(),
        ]);
    }
    let text = std::fs::read_to_string(&file).context("cannot read ARCHITECTURE.md")?;
    if drawn(&text) != edges {
        bail!("ARCHITECTURE.md must draw the crates as they are, one line each:\n{}", draw(&edges));
    }
    Ok(Vec::new())
}

/// The lines `crate → crate, crate` of a document.
fn drawn(text: &str) -> BTreeSet<(&str, &str)> {
    let lines = text.lines().filter_map(|line| line.trim().split_once(" → "));
    let ours = lines.filter(|(from, _)| {
        (from.starts_with("afield-") || *from == "xtask") && !from.contains(' ')
    });
    ours.flat_map(|(from, to)| to.split(", ").map(move |to| (from.trim(), to.trim()))).collect()
}

fn draw(edges: &BTreeSet<(&str, &str)>) -> String {
    let from: BTreeSet<&str> = edges.iter().map(|(from, _)| *from).collect();
    let line = |from: &str| {
        let to = edges.iter().filter(|(f, _)| *f == from).map(|(_, to)| *to);
        format!("    {from} → {}\n", to.collect::<Vec<_>>().join(", "))
    };
    from.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_drawn_is_read_back() {
        let edges: BTreeSet<_> = ALLOWED.iter().copied().collect();
        let text = format!("A page.\n\n{}\nMore → less.\n", draw(&edges));
        assert_eq!(drawn(&text), edges);
        assert_ne!(drawn(&text.replace("afield-core, ", "")), edges);
    }
}
