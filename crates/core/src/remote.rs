//! How a person reaches a host: over which relay ports, with which pinned keys, and with which words to OpenSSH.
//!
//! The person's own OpenSSH does the work, with their agent and hardware keys; Afield is its `ProxyCommand`, which
//! finds a relay that answers and on which the host is.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::host_plan::{HostPlan, Relay};
use crate::ids::{HostName, Name};

/// The way to one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The host.
    pub host: HostName,
    /// Its SSH host key, `type base64`: the one in `tunnels.d`, for a relay the one that relays share.
    pub host_key: String,
    /// Over what.
    pub way: Way,
}

/// Over what a host is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// It listens on this port of the loopback of each of these relays.
    Tunnel {
        /// The port.
        port: u16,
        /// The relays by name.
        relays: Arc<BTreeMap<Name, Relay>>,
    },
    /// It is itself a relay.
    Direct(Relay),
}

/// Why there is no way to a host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoWay {
    /// It has no port.
    #[error("{0} has no tunnel: its remote_forward_port in tunnels.d is 0, and it is no relay")]
    NoTunnel(HostName),
    /// It has no key.
    #[error(
        "{0} has no public_key in tunnels.d yet, so that nobody could tell it from an impostor"
    )]
    NoKey(HostName),
    /// There are no relays.
    #[error("relay-servers.json names no relay with a public_key")]
    NoRelays,
}

impl Route {
    /// Finds it in a host's plan.
    pub fn of(plan: &HostPlan) -> Result<Self, NoWay> {
        let host = plan.host.clone();
        let itself = plan.relays.iter().find(|(name, _)| name.as_str() == host.as_str());
        if let Some((_, relay)) = itself {
            let (host_key, way) = (relay.public_key.clone(), Way::Direct(relay.clone()));
            return Ok(Self { host, host_key, way });
        }
        let Some(tunnel) = &plan.tunnel else {
            return Err(NoWay::NoTunnel(host));
        };
        let ssh = tunnel.tunnels.get("ssh");
        let port = ssh.map_or(tunnel.port, |ssh| ssh.relay_port);
        let Some(host_key) = tunnel.key.clone() else {
            return Err(NoWay::NoKey(host));
        };
        if plan.relays.is_empty() {
            return Err(NoWay::NoRelays);
        }
        let way = Way::Tunnel { port, relays: plan.relays.clone() };
        Ok(Self { host, host_key, way })
    }

    /// The name under which the host's key stands in `known_hosts`.
    pub fn alias(&self) -> String {
        format!("afield-host-{}", self.host)
    }

    /// The host's line of `known_hosts`.
    pub fn known_hosts(&self) -> String {
        format!("{} {}\n", self.alias(), self.host_key)
    }

    /// Options for ssh, scp and the like: `proxy` is the command that connects, `known_hosts` a file with
    /// [`Route::known_hosts`] in it. Everything else is the person's own configuration.
    pub fn options(&self, proxy: &str, known_hosts: &str) -> Vec<(&'static str, String)> {
        vec![
            ("ProxyCommand", proxy.to_owned()),
            ("HostKeyAlias", self.alias()),
            ("UserKnownHostsFile", quoted(known_hosts)),
            ("GlobalKnownHostsFile", "/dev/null".to_owned()),
            ("StrictHostKeyChecking", "yes".to_owned()),
            ("UpdateHostKeys", "no".to_owned()),
            ("CheckHostIP", "no".to_owned()),
        ]
    }
}

/// A file to include into `~/.ssh/config`: one block a host, so that plain ssh, scp, rsync and editors know them.
/// `proxy` makes the command that connects to a host.
pub fn ssh_config(routes: &[Route], proxy: impl Fn(&Route) -> String, known_hosts: &str) -> String {
    let mut text =
        String::from("# Hosts of the fleet, written by `afield ssh-config`; changes are lost.\n");
    for route in routes {
        text.push_str(&format!("\nHost {}\n", route.host));
        for (key, value) in route.options(&proxy(route), known_hosts) {
            text.push_str(&format!("    {key} {value}\n"));
        }
    }
    text
}

