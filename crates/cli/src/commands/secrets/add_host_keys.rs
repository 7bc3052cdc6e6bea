//! `afield secrets add-host-keys HOST`: a disk encryption key for the host, and a recovery key for the operators.

use std::path::{Path, PathBuf};

use afield_core::secrets::{MAX_PLAINTEXT, add, vault};
use anyhow::{Context as _, anyhow};
use clap::Args;
use data_encoding::HEXLOWER;
use zeroize::Zeroizing;

use super::keyring::{self, KeyArgs, Keyring, Kind, Lock};
use super::report::Report;
use super::{file, fleet};
use crate::context::Context;
use crate::exit::{CommandResult, Failure, Outcome};

/// Random bytes of a key; it is stored as twice as many hex digits.
const KEY_BYTES: usize = 64;

/// Arguments of `afield secrets add-host-keys`.
#[derive(Debug, Args)]
pub struct AddHostKeysArgs {
    /// The host
    host: String,
    /// The vault file to add them to
    /// (by default secrets/master/encryption-keys/HOST_encryption-secrets.yml in the fleet folder)
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Take the key from this file (blanks around it are dropped) instead of a random one
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Take the recovery key from this file instead of a random one
    #[arg(long, value_name = "FILE")]
    recovery_key_file: Option<PathBuf>,
    #[command(flatten)]
    keys: KeyArgs,
    /// Whom an age file is sealed to (by default secrets/operators.pub in the fleet folder)
    #[arg(long, value_name = "FILE")]
    operators: Option<PathBuf>,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

/// Adds both keys to the file, or makes it.
pub fn run(args: &AddHostKeysArgs, context: &mut Context) -> CommandResult {
    let fleet = context.fleet_dir()?;
    if !fleet::hosts(&fleet)?.iter().any(|host| host.name == args.host) {
        return Err(Failure::refused(format!("host `{}` is not in tunnels.d", args.host))
            .hint("add it there first, with an empty public_key if it has none yet"));
    }
    let default = || {
        fleet.join(format!("secrets/master/encryption-keys/{}_encryption-secrets.yml", args.host))
    };
    let path = args.file.clone().unwrap_or_else(default);
    let keyring = Keyring::new(&args.keys);
    let keys = add::host_keys(
        &args.host,
        &key(args.key_file.as_deref())?,
        &key(args.recovery_key_file.as_deref())?,
    );
    stand_elsewhere(&fleet, &path, &keyring, &args.host)?;

    let opened = if path.exists() { Some(keyring.open(&path)?) } else { None };
    // A new file is an age file as soon as the fleet names its operators.
    let age = args.operators.is_some() || keyring::operators_file(&fleet).exists();
    let new = if age { Kind::Age } else { Kind::Vault(None) };
    let kind = opened.as_ref().map_or(&new, |opened| &opened.kind);
    let lock = keyring.lock(kind, args.operators.as_deref(), context)?;
    let old = opened.as_ref().map_or(&[][..], |opened| &opened.plain);
    let old = std::str::from_utf8(old)
        .with_context(|| format!("{} is not UTF-8 text", path.display()))?;
    let text = add::add(&path.display().to_string(), old, &keys).map_err(|problems| {
        let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
        Failure::refused(told.join("\n"))
    })?;
    let sealed = lock.seal(text.as_bytes())?;
    if !args.dry_run {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        file::replace(&path, sealed.as_bytes())?;
        verify(&path, &lock, &sealed, &text)?;
    }
    let mut report = Report::new(args.dry_run);
    report.add(
        &path,
        if opened.is_some() { "extended by both keys" } else { "created with both keys" },
    );
    report.print(context)?;
    Ok(Outcome::Done)
}

/// The older tool lost the recovery key: so look at what is on the disk now. (An age file cannot always be opened by
/// the one who wrote it; then it must be the bytes that were made.)
fn verify(path: &Path, lock: &Lock, sealed: &str, text: &str) -> anyhow::Result<()> {
    let written = file::read_text(path, vault::MAX_FILE)?;
    let holds = match lock {
        Lock::Vault(password, _) => *vault::decrypt(&written, password)? == *text.as_bytes(),
        Lock::Age(_) => *written == sealed,
    };
    if holds {
        Ok(())
    } else {
        Err(anyhow!("{} does not hold what was written to it", path.display()))
    }
}

/// A key from a file, or a fresh one in hex.
fn key(path: Option<&Path>) -> anyhow::Result<Zeroizing<String>> {
    if let Some(path) = path {
        let text = file::read_text(path, MAX_PLAINTEXT)?;
        let key = text.trim();
        if key.is_empty() {
            return Err(anyhow!("{} is empty", path.display()));
        }
        return Ok(Zeroizing::new(key.to_owned()));
    }
    let mut bytes = Zeroizing::new([0; KEY_BYTES]);
    getrandom::fill(&mut *bytes).context("the system gives no randomness")?;
    Ok(Zeroizing::new(HEXLOWER.encode(&*bytes)))
}

/// Refuses if another master file has keys of this host. Files with another password are passed over: `seal` finds
/// duplicates too.
fn stand_elsewhere(
    fleet: &Path,
    target: &Path,
    keyring: &Keyring<'_>,
    host: &str,
) -> Result<(), Failure> {
    let names = [format!("{host}-encryption-key"), format!("{host}-recovery-encryption-key")];
    let files = if fleet.join("secrets/master").is_dir() {
        fleet::master_files(fleet)?
    } else {
        Vec::new()
    };
    for path in files.iter().filter(|path| *path != target) {
        let Ok(Ok(secrets)) = fleet::open_master(fleet, path, keyring) else {
            continue;
        };
        if let Some(found) = secrets.iter().find(|secret| names.contains(&secret.name)) {
            let (name, line) = (&found.name, found.line);
            return Err(Failure::refused(format!(
                "{}:{line}: secret `{name}` is there already",
                path.display()
            ))
            .hint("remove it with `afield secrets edit` first, if the host gets new keys"));
        }
    }
    Ok(())
}
