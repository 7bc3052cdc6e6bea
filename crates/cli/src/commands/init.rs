//! `afield init`: a new fleet from the template, or `afield.toml` beside a fleet folder that is there.

use std::path::{Path, PathBuf};

use afield_core::fleet::{Severity, WavesResult};
use afield_core::ids::Name;
use afield_core::settings::Settings;
use anyhow::{Context as _, anyhow};
use clap::Args;
use serde_json::{Value, json};

use crate::changes::put;
use crate::context::{Context, Folder};
use crate::exit::{CommandResult, Failure, Outcome};
use crate::output::count;

/// Arguments of `afield init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// The folder of the fleet's repository; it is made if need be
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// The fleet's name; hosts refuse what is for another [default: from org-metadata.json, or the folder's name]
    #[arg(long)]
    name: Option<Name>,
    /// Only tell what would be done
    #[arg(long)]
    dry_run: bool,
}

/// Declares the files of the template.
macro_rules! template {
    ($($path:literal)*) => {
        &[$(($path, include_str!(concat!("../../../../templates/fleet/", $path)))),*]
    };
}

/// `templates/fleet`, file by file; a test compares the list with the folder.
const TEMPLATE: &[(&str, &str)] = template! {
    ".gitignore"
    "afield.toml"
    "flake.nix"
    "org-config/app_configs/generated/generated-app-configs.yml"
    "org-config/app_configs/master/.gitkeep"
    "org-config/default.nix"
    "org-config/deployment_services.nix"
    "org-config/hosts/clinic-1.nix"
    "org-config/hosts/relay-1.nix"
    "org-config/json/keys.json"
    "org-config/json/org-metadata.json"
    "org-config/json/relay-servers.json"
    "org-config/json/tunnels.d/tunnels.json"
    "org-config/json/users.json"
    "org-config/secrets/generated/generated-secrets.yml"
    "org-config/secrets/master/.gitkeep"
    "org-config/waves-and-staging-hosts.nix"
};

/// The line of the template that names the fleet.
const NAME_LINE: &str = "fleet = \"example\"";

/// Makes a new fleet, or adopts the one that is there.
pub fn run(args: &InitArgs, context: &mut Context) -> CommandResult {
    // Without `.` in it, as people would write it.
    let dir: PathBuf = context.cwd().join(&args.dir).components().collect();
    match ["org-config", "."]
        .map(|below| dir.join(below))
        .into_iter()
        .find(|at| at.join("json/users.json").is_file())
    {
        Some(fleet) => adopt(args, &dir, &fleet, context),
        None => create(args, &dir, context),
    }
}

fn create(args: &InitArgs, dir: &Path, context: &mut Context) -> CommandResult {
    let files = TEMPLATE.iter().map(|(path, text)| (dir.join(path), *text));
    let there = files.clone().filter(|(path, _)| path.symlink_metadata().is_ok());
    let there: Vec<String> = there.map(|(path, _)| path.display().to_string()).collect();
    if !there.is_empty() {
        return Err(Failure::refused(format!(
            "these are there already, and nothing was changed: {}",
            there.join(", ")
        ))
        .hint("give an empty folder; a fleet that is there is adopted if it has json/users.json"));
    }
    let name = fleet_name(args, dir, None)?;
    let mut written = Vec::new();
    for (path, text) in files {
        let text = match path.ends_with("afield.toml") {
            true => text.replace(NAME_LINE, &format!("fleet = \"{name}\"")),
            false => text.to_owned(),
        };
        if !args.dry_run {
            put(&path, text.as_bytes())?;
        }
        written.push(path);
    }
    let next = [
        "replace the invented keys in org-config/json/keys.json and relay-servers.json",
        "`afield host add`, `afield user add`: your hosts and people; then remove the examples",
        "`afield check`, and `afield keys init --out ../keys` before the first release",
    ];
    tell(args, &written, &[], &next.map(str::to_owned), context)
}

/// The folder stays as it is; only `afield.toml` is new.
fn adopt(args: &InitArgs, dir: &Path, fleet: &Path, context: &mut Context) -> CommandResult {
    let path = dir.join("afield.toml");
    for known in [path.clone(), fleet.join("afield.toml")] {
        if known.symlink_metadata().is_ok() {
            return Err(Failure::refused(format!(
                "{} is there already; nothing was changed",
                known.display()
            ))
            .hint("`afield check` tells how the fleet folder stands"));
        }
    }
    let folder = context.read_folder(fleet)?;
    let text = settings(&fleet_name(args, dir, Some(&folder))?, dir, &folder);
    // What is written is what the commands read.
    toml::from_str::<Settings>(&text)
        .map_err(|e| anyhow!("the new afield.toml is not in order: {e}"))?;
    if !args.dry_run {
        put(&path, text.as_bytes())?;
    }
    tell(args, &[path], &found(&folder), &missing(dir, &folder), context)
}

