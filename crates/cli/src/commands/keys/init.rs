//! `afield keys init`: all keys of a new fleet, and its first root metadata.

use std::fs;
use std::path::{Path, PathBuf};

use afield_core::ids::Name;
use afield_core::settings::Trust;
use afield_core::signed::SecretKey;
use afield_store::keys::write_seed;
use afield_store::repository::Repository;
use afield_store::trust::{self, FleetKeys, KeySet, RootContent};
use anyhow::Context as _;
use clap::Args;

use super::{KeysReport, ROOTS, Role, new_seed, tell, write};
use crate::context::Context;
use crate::exit::{CommandResult, Failure};
use crate::fleet::Project;
use crate::root::in_days;

/// Of the three root keys, so many must sign.
const ROOT_THRESHOLD: usize = 2;

/// Arguments of `afield keys init`.
#[derive(Debug, Args)]
#[command(
    after_help = "Writes root-1.pem root-2.pem root-3.pem release.pem rollout.pem operator.pem (mode 0600) and root.json, \
which every host gets as its trust root (/etc/afield/root.json). root.json goes into the repository, too.\n\n\
Nothing that exists is replaced. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused.\n\n  \
afield keys init --out keys"
)]
pub struct InitArgs {
    /// The folder for the keys; made if it is not there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The fleet's name, if there is no afield.toml that says it
    #[arg(long, value_name = "NAME")]
    fleet_name: Option<Name>,
    /// Say what would be written, and write nothing
    #[arg(long)]
    dry_run: bool,
}

/// Makes the keys.
pub fn run(args: &InitArgs, context: &mut Context) -> CommandResult {
    let project = match &args.fleet_name {
        // The folder one stands in may be that of another fleet, or of none.
        Some(name) => Project::load(context).ok().filter(|p| p.settings.fleet == *name),
        None => Some(Project::load(context)?),
    };
    let settings = project.as_ref().map(|p| &p.settings);
    let Some(fleet) = args.fleet_name.clone().or(settings.map(|s| s.fleet.clone())) else {
        return Err(Failure::usage("the fleet has no name").hint("give --fleet-name NAME"));
    };
    let trust = settings.map_or_else(Trust::default, |s| s.trust.clone());
    let metadata = project.as_ref().map(|p| p.repository().join("metadata"));
    refuse_to_replace(&args.out, metadata.as_deref())?;

    let expires = in_days(trust.root_days)?;
    let roles = [ROOTS.as_slice(), &[Role::Release, Role::Rollout, Role::Operator]].concat();
    let root_json = args.out.join("root.json");
    let mut written: Vec<PathBuf> = roles.iter().map(|r| r.file(&args.out)).collect();
    written.push(root_json.clone());
    written.extend(metadata.as_ref().map(|m| m.join("1.root.json")));
    if !args.dry_run {
        let mut seeds = Vec::new();
        for _ in &roles {
            seeds.push(new_seed()?);
        }
        let public = |i: usize| SecretKey::from_seed(&seeds[i]).public();
        let one = |i: usize| KeySet { keys: vec![public(i)], threshold: 1 };
        let content = RootContent {
            version: 1,
            expires,
            root: KeySet {
                keys: (0..ROOTS.len()).map(public).collect(),
                threshold: ROOT_THRESHOLD,
            },
            release: one(3),
            afield: FleetKeys { fleet: fleet.clone(), rollout: one(4), operators: one(5) },
        };
        let root = trust::sign_root(&content, None, &seeds[..ROOTS.len()])?;
        private_dir(&args.out)?;
        for (role, seed) in roles.iter().zip(&seeds) {
            write_seed(&role.file(&args.out), seed)?;
        }
        if let Some(project) = &project {
            let repository = Repository::open(&project.repository())?;
            write(&repository.metadata().join("1.root.json"), &root)?;
        }
        write(&root_json, &root)?;
    }
    let next = format!(
        "copy {} to /etc/afield/root.json of every host, and take the root keys offline, apart from each other",
        root_json.display()
    );
    let (dry_run, root_version, root_expires) = (args.dry_run, 1, expires);
    let report = KeysReport { dry_run, fleet, root_version, root_expires, written, next };
    tell(&report, context)
}

fn refuse_to_replace(out: &Path, metadata: Option<&Path>) -> Result<(), Failure> {
    let there = ["root-1.pem", "release.pem", "root.json"]
        .map(|name| out.join(name))
        .into_iter()
        .chain(metadata.map(|m| m.join("1.root.json")))
        .find(|path| path.exists());
    match there {
        None => Ok(()),
        Some(path) => Err(Failure::refused(format!(
            "there is {} already; hosts that trust its keys would not follow new ones",
            path.display()
        ))
        .hint("to replace one key, use afield keys rotate; for another fleet, another folder")),
    }
}

fn private_dir(dir: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::DirBuilderExt as _;
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(dir).with_context(|| dir.display().to_string())?;
    Ok(())
}
