//! The systems of `nix/tests/ubuntu`: what the modules evaluate to for a host with system-manager, kept as JSON so that the
//! scenario on a machine can build it where there is no nixpkgs' `lib`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::nix_tests::{Count, Nix, differences, repository_root};

/// So many differences are told; they say enough.
const TOLD: usize = 10;

/// The files and what must stand in them.
fn wanted(nix: &Nix) -> Result<BTreeMap<PathBuf, Value>> {
    let folder = repository_root()?.join("nix/tests/ubuntu");
    let systems: BTreeMap<String, Value> = nix.json("ubuntuSystems")?;
    Ok(systems.into_iter().map(|(name, system)| (folder.join(name), system)).collect())
}

/// Writes them anew.
pub fn write(nix: &Nix) -> Result<()> {
    for (path, system) in wanted(nix)? {
        let text = serde_json::to_string_pretty(&system)? + "\n";
        std::fs::write(&path, text).with_context(|| path.display().to_string())?;
        println!("wrote {}", path.display());
    }
    Ok(())
}

/// Compares them with what the modules say now.
pub fn compare(nix: &Nix, count: &mut Count) -> Result<()> {
    for (path, system) in wanted(nix)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let mut found = vec![];
        differences("", &system, &serde_json::from_str(&text)?, &mut found);
        found.truncate(TOLD);
        let told =
            || format!("{}\n    `cargo nix-tests --write` writes it anew", found.join("\n    "));
        count.tell(
            &format!("ubuntu-system/{name}"),
            if found.is_empty() { Ok(()) } else { Err(told()) },
        );
    }
    Ok(())
}