/// The name that was given, that of the organisation, or that of the folder.
fn fleet_name(args: &InitArgs, dir: &Path, folder: Option<&Folder>) -> Result<Name, Failure> {
    if let Some(name) = &args.name {
        return Ok(name.clone());
    }
    let metadata = folder.and_then(|folder| folder.sources.files.get("json/org-metadata.json"));
    let metadata = metadata.and_then(|bytes| serde_json::from_slice::<Value>(bytes).ok());
    let organisation = metadata.and_then(|value| value["github_org"].as_str().map(str::to_owned));
    let real = dir.canonicalize().unwrap_or_else(|_| dir.to_path_buf());
    let own = real.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = organisation.into_iter().chain(own).find_map(|name| name.parse().ok());
    name.ok_or_else(|| Failure::usage("the fleet has no name yet").hint("give --name"))
}

fn settings(name: &Name, dir: &Path, folder: &Folder) -> String {
    let build = match (dir.join("systems.nix").is_file(), dir.join("flake.nix").is_file()) {
        (true, false) => "file = \"systems.nix\"\n".to_owned(),
        _ => {
            let ubuntu = folder.sources.hosts.iter().any(|path| path.starts_with("hosts/ubuntu/"));
            let ubuntu = if ubuntu { "ubuntu-attribute = \"systemConfigs.{host}\"\n" } else { "" };
            format!(
                "flake = \".\"\nattribute = \"nixosConfigurations.{{host}}.config.system.build.toplevel\"\n{ubuntu}"
            )
        }
    };
    format!(
        "# What is new about the fleet, beside its folder. Every key: docs/operator.md of Afield.\n\
         fleet = \"{name}\"\n\n[build]\n{build}\n[repository]\npath = \"repository\"\n"
    )
}

/// What was read.
fn found(folder: &Folder) -> Vec<String> {
    let fleet = &folder.fleet;
    let of = |severity| folder.findings.iter().filter(|f| f.severity == severity).count();
    vec![
        format!(
            "{}, {} people, {}, {}, {}, {} of secrets",
            count(fleet.hosts.len(), "host"),
            fleet.keys.len(),
            count(fleet.people.roles.len(), "role"),
            count(fleet.relays.servers.len(), "relay"),
            count(fleet.configs.len(), "app config"),
            count(fleet.sealed.len(), "file"),
        ),
        format!(
            "{}, {} (`afield check`)",
            count(of(Severity::Error), "error"),
            count(of(Severity::Warning), "warning")
        ),
    ]
}

/// What stands between this folder and a release.
fn missing(dir: &Path, folder: &Folder) -> Vec<String> {
    let mut missing = Vec::new();
    let errors = folder.findings.iter().filter(|f| f.severity == Severity::Error).count();
    if errors > 0 {
        missing.push(format!(
            "correct {}, see `afield check`: with one, nothing is released",
            count(errors, "error")
        ));
    }
    if !dir.join("flake.nix").is_file() && !dir.join("systems.nix").is_file() {
        missing.push(
            "write a flake.nix with mkFleet (docs/migrate.md of Afield), and correct [build]"
                .to_owned(),
        );
    }
    if let WavesResult::NotEvaluated(why) = &folder.sources.waves {
        missing.push(format!("install Nix where releases are made: {why}"));
    }
    let keyless = folder
        .fleet
        .hosts
        .keys()
        .filter(|host| folder.fleet.tunnels.get(*host).is_none_or(|t| t.key.is_none()));
    let keyless: Vec<&str> = keyless.map(|host| host.as_str()).collect();
    if !keyless.is_empty() {
        missing.push(format!("hosts without a key cannot report: {}", keyless.join(", ")));
    }
    missing.push("`afield keys init --out ../keys`: the keys of trust".to_owned());
    missing.push("[hub] url in afield.toml, once there is a hub".to_owned());
    missing
}

fn tell(
    args: &InitArgs,
    written: &[PathBuf],
    found: &[String],
    missing: &[String],
    context: &mut Context,
) -> CommandResult {
    let files: Vec<String> = written.iter().map(|path| path.display().to_string()).collect();
    if context.out.json() {
        let value = json!({ "dry_run": args.dry_run, "written": files, "found": found, "missing": missing });
        context.out.value(&value)?;
        return Ok(Outcome::Done);
    }
    let done = if args.dry_run { "would be written" } else { "written" };
    for file in files {
        context.out.line(&format!("{done}: {file}"))?;
    }
    for line in found {
        context.out.line(&format!("found: {line}"))?;
    }
    for line in missing {
        context.out.line(&format!("next: {line}"))?;
    }
    context.out.flush().context("standard output")?;
    Ok(Outcome::Done)
}
