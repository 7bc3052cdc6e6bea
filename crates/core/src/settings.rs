//! `afield.toml`, beside `org-config/`: what is new about a fleet that the older format has no place for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::budget::Budget;
use crate::host_data::Check;
use crate::ids::{HostName, Name};
use crate::rollout::Policy;
use crate::tunnel::config::{Target, ThroughRelay};
use crate::window::Window;

/// The whole file. Unknown keys are refused, so that a misspelt one is not silently without effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Name of the fleet; hosts refuse what is for another.
    pub fleet: Name,
    /// What to evaluate.
    pub build: Build,
    /// Where releases go.
    pub repository: Repository,
    /// The hub, if there is one.
    #[serde(default)]
    pub hub: Option<Hub>,
    /// How long signatures stay valid.
    #[serde(default)]
    pub trust: Trust,
    /// When a wave is good enough for the next.
    #[serde(default)]
    pub rollout: Policy,
    /// Checks of every host that they name.
    #[serde(default)]
    pub checks: Vec<DeclaredCheck>,
    /// When machines may be restarted.
    #[serde(default)]
    pub reboot: RebootSettings,
    /// What relays let hosts reach.
    #[serde(default)]
    pub relays: RelaySettings,
    /// What holds for everybody who may log in, and what is trusted besides the keys of the fleet folder.
    #[serde(default)]
    pub access: AccessSettings,
    /// The format of host data; 1 for one release, while hosts still run an agent that reads no more.
    #[serde(default, rename = "host-data-format")]
    pub host_data_format: Option<u32>,
    /// What is special about single hosts.
    #[serde(default)]
    pub hosts: BTreeMap<HostName, HostSettings>,
    /// Hosts that share a link.
    #[serde(default)]
    pub sites: BTreeMap<Name, Site>,
}

/// `[build]`: a flake attribute or a Nix file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Build {
    /// A Nix file whose value has one attribute a host, each a derivation; relative to the fleet folder.
    #[serde(default)]
    pub file: Option<String>,
    /// A flake reference, and with it `attribute`.
    #[serde(default)]
    pub flake: Option<String>,
    /// With `{host}` in it, as in `nixosConfigurations.{host}.config.system.build.toplevel`.
    #[serde(default)]
    pub attribute: Option<String>,
    /// The same for hosts below `hosts/ubuntu/`, as in `systemConfigs.{host}`.
    #[serde(default)]
    pub ubuntu_attribute: Option<String>,
    /// Builds at a time; Nix's `max-jobs`, by default `auto`.
    #[serde(default)]
    pub jobs: Option<u32>,
}

/// `[repository]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Repository {
    /// The folder to write; relative to the fleet folder.
    pub path: String,
    /// Copies of it: folders, or `s3://bucket/folder`. `afield release` brings them up to date.
    #[serde(default)]
    pub mirrors: Vec<String>,
}

/// `[hub]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hub {
    /// Where operators reach it, as in `http://127.0.0.1:8471`.
    pub url: String,
}

/// `[trust]`: lengths in days.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Trust {
    /// Root metadata.
    pub root_days: u32,
    /// A release's metadata; must be longer than the longest time between two releases.
    pub release_days: u32,
    /// An assignment; the hub renews it when half of it has passed.
    pub assignment_days: u32,
}

impl Default for Trust {
    fn default() -> Self {
        Self { root_days: 730, release_days: 180, assignment_days: 30 }
    }
}

/// `[access]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct AccessSettings {
    /// Whether people who may no longer log in are also thrown out of running sessions.
    pub end_sessions: bool,
    /// Public keys, `type base64`, that sign short-lived certificates of people (`afield access cert`).
    pub user_ca: Vec<PublicKeyText>,
}

/// A public key as text: type and body, which become a line of their own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKeyText(String);

impl PublicKeyText {
    /// `type base64`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for PublicKeyText {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let mut words = text.split(' ');
        let body = |w: &str| {
            w.starts_with("AAAA")
                && w.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b))
        };
        let kind = |w: &str| w.bytes().all(|b| b.is_ascii_alphanumeric() || b"-@.".contains(&b));
        match (words.next(), words.next(), words.next()) {
            (Some(first), Some(second), None) if kind(first) && body(second) => Ok(Self(text)),
            _ => Err(format!("{text:?} is no public key: give type and body, as in a .pub file")),
        }
    }
}

impl From<PublicKeyText> for String {
    fn from(key: PublicKeyText) -> String {
        key.0
    }
}

/// `[relays]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct RelaySettings {
    /// Hub and repository, as `hub.example.org:443`: what hosts may reach through a relay where nothing but SSH gets out.
    pub hosts_reach: Vec<Target>,
}

/// `[[checks]]`. Unknown keys are refused: a misspelt `contains` would make a check that always passes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "serde_json::Map<String, serde_json::Value>")]
pub struct DeclaredCheck {
    /// Which hosts; all if empty.
    pub hosts: Vec<HostName>,
    /// The check; `{host}` and the host's `vars` are put into its texts.
    #[serde(flatten)]
    pub check: Check,
}

