//! `afield access cert`: signs a short-lived SSH certificate, by the CA's key in a file, in the ssh-agent or in a token.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use afield_core::certificate::{self, MAX_HOURS, Signing};
use afield_core::fleet::Resolver;
use afield_core::fleet::certificates::{Grant, grant};
use afield_core::ids::{HostName, UserName};
use anyhow::{Context as _, anyhow};
use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use crate::context::{Context, Folder};
use crate::exit::{CommandResult, Failure, Outcome};
use crate::write;

/// Arguments of `afield access cert`.
#[derive(Debug, Args)]
pub struct CertArgs {
    /// Whose certificate
    user: UserName,
    /// The hosts that it opens, separated by commas; by default all that the person may log in to
    #[arg(long, value_name = "HOSTS", value_delimiter = ',')]
    hosts: Vec<HostName>,
    /// Hours from now on; at most a week
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_HOURS)))]
    hours: u32,
    /// The CA's private key; with --agent or --pkcs11 its public key
    #[arg(long, value_name = "FILE")]
    ca: PathBuf,
    /// The ssh-agent has the CA's private key
    #[arg(long, conflicts_with = "pkcs11")]
    agent: bool,
    /// A token has the CA's private key; the library that speaks to it
    #[arg(long, value_name = "LIB")]
    pkcs11: Option<String>,
    /// The person's public key; by default the one in keys.json, if there is just one
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Where the certificate goes; beside a private key NAME its name is NAME-cert.pub
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Where it is written down, one JSON line each; by default certificates.jsonl beside the fleet folder's files
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Only tell what would be signed
    #[arg(long)]
    dry_run: bool,
}

/// A line of the log: what was signed, for whom, by whom.
#[derive(Debug, Serialize)]
struct Entry<'a> {
    time: Timestamp,
    serial: u64,
    user: &'a UserName,
    by: String,
    hours: u32,
    hosts: Vec<String>,
    principals: &'a [String],
    key: &'a str,
    ca: String,
}

/// Signs it; the log is written before the certificate is given away.
pub fn run(args: &CertArgs, context: &mut Context) -> CommandResult {
    let folder = context.folder()?;
    let errors = super::access::people_errors(&folder.findings);
    if !errors.is_empty() {
        return Err(super::access::unsound("", &errors));
    }
    let resolver = Resolver::new(&folder.fleet);
    let grant = grant(&folder.fleet, &resolver, &args.user, &args.hosts, context.today)
        .map_err(|e| Failure::refused(e.to_string()).hint("`afield why USER HOST` tells more"))?;
    let key = public_key(args, &resolver)?;
    let now = Timestamp::now();
    let serial = u64::try_from(now.as_millisecond()).context("the clock is before 1970")?;
    let by = std::env::var("USER").or_else(|_| std::env::var("LOGNAME"));
    let entry = Entry {
        time: now,
        serial,
        user: &args.user,
        by: by.unwrap_or_else(|_| "unknown".into()),
        hours: args.hours,
        hosts: grant.hosts.keys().map(HostName::to_string).collect(),
        principals: &grant.principals,
        key: &key,
        ca: args.ca.display().to_string(),
    };
    if !args.dry_run {
        let certificate = sign(args, &grant, &entry)?;
        append(&log(args, &folder), &entry)?;
        write::replace(&args.out, &certificate, false)?;
    }
    tell(args, &grant, &entry, context)
}

fn tell(args: &CertArgs, grant: &Grant, entry: &Entry<'_>, context: &mut Context) -> CommandResult {
    if context.out.json() {
        let told = serde_json::json!({
            "dry_run": args.dry_run, "certificate": entry, "out": args.out.display().to_string(),
        });
        context.out.value(&told)?;
        return Ok(Outcome::Done);
    }
    let would = if args.dry_run { "would be signed" } else { "signed" };
    let (user, hours) = (&args.user, args.hours);
    context.out.line(&format!("{would}: {user} for {hours} hours, serial {}", entry.serial))?;
    for (host, profile) in &grant.hosts {
        context.out.line(&format!("  {host} ({})", profile.name()))?;
    }
    if !args.dry_run {
        context.out.line(&format!("the certificate is in {}", args.out.display()))?;
    }
    Ok(Outcome::Done)
}

/// Type and body.
fn public_key(args: &CertArgs, resolver: &Resolver<'_>) -> Result<String, Failure> {
    if let Some(path) = &args.key {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let mut words = text.split_whitespace();
        return match (words.next(), words.next()) {
            (Some(kind), Some(body)) if body.starts_with("AAAA") => Ok(format!("{kind} {body}")),
            _ => Err(Failure::usage(format!("{} is no public key", path.display()))
                .hint("give the .pub file that ssh-keygen wrote")),
        };
    }
    let keys = resolver.keys_of(&args.user);
    match &keys[..] {
        [one] => Ok(one.key.clone()),
        [] => Err(Failure::usage(format!("{} has no key in keys.json", args.user))
            .hint("give --key FILE with the public key")),
        many => Err(Failure::usage(format!("{} has {} keys in keys.json", args.user, many.len()))
            .hint("give --key FILE with the one that is meant")),
    }
}

/// The certificate's text. ssh-keygen writes beside the key that it is given, so that is a copy in a folder of its own.
fn sign(args: &CertArgs, grant: &Grant, entry: &Entry<'_>) -> Result<Vec<u8>, Failure> {
    let folder = tempfile::tempdir()?;
    let public = folder.path().join("key.pub");
    fs::write(&public, format!("{}\n", entry.key))?;
    let identity = format!("{} by {} ({})", entry.user, entry.by, entry.serial);
    let utf8 = |path: &Path| path.to_str().map(str::to_owned).context("a path is not UTF-8");
    let ca = utf8(&args.ca)?;
    let signing = Signing {
        ca: &ca,
        in_agent: args.agent,
        pkcs11: args.pkcs11.as_deref(),
        identity: &identity,
        serial: entry.serial,
        principals: &grant.principals,
        hours: args.hours,
    };
    let done = Command::new("ssh-keygen")
        .args(certificate::arguments(&signing, &utf8(&public)?))
        .output()
        .context("ssh-keygen cannot be started; is OpenSSH installed?")?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr);
        return Err(Failure::failed(anyhow!("ssh-keygen did not sign: {}", said.trim())).hint(
            "is --ca the CA's key, and --agent or --pkcs11 given if its private part is there?",
        ));
    }
    let path = folder.path().join("key-cert.pub");
    Ok(fs::read(&path).with_context(|| path.display().to_string())?)
}

fn log(args: &CertArgs, folder: &Folder) -> PathBuf {
    args.log.clone().unwrap_or_else(|| folder.dir.join("certificates.jsonl"))
}

/// One write of one line, on disk before the certificate is.
fn append(path: &Path, entry: &Entry<'_>) -> anyhow::Result<()> {
    let mut line = serde_json::to_vec(entry)?;
    line.push(b'\n');
    let write = || {
        let mut file = File::options().create(true).append(true).open(path)?;
        file.write_all(&line)?;
        file.sync_all()
    };
    write().with_context(|| {
        format!("it is not signed, since it cannot be written down in {}", path.display())
    })
}
