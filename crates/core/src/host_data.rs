//! The fast layer: small, signed data that a host applies without a new system (design §4).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::accounts;
use crate::budget::Budget;
use crate::host_plan::RelayKeys;
use crate::ids::{HostName, Name, UserName};
use crate::settings::PublicKeyText;
use crate::span::Span;
use crate::tunnel::{self, config::Target};
use crate::window::Window;

/// Format number of [`HostData`]; an agent refuses a higher one, and says that it must be updated first.
///
/// Format 1 had the same fields as far as it went: an agent of its time reads format 2 far enough to say so.
pub const FORMAT: u32 = 2;
/// From this format on, access, tunnel, relay keys and secrets are applied; before, they were only carried.
const APPLIES_ALL: u32 = 2;

/// Everything a host is told besides its system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostData {
    /// [`FORMAT`].
    pub format: u32,
    /// The host that it is for.
    pub host: HostName,
    /// What must hold before a change counts as good.
    #[serde(default)]
    pub checks: Vec<Check>,
    /// App configs by name; they are written below `/run/.app_configs`.
    #[serde(default)]
    pub configs: BTreeMap<String, ConfigFile>,
    /// People who may log in, by the names of their accounts.
    #[serde(default)]
    pub access: BTreeMap<String, Access>,
    /// The host's entry of `generated-secrets.yml`, sealed to its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<Sealed>,
    /// The same secrets as an armored age file, which counts if there are both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age: Option<String>,
    /// Its reverse tunnels. The path of the private key is the host's own affair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<tunnel::Config>,
    /// On relays: who may listen, and who may pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay: Option<RelayKeys>,
    /// SSH CAs whose certificates of people count on the host. Older agents pass over this and what follows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub user_ca: Vec<PublicKeyText>,
    /// On relays: which certificates may pass, a line a person.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub relay_principals: Vec<String>,
    /// On relays: what hosts may reach through them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts_reach: Vec<Target>,
    /// Deployment services, which `robot` may start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deployments: Vec<Name>,
    /// Whether people who may no longer log in are also thrown out of running sessions.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub end_sessions: bool,
    /// What the link of the host's site allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// When the machine may be restarted, in its own time; none leaves it to the host's `agent.toml`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reboot_window: Option<Window>,
}

/// One app config.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigFile {
    /// Where, below the folder of app configs; relative, without `..`.
    pub path: String,
    /// What.
    pub content: String,
}

/// What one person may do on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// A permission profile of the fleet folder.
    pub profile: String,
    /// Lines for `authorized_keys`.
    pub keys: Vec<String>,
    /// `YYYY-MM-DD`: disabled from that day on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
}

/// Secrets sealed to the host's key; base64 as in `generated-secrets.yml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// The box's key, sealed to the host.
    pub encrypted_key: String,
    /// The box.
    pub encrypted_secrets: String,
}

/// Something that must hold on a healthy host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Unique on the host; what reports call it.
    pub name: Name,
    /// What is looked at.
    #[serde(flatten)]
    pub probe: Probe,
    /// How long one try may take.
    #[serde(default = "default_deadline")]
    pub deadline: Span,
    /// How often it is tried before it counts as failed.
    #[serde(default = "default_tries")]
    pub tries: u32,
    /// Pause between two tries.
    #[serde(default = "default_pause")]
    pub pause: Span,
    /// A log file whose last lines belong into the report of a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
}

fn default_deadline() -> Span {
    Span::secs(10)
}

fn default_tries() -> u32 {
    5
}

fn default_pause() -> Span {
    Span::secs(2)
}