impl TryFrom<serde_json::Map<String, serde_json::Value>> for DeclaredCheck {
    type Error = String;
    fn try_from(mut keys: serde_json::Map<String, serde_json::Value>) -> Result<Self, String> {
        let kind = keys.get("type").and_then(|t| t.as_str()).unwrap_or_default();
        let own: &[&str] = match kind {
            "http" => &["url", "status", "contains"],
            "tcp" => &["address"],
            "command" => &["command"],
            "unit" => &["unit"],
            "file" => &["path", "contains"],
            _ => return Err("a check's type is http, tcp, command, unit or file".into()),
        };
        let all = ["name", "type", "hosts", "deadline", "tries", "pause", "log"];
        if let Some(key) =
            keys.keys().find(|k| !own.contains(&k.as_str()) && !all.contains(&k.as_str()))
        {
            let own = own.join(", ");
            return Err(format!(
                "unknown key {key:?}; a check of type {kind} has {own}, {}",
                all.join(", ")
            ));
        }
        let hosts = keys.remove("hosts").unwrap_or_else(|| serde_json::Value::Array(Vec::new()));
        let hosts = serde_json::from_value(hosts).map_err(|e| format!("hosts: {e}"))?;
        let check = serde_json::from_value(keys.into()).map_err(|e| e.to_string())?;
        Ok(Self { hosts, check })
    }
}

/// `[hosts.NAME]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct HostSettings {
    /// Values for `{name}` in checks.
    pub vars: BTreeMap<Name, String>,
    /// What the host's link allows, instead of its site's budget.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<DeclaredBudget>,
    /// Days that an assignment stays valid, for a host that is reached by USB alone.
    pub assignment_days: Option<u32>,
    /// Hub and repository are asked through a relay: `always`, `never`, or `auto` after direct attempts failed for a time.
    pub through_relay: ThroughRelay,
    /// When the host may be restarted, whatever its site and wave have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reboot_window: Option<DeclaredWindow>,
}

/// `[reboot]`: what neither a host nor its site has a window of its own for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RebootSettings {
    /// Of every host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<DeclaredWindow>,
    /// Of the hosts of a wave.
    pub waves: BTreeMap<Name, DeclaredWindow>,
}

/// A window that hosts can hit: they look every few minutes, and one that none of them hits would hold a new kernel back for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Window", into = "Window")]
pub struct DeclaredWindow(Window);

/// The shortest window, minutes; three times the pause between two check-ins.
const SHORTEST_WINDOW: i64 = 15;

impl TryFrom<Window> for DeclaredWindow {
    type Error = String;
    fn try_from(window: Window) -> Result<Self, String> {
        match window.minutes() {
            SHORTEST_WINDOW.. => Ok(Self(window)),
            minutes => Err(format!(
                "the reboot window {window} is {minutes} minutes long, and a host that looks every five may miss it: make it {SHORTEST_WINDOW} minutes or longer"
            )),
        }
    }
}

impl From<DeclaredWindow> for Window {
    fn from(declared: DeclaredWindow) -> Window {
        declared.0
    }
}

/// `[sites.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Site {
    /// Who is there.
    pub hosts: Vec<HostName>,
    /// What the link allows each of them.
    #[serde(default)]
    pub budget: DeclaredBudget,
    /// When they may be restarted, whatever their waves have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reboot_window: Option<DeclaredWindow>,
}

/// A budget as it is declared. Unknown keys are refused: a misspelt one would limit nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "serde_json::Map<String, serde_json::Value>")]
pub struct DeclaredBudget(pub Budget);

impl TryFrom<serde_json::Map<String, serde_json::Value>> for DeclaredBudget {
    type Error = String;
    fn try_from(keys: serde_json::Map<String, serde_json::Value>) -> Result<Self, String> {
        let known = ["bytes-per-day", "rate", "windows", "utc-offset", "ask-first"];
        if let Some(key) = keys.keys().find(|k| !known.contains(&k.as_str())) {
            return Err(format!("unknown key {key:?}; a budget has {}", known.join(", ")));
        }
        serde_json::from_value(keys.into()).map(Self).map_err(|e| e.to_string())
    }
}

/// A `{name}` in a check that nothing gives a value to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("check {check} of host {host} uses {{{var}}}, which [hosts.{host}] vars does not define")]
pub struct UnknownVar {
    /// The host.
    pub host: HostName,
    /// The check.
    pub check: Name,
    /// The name in braces.
    pub var: String,
}

impl Settings {
    /// The checks of a host, with its values put in.
    pub fn checks_of(&self, host: &HostName) -> Result<Vec<Check>, UnknownVar> {
        let mine = |c: &&DeclaredCheck| c.hosts.is_empty() || c.hosts.contains(host);
        self.checks.iter().filter(mine).map(|c| self.fill(host, &c.check)).collect()
    }

    /// The site of a host.
    pub fn site_of(&self, host: &HostName) -> Option<&Name> {
        Some(self.sites.iter().find(|(_, site)| site.hosts.contains(host))?.0)
    }

