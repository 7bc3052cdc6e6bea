//! What Nix must not collect: the last good generation, the one to which the machine falls back, and what is
//! under way. The profile alone does not do: a system gets into it after its proof.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::symlink;
use std::path::Path;

use afield_core::ids::StorePath;
use afield_store::files;

use crate::config::Config;
use crate::state::State;

/// Makes the roots those of the state.
pub fn keep(config: &Config, state: &State) -> anyhow::Result<()> {
    let folder = config.inside(Path::new("/nix/var/nix/gcroots/afield-generations"));
    let fallback = state.fallback.as_ref().and_then(|f| f.generation.system.as_ref());
    let attempt = state.attempt.as_ref().and_then(|a| a.to.system.as_ref());
    let roots =
        [("good", state.good.system.as_ref()), ("fallback", fallback), ("attempt", attempt)];
    if roots.iter().all(|(_, system)| system.is_none()) && !folder.exists() {
        return Ok(());
    }
    std::fs::create_dir_all(&folder)?;
    for (name, system) in roots {
        point(&folder, name, system)?;
    }
    Ok(())
}

/// Roots of what is on its way, also of what is not here yet: what was paid for is not collected between two runs. Nix
/// passes over a root whose path it does not have.
pub fn coming<'a>(
    config: &Config,
    paths: impl Iterator<Item = &'a StorePath>,
) -> anyhow::Result<()> {
    let folder = config.inside(Path::new("/nix/var/nix/gcroots/afield-coming"));
    let wanted: BTreeMap<&str, &StorePath> = paths.map(|path| (path.base_name(), path)).collect();
    if wanted.is_empty() && !folder.exists() {
        return Ok(());
    }
    std::fs::create_dir_all(&folder)?;
    let mut there = BTreeSet::new();
    for entry in std::fs::read_dir(&folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !wanted.contains_key(name.as_str()) {
            files::remove_if_there(&folder.join(&name))?;
        }
        there.insert(name);
    }
    for (name, path) in wanted.into_iter().filter(|(name, _)| !there.contains(*name)) {
        symlink(path.as_str(), folder.join(name))?;
    }
    Ok(())
}

fn point(folder: &Path, name: &str, system: Option<&StorePath>) -> anyhow::Result<()> {
    let path = folder.join(name);
    let there = std::fs::read_link(&path).ok();
    if there.as_deref() == system.map(|s| Path::new(s.as_str())) {
        return Ok(());
    }
    match system {
        Some(system) => {
            let new = folder.join(format!("{name}.new"));
            files::remove_if_there(&new)?;
            symlink(system.as_str(), &new)?;
            std::fs::rename(&new, &path)?;
        }
        None => files::remove_if_there(&path)?,
    }
    Ok(files::sync_dir(folder)?)
}
