//! `tunnel.json`: the relays, and what is forwarded from them to the host. Host data becomes this file.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::host_plan::HostPlan;
use crate::ids::{InvalidId, Name};
use crate::span::Span;

/// The whole file. Unknown keys are passed over: newer host data must not cut an older host off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// The account on the relays.
    #[serde(default = "default_user")]
    pub user: String,
    /// The host's private key, an absolute path that the tunnel's user can read.
    #[serde(default = "default_key")]
    pub key: String,
    /// All are held at the same time.
    pub relays: Vec<Relay>,
    /// All are asked of each relay.
    pub forwards: Vec<Forward>,
    /// The site's HTTP proxy; it is tried after the direct ways.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<Proxy>,
    /// From a relay's first words until its ports are open; slow links need about 10 s.
    #[serde(default = "default_connect_timeout")]
    pub connect_timeout: Span,
    /// After this silence the relay is asked for a sign of life; after three times this it counts as dead.
    #[serde(default = "default_keepalive")]
    pub keepalive: Span,
    /// Whether the agent asks hub and repository through a relay.
    #[serde(default)]
    pub through_relay: ThroughRelay,
}

/// When the agent goes through a relay to hub and repository.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ThroughRelay {
    /// After direct attempts failed for a time; also where an older agent's file says nothing.
    #[default]
    Auto,
    /// Straight is not tried: all but SSH is known to be blocked.
    Always,
    /// Only straight.
    Never,
}

fn default_user() -> String {
    "tunnel".into()
}

fn default_key() -> String {
    "/etc/ssh/ssh_host_ed25519_key".into()
}

fn default_connect_timeout() -> Span {
    Span::secs(60)
}

fn default_keepalive() -> Span {
    Span::secs(10)
}

fn default_ports() -> Vec<u16> {
    vec![22, 80, 443]
}

/// One relay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relay {
    /// Its name in `relay-servers.json`.
    pub name: Name,
    /// Literal addresses and names. Give at least one literal: it helps where DNS fails or lies.
    pub addresses: Vec<String>,
    /// Ports on which its sshd listens.
    #[serde(default = "default_ports")]
    pub ports: Vec<u16>,
    /// Its pinned host key, `type base64`.
    pub host_key: String,
}

/// One forwarded port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forward {
    /// Port on the relay's loopback.
    pub listen: u16,
    /// Port on this host's loopback.
    pub target: u16,
}

/// A port of a machine that hosts may reach through a relay, as `hub.example.org:443`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Target {
    /// Name or IPv4 address, as the relay knows it.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl FromStr for Target {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let wrong = || InvalidId {
            kind: "target",
            text: text.chars().take(80).collect(),
            rule: "it is name:port or address:port, as in hub.example.org:443",
        };
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        match port.parse() {
            Ok(port) if port > 0 && is_address(host) && !host.contains(':') => {
                Ok(Self { host: host.into(), port })
            }
            _ => Err(wrong()),
        }
    }
}

impl TryFrom<String> for Target {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<Target> for String {
    fn from(target: Target) -> String {
        target.to_string()
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// An HTTP proxy that knows CONNECT, as `host:port` or `http://host:port`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Proxy {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl FromStr for Proxy {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let wrong = || InvalidId {
            kind: "HTTP proxy",
            text: text.chars().take(80).collect(),
            rule: "it is host:port or http://host:port, without a password",
        };
        let rest = text.strip_prefix("http://").unwrap_or(text);
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = rest.rsplit_once(':').ok_or_else(wrong)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        match port.parse() {
            Ok(port) if port > 0 && is_address(host) => Ok(Self { host: host.into(), port }),
            _ => Err(wrong()),
        }
    }
}

