//! `afield secrets migrate`: master files from ansible-vault to age, file by file, and an age file for each host.
//!
//! A dry run unless `--apply` is given: then everything is done and proved in memory only. The order is such that a
//! stop at any point leaves every file readable with the old password or with the operator's key.

use std::path::{Path, PathBuf};

use afield_core::secrets::age;
use afield_core::secrets::seal::Plan;
use anyhow::{Context as _, anyhow};
use clap::Args;
use serde_json::json;
use zeroize::Zeroizing;

use super::keyring::{self, KeyArgs, Keyring, Kind};
use super::{file, fleet, seal};
use crate::context::Context;
use crate::exit::{CommandResult, Failure, Outcome};

/// Arguments of `afield secrets migrate`.
#[derive(Debug, Args)]
pub struct MigrateArgs {
    /// Master files to migrate (by default all vault files below secrets/master)
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Whom the files are sealed to (by default secrets/operators.pub in the fleet folder)
    #[arg(long, value_name = "FILE")]
    operators: Option<PathBuf>,
    #[command(flatten)]
    keys: KeyArgs,
    /// Change the files; without it, everything is only tried
    #[arg(long)]
    apply: bool,
    /// Only try: the default
    #[arg(long, conflicts_with = "apply")]
    dry_run: bool,
}

/// 1 open and plan, 2 check that we stay inside, 3 the hosts' files, 4 the master files, 5 plan again and compare.
pub fn run(args: &MigrateArgs, context: &mut Context) -> CommandResult {
    let fleet = context.fleet_dir()?;
    let operators = keyring::operators(args.operators.as_deref(), context)?;
    let keyring = Keyring::new(&args.keys);
    let before = match seal::plan(&fleet, &keyring)? {
        Ok(plan) => plan,
        Err(problems) => return seal::refuse(&problems, context),
    };
    let masters = masters(args, &fleet, &keyring)?;

    // Nobody may lock everybody out: whoever migrates shows a key that opens what comes out.
    if !operators.contains(&keyring.identity()?.recipient()) {
        return Err(Failure::refused("the key given by --identity is not among the operators")
            .hint("add its public key to the operators' file; otherwise you could not open the files any more"));
    }
    let host_files = seal::write_age(&fleet, &before, &operators, !args.apply)?;
    for (path, plain) in &masters {
        let sealed = file::seal_age(plain, &operators)?;
        if *age::decrypt(sealed.file.as_bytes(), keyring.identity()?)? != **plain {
            return Err(anyhow!(
                "{}: the sealed file does not open with --identity",
                path.display()
            )
            .into());
        }
        if args.apply {
            file::replace_proved(path, &sealed, plain)?;
        } else if sealed.prove(sealed.file.as_bytes(), plain).is_err() {
            return Err(anyhow!("{}: an operator could not open it", path.display()).into());
        }
    }
    if args.apply {
        compare(&before, &fleet, &keyring)?;
    }
    let names: Vec<&Path> = masters.iter().map(|(path, _)| path.as_path()).collect();
    print(args, &before, &names, &host_files, operators.len(), context)?;
    Ok(Outcome::Done)
}

/// A master file and its plaintext.
type Master = (PathBuf, Zeroizing<Vec<u8>>);

/// The files to migrate with their plaintext; those that are age files already are passed over.
fn masters(
    args: &MigrateArgs,
    fleet: &Path,
    keyring: &Keyring<'_>,
) -> Result<Vec<Master>, Failure> {
    let all = fleet::master_files(fleet)?;
    let mut chosen = all.clone();
    if !args.files.is_empty() {
        let real = |path: &Path| {
            std::fs::canonicalize(path).with_context(|| format!("cannot find {}", path.display()))
        };
        let all = all.iter().map(|path| real(path)).collect::<Result<Vec<_>, _>>()?;
        for path in &args.files {
            if !all.contains(&real(path)?) {
                return Err(Failure::usage(format!(
                    "{} is no master file of this fleet",
                    path.display()
                ))
                .hint("master files are secrets/master/**/*-secrets.yml"));
            }
        }
        chosen = args.files.clone();
    }
    let mut masters = Vec::new();
    for path in chosen {
        let opened = keyring.open(&path)?;
        if opened.kind != Kind::Age {
            masters.push((path, opened.plain));
        }
    }
    Ok(masters)
}

/// What the files on the disk mean now must be what they meant before, byte for byte, for every host.
fn compare(before: &Plan, fleet: &Path, keyring: &Keyring<'_>) -> Result<(), Failure> {
    let after = seal::plan(fleet, keyring)?
        .map_err(|problems| anyhow!("after migrating: {}", problems[0]))?;
    let same = before.hosts.len() == after.hosts.len()
        && before.hosts.iter().all(|(name, host)| {
            after
                .hosts
                .get(name)
                .is_some_and(|other| host.padded == other.padded && host.key == other.key)
        });
    if same {
        Ok(())
    } else {
        Err(anyhow!("the files changed while they were migrated; run `afield secrets seal`").into())
    }
}

fn print(
    args: &MigrateArgs,
    plan: &Plan,
    masters: &[&Path],
    host_files: &[PathBuf],
    operators: usize,
    context: &mut Context,
) -> std::io::Result<()> {
    let names = |paths: &mut dyn Iterator<Item = &Path>| {
        paths.map(|path| path.display().to_string()).collect::<Vec<_>>()
    };
    let masters = names(&mut masters.iter().copied());
    if context.out.json() {
        let host_files = names(&mut host_files.iter().map(PathBuf::as_path));
        let hosts = plan.hosts.iter().map(|(name, host)| {
            json!({ "host": name, "secrets": host.secrets.len(), "bytes": host.padded.len(), "proved": true })
        });
        let hosts: Vec<_> = hosts.collect();
        return context.out.value(&json!({
            "dry_run": !args.apply, "migrated": masters, "host_files": host_files, "operators": operators, "hosts": hosts,
        }));
    }
    let would = if args.apply { "" } else { "would be " };
    for master in &masters {
        context.out.line(&format!(
            "{master}: {would}sealed with age to {operators} operators; each can open it"
        ))?;
    }
    if masters.is_empty() {
        context.out.line("all master files are age files already")?;
    }
    for (name, host) in &plan.hosts {
        let (count, bytes) = (host.secrets.len(), host.padded.len());
        context.out.line(&format!(
            "{name}: proved, it can open the same {bytes} bytes ({count} secrets)"
        ))?;
    }
    if !args.apply {
        context.out.line("nothing was changed; --apply does it")?;
    }
    Ok(())
}
