//! Secrets of the host: sealed they travel and are kept; opened they are in memory alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use afield_core::host_data::HostData;
use afield_core::ids::HostName;
use afield_core::secrets::hostkey::HostPrivate;
use afield_core::secrets::sealed::{self, OpenError, Sealed};
use afield_core::secrets::{SecretTree, age};
use afield_store::files;
use anyhow::{Context as _, bail};
use zeroize::Zeroizing;

use crate::access::groups;
use crate::config::Config;
use crate::data;
use crate::state::Store;
use crate::tree::{Tree, is_in_memory};

/// An OpenSSH ed25519 key has about 400 bytes.
const MAX_KEY: u64 = 16 * 1024;

/// Opens what host data holds; none if it holds no secrets.
pub fn open(data: &HostData, key: &Path) -> anyhow::Result<Option<SecretTree>> {
    let open = |key: &HostPrivate| -> Option<Result<SecretTree, OpenError>> {
        match (&data.age, &data.sealed) {
            (Some(file), _) => Some(age::open_host(file.as_bytes(), key)),
            (None, Some(sealed)) => {
                let read = Sealed::from_base64(&sealed.encrypted_key, &sealed.encrypted_secrets);
                Some(read.and_then(|sealed| sealed.open(key)))
            }
            (None, None) => None,
        }
    };
    if data.age.is_none() && data.sealed.is_none() {
        return Ok(None);
    }
    let key = read_key(key)?;
    open(&key).transpose().context("the secrets cannot be opened")
}

fn read_key(path: &Path) -> anyhow::Result<HostPrivate> {
    let shown = || format!("the host's private key {}", path.display());
    let bytes = Zeroizing::new(files::read_limited(path, MAX_KEY).with_context(shown)?);
    let text = std::str::from_utf8(&bytes).with_context(shown)?;
    HostPrivate::from_openssh(text).with_context(shown)
}

/// The files that are unpacked: those that are so by default, and those that were asked for.
fn unpacked<'a>(
    opened: &'a SecretTree,
    asked: &[String],
) -> anyhow::Result<BTreeMap<PathBuf, &'a [u8]>> {
    let mut files: BTreeMap<PathBuf, &[u8]> = BTreeMap::new();
    let mut names: BTreeMap<PathBuf, &str> = BTreeMap::new();
    for secret in opened.secrets.iter().filter(|s| s.extract || asked.contains(&s.name)) {
        let path = PathBuf::from(&secret.path);
        if let Some(other) = names.insert(path.clone(), &secret.name) {
            bail!("the secrets {other} and {} write to the same path", secret.name);
        }
        files.insert(path, secret.content.as_bytes());
    }
    if let Some(name) = asked.iter().find(|name| !opened.secrets.iter().any(|s| s.name == **name)) {
        bail!("this host has no secret {name}");
    }
    Ok(files)
}

/// What is to be done with the tree of secrets, and with which.
fn with_tree<T>(
    config: &Config,
    data: &HostData,
    use_tree: impl FnOnce(&Tree<'_>) -> T,
) -> anyhow::Result<Option<T>> {
    let folder = config.inside(&config.secrets);
    let opened = open(data, &config.inside(&config.host_key))?;
    // A host that never had secrets gets no empty folder.
    let Some(opened) = opened.or_else(|| folder.exists().then(SecretTree::default)) else {
        return Ok(None);
    };
    let files = unpacked(&opened, &[])?;
    let readers = groups(config, &config.secrets_groups).into_values().collect();
    Ok(Some(use_tree(&Tree { folder, readers, files })))
}

/// Replaces the tree of secrets. What cannot be opened leaves the old one as it is.
pub fn apply(config: &Config, data: &HostData) -> anyhow::Result<()> {
    let in_memory = !config.is_machine() || is_in_memory(&config.secrets);
    with_tree(config, data, |tree| {
        if !in_memory && !tree.files.is_empty() {
            let folder = tree.folder.display();
            bail!("{folder} is not in memory (tmpfs), and secrets must not reach a disk");
        }
        tree.replace()
    })?
    .unwrap_or(Ok(()))
    .context("secrets")
}

/// What is not as host data says. A key that does not fit is told by name.
pub fn drift(config: &Config, data: &HostData) -> Vec<String> {
    match with_tree(config, data, |tree| tree.drift(&config.secrets)) {
        Ok(drift) => drift.unwrap_or_default(),
        Err(e) => vec![format!("{e:#}")],
    }
}

/// Arguments of `afield-agent secrets`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The host whose secrets they are; must be the one that they were sealed for.
    #[arg(long, value_name = "NAME")]
    host: HostName,
    /// Open the entry of this generated-secrets.yml, not the host data that the agent keeps.
    #[arg(long, value_name = "FILE")]
    sealed: Option<PathBuf>,
    /// The host's private key (OpenSSH, ed25519).
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The folder, in memory; replaced as a whole, or left as it is.
    #[arg(long, value_name = "DIR")]
    into: PathBuf,
    /// A group that may read besides root; may be repeated.
    #[arg(long = "allow-group", value_name = "GROUP")]
    allow_groups: Vec<String>,
    /// Also a secret that is not unpacked by default; best with a folder of its own.
    #[arg(long, value_name = "NAME")]
    extract: Vec<String>,
}

/// `afield-agent secrets`: at boot, before the network, and by hand. Returns what there is to say.
pub fn run(args: &Args, config: &Path) -> anyhow::Result<String> {
    let opened = match &args.sealed {
        Some(file) => {
            let text = files::read_limited(file, sealed::MAX_FILE as u64)
                .with_context(|| file.display().to_string())?;
            let text = String::from_utf8(text).with_context(|| file.display().to_string())?;
            let key = read_key(&args.key)?;
            let opened = sealed::open_for(&text, args.host.as_str(), &key);
            Some(opened.with_context(|| file.display().to_string())?)
        }
        None => kept(args, &Config::read(config)?)?,
    };
    let Some(opened) = opened else {
        return Ok(format!("there are no secrets for {} yet; nothing was changed", args.host));
    };
    if !is_in_memory(&args.into) {
        let folder = args.into.display();
        bail!("{folder} is not in memory (tmpfs), and secrets must not reach a disk");
    }
    let groups = crate::access::groups_of(Path::new("/"), &args.allow_groups);
    let files = unpacked(&opened, &args.extract)?;
    let tree =
        Tree { folder: args.into.clone(), readers: groups.values().copied().collect(), files };
    tree.replace()?;
    let mut said = format!("{} secrets in {}", tree.files.len(), args.into.display());
    for group in args.allow_groups.iter().filter(|name| !groups.contains_key(*name)) {
        said.push_str(&format!("; there is no group {group}, so it does not read them"));
    }
    if !crate::tree::takes_acl(&args.into) {
        said.push_str("; the file system has no ACLs, so that root alone reads them");
    }
    Ok(said)
}

/// The secrets of the host data that the agent was on the way to, else of the last good one.
fn kept(args: &Args, config: &Config) -> anyhow::Result<Option<SecretTree>> {
    let state = Store::peek(&config.state_dir())?;
    let attempted = state.attempt.and_then(|attempt| attempt.to.data);
    let mut last = Ok(None);
    for id in attempted.into_iter().chain(state.good.data) {
        last = data::read(config, &id).and_then(|data| {
            if data.host != args.host {
                bail!("the host data is for {}, not for {}", data.host, args.host);
            }
            open(&data, &args.key)
        });
        if last.is_ok() {
            break;
        }
    }
    last
}
