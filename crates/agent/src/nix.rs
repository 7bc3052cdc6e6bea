//! Nix on the host: asked through its own programs, never by writing into the store.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{self, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use afield_core::ids::StorePath;
use afield_core::release::PathInfo;
use afield_store::registration::registrations;
use anyhow::{Context as _, bail};

use crate::config::Config;
use crate::contract::Contract;

/// Paths given to one `nix-store`, so that its arguments stay far below the kernel's limit.
const BATCH: usize = 500;

/// A generation of the system profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// Its number.
    pub number: u64,
    /// The link that holds it.
    pub link: PathBuf,
    /// Its system.
    pub system: StorePath,
}

/// The host's store and profile.
#[derive(Debug)]
pub struct Nix {
    root: Option<PathBuf>,
    profile: PathBuf,
}

impl Nix {
    /// The machine's own store, or the chroot store of a root folder.
    pub fn new(config: &Config) -> Self {
        let root = (!config.is_machine()).then(|| config.root.clone());
        let profiles =
            [Contract::Nixos, Contract::SystemManager].map(|c| config.inside(c.profile()));
        let there = profiles.iter().find(|profile| profile.symlink_metadata().is_ok());
        let profile = there.unwrap_or(&profiles[0]).clone();
        Self { root, profile }
    }

    /// A Nix program, pointed at the store.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        if let Some(root) = &self.root {
            command.arg("--store").arg(root);
        }
        command.stdin(Stdio::null());
        command
    }

    /// Which of the paths the store lacks.
    pub fn missing(&self, paths: &[StorePath]) -> anyhow::Result<Vec<StorePath>> {
        let mut missing = Vec::new();
        for batch in paths.chunks(BATCH) {
            let mut command = self.command("nix-store");
            command.args(["--check-validity", "--print-invalid"]);
            let output = run(command.args(batch.iter().map(StorePath::as_str)))?;
            for line in output.lines() {
                missing
                    .push(line.parse().context("nix-store --print-invalid answers no store path")?);
            }
        }
        Ok(missing)
    }

    /// What Nix's database knows of paths; those that are not in the store are left out.
    pub fn infos(&self, paths: &[StorePath]) -> anyhow::Result<Vec<PathInfo>> {
        let lacks: BTreeSet<StorePath> = self.missing(paths)?.into_iter().collect();
        let there: Vec<&str> =
            paths.iter().filter(|p| !lacks.contains(p)).map(StorePath::as_str).collect();
        let mut infos = Vec::new();
        for batch in there.chunks(BATCH) {
            let mut command = self.command("nix-store");
            let output = run(command.arg("--dump-db").args(batch))?;
            let read = registrations(&output);
            infos.extend(read.map_err(|l| anyhow::anyhow!("nix-store --dump-db says {l:?}"))?);
        }
        Ok(infos)
    }

    /// Which of the paths are in the store.
    pub fn valid(&self, paths: &[StorePath]) -> anyhow::Result<Vec<StorePath>> {
        let missing = self.missing(paths)?;
        Ok(paths.iter().filter(|path| !missing.contains(path)).cloned().collect())
    }

    /// The generations of the system profile.
    pub fn generations(&self) -> anyhow::Result<Vec<Generation>> {
        let Some(folder) = self.profile.parent().filter(|f| f.exists()) else {
            return Ok(Vec::new());
        };
        // `system` of NixOS, `system-manager` of the other contract: the name of the profile begins those of its links.
        let name = self.profile.file_name().unwrap_or_default().to_string_lossy();
        let prefix = format!("{name}-");
        let mut found = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let link = entry?.path();
            let name = link.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let number = name.strip_prefix(&prefix).and_then(|n| n.strip_suffix("-link"));
            let system = std::fs::read_link(&link).ok().and_then(|l| l.to_str()?.parse().ok());
            if let (Some(Ok(number)), Some(system)) = (number.map(str::parse), system) {
                found.push(Generation { number, link, system });
            }
        }
        Ok(found)
    }

    /// Removes what nothing refers to, until so many bytes are free that were not. Returns how many are.
    pub fn collect(&self, bytes: u64) -> anyhow::Result<u64> {
        let folder = self.root.as_deref().unwrap_or(Path::new("/")).join("nix/store");
        let free = || -> anyhow::Result<u64> {
            let stat = rustix::fs::statvfs(&folder)?;
            Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
        };
        let before = free()?;
        let mut command = self.command("nix-store");
        run(command.arg("--gc").arg("--max-freed").arg(bytes.to_string()))?;
        Ok(free()?.saturating_sub(before))
    }

    /// Everything that these paths need, themselves included.
    pub fn closure(&self, paths: &[StorePath]) -> anyhow::Result<Vec<StorePath>> {
        if paths.is_empty() {
            return Ok(Vec::new());
        }
        let mut command = self.command("nix-store");
        command.args(["--query", "--requisites"]).args(paths.iter().map(StorePath::as_str));
        let answer = run(&mut command)?;
        let path = |line: &str| line.parse().context("nix-store --query answers no store path");
        answer.lines().map(path).collect()
    }

    /// Which of these valid paths have another content on the disk than Nix registered.
    pub fn damaged(&self, paths: &[StorePath]) -> anyhow::Result<Vec<StorePath>> {
        let verify = |paths: &[StorePath]| {
            let mut command = self.command("nix-store");
            command.arg("--verify-path").args(paths.iter().map(StorePath::as_str));
            run(&mut command)
        };
        let mut damaged = Vec::new();
        for batch in paths.chunks(BATCH) {
            // One that is not there at all ends it, so each is asked for then.
            if verify(batch).is_ok() {
                continue;
            }
            for path in batch {
                match verify(std::slice::from_ref(path)) {
                    Ok(_) => {}
                    Err(e) if format!("{e:#}").contains("was modified") => {
                        damaged.push(path.clone());
                    }
                    Err(_) if !self.can_be_read(path) => damaged.push(path.clone()),
                    // Nix itself fails, and says nothing about the path; all would be fetched anew.
                    Err(e) => return Err(e),
                }
            }
        }
        Ok(damaged)
    }

    /// Whether the disk gives back what is in a path, right or wrong.
    fn can_be_read(&self, path: &StorePath) -> bool {
        let root = self.root.as_deref().unwrap_or(Path::new("/"));
        read_all(&root.join(path.as_str().trim_start_matches('/'))).is_ok()
    }

    /// Replaces what is at a valid path by what a binary cache in a folder has.
    pub fn repair(&self, path: &StorePath, cache: &Path) -> anyhow::Result<()> {
        let mut command = self.command("nix-store");
        // What is in there was proved; no key of a cache has signed it.
        let cache = format!("file://{}?trusted=1", cache.display());
        command.args(["--option", "substituters", &cache, "--repair-path", path.as_str()]);
        run(&mut command).map(drop)
    }

    /// Imports what `write` writes in the format of `nix-store --export`. Nix registers path by path, so
    /// what came before a failure stays.
    pub fn import(
        &self,
        write: impl FnOnce(&mut dyn io::Write) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut command = self.command("nix-store");
        // A path is on the disk before Nix calls it valid; the first name is that of older versions. Each version
        // passes over the name that it does not know.
        for setting in ["sync-before-registering", "fsync-store-paths"] {
            command.args(["--option", setting, "true"]);
        }
        let command = command.arg("--import").stdin(Stdio::piped());
        let command = command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().context("nix-store cannot be run; is Nix installed?")?;
        let Some(pipe) = child.stdin.take() else { bail!("nix-store has no standard input") };
        let mut pipe = io::BufWriter::with_capacity(64 * 1024, pipe);
        let written = write(&mut pipe).and_then(|()| Ok(pipe.flush()?));
        drop(pipe);
        let output = child.wait_with_output()?;
        if !output.status.success() {
            if output.status.signal().is_some() {
                bail!("nix-store: {}; is there too little memory?", output.status);
            }
            let why = String::from_utf8_lossy(&output.stderr).into_owned();
            bail!("{}", first_error(&why));
        }
        written
    }

    /// Writes the file system of the store to the disk. Nix itself does that for paths since 2.25 at most,
    /// and only if asked to.
    pub fn sync(&self) -> anyhow::Result<()> {
        let root = self.root.as_deref().unwrap_or(Path::new("/"));
        let store = std::fs::File::open(root.join("nix/store"))?;
        Ok(rustix::fs::syncfs(&store)?)
    }

    /// Makes a system the newest generation of its profile: what the machine starts by itself.
    pub fn set_profile(&self, config: &Config, system: &StorePath) -> anyhow::Result<()> {
        if profiled(config, Contract::of(config, system)).as_ref() == Some(system) {
            return Ok(());
        }
        let contract = Contract::of(config, system).context("it is no system")?;
        let profile = config.inside(contract.profile());
        if let Some(folder) = profile.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut command = self.command("nix-env");
        command.arg("--profile").arg(&profile).arg("--set").arg(system.as_str());
        run(&mut command)?;
        self.sync()
    }
}