impl TryFrom<String> for Proxy {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<Proxy> for String {
    fn from(proxy: Proxy) -> String {
        proxy.to_string()
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// What is wrong in a tunnel's configuration: where, what, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigFlaw(String);

impl Config {
    /// What a host's plan says, for the host's private key at `key`; none if it has no tunnel or there are no relays.
    ///
    /// `connectTimeout` of the fleet folder, 360 s by default, was for one address after the other. Here all are tried
    /// at once, so that a minute is enough for what it still stands for.
    pub fn of(plan: &HostPlan, key: &str) -> Option<Self> {
        let tunnel = plan.tunnel.as_ref()?;
        let relays = plan.relays.iter().map(|(name, relay)| Relay {
            name: name.clone(),
            addresses: relay.addresses.clone(),
            ports: relay.ports.clone(),
            host_key: relay.public_key.clone(),
        });
        let forwards = tunnel
            .tunnels
            .values()
            .map(|one| Forward { listen: one.relay_port, target: one.local_port });
        let config = Self {
            user: default_user(),
            key: key.to_owned(),
            relays: relays.collect(),
            forwards: forwards.collect(),
            proxy: None,
            connect_timeout: Span::secs(u64::from(tunnel.connect_timeout).clamp(20, 60)),
            keepalive: default_keepalive(),
            through_relay: ThroughRelay::default(),
        };
        (!config.relays.is_empty()).then_some(config)
    }

    /// Checks what the types cannot: nothing here may turn into another argument, option or line for OpenSSH.
    pub fn check(&self) -> Result<(), ConfigFlaw> {
        let flaw = |text: String| Err(ConfigFlaw(text));
        if !is_word(&self.user) {
            return flaw(format!(
                "user: {:?} is no name of an account (letters, digits, - and _)",
                self.user
            ));
        }
        if !self.key.starts_with('/') || self.key.contains(['"', '\n', '%', '\\']) {
            return flaw(format!(
                "key: {:?} is no absolute path without quotes, \\ and %",
                self.key
            ));
        }
        if self.relays.is_empty() {
            return flaw("relays is empty: name at least one, or nobody can reach the host".into());
        }
        if self.forwards.is_empty() {
            return flaw("forwards is empty: name at least the port of the host's sshd".into());
        }
        if self.keepalive.as_secs() == 0 || self.connect_timeout.as_secs() == 0 {
            return flaw("keepalive and connect_timeout are at least 1s".into());
        }
        let mut listen = BTreeSet::new();
        for forward in &self.forwards {
            if forward.listen == 0 || forward.target == 0 {
                return flaw("forwards: ports are from 1 to 65535".into());
            }
            if !listen.insert(forward.listen) {
                return flaw(format!("forwards: port {} is listed twice", forward.listen));
            }
        }
        let mut names = BTreeSet::new();
        for relay in &self.relays {
            relay.check().or_else(|why| flaw(format!("relay {}: {why}", relay.name)))?;
            if !names.insert(&relay.name) {
                return flaw(format!("relay {} is listed twice", relay.name));
            }
        }
        Ok(())
    }
}

impl Relay {
    fn check(&self) -> Result<(), String> {
        if self.addresses.is_empty() || self.ports.is_empty() || self.ports.contains(&0) {
            return Err("it needs addresses, and ports from 1 to 65535".into());
        }
        if let Some(wrong) = self.addresses.iter().find(|a| !is_address(a)) {
            return Err(format!("{wrong:?} is neither an address nor a name"));
        }
        let mut words = self.host_key.split(' ');
        let key = |w: &str| {
            w.len() > 1 && w.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=@.-".contains(&b))
        };
        match (words.next(), words.next(), words.next()) {
            (Some(kind), Some(body), None) if key(kind) && key(body) && !kind.starts_with('@') => {
                Ok(())
            }
            _ => Err(format!(
                "host_key {:?} is not a type and a body, as in a .pub file without its comment",
                self.host_key
            )),
        }
    }
}

fn is_word(text: &str) -> bool {
    let fine = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    !text.is_empty() && !text.starts_with('-') && text.bytes().all(fine)
}

fn is_address(text: &str) -> bool {
    let fine = |b: u8| b.is_ascii_alphanumeric() || b".:-_".contains(&b);
    !text.is_empty() && text.len() < 254 && !text.starts_with('-') && text.bytes().all(fine)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const FILE: &str = r#"{"newer": true,
        "relays": [{"name": "bru", "addresses": ["192.0.2.7", "relay.example.org"], "host_key": "ssh-ed25519 AAAA"}],
        "forwards": [{"listen": 2001, "target": 22}], "proxy": "http://proxy.site:3128/"}"#;

    #[test]
    fn a_file_reads_with_its_defaults() {
        let config: Config = serde_json::from_str(FILE).unwrap();
        assert_eq!(config.check(), Ok(()));
        assert_eq!(config.relays[0].ports, [22, 80, 443]);
        assert_eq!((config.user.as_str(), config.keepalive), ("tunnel", Span::secs(10)));
        assert_eq!(config.proxy.map(String::from).as_deref(), Some("proxy.site:3128"));
        for bad in ["proxy", "http://a:b@c:1", "https://p:1", "p:0", "-p:1"] {
            assert!(bad.parse::<Proxy>().is_err(), "{bad} was taken");
        }
    }

    #[test]
    fn a_plan_becomes_a_file() {
        let ssh = serde_json::json!({"relay_port": 2002, "local_port": 22});
        let web = serde_json::json!({"relay_port": 52002, "local_port": 443});
        let tunnels = serde_json::json!({"ssh": ssh, "web": web});
        let relay = serde_json::json!({"addresses": ["192.0.2.7"], "ports": [443], "public_key": "ssh-ed25519 AAAA"});
        let plan = serde_json::json!({
            "host": "clinic", "kind": "nixos", "wave": null, "branch": "main", "access": {}, "relays": {"bru": relay},
            "tunnel": {"key": null, "port": 2002, "connect_timeout": 360, "tunnels": tunnels},
            "relay_keys": null, "configs": {}, "secrets": null, "services": null,
        });
        let mut plan: HostPlan = serde_json::from_value(plan).unwrap();
        let config = Config::of(&plan, "/etc/key").unwrap();
        assert_eq!(config.check(), Ok(()));
        let ports: Vec<_> = config.forwards.iter().map(|f| (f.listen, f.target)).collect();
        assert_eq!(ports, [(2002, 22), (52002, 443)]);
        assert_eq!(config.connect_timeout, Span::secs(60));
        plan.tunnel = None;
        assert_eq!(Config::of(&plan, "/etc/key"), None);
    }

    #[test]
    fn nothing_becomes_an_option_of_openssh() {
        type Change = fn(&mut Config);
        let changes: [(Change, &str); 11] = [
            (|c| c.user = "-oProxyCommand=x".into(), "user"),
            (|c| c.user = "a b".into(), "user"),
            (|c| c.key = "/a\"b".into(), "key"),
            (|c| c.key = "key".into(), "key"),
            (|c| c.relays.clear(), "relays"),
            (|c| c.forwards.clear(), "forwards"),
            (|c| c.forwards[0].target = 0, "forwards"),
            (|c| c.forwards.push(Forward { listen: 2001, target: 1 }), "2001"),
            (|c| c.relays[0].addresses.push("-oX".into()), "relay bru: \"-oX\""),
            (
                |c| c.relays[0].host_key = "ssh-ed25519 A\n* ssh-ed25519 B".into(),
                "relay bru: host_key",
            ),
            (|c| c.relays.push(c.relays[0].clone()), "relay bru is listed twice"),
        ];
        for (change, says) in changes {
            let mut config: Config = serde_json::from_str(FILE).unwrap();
            change(&mut config);
            let said = config.check().unwrap_err().to_string();
            assert!(said.starts_with(says) || said.contains(says), "{said}");
        }
    }
}
