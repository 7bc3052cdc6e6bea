//! `cargo nix-tests`: the Nix modules against the golden data, with nixpkgs' `lib` and stand-ins for NixOS.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;

/// Where nixpkgs' `lib` comes from, for the message.
const HOW: &str = "Set NIXPKGS_LIB to a copy of nixpkgs' lib (the folder with default.nix and modules.nix), as in\n  \
     git clone https://github.com/nix-community/nixpkgs.lib /somewhere && export NIXPKGS_LIB=/somewhere/lib";

/// `cargo nix-tests`.
#[derive(Default, clap::Args)]
pub struct Args {
    /// Write the systems of nix/tests/ubuntu anew, for the scenario on a machine, and test nothing
    #[arg(long)]
    write: bool,
}

/// One comparison: equal, or what differed.
#[derive(Deserialize)]
struct Case {
    ok: bool,
    #[serde(default)]
    why: String,
    #[serde(default)]
    expected: Value,
    #[serde(default)]
    actual: Value,
}

/// Runs all Nix tests; an error if one fails or if `lib` is not there.
pub fn run(args: &Args) -> Result<()> {
    let nix = Nix::find()?;
    if args.write {
        return crate::ubuntu_systems::write(&nix);
    }
    let mut count = Count::default();
    for group in nix.json::<Vec<String>>("names")? {
        match nix.json::<BTreeMap<String, Case>>(&format!("groups.{group}")) {
            Ok(cases) => {
                for (name, case) in cases {
                    count.tell(
                        &format!("{group}/{name}"),
                        case.ok.then_some(()).ok_or_else(|| case.told()),
                    );
                }
            }
            Err(error) => count.tell(&group, Err(format!("{error:#}"))),
        }
    }
    for (name, says) in nix.json::<BTreeMap<String, Vec<String>>>("refusalWords")? {
        count.tell(&format!("refusals/{name}"), nix.refuses(&name, &says));
    }
    crate::one_source::compare(&nix, &mut count)?;
    crate::agent_config::check(&nix, &mut count)?;
    crate::ubuntu_systems::compare(&nix, &mut count)?;
    crate::vm_scripts::parse(&nix, &mut count)?;
    scripts(&nix.root, &mut count)?;
    println!("{} passed, {} failed", count.passed, count.failed);
    ensure!(count.failed == 0, "{} Nix tests failed", count.failed);
    Ok(())
}

/// Shell scripts of units: each file of `nix/tests/scripts` prints `pass NAME` or `FAIL NAME: WHY` for each of its cases.
fn scripts(root: &Path, count: &mut Count) -> Result<()> {
    let mut files: Vec<_> = std::fs::read_dir(root.join("nix/tests/scripts"))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.sort();
    for file in files {
        let stem = file.file_stem().unwrap_or_default().to_string_lossy();
        let output = Command::new("bash")
            .arg(&file)
            .env("SCRIPTS", root.join("nix/scripts"))
            .output()
            .context("running bash")?;
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            match line.split_once(' ') {
                Some(("pass", name)) => count.tell(&format!("script-{stem}/{name}"), Ok(())),
                _ => count.tell(&format!("script-{stem}"), Err(line.to_owned())),
            }
        }
        if !output.status.success() {
            count.tell(
                &format!("script-{stem}"),
                Err(String::from_utf8_lossy(&output.stderr).into_owned()),
            );
        }
    }
    Ok(())
}

impl Case {
    fn told(&self) -> String {
        if !self.why.is_empty() {
            return self.why.clone();
        }
        let mut found = vec![];
        differences("", &self.expected, &self.actual, &mut found);
        found.join("\n    ")
    }
}

/// Collects where two values differ, by path.
pub fn differences(path: &str, expected: &Value, actual: &Value, found: &mut Vec<String>) {
    match (expected, actual) {
        (Value::Object(want), Value::Object(have)) => {
            let keys: std::collections::BTreeSet<_> = want.keys().chain(have.keys()).collect();
            for key in keys {
                let side = |map: &serde_json::Map<String, Value>| {
                    map.get(key).cloned().unwrap_or_default()
                };
                differences(&format!("{path}.{key}"), &side(want), &side(have), found);
            }
        }
        (Value::Array(want), Value::Array(have)) if want.len() == have.len() => {
            for (n, (want, have)) in want.iter().zip(have).enumerate() {
                differences(&format!("{path}[{n}]"), want, have, found);
            }
        }
        _ if expected == actual => {}
        _ => found.push(format!("{path}: expected {expected}, got {actual}")),
    }
}

