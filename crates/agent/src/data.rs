//! Host data on the host: app configs as a tree below `/run/.app_configs`, replaced as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use afield_core::host_data::HostData;
use afield_core::ids::ObjectId;
use afield_core::release::ObjectRef;
use afield_store::repository::MAX_PACKED;
use afield_store::{fault, files, object};
use anyhow::Context as _;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::host::Host;

/// Permission bits of folders and files (fleet-folder spec §4).
const DIR_MODE: u32 = 0o750;
const FILE_MODE: u32 = 0o640;

fn tree(host: &Host) -> PathBuf {
    host.config.inside(Path::new("/run/.app_configs"))
}

/// Host data that was kept when it was verified.
pub fn kept(host: &Host, id: &ObjectId) -> anyhow::Result<HostData> {
    let path = host.document(id);
    let bytes = files::read_limited(&path, MAX_PACKED)
        .with_context(|| format!("the host data {id} is not kept here any more"))?;
    let object = ObjectRef { id: *id, size: bytes.len() as u64 };
    Ok(object::open_document(&object, &bytes)?)
}

/// Replaces the tree by that of the host data: all or nothing, at one instant.
pub fn apply(host: &Host, data: &HostData) -> anyhow::Result<()> {
    let tree = tree(host);
    let folder = tree.parent().context("the root folder has no /run")?;
    fs::create_dir_all(folder)?;
    let new = folder.join(".app_configs.new");
    remove_tree(&new)?;
    make_dir(&new)?;
    for file in data.configs.values() {
        write(&new, &file.path, file.content.as_bytes())
            .with_context(|| format!("the app config {} cannot be written", file.path))?;
        fault::point("data:file");
    }
    fault::point("data:written");
    if tree.exists() {
        renameat_with(CWD, &new, CWD, &tree, RenameFlags::EXCHANGE)?;
        fault::point("data:exchanged");
        remove_tree(&new)?;
    } else {
        fs::rename(&new, &tree)?;
    }
    files::sync_dir(folder)?;
    fault::point("data:applied");
    Ok(())
}

fn write(tree: &Path, path: &str, content: &[u8]) -> io::Result<()> {
    let path = tree.join(path);
    let mut missing: Vec<&Path> =
        path.ancestors().skip(1).take_while(|folder| !folder.exists()).collect();
    while let Some(folder) = missing.pop() {
        make_dir(folder)?;
    }
    fs::write(&path, content)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(FILE_MODE))
}

fn make_dir(path: &Path) -> io::Result<()> {
    fs::create_dir(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(DIR_MODE))
}

fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// What on the host is not as the host data says, each by name. Empty if all is.
pub fn drift(host: &Host, data: &HostData) -> Vec<String> {
    let tree = tree(host);
    let mut drift = Vec::new();
    let wanted: BTreeMap<PathBuf, &str> =
        data.configs.values().map(|f| (tree.join(&f.path), f.content.as_str())).collect();
    for (path, content) in &wanted {
        let max = content.len() as u64;
        match files::read_limited(path, max) {
            Ok(found) if found == content.as_bytes() => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                drift.push(format!("{} is missing", path.display()));
                continue;
            }
            _ => drift.push(format!("{} has another content", path.display())),
        }
        let mode = fs::metadata(path).map_or(0, |m| m.permissions().mode() & 0o7777);
        if mode != FILE_MODE {
            drift.push(format!("{} has the mode {mode:04o}, not {FILE_MODE:04o}", path.display()));
        }
    }
    let mut found = BTreeSet::new();
    if collect(&tree, &mut found).is_err() {
        drift.push(format!("{} is missing", tree.display()));
    }
    let extra = found.iter().filter(|p| !wanted.contains_key(*p));
    drift.extend(extra.map(|p| format!("{} is not declared", p.display())));
    drift
}

/// Every entry below a folder that is no folder.
fn collect(folder: &Path, found: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), found)?;
        } else {
            found.insert(entry.path());
        }
    }
    Ok(())
}
