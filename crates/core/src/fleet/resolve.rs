//! From the fleet to a plan for each host.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::access::{Accesses, HostAccess, profile_of};
use super::codes::{self, Severity};
use super::finding::{Finding, Findings};
use super::model::{Content, Fleet, Tunnel, Waves};
use super::render;
use crate::host_plan::{
    Access, AppConfig, AuthorizedKey, Branch, HostPlan, Relay, RelayKeys, ReverseTunnel, TunnelPlan,
};
use crate::ids::{HostName, Name, UserName};

/// Every host's plan, and why others have none.
#[derive(Debug)]
pub struct Resolved {
    /// Plans by host.
    pub plans: BTreeMap<HostName, HostPlan>,
    /// Why hosts are missing from the plans, sorted by file and line.
    pub findings: Vec<Finding>,
}

/// Resolves all hosts that have a file.
pub fn resolve(fleet: &Fleet) -> Resolved {
    let resolver = Resolver::new(fleet);
    let mut resolved = Resolved { plans: BTreeMap::new(), findings: Vec::new() };
    for host in fleet.hosts.keys() {
        match resolver.host(host) {
            Ok(plan) => {
                resolved.plans.insert(host.clone(), plan);
            }
            Err(findings) => resolved.findings.extend(findings),
        }
    }
    super::finding::sort(&mut resolved.findings);
    resolved
}

/// Resolves hosts one at a time; what they share is worked out once.
pub struct Resolver<'a> {
    fleet: &'a Fleet,
    accesses: Accesses<'a>,
    keys: HashMap<&'a UserName, Arc<[AuthorizedKey]>>,
    no_keys: Arc<[AuthorizedKey]>,
    relays: Arc<BTreeMap<Name, Relay>>,
    relay_keys: OnceCell<Arc<RelayKeys>>,
    waves: HashMap<&'a str, usize>,
    staging: BTreeSet<&'a str>,
    configs: HashMap<&'a str, Vec<&'a String>>,
    secrets: HashMap<&'a str, Vec<&'a String>>,
}

impl<'a> Resolver<'a> {
    /// Prepares what hosts share.
    pub fn new(fleet: &'a Fleet) -> Self {
        let waves = fleet.waves.as_ref();
        let wave_lists = waves.into_iter().flat_map(|waves| waves.waves.iter().enumerate());
        let staging = waves.into_iter().flat_map(|waves| &waves.staging);
        Self {
            fleet,
            accesses: Accesses::new(fleet),
            keys: all_keys(fleet),
            no_keys: Arc::from([]),
            relays: Arc::new(relays(fleet)),
            relay_keys: OnceCell::new(),
            waves: wave_lists
                .flat_map(|(at, list)| list.iter().map(move |host| (host.value.as_str(), at)))
                .collect(),
            staging: staging.map(|host| host.value.as_str()).collect(),
            configs: by_server(&fleet.configs),
            secrets: by_server(&fleet.secrets),
        }
    }

    /// Who may do what on hosts, with places.
    pub fn accesses(&self) -> &Accesses<'a> {
        &self.accesses
    }

    /// The keys that open a person's accounts, copied host keys among them.
    pub fn keys_of(&self, user: &UserName) -> Arc<[AuthorizedKey]> {
        self.keys.get(user).unwrap_or(&self.no_keys).clone()
    }

    /// A host's plan; otherwise the findings that stand in its way.
    pub fn host(&self, host: &HostName) -> Result<HostPlan, Vec<Finding>> {
        let access = self.accesses.host(host.as_str());
        let declared = self.fleet.hosts.get(host);
        let Some(declared) = declared.filter(|_| access.is_sound()) else {
            return Err(self.obstacles(host, &access));
        };
        let tunnel = self.fleet.tunnels.get(host);
        let name = host.as_str();
        let wave = self.waves.get(name).and_then(|at| Waves::NAMES[*at].parse().ok());
        let is_relay = self.relays.keys().any(|relay| relay.as_str() == name);
        let services = self.fleet.services.as_ref();
        let services = services.map(|all| all.get(host).into_iter().flatten().cloned().collect());
        Ok(HostPlan {
            host: host.clone(),
            kind: declared.kind,
            wave,
            branch: if self.staging.contains(name) { Branch::Staging } else { Branch::Main },
            access: self.access(&access),
            tunnel: tunnel.filter(|tunnel| tunnel.port.value != 0).map(tunnel_plan),
            relays: self.relays.clone(),
            relay_keys: is_relay.then(|| self.relay_keys()),
            configs: self.configs(host, tunnel),
            secrets: self.secrets(host, tunnel),
            services,
        })
    }

    fn access(&self, access: &HostAccess<'_>) -> BTreeMap<UserName, Access> {
        let mut people = BTreeMap::new();
        for (user, ways) in &access.people {
            let Some(profile) = profile_of(ways) else {
                continue;
            };
            let via = ways.iter().map(|way| way.via.clone()).collect();
            let keys = self.keys_of(user);
            let expires = self.fleet.expiry(user);
            people.insert((*user).clone(), Access { profile, via, keys, expires });
        }
        people
    }

    fn configs(&self, host: &HostName, tunnel: Option<&Tunnel>) -> BTreeMap<String, AppConfig> {
        if tunnel.is_some_and(|tunnel| !tunnel.generate_configs) {
            return BTreeMap::new();
        }
        let mut configs = BTreeMap::new();
        for name in self.configs.get(host.as_str()).into_iter().flatten() {
            let Some(entry) = self.fleet.configs.get(*name) else {
                continue;
            };
            let content: Arc<str> = match &entry.content {
                Some(Content::Text(text)) => text.clone(),
                Some(Content::Other(value)) => render::plain(value).into(),
                None => continue,
            };
            configs.insert((*name).clone(), AppConfig { path: entry.path.value.clone(), content });
        }
        configs
    }

    /// Names of a host's secrets; none if a file of secrets stayed closed.
    fn secrets(&self, host: &HostName, tunnel: Option<&Tunnel>) -> Option<Vec<String>> {
        if !self.fleet.sealed.is_empty() {
            return None;
        }
        if !tunnel.is_some_and(|tunnel| tunnel.generate_secrets && tunnel.key.is_some()) {
            return Some(Vec::new());
        }
        let names = self.secrets.get(host.as_str()).into_iter().flatten();
        let names: BTreeSet<String> = names.map(|name| (*name).clone()).collect();
        Some(names.into_iter().collect())
    }

    fn obstacles(&self, host: &HostName, access: &HostAccess<'_>) -> Vec<Finding> {
        let mut findings = Findings::default();
        if !self.fleet.hosts.contains_key(host) {
            let span = self.fleet.tunnels.get(host).map(|tunnel| tunnel.span);
            let span =
                span.or(self.fleet.people.per_host.get(host.as_str()).map(|entry| entry.span));
            let message = format!("the host {host} has no file under hosts/");
            match span {
                Some(span) => findings.add(codes::PER_HOST_UNKNOWN, span, message),
                None => findings.add(codes::PER_HOST_UNKNOWN, self.fleet.any_span(), message),
            };
        }
        super::check::host_access(self.fleet, host.as_str(), access, &mut findings);
        if access.broken {
            super::check::role_problems(self.fleet, self.accesses.roles(), &mut findings);
        }
        let unknown = super::check::unknown_given(access).collect();
        super::check::profiles_exist(self.fleet, &unknown, &mut findings);
        let mut findings = findings.finish(&self.fleet.files);
        findings.retain(|finding| {
            finding.severity == Severity::Error || finding.code == codes::PER_HOST_UNKNOWN
        });
        findings
    }

    /// The accounts of relays, the same on each; worked out when the first relay is resolved.
    pub fn relay_keys(&self) -> Arc<RelayKeys> {
        let make = || {
            let tunneller = super::relay_keys::tunneller(self.fleet, self);
            Arc::new(RelayKeys { tunnel: super::relay_keys::tunnel(self.fleet), tunneller })
        };
        self.relay_keys.get_or_init(make).clone()
    }
}

