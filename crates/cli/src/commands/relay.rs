//! `afield relay config NAME`: what makes a machine a relay, or brings it up to date.

use afield_core::fleet::{Finding, Resolver, Severity};
use afield_core::ids::Name;
use afield_core::relay::{self, Relay};
use clap::{Args, Subcommand};

use crate::context::{Context, Folder};
use crate::exit::{CommandResult, Failure, Outcome};
use crate::fleet::Project;

/// Arguments of `afield relay`.
#[derive(Debug, Args)]
pub struct RelayArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Print the script that makes a plain Debian or Ubuntu this relay
    ///
    /// One command sets a relay up, and the same one brings its keys up to date:
    ///
    ///   afield relay config relay-bru | ssh root@relay-bru.example.org sh
    ///
    /// It makes the accounts `tunnel` (hosts listen) and `tunneller` (people pass), which can forward ports and do
    /// nothing else, writes their keys, and adds a file to sshd's settings. Other accounts are not touched.
    #[command(verbatim_doc_comment)]
    Config {
        /// The relay, as in relay-servers.json
        name: Name,
    },
}

/// Renders it.
pub fn run(args: &RelayArgs, context: &mut Context) -> CommandResult {
    let What::Config { name } = &args.what;
    let folder = context.folder()?;
    require_sound_access(&folder)?;
    let relays = &folder.fleet.relays.servers;
    let Some(server) = relays.get(name) else {
        let known: Vec<&str> = relays.keys().map(Name::as_str).collect();
        return Err(Failure::failed(anyhow::anyhow!(
            "there is no relay {name} in relay-servers.json"
        ))
        .hint(format!("there are: {}", known.join(", "))));
    };
    let resolver = Resolver::new(&folder.fleet);
    let keys = resolver.relay_keys();
    let settings = Project::settings_if_there(context)?;
    let user_ca = settings.iter().flat_map(|settings| &settings.access.user_ca);
    let user_ca: Vec<String> = user_ca.map(|key| key.as_str().to_owned()).collect();
    let relay = Relay {
        ports: server.ports.clone(),
        tunnel: keys.tunnel.clone(),
        tunneller: keys.tunneller.clone(),
        reach: settings.map(|settings| settings.relays.hosts_reach).unwrap_or_default(),
        principals: match user_ca.is_empty() {
            true => Vec::new(),
            false => resolver.relay_principals(),
        },
        user_ca,
    };
    if context.out.json() {
        context.out.value(&serde_json::json!({
            "relay": name, "sshd": relay::sshd_config(&relay),
            "tunnel": relay.tunnel, "tunneller": relay.tunneller,
            "user_ca": relay.user_ca, "principals": relay.principals,
        }))?;
    } else {
        context.out.text(&relay::install_script(name, &relay))?;
    }
    Ok(Outcome::Done)
}

/// With half of what says who may pass, people and hosts would be locked out. A mistake in a file for an application
/// is no reason to leave a leaver's key on the relays.
fn require_sound_access(folder: &Folder) -> Result<(), Failure> {
    let of_an_app = |file: &str| file.starts_with("app_configs/") || file.starts_with("secrets/");
    let is_error = |f: &&Finding| f.severity == Severity::Error && !of_an_app(&f.file);
    let mut errors = folder.findings.iter().filter(is_error);
    match errors.next() {
        None => Ok(()),
        Some(first) => Err(Failure::refused(format!(
            "{}:{}: {} ({})",
            first.file, first.line, first.message, first.code
        ))
        .hint("correct it first, or people and hosts would lose their way in; `afield check` shows all")),
    }
}
