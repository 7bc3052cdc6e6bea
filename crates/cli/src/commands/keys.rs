//! `afield keys`: the keys of trust. Root keys name the others; see SECURITY.md.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use afield_core::ids::Name;
use afield_core::settings::Trust;
use afield_core::signed::{PublicKey, SecretKey};
use afield_store::files;
use afield_store::keys::{read_seed, write_seed};
use afield_store::repository::Repository;
use afield_store::trust::{self, FleetKeys, KeySet, MAX_ROOT, RootContent};
use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand, ValueEnum};
use jiff::{Timestamp, ToSpan as _};
use serde::Serialize;

use crate::context::Context;
use crate::exit::{CommandResult, Failure, Outcome};
use crate::fleet::Project;

/// Of the three root keys, so many must sign.
const ROOT_THRESHOLD: usize = 2;

/// Arguments of `afield keys`.
#[derive(Debug, Args)]
#[command(
    after_help = "Three root keys name all others; two of them must sign, so that one may be lost or stolen. Keep them \
apart and offline. The release key signs what is built (CI), the rollout key what is handed out (the hub), the \
operator key what people order."
)]
pub struct KeysArgs {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// Make all keys of a new fleet, and its first root metadata
    Init(InitArgs),
    /// Replace a key, or only renew how long root metadata is valid
    Rotate(RotateArgs),
}

/// Arguments of `afield keys init`.
#[derive(Debug, Args)]
#[command(
    after_help = "Writes root-1.pem root-2.pem root-3.pem release.pem rollout.pem operator.pem (mode 0600) and root.json, \
which every host gets as its trust root (/etc/afield/root.json). root.json goes into the repository, too.\n\n\
Nothing that exists is replaced. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused.\n\n  \
afield keys init --out keys"
)]
struct InitArgs {
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

/// Arguments of `afield keys rotate`.
#[derive(Debug, Args)]
#[command(
    after_help = "Makes the new key and the next version of root metadata, signed with two root keys, and puts it into the \
repository; hosts follow at their next check-in. The old key file stays beside the new one as ROLE.replaced-N.pem. \
A root key that is lost is replaced with the two others.\n\n\
Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused.\n\n  \
afield keys rotate --keys keys release\n  \
afield keys rotate --keys keys root-3 --root-key /media/stick/root-2.pem\n  \
afield keys rotate --keys keys expiry      only renews root metadata"
)]
struct RotateArgs {
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Role {
    /// The first root key
    #[value(name = "root-1")]
    Root1,
    /// The second root key
    #[value(name = "root-2")]
    Root2,
    /// The third root key
    #[value(name = "root-3")]
    Root3,
    /// Signs releases
    Release,
    /// Signs assignments; the hub has it
    Rollout,
    /// Signs orders to the hub
    Operator,
    /// No key: renews how long root metadata is valid
    Expiry,
}

const ROOTS: [Role; 3] = [Role::Root1, Role::Root2, Role::Root3];

impl Role {
    fn name(self) -> &'static str {
        match self {
            Role::Root1 => "root-1",
            Role::Root2 => "root-2",
            Role::Root3 => "root-3",
            Role::Release => "release",
            Role::Rollout => "rollout",
            Role::Operator => "operator",
            Role::Expiry => "expiry",
        }
    }

    fn file(self, dir: &Path) -> PathBuf {
        dir.join(format!("{}.pem", self.name()))
    }

    /// What has to be done by a person after this key was replaced.
    fn next(self) -> &'static str {
        match self {
            Role::Root1 | Role::Root2 | Role::Root3 => {
                "keep the new root key apart from the others, offline"
            }
            Role::Release => "give the new release key to CI; releases were signed anew with it",
            Role::Rollout => {
                "give the new rollout key to the hub and restart it; it signs all assignments anew"
            }
            Role::Operator => "give the new operator key to those who order rollouts",
            Role::Expiry => "nothing else is to be done",
        }
    }
}