/// What has been run, told as it goes.
#[derive(Default)]
pub struct Count {
    passed: u32,
    failed: u32,
}

impl Count {
    /// Tells and counts one case.
    pub fn tell(&mut self, name: &str, result: std::result::Result<(), String>) {
        match result {
            Ok(()) => {
                self.passed += 1;
                println!("pass {name}");
            }
            Err(why) => {
                self.failed += 1;
                println!("FAIL {name}\n    {why}");
            }
        }
    }
}

/// The evaluator, with what it needs.
pub struct Nix {
    root: PathBuf,
    lib: PathBuf,
    /// The folder with the golden data.
    pub shared: PathBuf,
    /// Files that tests write go into a store of their own, so that no daemon and no rights are needed.
    store: tempfile::TempDir,
}

impl Nix {
    fn find() -> Result<Self> {
        let root = repository_root()?;
        let lib = nixpkgs_lib()?;
        let beside = root.join("../shared");
        let shared = match std::env::var_os("AFIELD_SHARED") {
            Some(path) => PathBuf::from(path),
            None if beside.is_dir() => beside,
            None => PathBuf::from("/work/shared"),
        };
        let shared = shared.canonicalize().with_context(|| {
            format!("the golden data is not at {}; set AFIELD_SHARED", shared.display())
        })?;
        Ok(Self { root, lib, shared, store: tempfile::tempdir()? })
    }

    fn evaluate(&self, attribute: &str) -> Result<Output> {
        nix_instantiate(self.store.path())
            .args(["--strict", "--json", "--read-write-mode"])
            .arg(self.root.join("nix/tests/modules/default.nix"))
            .arg("--arg")
            .arg("nixpkgsLib")
            .arg(&self.lib)
            .arg("--arg")
            .arg("shared")
            .arg(&self.shared)
            .args(["-A", attribute])
            .output()
            .context("running nix-instantiate; install Nix (Debian: nix-bin)")
    }

    /// The value of an attribute of the Nix tests.
    pub fn json<T: serde::de::DeserializeOwned>(&self, attribute: &str) -> Result<T> {
        let output = self.evaluate(attribute)?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
        }
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("what Nix says for {attribute}"))
    }

    /// Evaluating must fail, with all the words in the message.
    fn refuses(&self, name: &str, says: &[String]) -> std::result::Result<(), String> {
        let output = self
            .evaluate(&format!("refusals.{name}.value"))
            .map_err(|error| format!("{error:#}"))?;
        let message = String::from_utf8_lossy(&output.stderr);
        if output.status.success() {
            return Err("it evaluates, and must not".into());
        }
        let missing: Vec<_> = says.iter().filter(|word| !message.contains(word.as_str())).collect();
        if missing.is_empty() {
            Ok(())
        } else {
            Err(format!("the message lacks {missing:?}:\n{message}"))
        }
    }
}

/// `nix-instantiate --eval` without a daemon, a network or settings of the machine.
pub fn nix_instantiate(store: &Path) -> Command {
    let mut command = Command::new("nix-instantiate");
    command.arg("--eval").env("NIX_REMOTE", store).env("NIX_PATH", "");
    command.env(
        "NIX_CONFIG",
        "build-users-group =\nsubstituters =\nexperimental-features = nix-command flakes",
    );
    command
}

/// The folder of nixpkgs' `lib`, or how to get one.
pub fn nixpkgs_lib() -> Result<PathBuf> {
    let Some(path) = std::env::var_os("NIXPKGS_LIB").filter(|path| !path.is_empty()) else {
        bail!("NIXPKGS_LIB is not set, so the Nix tests cannot run. {HOW}");
    };
    let path = PathBuf::from(path);
    // The checkout or the folder in it.
    let found =
        [path.join("lib"), path.clone()].into_iter().find(|dir| dir.join("modules.nix").is_file());
    let Some(found) = found else {
        bail!("NIXPKGS_LIB is {}, which holds no modules.nix. {HOW}", path.display())
    };
    Ok(found.canonicalize()?)
}

/// The repository that this program was built from.
pub fn repository_root() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    root.canonicalize().with_context(|| format!("finding the repository at {}", root.display()))
}
