//! Pairs of Debian packages: the oldest and the newest version that the archive offers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use super::output;

const SMALL: &str = "libc6 libssl3 openssl libcurl4 curl openssh-server containerd postgresql-15 git \
    systemd libpython3.11-minimal libpython3.11-stdlib python3.11-minimal";

const MORE: &str = "linux-image-amd64 libsystemd0 udev nginx perl-base sudo docker.io apparmor gnupg vim bash \
    libsystemd-shared openssh-client libgnutls30 libxml2 libexpat1 libglib2.0-0 krb5-locales libkrb5-3 \
    libgssapi-krb5-2 bind9-host bind9-libs libxslt1.1 libpq5 postgresql-client-15 runc qemu-guest-agent \
    libsqlite3-0 libpam-modules libpam0g login passwd tzdata base-files ca-certificates rsync wget \
    libtasn1-6 libcap2 nano";

/// The names of the packages of a run.
pub fn names(full: bool) -> Vec<String> {
    let more = if full { MORE } else { "" };
    SMALL.split_whitespace().chain(more.split_whitespace()).map(str::to_owned).collect()
}

/// A package in two versions.
pub struct Pair {
    /// Name without version.
    pub name: String,
    pub old: Deb,
    pub new: Deb,
}

/// A package file.
pub struct Deb {
    pub file: PathBuf,
    pub version: String,
    /// Names of the packages that it depends on.
    pub depends: Vec<String>,
}

/// Brings both versions of each package, and prints which they are.
pub fn download(names: &[String], work: &Path) -> anyhow::Result<Vec<Pair>> {
    let folder = work.join("debs");
    fs::create_dir_all(&folder)?;
    let mut pairs = Vec::new();
    for name in names {
        let versions = versions(name)?;
        let (Some(oldest), Some(newest)) = (versions.first(), versions.last()) else {
            bail!("apt-cache madison knows no version of {name}; run apt-get update");
        };
        println!("  {name} {oldest} -> {newest}");
        let pair = Pair {
            name: name.clone(),
            old: fetch(name, oldest, &folder)?,
            new: fetch(name, newest, &folder)?,
        };
        pairs.push(pair);
    }
    Ok(pairs)
}

/// The versions on offer, oldest first.
fn versions(name: &str) -> anyhow::Result<Vec<String>> {
    let told = output(Command::new("apt-cache").args(["madison", name]))?;
    let mut versions: Vec<String> =
        told.lines().filter_map(|l| l.split('|').nth(1)).map(|v| v.trim().to_owned()).collect();
    versions.sort_by(|a, b| {
        let older = Command::new("dpkg").args(["--compare-versions", a, "lt", b]).status();
        match older {
            Ok(status) if status.success() => std::cmp::Ordering::Less,
            _ if a == b => std::cmp::Ordering::Equal,
            _ => std::cmp::Ordering::Greater,
        }
    });
    versions.dedup();
    Ok(versions)
}

fn fetch(name: &str, version: &str, folder: &Path) -> anyhow::Result<Deb> {
    let (name, version) = real(name, version)?;
    let wanted = format!("{name}_{}_", version.replace(':', "%3a"));
    let find = || -> anyhow::Result<Option<PathBuf>> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(&wanted) {
                return Ok(Some(entry.path()));
            }
        }
        Ok(None)
    };
    if find()?.is_none() {
        let package = format!("{name}={version}");
        output(Command::new("apt-get").args(["download", &package]).current_dir(folder))?;
    }
    let file = find()?.with_context(|| format!("apt-get download left no file {wanted}*"))?;
    let fields = output(Command::new("dpkg-deb").arg("-f").arg(&file).args(["Depends"]))?;
    let depends = fields
        .split([',', '|'])
        .filter_map(|d| d.split_whitespace().next())
        .map(str::to_owned)
        .collect();
    Ok(Deb { file, version, depends })
}

/// The kernel that a package without content stands for; any other package itself.
fn real(name: &str, version: &str) -> anyhow::Result<(String, String)> {
    if name != "linux-image-amd64" {
        return Ok((name.to_owned(), version.to_owned()));
    }
    let package = format!("{name}={version}");
    let shown = output(Command::new("apt-cache").args(["show", &package]))?;
    let depends = shown.lines().find_map(|l| l.strip_prefix("Depends: "));
    let kernel = depends
        .and_then(|d| d.split_whitespace().next())
        .with_context(|| format!("{package} depends on no kernel"))?;
    Ok((kernel.to_owned(), version.to_owned()))
}
