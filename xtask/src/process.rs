//! Other programs: run one, and say which and why where it fails.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// Settings for Nix as root without a daemon. An empty `substituters` keeps it from waiting for caches that
/// these machines cannot reach.
pub const NIX_CONFIG: &str =
    "build-users-group =\nsubstituters =\nexperimental-features = nix-command flakes";

/// The repository's root folder.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Runs a program whose output goes where ours goes.
pub fn run(command: &mut Command) -> Result<()> {
    let name = named(command);
    let status = command.status().with_context(|| format!("cannot run `{name}`"))?;
    if !status.success() {
        bail!("`{name}` ended with {status}");
    }
    Ok(())
}

/// Runs a program and gives what it wrote; its errors become part of ours.
pub fn output(command: &mut Command) -> Result<String> {
    output_accepting(command, &[0])
}

/// The same, for a program whose exit codes say what it found.
pub fn output_accepting(command: &mut Command, codes: &[i32]) -> Result<String> {
    let name = named(command);
    let done =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot run `{name}`"))?;
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    if !done.status.code().is_some_and(|code| codes.contains(&code)) {
        let why = String::from_utf8_lossy(&done.stderr).into_owned();
        bail!("`{name}` ended with {}:\n{text}{why}", done.status);
    }
    Ok(text)
}

/// Where a program of the PATH is.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// A command as a person would type it.
pub fn named(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|a| a.to_string_lossy().into_owned()));
    words.join(" ")
}

/// The programs of the product, freshly built.
pub struct Programs {
    /// `afield`.
    pub afield: PathBuf,
    /// `afield-agent`.
    pub agent: PathBuf,
    /// `afield-hub`.
    pub hub: PathBuf,
}

impl Programs {
    /// Those in a folder.
    pub fn of(folder: &Path) -> Self {
        Self {
            afield: folder.join("afield"),
            agent: folder.join("afield-agent"),
            hub: folder.join("afield-hub"),
        }
    }

    /// Builds them, optimised or as a developer does, and finds out where cargo put them.
    pub fn build(release: bool) -> Result<Self> {
        let profile: &[&str] = if release { &["--release"] } else { &[] };
        Self::among(&cargo_messages(&[&["build"], Self::PACKAGES, profile].concat())?)
    }

    /// Cargo's arguments for all three.
    pub const PACKAGES: &[&str] =
        &["--package", "afield-cli", "--package", "afield-agent", "--package", "afield-hub"];

    /// Those of a build that told this.
    pub fn among(messages: &str) -> Result<Self> {
        let built = |program: &str| {
            executable(messages, program)
                .with_context(|| format!("cargo built no program {program}"))
        };
        Ok(Self {
            afield: built("afield")?,
            agent: built("afield-agent")?,
            hub: built("afield-hub")?,
        })
    }
}

/// Runs cargo, and gives what it tells programs: one JSON value a line.
pub fn cargo_messages(arguments: &[&str]) -> Result<String> {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(root()).args(arguments).arg("--message-format=json-render-diagnostics");
    let name = named(&cargo);
    let done = cargo.stderr(Stdio::inherit()).output().context("cannot run cargo")?;
    if !done.status.success() {
        bail!("`{name}` ended with {}", done.status);
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

/// Where cargo put the program or test program of this name.
pub fn executable(messages: &str, target: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == target)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
}
