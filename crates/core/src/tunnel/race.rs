//! Which address and port of a relay to try, and when: all of them, each with a small head start over the next.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::config::Relay;

/// Head start of one way over the next.
const HEAD_START: Duration = Duration::from_millis(300);
/// Head start of the way that worked last: two round trips of a satellite link, so that it is mostly the only one.
const HEAD_START_LAST_GOOD: Duration = Duration::from_millis(1500);
/// A relay that has not sent its first words by then loses.
pub const TRY_FOR: Duration = Duration::from_secs(10);
/// A knock is given up sooner, so that the next one finds a line that has come back meanwhile: the kernel asks again
/// only after 1, 2 and 4 s. This long where nothing is known of the way.
pub(super) const KNOCK_FOR: Duration = Duration::from_secs(4);
/// The shortest knock.
const KNOCK_AT_LEAST: Duration = Duration::from_millis(800);
/// Head start of the way that worked last, once there is a connection.
const HEAD_START_CONNECTED: Duration = Duration::from_secs(4);
/// A name that is not resolved by then counts as unknown.
const RESOLVE_FOR: Duration = Duration::from_secs(10);

/// How an endpoint is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Path {
    /// Straight.
    Direct,
    /// Through the site's HTTP proxy.
    Proxy,
}

/// One way to a relay.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Endpoint {
    /// How.
    pub path: Path,
    /// A literal address; through a proxy it may be a name, for the proxy to resolve.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let through = match self.path {
            Path::Direct => "",
            Path::Proxy => " through the proxy",
        };
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}{through}", self.host, self.port),
            false => write!(f, "{}:{}{through}", self.host, self.port),
        }
    }
}

/// One round: every way is tried once, until one answers.
#[derive(Debug)]
pub(super) struct Race {
    queue: VecDeque<Endpoint>,
    open: BTreeMap<Endpoint, Duration>,
    spent: BTreeMap<Endpoint, String>,
    names: BTreeSet<String>,
    names_until: Duration,
    next_at: Duration,
    last_good: Option<Endpoint>,
    try_for: Duration,
    /// So soon the way that worked last is tried anew, while others are being tried.
    again_after: Option<Duration>,
    is_knock: bool,
    full: bool,
}

/// How long a knock waits, at a way whose first words took so long when it worked: a line that got four times as slow
/// is still found.
pub(super) fn knock_for(took: Duration) -> Duration {
    took.saturating_mul(4).clamp(KNOCK_AT_LEAST, KNOCK_FOR)
}

/// What a race knows beforehand.
pub(super) struct Known<'a> {
    pub relay: &'a Relay,
    pub has_proxy: bool,
    /// What names resolved to earlier.
    pub resolved: &'a BTreeMap<String, Vec<IpAddr>>,
    pub last_good: Option<&'a Endpoint>,
    /// So soon the way that worked last is tried anew, while others are being tried.
    pub again_after: Option<Duration>,
}

impl Race {
    /// A new round; also says which names are to be resolved while the literal addresses are tried.
    pub fn new(known: &Known<'_>, now: Duration) -> (Self, Vec<String>) {
        let is_name = |a: &&String| a.parse::<IpAddr>().is_err();
        let names: Vec<String> = known.relay.addresses.iter().filter(is_name).cloned().collect();
        let race = Self {
            queue: ways(known),
            open: BTreeMap::new(),
            spent: BTreeMap::new(),
            names: names.iter().cloned().collect(),
            names_until: now + RESOLVE_FOR,
            next_at: now,
            last_good: known.last_good.cloned(),
            try_for: TRY_FOR,
            again_after: known.again_after,
            is_knock: false,
            full: false,
        };
        (race, names)
    }

    /// A round of one way, which costs next to nothing.
    pub fn knock(endpoint: Endpoint, try_for: Duration, now: Duration) -> Self {
        Self {
            queue: [endpoint.clone()].into(),
            open: BTreeMap::new(),
            spent: BTreeMap::new(),
            names: BTreeSet::new(),
            names_until: now,
            next_at: now,
            last_good: Some(endpoint),
            try_for,
            again_after: None,
            is_knock: true,
            full: false,
        }
    }

    /// Whether this is a round of one way only.
    pub fn is_knock(&self) -> bool {
        self.is_knock
    }

    /// Whether the relay itself sent somebody away because too many come at once.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// The relay is there, and has no place at the moment.
    pub fn sent_away(&mut self) {
        self.full = true;
    }

    /// The ways that it is time to try now, each with how long.
    pub fn advance(&mut self, now: Duration) -> Vec<(Endpoint, Duration)> {
        let mut started = Vec::new();
        let late: Vec<Endpoint> =
            self.open.iter().filter(|(_, until)| **until <= now).map(|(e, _)| e.clone()).collect();
        for endpoint in late {
            match self.again_after.filter(|_| self.is_worth_another(&endpoint)) {
                Some(try_for) => {
                    self.open.insert(endpoint.clone(), now + try_for);
                    started.push((endpoint, try_for));
                }
                None => {
                    let secs = self.try_for.as_secs_f32();
                    self.lost(&endpoint, format!("no answer within {secs:.0} s"));
                }
            }
        }
        if self.names_until <= now {
            for name in std::mem::take(&mut self.names) {
                self.spent_name(&name);
            }
        }
        while now >= self.next_at || (self.open.is_empty() && started.is_empty()) {
            let Some(endpoint) = self.queue.pop_front() else {
                break;
            };
            let (head_start, again_after) = match self.last_good.as_ref() == Some(&endpoint) {
                true => (HEAD_START_LAST_GOOD, self.again_after),
                false => (HEAD_START, None),
            };
            self.next_at = now + head_start;
            let try_for = again_after.unwrap_or(self.try_for);
            self.open.insert(endpoint.clone(), now + try_for);
            started.push((endpoint, try_for));
        }
        started
    }