/// Arguments of the ssh that passes through a relay to a port of its loopback, for the person's own configuration.
pub fn pass_arguments(
    relay: &Name,
    address: &str,
    relay_port: u16,
    known_hosts: &str,
    port: u16,
) -> Vec<String> {
    let options = [
        format!("HostKeyAlias={}", relay_alias(relay)),
        format!("UserKnownHostsFile={}", quoted(known_hosts)),
        "GlobalKnownHostsFile=/dev/null".to_owned(),
        "StrictHostKeyChecking=yes".to_owned(),
        "UpdateHostKeys=no".to_owned(),
        "CheckHostIP=no".to_owned(),
        "ConnectTimeout=20".to_owned(),
        "ServerAliveInterval=10".to_owned(),
        "ServerAliveCountMax=3".to_owned(),
        "ControlPath=none".to_owned(),
        "ProxyCommand=none".to_owned(),
        "ClearAllForwardings=yes".to_owned(),
        // Whatever the person's own configuration gives to the hosts behind: a relay gets none of it.
        "ForwardAgent=no".to_owned(),
        "ForwardX11=no".to_owned(),
    ];
    let mut arguments: Vec<String> =
        options.into_iter().flat_map(|o| ["-o".to_owned(), o]).collect();
    arguments.extend([
        "-p".to_owned(),
        relay_port.to_string(),
        "-l".to_owned(),
        "tunneller".to_owned(),
    ]);
    arguments.extend([
        "-W".to_owned(),
        format!("localhost:{port}"),
        "--".to_owned(),
        address.to_owned(),
    ]);
    arguments
}

/// The name under which a relay's key stands in `known_hosts`.
pub fn relay_alias(relay: &Name) -> String {
    format!("afield-relay-{relay}")
}

/// A value of ssh_config(5) that may contain spaces.
fn quoted(path: &str) -> String {
    match path.contains(' ') {
        true => format!("\"{path}\""),
        false => path.to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn plan(host: &str, tunnel: serde_json::Value) -> HostPlan {
        let relay = serde_json::json!({"addresses": ["192.0.2.1"], "ports": [443], "public_key": "ssh-ed25519 RELAY"});
        serde_json::from_value(serde_json::json!({
            "host": host, "kind": "nixos", "wave": null, "branch": "main", "access": {}, "tunnel": tunnel,
            "relays": {"bru": relay}, "relay_keys": null, "configs": {}, "secrets": null, "services": null,
        }))
        .unwrap()
    }

    fn tunnel(key: Option<&str>) -> serde_json::Value {
        let ssh = serde_json::json!({"relay_port": 2001, "local_port": 22});
        serde_json::json!({"key": key, "port": 2001, "connect_timeout": 60, "tunnels": {"ssh": ssh}})
    }

    #[test]
    fn a_host_is_reached_on_its_port_and_a_relay_straight() {
        let route = Route::of(&plan("clinic", tunnel(Some("ssh-ed25519 HOST")))).unwrap();
        assert!(matches!(route.way, Way::Tunnel { port: 2001, .. }));
        assert_eq!(route.known_hosts(), "afield-host-clinic ssh-ed25519 HOST\n");
        let relay = Route::of(&plan("bru", serde_json::Value::Null)).unwrap();
        assert!(matches!(relay.way, Way::Direct(_)));
        assert_eq!(relay.host_key, "ssh-ed25519 RELAY");
        let no_tunnel = Route::of(&plan("clinic", serde_json::Value::Null)).unwrap_err();
        assert!(no_tunnel.to_string().contains("no tunnel"), "{no_tunnel}");
        let no_key = Route::of(&plan("clinic", tunnel(None))).unwrap_err();
        assert!(no_key.to_string().contains("no public_key"), "{no_key}");
    }

    #[test]
    fn the_file_to_include_pins_each_host() {
        let route = Route::of(&plan("clinic", tunnel(Some("ssh-ed25519 HOST")))).unwrap();
        let text =
            ssh_config(&[route], |r| format!("afield connect {}", r.host), "/home/a b/known_hosts");
        let expected = "
Host clinic
    ProxyCommand afield connect clinic
    HostKeyAlias afield-host-clinic
    UserKnownHostsFile \"/home/a b/known_hosts\"
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
";
        assert!(text.contains(expected), "{text}");
    }
}
