//! Whether a host is as reachable as before a change: the decision, without the looking.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// What answered: the hub, a repository, a relay's tunnel, each by its name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Reach(pub BTreeSet<String>);

impl Reach {
    /// Whether anything can be reached.
    pub fn any(&self) -> bool {
        !self.0.is_empty()
    }
}

impl std::fmt::Display for Reach {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.0.iter().map(String::as_str).collect();
        f.write_str(if names.is_empty() { "nothing" } else { "" })?;
        f.write_str(&names.join(", "))
    }
}

/// How the way out looks from the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Link {
    /// An interface other than the loopback is up and sees its other end.
    pub carrier: bool,
    /// There are network interfaces, and none of them was taken up: no cable does that.
    pub idle: bool,
    /// There is a default route.
    pub route: bool,
    /// The gateway answers; none if nothing can be told, as on a line without addresses.
    pub gateway: Option<bool>,
    /// A relay takes TCP connections.
    pub relay: bool,
}

/// What follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// As reachable as before, or it never was.
    Fine,
    /// Look again.
    Wait,
    /// Nothing can be reached, and the host itself is the reason as far as it can tell: go back.
    Lost(String),
    /// The uplink died, which no release does: the local checks alone decide.
    Uplink(String),
}

/// How patient the judge is; all in seconds since the change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Tunnels and name servers take a while to come up again.
    pub up: u64,
    /// A dead uplink may come back while somebody looks.
    pub down: u64,
}

/// The decision, `waited` seconds after the change.
pub fn judge(before: &Reach, now: &Reach, link: &Link, waited: u64, patience: Patience) -> Verdict {
    if !before.any() || now.any() {
        return Verdict::Fine;
    }
    if waited < patience.up {
        return Verdict::Wait;
    }
    let lost = |how: &str| {
        Verdict::Lost(format!(
            "{before} could be reached before, and nothing can now, though {how}"
        ))
    };
    if link.relay {
        return lost("a relay's port is open");
    }
    if link.idle && !link.carrier {
        return lost("it is no cable's fault: no network interface was taken up");
    }
    let dead = match (link.carrier, link.route, link.gateway) {
        (false, ..) => "no link has a carrier",
        // The cable is in, and the way out is gone from the configuration.
        (true, false, _) => {
            return lost("a link has a carrier; there is no default route any more");
        }
        (true, true, Some(false)) => "the gateway does not answer",
        (true, true, Some(true)) => return lost("the gateway answers"),
        (true, true, None) => return lost("there is a default route"),
    };
    if waited < patience.down {
        return Verdict::Wait;
    }
    Verdict::Uplink(format!("the uplink died ({dead}): judged by the local checks alone"))
}