/// What a check looks at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Probe {
    /// GET answers with this status, and with this text somewhere in the body.
    Http {
        /// `http://…`; what is asked is on the host itself or beside it.
        url: String,
        /// The only good status.
        #[serde(default = "default_status")]
        status: u16,
        /// Text that the first 64 KiB of the body must contain.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        contains: Option<String>,
    },
    /// A TCP connection to `host:port` opens.
    Tcp {
        /// `host:port`.
        address: String,
    },
    /// A program ends with status 0. No shell stands between.
    Command {
        /// Program and arguments.
        command: Vec<String>,
    },
    /// A systemd unit is active.
    Unit {
        /// With its suffix, as in `docker.service`.
        unit: String,
    },
    /// A file is there, and contains this text if given.
    File {
        /// Absolute path.
        path: String,
        /// Text that its first 64 KiB must contain.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        contains: Option<String>,
    },
}

fn default_status() -> u16 {
    200
}

/// What is wrong with host data that was signed all the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DataFlaw {
    /// Written by a newer Afield.
    #[error("it has format {0}, and this version reads up to {FORMAT}; update the agent first")]
    Format(u32),
    /// Meant for another host.
    #[error("it is for the host {0}")]
    OtherHost(HostName),
    /// An app config would leave its folder.
    #[error("app config {name} has the path {path:?}, which leaves the folder of app configs")]
    Escape {
        /// The config's name.
        name: String,
        /// Its path.
        path: String,
    },
    /// Two app configs would write one file, or one a file where the other needs a folder.
    #[error("app configs {0} and {1} write to the same path")]
    Clash(String, String),
    /// What is said about a person cannot be an account.
    #[error("the access of {user:?} cannot be applied: {why}")]
    Access {
        /// As it is written.
        user: String,
        /// What is wrong.
        why: String,
    },
    /// A line for a relay's accounts would give more than a relay's accounts may have.
    #[error("a key or principal for the relay's account {account} lacks `restrict`: {line}")]
    Relay {
        /// `tunnel` or `tunneller`.
        account: &'static str,
        /// How the line begins.
        line: String,
    },
    /// The tunnel's configuration.
    #[error("its tunnel: {0}")]
    Tunnel(#[from] tunnel::ConfigFlaw),
}

impl HostData {
    /// What tells a host nothing.
    pub fn empty(host: HostName) -> Self {
        Self {
            format: FORMAT,
            host,
            checks: Vec::new(),
            configs: BTreeMap::new(),
            access: BTreeMap::new(),
            sealed: None,
            age: None,
            tunnel: None,
            relay: None,
            user_ca: Vec::new(),
            relay_principals: Vec::new(),
            hosts_reach: Vec::new(),
            deployments: Vec::new(),
            end_sessions: false,
            budget: None,
            reboot_window: None,
        }
    }

    /// Checks what the signature cannot.
    pub fn validate(&self, host: &HostName) -> Result<(), DataFlaw> {
        if self.format > FORMAT {
            return Err(DataFlaw::Format(self.format));
        }
        if self.host != *host {
            return Err(DataFlaw::OtherHost(self.host.clone()));
        }
        let mut paths: BTreeMap<&str, &str> = BTreeMap::new();
        for (name, file) in &self.configs {
            if !stays_inside(&file.path) {
                let (name, path) = (name.clone(), file.path.clone());
                return Err(DataFlaw::Escape { name, path });
            }
            let clash = paths.iter().find(|(other, _)| overlap(other, &file.path));
            if let Some((_, other)) = clash {
                return Err(DataFlaw::Clash((*other).to_owned(), name.clone()));
            }
            paths.insert(&file.path, name);
        }
        self.access.iter().try_for_each(|(user, access)| {
            let wrong = |why: String| DataFlaw::Access { user: shorten(user), why };
            check_access(user, access).map_err(wrong)
        })?;
        if let Some(keys) = &self.relay {
            check_relay("tunnel", &keys.tunnel)?;
            check_relay("tunneller", &keys.tunneller)?;
        }
        check_relay("tunneller", &self.relay_principals)?;
        self.tunnel.as_ref().map_or(Ok(()), |tunnel| Ok(tunnel.check()?))
    }

    /// Whether access, tunnel, relay keys and secrets are to be applied, and not only carried.
    pub fn applies_all(&self) -> bool {
        self.format >= APPLIES_ALL
    }

