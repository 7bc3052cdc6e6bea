//! What a host's tunnels know together: whether the line that they all go over still leads anywhere.
//!
//! A modem that restarts kills the connections to all relays at once, and none of them notices before something is
//! sent. So one of them, the first by name, is the host's watch: while it is silent the kernel asks its other end in
//! short steps (TCP's keepalive: one packet of 66 bytes, and one back). As soon as it is in doubt, all are asked. A
//! tunnel through which somebody has just come is asked as closely, since they wait.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::ids::Name;

/// The kernel's shortest.
const AT_ONCE: Duration = Duration::from_secs(1);
/// Of a keepalive's length, the watch is asked after so many parts.
const PARTS: u32 = 3;

/// How the connection of an open tunnel is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// Nothing is known against it.
    Answers,
    /// It has asked in vain.
    Doubted,
}

/// The tunnels of one host that are open.
#[derive(Debug, Default)]
pub struct Site {
    open: BTreeMap<Name, Connection>,
}

impl Site {
    /// How the tunnel to a relay is doing; none if it is not open, or goes through a proxy, whose kernel would answer
    /// for the relay's.
    pub fn tell(&mut self, relay: &Name, connection: Option<Connection>) {
        match connection {
            Some(connection) => drop(self.open.insert(relay.clone(), connection)),
            None => drop(self.open.remove(relay)),
        }
    }

    /// Whether there are other tunnels than this one, and all are in doubt.
    pub fn others_are_silent(&self, relay: &Name) -> bool {
        let mut others = self.open.iter().filter(|(name, _)| *name != relay).peekable();
        others.peek().is_some() && others.all(|(_, c)| *c == Connection::Doubted)
    }

    /// After how much silence the kernel asks the other end; none if OpenSSH's own keepalive is enough. `in_use`:
    /// somebody came through a moment ago.
    pub fn ask_after(&self, relay: &Name, keepalive: Duration, in_use: bool) -> Option<Duration> {
        if !self.open.contains_key(relay) {
            return None;
        }
        let doubted = self.open.values().any(|connection| *connection == Connection::Doubted);
        let is_watch = self.open.keys().next() == Some(relay);
        let part = Duration::from_secs(keepalive.as_secs().div_ceil(u64::from(PARTS)));
        match (in_use || doubted, is_watch) {
            (true, _) => Some(AT_ONCE),
            (false, true) => Some(part.max(AT_ONCE)),
            (false, false) => None,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn one_tunnel_watches_and_all_are_asked_when_it_doubts() {
        let [bru, fra, nbo] = ["bru", "fra", "nbo"].map(|name| name.parse::<Name>().unwrap());
        let keepalive = Duration::from_secs(10);
        let mut site = Site::default();
        assert_eq!(site.ask_after(&bru, keepalive, true), None, "it is not open");
        for relay in [&bru, &fra, &nbo] {
            site.tell(relay, Some(Connection::Answers));
        }
        let ask = |site: &Site| [&bru, &fra, &nbo].map(|r| site.ask_after(r, keepalive, false));
        let (soon, part) = (Some(AT_ONCE), Some(Duration::from_secs(4)));
        assert_eq!(ask(&site), [part, None, None]);
        assert_eq!(site.ask_after(&nbo, keepalive, true), soon);
        site.tell(&bru, Some(Connection::Doubted));
        assert_eq!(ask(&site), [soon, soon, soon]);
        assert!(!site.others_are_silent(&nbo) && !site.others_are_silent(&bru));
        site.tell(&fra, Some(Connection::Doubted));
        assert!(site.others_are_silent(&nbo) && !site.others_are_silent(&bru));
        site.tell(&fra, Some(Connection::Answers));
        site.tell(&bru, None);
        assert_eq!(ask(&site), [None, part, None], "the next one watches");
        assert_eq!(site.ask_after(&fra, Duration::from_secs(30), false), Some(AT_ONCE * 10));
    }
}
