//! `afield user add|remove NAME`: edits users.json and keys.json in place.

use afield_core::fleet::keys;
use afield_core::ids::{HostName, UserName};
use afield_core::profile::Profile;
use anyhow::Context as _;
use clap::{Args, Subcommand};
use jsonc_parser::cst::CstInputValue;

use crate::changes::{Changes, listed};
use crate::context::{Context, Folder};
use crate::exit::{CommandResult, Failure};

const USERS: &str = "json/users.json";
const KEYS: &str = "json/keys.json";
/// A `.pub` file has one line.
const LARGEST_KEY: u64 = 64 << 10;

/// Arguments of `afield user`.
#[derive(Debug, Args)]
pub struct UserArgs {
    #[command(subcommand)]
    command: UserCommand,
}

#[derive(Debug, Subcommand)]
enum UserCommand {
    /// Add a person, or give one more keys, roles or hosts
    Add(AddArgs),
    /// Remove a person from users.json, keys.json and tunnels.d
    Remove(RemoveArgs),
}

#[derive(Debug, Args)]
struct AddArgs {
    /// The person
    name: UserName,
    /// A public key as in a .pub file; its comment is dropped. May be given more than once
    #[arg(long, value_name = "KEY")]
    key: Vec<String>,
    /// A .pub file
    #[arg(long, value_name = "FILE")]
    key_file: Vec<std::path::PathBuf>,
    /// A role that gives the person the profile
    #[arg(long, value_name = "ROLE", requires = "profile")]
    role: Vec<String>,
    /// A host that gives the person the profile
    #[arg(long, value_name = "HOST", requires = "profile")]
    host: Vec<HostName>,
    /// What the person may do there, such as fieldSupport
    #[arg(long, value_name = "PROFILE", value_parser = profile)]
    profile: Option<Profile>,
    /// The first day on which the person's accounts are closed
    #[arg(long, value_name = "YYYY-MM-DD")]
    expires: Option<jiff::civil::Date>,
    /// Give the person admin on every host
    #[arg(long, conflicts_with_all = ["role", "host", "profile", "expires"])]
    global_admin: bool,
    /// Only tell what would be done
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
struct RemoveArgs {
    /// The person
    name: UserName,
    /// Only tell what would be done
    #[arg(long)]
    dry_run: bool,
}

/// A profile that users.json may name.
fn profile(text: &str) -> Result<Profile, String> {
    let names = || Profile::NAMED.map(Profile::name).join(", ");
    Profile::named(text).ok_or_else(|| format!("profiles are {}", names()))
}

/// Runs `afield user`.
pub fn run(args: &UserArgs, context: &mut Context) -> CommandResult {
    match &args.command {
        UserCommand::Add(args) => add(args, context),
        UserCommand::Remove(args) => remove(args, context),
    }
}

fn add(args: &AddArgs, context: &mut Context) -> CommandResult {
    let folder = context.folder()?;
    let name = args.name.as_str();
    let known = args.global_admin || !args.role.is_empty() || !args.host.is_empty();
    if !known && !folder.fleet.keys.contains_key(&args.name) {
        return Err(Failure::usage(format!("nothing would be given to {name}"))
            .hint("give --role or --host with --profile, or --global-admin"));
    }
    places_exist(&folder, args)?;
    let keys = public_keys(args)?;
    let mut changes = Changes::new(&folder);
    changes.json(KEYS, |json| {
        if !json.has(&["keys"], name) && !keys.is_empty() {
            let list = keys.iter().map(|key| CstInputValue::String(key.clone())).collect();
            let entry = vec![("public_keys".to_owned(), CstInputValue::Array(list))];
            return json.insert(&["keys"], name, CstInputValue::Object(entry));
        }
        keys.iter().try_for_each(|key| json.push(&["keys", name, "public_keys"], key))
    })?;
    changes.json(USERS, |json| {
        if args.global_admin {
            json.push(&["global_admins"], name)?;
        }
        if let Some(day) = args.expires {
            json.set(&["users", "expires"], name, &day.to_string())?;
        }
        let profile = args.profile.map_or("", Profile::name);
        for role in &args.role {
            json.set(&["users", "roles", role, "enable"], name, profile)?;
        }
        for host in &args.host {
            json.set(&["users", "per-host", host.as_str(), "enable"], name, profile)?;
        }
        Ok(())
    })?;
    changes.finish(context, &[], args.dry_run)
}

fn places_exist(folder: &Folder, args: &AddArgs) -> Result<(), Failure> {
    let roles = &folder.fleet.people.roles;
    if let Some(role) = args.role.iter().find(|role| !roles.contains_key(*role)) {
        return Err(Failure::usage(format!("there is no role {role:?}"))
            .hint(format!("there are {}", listed(roles.keys().map(String::as_str)))));
    }
    let hosts = &folder.fleet.hosts;
    if let Some(host) = args.host.iter().find(|host| !hosts.contains_key(host)) {
        let names: Vec<&str> = hosts.keys().map(HostName::as_str).collect();
        let failure = Failure::usage(format!("there is no host {host}"));
        return Err(match afield_core::fleet::node::nearest(host.as_str(), &names) {
            Some(near) => failure.hint(format!("is {near} meant?")),
            None => failure.hint("`afield show hosts` lists them"),
        });
    }
    Ok(())
}

/// The keys as keys.json has them: type and body.
fn public_keys(args: &AddArgs) -> Result<Vec<String>, Failure> {
    let mut texts = args.key.clone();
    for path in &args.key_file {
        let bytes = afield_store::files::read_limited(path, LARGEST_KEY);
        let bytes = bytes.with_context(|| path.display().to_string())?;
        texts.push(String::from_utf8(bytes).with_context(|| path.display().to_string())?);
    }
    let mut keys = Vec::new();
    for text in texts {
        if text.contains("PRIVATE KEY") {
            return Err(Failure::refused("this is a private key; it is nobody's but its owner's")
                .hint("give the .pub file, and replace this key if others could see it"));
        }
        let words: Vec<&str> = text.split_whitespace().take(2).collect();
        let key = words.join(" ");
        keys::parse(&key).map_err(|why| {
            Failure::usage(format!("{:?} is no SSH public key: {why}", text.trim()))
                .hint("give what stands in the .pub file")
        })?;
        keys.push(key);
    }
    Ok(keys)
}

fn remove(args: &RemoveArgs, context: &mut Context) -> CommandResult {
    let folder = context.folder()?;
    let name = args.name.as_str();
    let mut changes = Changes::new(&folder);
    let tunnels = folder.sources.files.keys().filter(|path| path.starts_with("json/tunnels.d/"));
    let tunnels: Vec<String> = tunnels.cloned().collect();
    for path in [USERS.to_owned(), KEYS.to_owned()].iter().chain(&tunnels) {
        changes.json(path, |json| json.forget(name))?;
    }
    changes.finish(context, &[], args.dry_run)
}