    /// The same as agents of format 1 take it: they apply app configs and checks, and carry the rest.
    pub fn as_format_1(self) -> Self {
        let Self { checks, configs, access, sealed, budget, reboot_window, host, .. } = self;
        let empty = Self::empty(host);
        Self { format: 1, checks, configs, access, sealed, budget, reboot_window, ..empty }
    }
}

/// Names become file names and stand in sudoers; lines become lines of `authorized_keys`.
fn check_access(user: &str, access: &Access) -> Result<(), String> {
    let name: UserName = user.parse().map_err(|e: crate::ids::InvalidId| e.to_string())?;
    let groups = ["docker", "systemd-journal", "users"];
    if matches!(name.as_str(), "root" | "tunnel" | "tunneller")
        || groups.iter().chain(&accounts::GROUPS).any(|group| *group == name.as_str())
    {
        return Err("this account or group is the system's own".into());
    }
    // Sudoers reads such a name as an alias, or as everybody.
    if !user.bytes().any(|b| b.is_ascii_lowercase()) {
        return Err("the name of an account needs a small letter".into());
    }
    if let Some(line) = access.keys.iter().find(|line| !one_line(line)) {
        return Err(format!("a key is not one line of text: {:?}", shorten(line)));
    }
    match &access.expires {
        Some(day) => day.parse::<jiff::civil::Date>().map(drop).map_err(|e| e.to_string()),
        None => Ok(()),
    }
}

fn check_relay(account: &'static str, lines: &[String]) -> Result<(), DataFlaw> {
    let narrow = |line: &&String| one_line(line) && line.starts_with("restrict,port-forwarding");
    match lines.iter().find(|line| !narrow(line)) {
        Some(line) => Err(DataFlaw::Relay { account, line: shorten(line) }),
        None => Ok(()),
    }
}

fn one_line(text: &str) -> bool {
    !text.is_empty() && !text.starts_with(['#', ' ']) && !text.contains(char::is_control)
}

fn shorten(text: &str) -> String {
    text.chars().take(60).collect()
}

/// Whether a relative path stays below the folder that it starts from.
pub fn stays_inside(path: &str) -> bool {
    !path.is_empty()
        && !path.contains('\0')
        && path.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
}