    /// What the link of a host allows, if anything limits it.
    pub fn budget_of(&self, host: &HostName) -> Option<Budget> {
        let own = self.hosts.get(host).and_then(|h| h.budget.as_ref());
        let site = || Some(&self.sites.get(self.site_of(host)?)?.budget);
        own.or_else(site).map(|declared| declared.0.clone()).filter(|budget| !budget.is_none())
    }

    /// When a host of this wave may be restarted, if anything here says so: its own window, its site's, its wave's, that
    /// of all.
    pub fn reboot_window(&self, host: &HostName, wave: Option<&Name>) -> Option<Window> {
        let own = self.hosts.get(host).and_then(|h| h.reboot_window);
        let site = || self.sites.get(self.site_of(host)?)?.reboot_window;
        let wave = || self.reboot.waves.get(wave?).copied();
        own.or_else(site).or_else(wave).or(self.reboot.window).map(Window::from)
    }

    /// Days that an assignment for a host stays valid.
    pub fn assignment_days(&self, host: &HostName) -> u32 {
        let own = self.hosts.get(host).and_then(|h| h.assignment_days);
        own.unwrap_or(self.trust.assignment_days)
    }

    /// Whether a host's agent goes through a relay to hub and repository.
    pub fn through_relay(&self, host: &HostName) -> ThroughRelay {
        self.hosts.get(host).map(|own| own.through_relay).unwrap_or_default()
    }

    fn fill(&self, host: &HostName, check: &Check) -> Result<Check, UnknownVar> {
        use crate::host_data::Probe;
        let put = |text: &mut String| self.put(host, &check.name, text);
        let mut filled = check.clone();
        match &mut filled.probe {
            Probe::Http { url, contains, .. } => {
                put(url)?;
                contains.as_mut().map_or(Ok(()), put)?;
            }
            Probe::Tcp { address } => put(address)?,
            Probe::Command { command } => command.iter_mut().try_for_each(put)?,
            Probe::Unit { unit } => put(unit)?,
            Probe::File { path, contains } => {
                put(path)?;
                contains.as_mut().map_or(Ok(()), put)?;
            }
        }
        filled.log.as_mut().map_or(Ok(()), put)?;
        Ok(filled)
    }

    /// Replaces `{name}`; braces around anything that is no name stay as they are.
    fn put(&self, host: &HostName, check: &Name, text: &mut String) -> Result<(), UnknownVar> {
        let mut out = String::new();
        let mut rest = text.as_str();
        while let Some((before, after)) = rest.split_once('{') {
            out.push_str(before);
            let found =
                after.split_once('}').and_then(|(n, tail)| Some((n.parse::<Name>().ok()?, tail)));
            let Some((name, tail)) = found else {
                out.push('{');
                rest = after;
                continue;
            };
            let own = self.hosts.get(host).and_then(|h| h.vars.get(&name));
            match own {
                Some(value) => out.push_str(value),
                None if name.as_str() == "host" => out.push_str(host.as_str()),
                None => {
                    let var = name.as_str().to_owned();
                    return Err(UnknownVar { host: host.clone(), check: check.clone(), var });
                }
            }
            rest = tail;
        }
        out.push_str(rest);
        *text = out;
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_its_own_budget_or_that_of_its_site() {
        let site = |text: &str| serde_json::from_str::<Site>(text).map_err(|e| e.to_string());
        let boats = site(r#"{"hosts":["ab","cd"],"budget":{"bytes-per-day":"50MB"}}"#).unwrap();
        let own = HostSettings {
            budget: Some(serde_json::from_str(r#"{"rate":"64kbit/s"}"#).unwrap()),
            ..HostSettings::default()
        };
        let mut settings: Settings =
            serde_json::from_str(r#"{"fleet":"f","build":{},"repository":{"path":"r"}}"#).unwrap();
        settings.sites.insert("boats".parse().unwrap(), boats);
        settings.hosts.insert("cd".parse().unwrap(), own);
        let of = |host: &str| settings.budget_of(&host.parse().unwrap());
        assert_eq!(of("ab").unwrap().bytes_per_day.unwrap().0, 50_000_000);
        assert_eq!(of("cd").unwrap().rate.unwrap().0, 8000);
        assert_eq!(of("ef"), None);
        let error = site(r#"{"hosts":[],"budget":{"bytes-a-day":"50MB"}}"#).unwrap_err();
        assert!(error.contains("bytes-a-day") && error.contains("bytes-per-day"), "{error}");
    }

    #[test]
    fn a_misspelt_key_of_a_check_is_refused() {
        let parse =
            |text: &str| serde_json::from_str::<DeclaredCheck>(text).map_err(|e| e.to_string());
        let good =
            r#"{"name":"web","type":"http","url":"http://x/","contains":"ok","hosts":["ab"]}"#;
        assert_eq!(parse(good).unwrap().hosts.len(), 1);
        let error = parse(&good.replace("contains", "contain")).unwrap_err();
        assert!(error.contains("contain") && error.contains("url, status, contains"), "{error}");
        assert!(parse(&good.replace("http\"", "htp\"")).unwrap_err().contains("type is http"));
    }
}
