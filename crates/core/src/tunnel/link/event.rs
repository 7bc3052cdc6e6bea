//! What goes into a [`Link`](super::Link), and what comes out.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::Name;
use crate::tunnel::doubt::Silence;
use crate::tunnel::race::Endpoint;
use crate::tunnel::ssh::Cause;

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // The fields are what their names say; `round` is explained above.
pub enum Event {
    /// The time of [`Link::wake_at`] has come.
    Wake,
    /// An answer to [`Action::Resolve`]; empty if there is none.
    Resolved { name: String, addresses: Vec<IpAddr> },
    /// A try has a connection, and waits for first words.
    Connected { round: u64, endpoint: Endpoint },
    /// A try got an SSH server's first words.
    Greeted { round: u64, endpoint: Endpoint },
    /// A try failed. `full`: the relay is there, and sent it away since too many come at once.
    Lost { round: u64, endpoint: Endpoint, why: String, full: bool },
    /// OpenSSH has opened all ports.
    Opened { round: u64 },
    /// How the connection of an open tunnel has sent the same again, and heard nothing; 0 times if it did hear.
    Unanswered { round: u64, silence: Silence },
    /// OpenSSH ended.
    Ended { round: u64, cause: Cause },
    /// Addresses or routes changed, or the clock jumped, as it does after a sleep. `stranded`: the connection's own
    /// address is gone, so that it is dead for sure.
    NetworkChanged { stranded: bool },
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // The fields are what their names say; `round` is explained above.
pub enum Action {
    /// Resolve a name.
    Resolve(String),
    /// Connect, and wait so long for the first words of an SSH server. It takes the place of an earlier try of the same way.
    Try { round: u64, endpoint: Endpoint, within: Duration },
    /// Drop all tries but the given one's connection.
    Drop { but: Option<Endpoint> },
    /// Start OpenSSH on the connection of this try.
    Start { round: u64, endpoint: Endpoint },
    /// Have the kernel ask the other end of the open tunnel's connection at once.
    Ask,
    /// End OpenSSH.
    End,
    /// Keep this endpoint across restarts: it worked.
    Remember(Endpoint),
}

/// How the tunnels of a host are doing: what `status.json` says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statuses {
    /// By relay.
    pub relays: BTreeMap<Name, Status>,
}

/// How a link is doing, for people and for checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// `waiting`, `racing`, `starting` or `up`.
    pub state: String,
    /// What it goes over, if it is up or starting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Endpoint>,
    /// Failures in a row.
    pub failures: u32,
    /// What went wrong last, if it is not up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}