/// The newest generation of a contract's profile, or of the one that is there.
pub fn profiled(config: &Config, contract: Option<Contract>) -> Option<StorePath> {
    let newest = |contract: Contract| {
        let profile = config.inside(contract.profile());
        let generation = std::fs::read_link(&profile).ok()?;
        let system = std::fs::read_link(profile.with_file_name(generation.file_name()?)).ok()?;
        system.to_str()?.parse().ok()
    };
    match contract {
        Some(contract) => newest(contract),
        None => newest(Contract::Nixos).or_else(|| newest(Contract::SystemManager)),
    }
}

fn read_all(path: &Path) -> io::Result<()> {
    let kind = std::fs::symlink_metadata(path)?.file_type();
    if kind.is_symlink() {
        std::fs::read_link(path).map(drop)
    } else if kind.is_dir() {
        std::fs::read_dir(path)?.try_for_each(|entry| read_all(&entry?.path()))
    } else if kind.is_file() {
        io::copy(&mut std::fs::File::open(path)?, &mut io::sink()).map(drop)
    } else {
        Err(io::Error::other("a store has nothing like it"))
    }
}

/// A program's output; its failure with the line that says most.
pub fn run(command: &mut Command) -> anyhow::Result<String> {
    let name = command.get_program().to_owned();
    let name = Path::new(&name).file_name().map(OsStr::to_owned).unwrap_or_default();
    let name = name.to_string_lossy().into_owned();
    let output =
        command.output().with_context(|| format!("{name} cannot be run; is it installed?"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("{name}: {}", first_error(&errors));
    }
    String::from_utf8(output.stdout).with_context(|| format!("{name} answers no text"))
}

fn first_error(text: &str) -> String {
    let line = text.lines().find(|l| l.starts_with("error")).or_else(|| text.lines().last());
    let line = line.unwrap_or("it failed without a word");
    // So SQLite calls a disk without room, too.
    let hint =
        if line.contains("disk I/O error") { "; is the disk full? Look at `df /nix`" } else { "" };
    format!("{line}{hint}")
}
