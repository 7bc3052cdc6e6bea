//! `afield keys rotate`: a new key in the place of one that is old, stolen or lost.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use afield_core::ids::ReleaseId;
use afield_core::release::ObjectRef;
use afield_core::signed::{PublicKey, SecretKey};
use afield_store::keys::read_seed;
use afield_store::trust::{self, RootContent};
use anyhow::{Context as _, anyhow};
use clap::Args;
use jiff::Timestamp;

use super::staged::{Draft, Staged};
use super::{KeysReport, ROOTS, Role, new_seed, tell, write};
use crate::context::Context;
use crate::exit::{CommandResult, Failure, Outcome};
use crate::fleet::Project;
use crate::release::published::{check_repository, lock};
use crate::root::{in_days, newest_root, read_trust_root};

/// Arguments of `afield keys rotate`.
#[derive(Debug, Args)]
#[command(
    after_help = "Makes the new key and the next version of root metadata, signed with two root keys, and puts it into the \
repository; hosts follow at their next check-in. The old key file stays beside the new one as ROLE.replaced-N.pem. \
A replacement that was cut off is finished by the next call. \
A root key that is lost is replaced with the two others.\n\n\
Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused.\n\n  \
afield keys rotate --keys keys release\n  \
afield keys rotate --keys keys root-3 --root-key /media/stick/root-2.pem\n  \
afield keys rotate --keys keys expiry      only renews root metadata"
)]
pub struct RotateArgs {
    /// Which key to replace
    role: Role,
    /// The folder with the keys
    #[arg(long, value_name = "DIR")]
    keys: PathBuf,
    /// A root key that is elsewhere; may be given more than once
    #[arg(long, value_name = "FILE")]
    root_key: Vec<PathBuf>,
    /// Say what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// The keys of root metadata and a new key in the place of one of them.
struct Change {
    role: Role,
    old: Option<PublicKey>,
    seed: [u8; 32],
}

/// Replaces a key.
pub fn run(args: &RotateArgs, context: &mut Context) -> CommandResult {
    let project = Project::load(context)?;
    check_repository(&project)?;
    let _lock = match args.dry_run {
        true => None,
        false => Some(lock(&project)?),
    };
    let metadata = project.repository().join("metadata");
    if let Some(cut_off) = Staged::find(&args.keys)? {
        return finish(cut_off, args, &metadata, context);
    }
    let trusted_root = read_trust_root(&args.keys)?;
    let (newest, newest_bytes) = newest_root(&metadata, &trusted_root)?;
    let seeds = root_seeds(args, &newest)?;
    let seed = new_seed()?;
    let old = old_key(args, &newest)?;
    let role = args.role;
    let expires = in_days(project.settings.trust.root_days)?;
    let content = changed(&newest, &Change { role, old, seed }, expires)?;
    // A new root key signs, too; the old ones must be enough for those who know only them.
    let signing: Vec<[u8; 32]> = seeds.into_iter().chain([seed]).collect();
    let root = trust::sign_root(&content, Some(&newest_bytes), &signing).map_err(|e| {
        Failure::refused(format!("{:#}", anyhow!(e)))
            .hint("two of the three root keys must be there; name those elsewhere with --root-key")
    })?;
    let mut written =
        vec![metadata.join(format!("{}.root.json", content.version)), args.keys.join("root.json")];
    if role != Role::Expiry {
        written.push(role.file(&args.keys));
    }
    if !args.dry_run {
        let releases = match role {
            Role::Release => published(&metadata, &trusted_root)?,
            _ => None,
        };
        let draft = Draft::new(&args.keys, role, content.version)?;
        write(&draft.metadata().join(format!("{}.root.json", content.version)), &root)?;
        if role != Role::Expiry {
            draft.key(&seed)?;
        }
        if let Some((releases, expires)) = releases {
            // They are signed in the draft, after the metadata that is there.
            let name = "timestamp.json";
            fs::copy(metadata.join(name), draft.metadata().join(name)).context(name)?;
            trust::publish(&draft.metadata(), &root, &releases, expires, &seed)?;
        }
        draft.seal(&args.keys)?.finish(&args.keys, &metadata)?;
    }
    let report = KeysReport {
        dry_run: args.dry_run,
        fleet: content.afield.fleet.clone(),
        root_version: content.version,
        root_expires: expires,
        written,
        next: role.next().to_owned(),
    };
    tell(&report, context)
}

/// Only that: which key is to be replaced next is asked again, since the one that was meant may be the same.
fn finish(
    staged: Staged,
    args: &RotateArgs,
    metadata: &Path,
    context: &mut Context,
) -> CommandResult {
    let role = staged.role();
    let (verb, after) = match args.dry_run {
        true => ("would finish", "nothing was changed"),
        false => ("finished", "run the command again if another key is to be replaced"),
    };
    if !args.dry_run {
        staged.finish(&args.keys, metadata)?;
    }
    let text = format!("{verb} the replacement of the {} key, which was cut off", role.name());
    if context.out.json() {
        let finished = (!args.dry_run).then_some(role.name());
        context.out.value(&serde_json::json!({ "dry_run": args.dry_run, "finished": finished }))?;
        return Ok(Outcome::Done);
    }
    context.out.line(&text)?;
    context.out.line(&format!("next: {after}; {}", role.next()))?;
    Ok(Outcome::Done)
}

/// Every root key that is at hand.
fn root_seeds(args: &RotateArgs, newest: &RootContent) -> Result<Vec<[u8; 32]>, Failure> {
    let here = ROOTS.map(|r| r.file(&args.keys)).into_iter().filter(|p| p.exists());
    let mut seeds = Vec::new();
    for path in here.chain(args.root_key.iter().cloned()) {
        let seed = read_seed(&path)?;
        let counts = newest.root.keys.contains(&SecretKey::from_seed(&seed).public());
        if counts && !seeds.contains(&seed) {
            seeds.push(seed);
        }
    }
    if seeds.len() < newest.root.threshold {
        let (n, of) = (newest.root.threshold, newest.root.keys.len());
        let (here, dir) = (seeds.len(), args.keys.display());
        return Err(Failure::refused(format!(
            "{n} of the {of} root keys must sign, and {here} can be read in {dir}"
        ))
        .hint("name those that are elsewhere with --root-key FILE"));
    }
    Ok(seeds)
}

/// The public half of the key that is to be replaced.
fn old_key(args: &RotateArgs, newest: &RootContent) -> Result<Option<PublicKey>, Failure> {
    let set = match args.role {
        Role::Expiry => return Ok(None),
        Role::Release => &newest.release,
        Role::Rollout => &newest.afield.rollout,
        Role::Operator => &newest.afield.operators,
        Role::Root1 | Role::Root2 | Role::Root3 => &newest.root,
    };
    let public = |path: &Path| read_seed(path).map(|s| SecretKey::from_seed(&s).public());
    let path = args.role.file(&args.keys);
    if path.exists() {
        let key = public(&path)?;
        if set.keys.contains(&key) {
            return Ok(Some(key));
        }
        let (path, version) = (path.display(), newest.version);
        return Err(Failure::refused(format!(
            "{path} is not a key that root metadata {version} names"
        ))
        .hint("another folder of keys was rotated since; give that one with --keys"));
    }
    // Lost: it is the one that none of the others at hand is.
    let others = ROOTS.map(|r| r.file(&args.keys)).into_iter().filter(|p| p.exists());
    let known: BTreeSet<PublicKey> = others
        .chain(args.root_key.iter().cloned())
        .map(|p| public(&p))
        .collect::<Result<_, _>>()?;
    let lost: Vec<&PublicKey> = set.keys.iter().filter(|k| !known.contains(k)).collect();
    match lost.as_slice() {
        [key] => Ok(Some(**key)),
        _ => Err(Failure::refused(format!(
            "{} is not there, and which key it was cannot be told",
            path.display()
        ))
        .hint("give the other root keys with --root-key FILE")),
    }
}

/// Root metadata of the next version.
fn changed(
    newest: &RootContent,
    change: &Change,
    expires: Timestamp,
) -> Result<RootContent, Failure> {
    let mut content = newest.clone();
    content.version += 1;
    content.expires = expires;
    let set = match change.role {
        Role::Expiry => return Ok(content),
        Role::Release => &mut content.release,
        Role::Rollout => &mut content.afield.rollout,
        Role::Operator => &mut content.afield.operators,
        Role::Root1 | Role::Root2 | Role::Root3 => &mut content.root,
    };
    set.keys.retain(|k| Some(*k) != change.old);
    set.keys.push(SecretKey::from_seed(&change.seed).public());
    Ok(content)
}

type Published = (BTreeMap<ReleaseId, ObjectRef>, Timestamp);

/// The releases that are published; their metadata has to be signed anew when the release key changes.
fn published(metadata: &Path, trusted_root: &[u8]) -> Result<Option<Published>, Failure> {
    if !metadata.join("timestamp.json").exists() {
        return Ok(None);
    }
    let trusted = trust::load(metadata, trusted_root, None)?;
    Ok(Some((trusted.releases, trusted.expires.0)))
}
