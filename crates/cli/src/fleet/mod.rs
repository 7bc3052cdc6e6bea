//! The fleet as the commands that build and release need it: `afield.toml`, the hosts, and what each is told.

mod declared;
mod secrets;
mod windows;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use afield_core::host_plan::HostKind;
use afield_core::ids::HostName;
use afield_core::settings::Settings;
use anyhow::Context as _;

use crate::context::Context;
use crate::exit::Failure;
use crate::nix::eval::Source;

pub use declared::{Declared, Told, declared};
pub use windows::refuse_lost_windows;

/// `afield.toml`, and where it is.
#[derive(Debug, Clone)]
pub struct Project {
    /// The folder of `afield.toml`; the paths in it start here.
    pub dir: PathBuf,
    /// The fleet folder.
    pub fleet_dir: PathBuf,
    /// What it says.
    pub settings: Settings,
    /// Its text, to tell where something stands.
    text: String,
}

/// `afield.toml` is no larger than this, bytes.
const MAX_SETTINGS: u64 = 4 * 1024 * 1024;

impl Project {
    /// What `afield.toml` says, for commands that do without where there is none.
    pub fn settings_if_there(context: &Context) -> Result<Option<Settings>, Failure> {
        match settings_dir(&context.fleet_dir()?) {
            Some(_) => Ok(Some(Self::load(context)?.settings)),
            None => Ok(None),
        }
    }

    /// Reads `afield.toml`, which is beside the fleet folder or in it.
    pub fn load(context: &Context) -> Result<Self, Failure> {
        let fleet_dir = context.fleet_dir()?;
        let Some(dir) = settings_dir(&fleet_dir) else {
            let place = fleet_dir.display();
            return Err(Failure::usage(format!("there is no afield.toml beside {place}")).hint(
                "it says what to build and where releases go; see examples/field-fleet/afield.toml",
            ));
        };
        let dir = fs::canonicalize(&dir).with_context(|| dir.display().to_string())?;
        let path = dir.join("afield.toml");
        let bytes = afield_store::files::read_limited(&path, MAX_SETTINGS)
            .with_context(|| path.display().to_string())?;
        let text = String::from_utf8(bytes).with_context(|| path.display().to_string())?;
        let settings = toml::from_str(&text).map_err(|e: toml::de::Error| {
            let line = e.span().map_or(1, |span| line(&text, span.start));
            Failure::usage(format!("{}:{line} is not in order\n{e}", path.display())).hint(
                "correct that line; docs/operator.md of Afield has every key and what it may say",
            )
        })?;
        Ok(Self { dir, fleet_dir, settings, text })
    }

    /// Where a value of `afield.toml` stands, as in `/srv/fleet/afield.toml:7`.
    pub fn place(&self, keys: &[&str]) -> String {
        let file = self.dir.join("afield.toml").display().to_string();
        match offset(&self.text, keys) {
            Some(offset) => format!("{file}:{}", line(&self.text, offset)),
            None => file,
        }
    }

    /// The repository's folder.
    pub fn repository(&self) -> PathBuf {
        let path = self.dir.join(&self.settings.repository.path);
        // Without `..`, as people would write it; one that is not there yet stays as it is.
        fs::canonicalize(&path).unwrap_or(path)
    }

    /// Where systems of a kind of host are declared.
    pub fn source(&self, kind: HostKind) -> Result<Source, Failure> {
        let build = &self.settings.build;
        let wrong = |what: &str| {
            Failure::usage(format!("{}: [build] {what}", self.dir.join("afield.toml").display()))
                .hint("give file = \"systems.nix\", or flake = \".\" and attribute = \"nixosConfigurations.{host}.config.system.build.toplevel\"")
        };
        match (&build.file, &build.flake) {
            (Some(_), Some(_)) => Err(wrong("has both file and flake")),
            (None, None) => Err(wrong("names nothing to build")),
            (Some(file), None) => {
                let path = self.dir.join(file);
                let path = fs::canonicalize(&path).map_err(|e| {
                    Failure::usage(format!(
                        "the file {} that [build] names cannot be used: {e}",
                        path.display()
                    ))
                    .hint(
                        "correct [build] file in afield.toml; it is relative to that file's folder",
                    )
                })?;
                Ok(Source::File(path))
            }
            (None, Some(flake)) => {
                let attribute = match kind {
                    HostKind::Nixos => build.attribute.as_deref(),
                    HostKind::Ubuntu => build.ubuntu_attribute.as_deref(),
                };
                let attribute = attribute.ok_or_else(|| match kind {
                    HostKind::Nixos => wrong("has a flake but no attribute"),
                    HostKind::Ubuntu => {
                        wrong("has no ubuntu-attribute, and there are hosts in hosts/ubuntu/")
                    }
                })?;
                let reference = self.flake_reference(flake);
                Source::flake(&reference, attribute).map_err(|e| wrong(&e.to_string()))
            }
        }
    }

    /// A flake reference that starts with a dot is relative to the file that names it, not to where one stands.
    fn flake_reference(&self, flake: &str) -> String {
        if flake == "." || flake.starts_with("./") || flake.starts_with("../") {
            return self.dir.join(flake).display().to_string();
        }
        match flake.strip_prefix("path:") {
            Some(path) if !path.starts_with('/') => {
                format!("path:{}", self.dir.join(path).display())
            }
            _ => flake.to_owned(),
        }
    }
}

/// The line, from 1, of a byte.
fn line(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|b| *b == b'\n').count()
}

/// Where the value of a key of a key starts.
fn offset(text: &str, keys: &[&str]) -> Option<usize> {
    use toml::de::{DeTable, DeValue};
    let table = DeTable::parse(text).ok()?;
    let (first, rest) = keys.split_first()?;
    let mut value = table.get_ref().get(*first)?;
    for key in rest {
        let DeValue::Table(table) = value.get_ref() else { return None };
        value = table.get(*key)?;
    }
    Some(value.span().start)
}

fn settings_dir(fleet_dir: &Path) -> Option<PathBuf> {
    let places = fleet_dir.parent().into_iter().chain([fleet_dir]);
    places.map(Path::to_path_buf).find(|dir| dir.join("afield.toml").is_file())
}

/// The hosts of the fleet folder, which are the files that declare them.
pub fn hosts(fleet_dir: &Path) -> Result<BTreeMap<HostName, HostKind>, Failure> {
    let mut hosts = BTreeMap::new();
    for (folder, kind) in [("hosts", HostKind::Nixos), ("hosts/ubuntu", HostKind::Ubuntu)] {
        let folder = fleet_dir.join(folder);
        let entries = match fs::read_dir(&folder) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            other => other.with_context(|| folder.display().to_string())?,
        };
        for entry in entries {
            let path = entry.with_context(|| folder.display().to_string())?.path();
            if path.extension().is_none_or(|e| e != "nix") || !path.is_file() {
                continue;
            }
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            let host: HostName = stem.parse().with_context(|| path.display().to_string())?;
            if hosts.insert(host.clone(), kind).is_some() {
                return Err(Failure::refused(format!(
                    "the host {host} is declared in hosts/ and in hosts/ubuntu/"
                ))
                .hint("remove one of the two files"));
            }
        }
    }
    if hosts.is_empty() {
        let folder = fleet_dir.join("hosts");
        return Err(Failure::usage(format!("{} declares no host", folder.display()))
            .hint("a host is a file hosts/NAME.nix"));
    }
    Ok(hosts)
}