    /// Whether a way that did not answer in time is tried anew beside the others.
    fn is_worth_another(&self, endpoint: &Endpoint) -> bool {
        let others = self.open.len() > 1 || !self.queue.is_empty() || !self.names.is_empty();
        others && self.last_good.as_ref() == Some(endpoint)
    }

    /// When [`Race::advance`] has something to do next; none if the round is over.
    pub fn wake_at(&self) -> Option<Duration> {
        let next = (!self.queue.is_empty()).then_some(self.next_at);
        let names = (!self.names.is_empty()).then_some(self.names_until);
        let open = self.open.values().min().copied();
        [next, names, open].into_iter().flatten().min()
    }

    /// Whether every way has been tried in vain.
    pub fn is_over(&self) -> bool {
        self.wake_at().is_none()
    }

    /// A name was resolved, or not.
    pub fn resolved(&mut self, name: &str, known: &Known<'_>) {
        if !self.names.remove(name) {
            return;
        }
        if known.resolved.get(name).is_none_or(Vec::is_empty) {
            self.spent_name(name);
        }
        self.refill(known);
    }

    /// One way failed; the next need not wait for its head start.
    pub fn lost(&mut self, endpoint: &Endpoint, why: String) {
        self.open.remove(endpoint);
        self.queue.retain(|queued| queued != endpoint);
        self.spent.insert(endpoint.clone(), why);
    }

    /// A way has a connection: it gets all its time for its first words.
    pub fn connected(&mut self, endpoint: &Endpoint, now: Duration) {
        let Some(until) = self.open.get_mut(endpoint) else {
            return;
        };
        *until = now + TRY_FOR;
        if self.last_good.as_ref() == Some(endpoint) {
            self.next_at = self.next_at.max(now + HEAD_START_CONNECTED);
        }
    }

    /// Takes up again what a winner that came to nothing had pushed aside.
    pub fn resume(&mut self, known: &Known<'_>, now: Duration) {
        self.try_for = TRY_FOR;
        self.is_knock = false;
        self.open.clear();
        self.next_at = now;
        self.refill(known);
    }

    /// Whether a way is being tried.
    pub fn is_open(&self, endpoint: &Endpoint) -> bool {
        self.open.contains_key(endpoint)
    }

    /// Why the round failed, way by way.
    pub fn why(&self) -> String {
        let mut ways: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (endpoint, why) in &self.spent {
            ways.entry(why).or_default().push(endpoint.to_string());
        }
        let each: Vec<String> =
            ways.into_iter().map(|(why, ways)| format!("{}: {why}", ways.join(", "))).collect();
        match each.is_empty() {
            true => "none of its names could be resolved, and it has no literal address".into(),
            false => each.join("; "),
        }
    }

    fn refill(&mut self, known: &Known<'_>) {
        self.queue = ways(known);
        self.queue.retain(|e| !self.open.contains_key(e) && !self.spent.contains_key(e));
    }

    fn spent_name(&mut self, name: &str) {
        let endpoint = Endpoint { path: Path::Direct, host: name.into(), port: 0 };
        self.spent.entry(endpoint).or_insert_with(|| "the name could not be resolved".into());
    }
}

/// All ways, the best first: the last good one, then port by port the literal addresses and the resolved names,
/// then the same through the proxy, beginning with the port that proxies mostly allow.
fn ways(known: &Known<'_>) -> VecDeque<Endpoint> {
    let relay = known.relay;
    let mut hosts: Vec<String> = Vec::new();
    let literal = |a: &&String| a.parse::<IpAddr>().is_ok();
    hosts.extend(relay.addresses.iter().filter(literal).cloned());
    for name in &relay.addresses {
        hosts.extend(known.resolved.get(name).into_iter().flatten().map(IpAddr::to_string));
    }
    let mut ways: VecDeque<Endpoint> = known.last_good.cloned().into_iter().collect();
    let mut add = |path, host: &str, port| {
        let endpoint = Endpoint { path, host: host.to_owned(), port };
        if !ways.contains(&endpoint) {
            ways.push_back(endpoint);
        }
    };
    for port in &relay.ports {
        hosts.iter().for_each(|host| add(Path::Direct, host, *port));
    }
    if known.has_proxy {
        let mut ports = relay.ports.clone();
        ports.sort_by_key(|port| *port != 443);
        for port in ports {
            relay.addresses.iter().for_each(|host| add(Path::Proxy, host, port));
        }
    }
    ways
}
