//! What a release carries of the fleet folder: the waves, and what each host is told besides its system.

use std::collections::BTreeMap;

use afield_core::fleet::{self, Finding, Fleet, Severity, WavesResult};
use afield_core::host_data::{Access, ConfigFile, Sealed};
use afield_core::host_plan::{HostPlan, RelayKeys};
use afield_core::ids::{HostName, Name};
use afield_core::release::Wave;
use afield_core::signed::PublicKey;
use afield_core::tunnel;

use super::secrets;
use crate::context::Context;
use crate::exit::Failure;

/// The fleet folder as far as a release carries it.
#[derive(Debug, Clone)]
pub struct Declared {
    /// First to last.
    pub waves: Vec<Wave>,
    /// By host.
    pub hosts: BTreeMap<HostName, Told>,
    /// There are secrets, and nobody sealed them to the hosts.
    pub unsealed: bool,
}

/// What a host is told besides its system.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// The key that its reports are signed with.
    pub key: Option<PublicKey>,
    /// App configs by name.
    pub configs: BTreeMap<String, ConfigFile>,
    /// People by name.
    pub access: BTreeMap<String, Access>,
    /// Its entry of `generated-secrets.yml`.
    pub sealed: Option<Sealed>,
    /// The same sealed with age.
    pub age: Option<String>,
    /// Its reverse tunnels.
    pub tunnel: Option<tunnel::Config>,
    /// On relays, the keys of their two accounts.
    pub relay: Option<RelayKeys>,
    /// On relays, the principals of people who may pass with a certificate.
    pub relay_principals: Vec<String>,
    /// Its deployment services, as far as they are known without Nix.
    pub deployments: Vec<Name>,
}

/// Loads the whole fleet folder; refuses one with findings of severity `error`.
pub fn declared(context: &Context) -> Result<Declared, Failure> {
    let folder = context.folder()?;
    if let WavesResult::NotEvaluated(why) = &folder.sources.waves {
        return Err(Failure::refused(format!("the waves are not known: {why}"))
            .hint("Nix is needed where releases are made: apt install nix-bin"));
    }
    let (fleet, findings) = (&folder.fleet, &folder.findings);
    let errors: Vec<&Finding> = findings.iter().filter(|f| f.severity == Severity::Error).collect();
    refuse(&errors)?;
    let resolved = fleet::resolve(fleet);
    refuse(&resolved.findings.iter().collect::<Vec<_>>())?;
    let mut sealed = secrets::read(&folder.dir)?;
    let principals = fleet::Resolver::new(fleet).relay_principals();
    let mut hosts = BTreeMap::new();
    for (host, plan) in &resolved.plans {
        let mut told = told(plan)?;
        told.key = key(fleet, host);
        if told.relay.is_some() {
            told.relay_principals.clone_from(&principals);
        }
        (told.sealed, told.age) = sealed.take(host)?;
        hosts.insert(host.clone(), told);
    }
    let waves = waves(&resolved.plans)?;
    Ok(Declared { waves, hosts, unsealed: sealed.forgotten })
}

/// Names the first findings, and where all of them can be seen.
fn refuse(errors: &[&Finding]) -> Result<(), Failure> {
    const NAMED: usize = 3;
    if errors.is_empty() {
        return Ok(());
    }
    let named = errors.iter().take(NAMED);
    let named: Vec<String> =
        named.map(|f| format!("{}:{}: {}", f.file, f.line, f.message)).collect();
    let more = match errors.len().saturating_sub(NAMED) {
        0 => String::new(),
        n => format!("; and {n} more"),
    };
    let named = named.join("; ");
    Err(Failure::refused(format!("the fleet folder has errors: {named}{more}"))
        .hint("afield check shows all of them, with what to do"))
}

fn told(plan: &HostPlan) -> Result<Told, Failure> {
    let config = |(name, config): (&String, &afield_core::host_plan::AppConfig)| {
        let (path, content) = (config.path.clone(), config.content.to_string());
        (name.clone(), ConfigFile { path, content })
    };
    let access =
        |(user, access): (&afield_core::ids::UserName, &afield_core::host_plan::Access)| {
            let lines = access.keys.iter().map(|key| key.line(user.as_str()));
            let allowed = Access {
                profile: access.profile.name().to_owned(),
                keys: lines.collect(),
                expires: access.expires.map(|day| day.to_string()),
            };
            (user.to_string(), allowed)
        };
    let deployments = plan.services.iter().flatten().map(|name| name.parse());
    Ok(Told {
        key: None,
        configs: plan.configs.iter().map(config).collect(),
        access: plan.access.iter().map(access).collect(),
        sealed: None,
        age: None,
        tunnel: tunnel::Config::of(plan, "/etc/ssh/ssh_host_ed25519_key"),
        relay: plan.relay_keys.as_deref().cloned(),
        relay_principals: Vec::new(),
        deployments: deployments.collect::<Result<_, _>>()?,
    })
}

/// The key of a host, if it has one with which reports can be signed.
fn key(fleet: &Fleet, host: &HostName) -> Option<PublicKey> {
    let key = fleet.tunnels.get(host)?.key.as_ref()?;
    PublicKey::from_openssh(&key.value.text).ok()
}

/// The waves in the order of upgrades, also those without hosts.
fn waves(plans: &BTreeMap<HostName, HostPlan>) -> Result<Vec<Wave>, Failure> {
    let mut waves = Vec::new();
    for name in fleet::model::Waves::NAMES {
        let name = name.parse()?;
        let mine = plans.iter().filter(|(_, plan)| plan.wave.as_ref() == Some(&name));
        let hosts = mine.map(|(host, _)| host.clone()).collect();
        waves.push(Wave { name, hosts });
    }
    Ok(waves)
}