impl Fleet {
    /// The first day on which a person's accounts are closed; none for ever, and for global admins.
    pub fn expiry(&self, user: &UserName) -> Option<jiff::civil::Date> {
        let global = self.people.global_admins.iter().any(|admin| admin.value == *user);
        let date = self.people.expires.get(user).map(|date| date.value);
        date.filter(|_| !global)
    }

    /// Whether a host of this name has a file.
    pub fn has_host(&self, name: &str) -> bool {
        name.parse().is_ok_and(|host: HostName| self.hosts.contains_key(&host))
    }

    /// Some place, for findings that have none of their own.
    fn any_span(&self) -> super::span::Span {
        let first = self.hosts.values().next().map(|host| host.span);
        first.unwrap_or(super::span::Span::whole(super::span::FileId::default()))
    }
}

fn tunnel_plan(tunnel: &Tunnel) -> TunnelPlan {
    let port = tunnel.port.value;
    let reverse = tunnel.reverse.iter().map(|(name, reverse)| {
        let forwarded =
            ReverseTunnel { relay_port: tunnel.relay_port(reverse), local_port: reverse.port };
        (name.clone(), forwarded)
    });
    TunnelPlan {
        key: tunnel.key.as_ref().map(|key| key.value.text.clone()),
        port,
        connect_timeout: tunnel.connect_timeout,
        tunnels: reverse.collect(),
    }
}

/// Own keys in the order of the file, then those of hosts that are copied, by host.
fn all_keys(fleet: &Fleet) -> HashMap<&UserName, Arc<[AuthorizedKey]>> {
    let mut keys: HashMap<&UserName, Vec<AuthorizedKey>> = HashMap::new();
    for (user, list) in &fleet.keys {
        let own = list.value.iter().map(|key| AuthorizedKey {
            options: key.options.clone(),
            key: key.key.value.text.clone(),
        });
        keys.insert(user, own.collect());
    }
    for tunnel in fleet.tunnels.values() {
        let Some(key) = &tunnel.key else { continue };
        for user in &tunnel.copy_key_to {
            let copied = AuthorizedKey { options: Vec::new(), key: key.value.text.clone() };
            keys.entry(&user.value).or_default().push(copied);
        }
    }
    keys.into_iter().map(|(user, list)| (user, list.into())).collect()
}

fn relays(fleet: &Fleet) -> BTreeMap<Name, Relay> {
    let Some(key) = &fleet.relays.public_key else {
        return BTreeMap::new();
    };
    let relay = |server: &super::model::RelayServer| Relay {
        addresses: server.addresses.clone(),
        ports: server.ports.clone(),
        public_key: key.value.text.clone(),
    };
    fleet.relays.servers.iter().map(|(name, server)| (name.clone(), relay(server))).collect()
}

fn by_server(entries: &BTreeMap<String, super::model::FileEntry>) -> HashMap<&str, Vec<&String>> {
    let mut servers: HashMap<&str, Vec<&String>> = HashMap::new();
    for (name, entry) in entries {
        for server in &entry.servers {
            servers.entry(&server.value).or_default().push(name);
        }
    }
    servers
}
