//! Carries out the list of what stands where, and compares it.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use afield_core::accounts::{FOLDER, Placed, SUDOERS, What};
use afield_store::{fault, files};
use anyhow::{Context as _, bail};

use super::system;
use crate::config::Config;

/// Revokes first, then places what differs: all is written beside before the first thing changes. What fails is told
/// together at the end.
pub fn all(config: &Config, wanted: &[Placed], stale: &BTreeSet<String>) -> anyhow::Result<()> {
    let mut failed = Vec::new();
    let mut folders: BTreeSet<PathBuf> = BTreeSet::new();
    // Keys, principals and sudo rules before the records that they speak of.
    let first = |path: &&String| path.starts_with(FOLDER) || *path == SUDOERS;
    let ordered = stale.iter().filter(first).chain(stale.iter().filter(|path| !first(path)));
    for (n, path) in ordered.enumerate() {
        let full = config.inside(Path::new(path));
        match remove(&full) {
            Ok(()) => drop(full.parent().map(|folder| folders.insert(folder.to_owned()))),
            Err(e) => failed.push(format!("{path} cannot be removed: {e}")),
        }
        point("access:removed", n);
    }
    let mut staged = Vec::new();
    for placed in wanted.iter().filter(|placed| difference(config, placed).is_some()) {
        match stage(config, placed) {
            Ok(Some(beside)) => staged.push((beside, config.inside(Path::new(&placed.path)))),
            Ok(None) => {}
            Err(e) => failed.push(format!("{}: {e:#}", placed.path)),
        }
    }
    fault::point("access:staged");
    for (n, (beside, path)) in staged.into_iter().enumerate() {
        let cleared = if path.is_dir() { fs::remove_dir(&path) } else { Ok(()) };
        if let Err(e) = cleared.and_then(|()| fs::rename(&beside, &path)) {
            failed.push(format!("{} cannot be replaced: {e}", path.display()));
        }
        folders.extend(path.parent().map(Path::to_owned));
        point("access:placed", n);
    }
    for folder in &folders {
        files::sync_dir(folder)?;
    }
    if !failed.is_empty() {
        bail!("{}", failed.join("; "));
    }
    Ok(())
}

/// Each of many alike is as good a place to be cut off as the second.
fn point(name: &str, n: usize) {
    if n < 2 {
        fault::point(name);
    }
}

/// Where it is written before it is put in place. With a dot in the name neither sudo nor nss-systemd takes it for one
/// of theirs.
pub fn beside(path: &str) -> Option<String> {
    let (folder, name) = path.rsplit_once('/')?;
    Some(format!("{folder}/.{name}.new"))
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        _ => files::remove_if_there(path),
    }
}

/// Writes one thing beside its place; folders and homes are made at once.
fn stage(config: &Config, placed: &Placed) -> anyhow::Result<Option<PathBuf>> {
    let path = config.inside(Path::new(&placed.path));
    let folder = path.parent().context("it has no folder")?;
    let beside = beside(&placed.path).context("it has no name")?;
    let beside = config.inside(Path::new(&beside));
    match &placed.what {
        What::Folder(mode) => {
            make_folder(&path, *mode)?;
            return Ok(None);
        }
        What::Home(owner) => {
            fs::create_dir_all(folder)?;
            remove(&beside)?;
            fs::DirBuilder::new().mode(0o700).create(&beside)?;
            std::os::unix::fs::chown(&beside, Some(*owner), Some(*owner))?;
            fs::rename(&beside, &path)?;
            return Ok(None);
        }
        What::File(content, mode) => {
            fs::create_dir_all(folder)?;
            remove(&beside)?;
            let mut options = fs::OpenOptions::new();
            let mut file = options.write(true).create_new(true).mode(0o600).open(&beside)?;
            file.write_all(content.as_bytes())?;
            let mode = std::os::unix::fs::PermissionsExt::from_mode(*mode);
            file.set_permissions(mode)?;
            file.sync_all()?;
        }
        What::Link(target) => {
            remove(&beside)?;
            symlink(target, &beside)?;
        }
    }
    if placed.path == SUDOERS
        && let Err(e) = valid_sudoers(&beside)
    {
        files::remove_if_there(&beside)?;
        return Err(e);
    }
    Ok(Some(beside))
}

fn make_folder(path: &Path, mode: u32) -> io::Result<()> {
    if fs::symlink_metadata(path).is_ok_and(|meta| !meta.is_dir()) {
        fs::remove_file(path)?;
    }
    fs::create_dir_all(path)?;
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode))?;
    std::os::unix::fs::chown(path, Some(0), Some(0))
}

/// A file that sudo does not understand makes it refuse everybody: it must not get there.
fn valid_sudoers(file: &Path) -> anyhow::Result<()> {
    let Some(visudo) = system::program("visudo") else {
        return Ok(());
    };
    let mut command = Command::new(visudo);
    let command = command.args(["-c", "-q", "-f"]).arg(file).stdin(Stdio::null());
    let output = command.output().context("visudo cannot be run")?;
    if !output.status.success() {
        let said = [output.stderr, output.stdout].concat();
        bail!("visudo does not accept it: {}", String::from_utf8_lossy(&said).trim());
    }
    Ok(())
}

/// How the place differs from what must be there.
pub fn difference(config: &Config, placed: &Placed) -> Option<String> {
    let path = config.inside(Path::new(&placed.path));
    let shown = &placed.path;
    let Ok(meta) = fs::symlink_metadata(&path) else {
        return Some(format!("{shown} is missing"));
    };
    let mode = match &placed.what {
        What::Link(target) => {
            let found = fs::read_link(&path).ok();
            let same = found.is_some_and(|found| found == Path::new(target));
            return (!same).then(|| format!("{shown} does not link to {target}"));
        }
        // Its owner may do with it what they like.
        What::Home(_) => return None,
        What::Folder(_) if !meta.is_dir() => return Some(format!("{shown} is no folder")),
        What::File(..) if !meta.is_file() => return Some(format!("{shown} is no plain file")),
        What::File(content, _)
            if !files::read_limited(&path, content.len() as u64)
                .is_ok_and(|found| found == content.as_bytes()) =>
        {
            return Some(format!("{shown} has another content"));
        }
        What::File(_, mode) | What::Folder(mode) => *mode,
    };
    let found = meta.mode() & 0o7777;
    if found != mode {
        return Some(format!("{shown} has the mode {found:04o}, not {mode:04o}"));
    }
    let owner = (meta.uid(), meta.gid());
    (owner != (0, 0)).then(|| format!("{shown} belongs to {}:{}, not to root", owner.0, owner.1))
}