fn overlap(a: &str, b: &str) -> bool {
    let below = |a: &str, b: &str| b.strip_prefix(a).is_some_and(|rest| rest.starts_with('/'));
    a == b || below(a, b) || below(b, a)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn data(paths: &[&str]) -> HostData {
        let file = |path: &str| ConfigFile { path: path.into(), content: String::new() };
        HostData {
            configs: paths.iter().enumerate().map(|(i, p)| (format!("c{i}"), file(p))).collect(),
            ..HostData::empty("clinic".parse().unwrap())
        }
    }

    #[test]
    fn configs_stay_in_their_folder_and_apart() {
        let host = "clinic".parse().unwrap();
        assert_eq!(data(&["a/b.yml", "a/c.yml"]).validate(&host), Ok(()));
        for bad in ["/etc/passwd", "../x", "a/../../x", "", "a//b", "a/", "./a", "a\0b"] {
            let found = data(&[bad]).validate(&host);
            assert!(matches!(found, Err(DataFlaw::Escape { .. })), "{bad:?} gave {found:?}");
        }
        let clash = |p: &[&str]| matches!(data(p).validate(&host), Err(DataFlaw::Clash(..)));
        assert!(clash(&["a", "a/b"]) && clash(&["a/b", "a"]) && clash(&["a", "a"]));
        let other = data(&[]).validate(&"other".parse().unwrap());
        assert_eq!(other, Err(DataFlaw::OtherHost("clinic".parse().unwrap())));
    }

    #[test]
    fn nothing_about_people_becomes_another_line_file_or_rule() {
        let host = "clinic".parse().unwrap();
        let key = "ssh-ed25519 AAAA ann".to_owned();
        let access = |keys: Vec<String>, expires: Option<&str>| Access {
            profile: "admin".into(),
            keys,
            expires: expires.map(str::to_owned),
        };
        let judge = |user: &str, access: Access| {
            let mut data = data(&[]);
            data.access.insert(user.into(), access);
            data.validate(&host)
        };
        assert_eq!(judge("ann", access(vec![key.clone()], Some("2027-01-31"))), Ok(()));
        for user in ["root", "tunneller", "wheel", "../ann", "a/b", "ALL", "ADMINS", "", "ann\n"] {
            let found = judge(user, access(vec![], None));
            assert!(matches!(found, Err(DataFlaw::Access { .. })), "{user:?} gave {found:?}");
        }
        for line in ["", "# x", "ssh-ed25519 AAAA\nssh-ed25519 BBBB", "a\rb"] {
            assert!(judge("ann", access(vec![line.into()], None)).is_err(), "{line:?} was taken");
        }
        assert!(judge("ann", access(vec![key], Some("2027-02-30"))).is_err());
        let mut relay = data(&[]);
        relay.relay = Some(RelayKeys {
            tunnel: vec![
                "restrict,port-forwarding,permitlisten=\"2001\" ssh-ed25519 AAAA x".into(),
            ],
            tunneller: vec!["ssh-ed25519 AAAA ann".into()],
        });
        let found = relay.validate(&host);
        assert!(matches!(found, Err(DataFlaw::Relay { account: "tunneller", .. })), "{found:?}");
        for line in ["ann@:relays", "restrict,port-forwarding ann@:relays\nroot"] {
            let relay_principals = vec![line.to_owned()];
            let found = HostData { relay_principals, ..data(&[]) }.validate(&host);
            assert!(matches!(found, Err(DataFlaw::Relay { .. })), "{line:?} gave {found:?}");
        }
    }

    #[test]
    fn an_agent_of_format_1_reads_far_enough_to_say_so() {
        #[derive(Deserialize)]
        struct Format1 {
            format: u32,
            access: BTreeMap<String, Access>,
            sealed: Option<Sealed>,
        }
        let mut data = data(&["a"]);
        data.sealed = Some(Sealed { encrypted_key: "k".into(), encrypted_secrets: "s".into() });
        data.relay = Some(RelayKeys { tunnel: vec![], tunneller: vec![] });
        let old: Format1 = serde_json::from_str(&serde_json::to_string(&data).unwrap()).unwrap();
        assert_eq!((old.format, old.access.len(), old.sealed), (2, 0, data.sealed.clone()));
        let one = data.as_format_1();
        assert!(!one.applies_all() && one.relay.is_none() && one.sealed.is_some());
    }

    /// As an agent from before the reboot window, or before whatever comes next.
    #[test]
    fn what_is_newer_is_passed_over_and_what_is_older_is_understood() {
        let mut data = data(&["a"]);
        data.reboot_window = Some("22:00-04:00".parse().unwrap());
        let mut json = serde_json::to_value(&data).unwrap();
        assert_eq!(json["reboot_window"], "22:00-04:00");
        json["something_newer"] = 1.into();
        assert_eq!(serde_json::from_value::<HostData>(json.clone()).unwrap(), data);
        json.as_object_mut().unwrap().remove("reboot_window");
        assert_eq!(serde_json::from_value::<HostData>(json).unwrap().reboot_window, None);
        assert!(data.as_format_1().reboot_window.is_some());
    }

    #[test]
    fn checks_read_as_operators_write_them() {
        let json =
            r#"{"name":"web","type":"http","url":"http://127.0.0.1/","tries":3,"deadline":"2s"}"#;
        let check: Check = serde_json::from_str(json).unwrap();
        assert_eq!((check.tries, check.deadline), (3, Span::secs(2)));
        assert!(matches!(check.probe, Probe::Http { status: 200, contains: None, .. }));
    }
}