/// Makes or replaces keys.
pub fn run(args: &KeysArgs, context: &mut Context) -> CommandResult {
    match &args.command {
        KeysCommand::Init(args) => init(args, context),
        KeysCommand::Rotate(args) => rotate(args, context),
    }
}

/// What both commands print with `--json`.
#[derive(Debug, Serialize)]
struct KeysReport {
    dry_run: bool,
    fleet: Name,
    root_version: u64,
    root_expires: Timestamp,
    written: Vec<PathBuf>,
    next: String,
}

fn init(args: &InitArgs, context: &mut Context) -> CommandResult {
    let project = match &args.fleet_name {
        // The folder one stands in may be that of another fleet, or of none.
        Some(name) => Project::load(context)
            .ok()
            .filter(|p| p.settings.fleet == *name),
        None => Some(Project::load(context)?),
    };
    let settings = project.as_ref().map(|p| &p.settings);
    let Some(fleet) = args
        .fleet_name
        .clone()
        .or(settings.map(|s| s.fleet.clone()))
    else {
        return Err(Failure::usage("the fleet has no name").hint("give --fleet-name NAME"));
    };
    let trust = settings.map_or_else(Trust::default, |s| s.trust.clone());
    let metadata = project.as_ref().map(|p| p.repository().join("metadata"));
    refuse_to_replace(&args.out, metadata.as_deref())?;

    let expires = in_days(trust.root_days)?;
    let roles = [
        ROOTS.as_slice(),
        &[Role::Release, Role::Rollout, Role::Operator],
    ]
    .concat();
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
        let one = |i: usize| KeySet {
            keys: vec![public(i)],
            threshold: 1,
        };
        let content = RootContent {
            version: 1,
            expires,
            root: KeySet {
                keys: (0..ROOTS.len()).map(public).collect(),
                threshold: ROOT_THRESHOLD,
            },
            release: one(3),
            afield: FleetKeys {
                fleet: fleet.clone(),
                rollout: one(4),
                operators: one(5),
            },
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
    let report = KeysReport {
        dry_run,
        fleet,
        root_version,
        root_expires,
        written,
        next,
    };
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

/// The keys of root metadata and a new key in the place of one of them.
struct Change {
    role: Role,
    old: Option<PublicKey>,
    seed: [u8; 32],
}

fn rotate(args: &RotateArgs, context: &mut Context) -> CommandResult {
    let project = Project::load(context)?;
    let metadata = project.repository().join("metadata");
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
    let path = metadata.join(format!("{}.root.json", content.version));
    let mut written = vec![path.clone(), args.keys.join("root.json")];
    if role != Role::Expiry {
        written.push(role.file(&args.keys));
    }
    if !args.dry_run {
        let again = match role {
            Role::Release => published(&metadata, &trusted_root)?,
            _ => None,
        };
        // The new key is safe before anything says that it counts.
        let beside = args
            .keys
            .join(format!("{}.new-{}.pem", role.name(), content.version));
        if role != Role::Expiry {
            write_seed(&beside, &seed)?;
        }
        write(&path, &root)?;
        if let Some((releases, expires)) = again {
            trust::publish(&metadata, &trusted_root, &releases, expires, &seed)?;
        }
        write(&args.keys.join("root.json"), &root)?;
        if role != Role::Expiry {
            swap(&role.file(&args.keys), &beside, newest.version)?;
        }
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

/// The trust root in a folder of keys.
pub fn read_trust_root(keys: &Path) -> Result<Vec<u8>, Failure> {
    let path = keys.join("root.json");
    files::read_limited(&path, MAX_ROOT).map_err(|e| {
        Failure::usage(format!(
            "the trust root {} cannot be read: {e}",
            path.display()
        ))
        .hint("--keys is the folder that afield keys init wrote")
    })
}

/// The newest root metadata of the repository that follows from the trusted one.
pub fn newest_root(metadata: &Path, trusted: &[u8]) -> Result<(RootContent, Vec<u8>), Failure> {
    let mut bytes = trusted.to_vec();
    let mut content = trust::read_root(&bytes)?;
    loop {
        let path = metadata.join(format!("{}.root.json", content.version + 1));
        let next =
            files::read_if_there(&path, MAX_ROOT).with_context(|| path.display().to_string())?;
        let Some(next) = next else {
            return Ok((content, bytes));
        };
        content = trust::read_root(&next)?;
        bytes = next;
    }
}

/// Every root key that is at hand.
fn root_seeds(args: &RotateArgs, newest: &RootContent) -> Result<Vec<[u8; 32]>, Failure> {
    let here = ROOTS
        .map(|r| r.file(&args.keys))
        .into_iter()
        .filter(|p| p.exists());
    let mut seeds = Vec::new();
    for path in here.chain(args.root_key.iter().cloned()) {
        let seed = read_seed(&path)?;
        let counts = newest
            .root
            .keys
            .contains(&SecretKey::from_seed(&seed).public());
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
        .hint("an interrupted rotation leaves the new key beside it, as ROLE.new-N.pem; move that to ROLE.pem"));
    }
    // Lost: it is the one that none of the others at hand is.
    let others = ROOTS
        .map(|r| r.file(&args.keys))
        .into_iter()
        .filter(|p| p.exists());
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

type Published = (
    std::collections::BTreeMap<afield_core::ids::ReleaseId, afield_core::release::ObjectRef>,
    Timestamp,
);

/// The releases that are published; their metadata has to be signed anew when the release key changes.
fn published(metadata: &Path, trusted_root: &[u8]) -> Result<Option<Published>, Failure> {
    if !metadata.join("timestamp.json").exists() {
        return Ok(None);
    }
    let trusted = trust::load(metadata, trusted_root, None)?;
    Ok(Some((trusted.releases, trusted.expires.0)))
}

/// Puts the new key file in the place of the old one, which keeps the number of the root metadata that named it.
fn swap(path: &Path, new: &Path, version: u64) -> Result<(), Failure> {
    if path.exists() {
        let replaced = path.with_extension(format!("replaced-{version}.pem"));
        fs::rename(path, &replaced).with_context(|| replaced.display().to_string())?;
    }
    fs::rename(new, path).with_context(|| path.display().to_string())?;
    files::sync_dir(path.parent().unwrap_or(Path::new(".")))?;
    Ok(())
}

fn tell(report: &KeysReport, context: &mut Context) -> CommandResult {
    if context.out.json() {
        context.out.value(report)?;
        return Ok(Outcome::Done);
    }
    let verb = match report.dry_run {
        true => "would write",
        false => "wrote",
    };
    for path in &report.written {
        context.out.line(&format!("{verb} {}", path.display()))?;
    }
    let (version, fleet) = (report.root_version, &report.fleet);
    let day = report.root_expires.strftime("%F");
    context.out.line(&format!(
        "root metadata {version} of the fleet {fleet}, valid until {day}"
    ))?;
    context.out.line(&format!("next: {}", report.next))?;
    Ok(Outcome::Done)
}

fn new_seed() -> Result<[u8; 32], Failure> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|e| anyhow!("the kernel gives no randomness: {e}"))?;
    Ok(seed)
}

/// That many days from now.
pub fn in_days(days: u32) -> Result<Timestamp, Failure> {
    let hours = i64::from(days) * 24;
    let then = Timestamp::now().checked_add(hours.hours());
    then.map_err(|_| {
        Failure::usage(format!(
            "{days} days are too many for [trust] in afield.toml"
        ))
    })
}

fn private_dir(dir: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::DirBuilderExt as _;
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder
        .create(dir)
        .with_context(|| dir.display().to_string())?;
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    files::write_atomic(path, bytes).with_context(|| path.display().to_string())?;
    Ok(())
}
