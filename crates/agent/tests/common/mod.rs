//! A fleet, a server that can lie, and one host.
#![allow(dead_code, clippy::unwrap_used, reason = "each test file uses its part")]

pub mod machine;
pub mod site;

use std::collections::BTreeSet;

use afield_core::host_data::{Access, HostData};
use afield_core::ids::ReleaseId;
use afield_core::release::Delivery;
use afield_store::trust;
use afield_testkit::fleet::Fleet;
use afield_testkit::host::{Host, key};
use afield_testkit::server::Server;
use afield_testkit::system::{Contract, System};

/// Where a test happens.
pub struct Bed {
    pub fleet: Fleet,
    pub server: Server,
    pub host: Host,
}

impl Bed {
    /// A host that runs nothing of the fleet's.
    pub fn new() -> Self {
        Self::of(Fleet::new())
    }

    /// The same in this fleet.
    pub fn of(fleet: Fleet) -> Self {
        let server = Server::start(fleet.path());
        let host = Host::new("clinic", env!("CARGO_BIN_EXE_afield-agent"), &fleet, &server);
        Self { fleet, server, host }
    }

    /// Releases a system, and assigns it.
    pub fn offer(&mut self, text: &str, contract: Contract, config: &str) -> (ReleaseId, String) {
        let system = System::new(text, contract);
        let release = self.fleet.release(&[("clinic", key().public())], &system, config);
        self.fleet.assign("clinic", release);
        (release, system.path().to_string())
    }

    /// Releases a system with this host data, and assigns it.
    pub fn offer_data(&mut self, text: &str, contract: Contract, data: &HostData) -> ReleaseId {
        let system = System::new(text, contract);
        let release = self.fleet.release_data(&[(data.clone(), key().public())], &system);
        self.fleet.assign("clinic", release);
        release
    }

    /// A host that runs release 1 with this host data.
    pub fn settled_with(data: &HostData) -> Self {
        let mut bed = Self::new();
        bed.offer_data("one", Contract::Honest, data);
        let (code, said) = bed.host.once();
        assert_eq!((code, &said["event"]["is"]), (0, &"healthy".into()), "{said}");
        bed
    }

    /// The fault points that the next check-in passes, in order, as `name:n`; tried on a copy of the host. The detached part
    /// counts for itself: a point that both pass by the same number is one.
    pub fn fault_points(&self) -> Vec<String> {
        let server = Server::start(self.fleet.path());
        let host = self.host.copy(&server);
        let log = host.path("fault-points");
        host.once_with(&[("AFIELD_FAULT_LOG", log.to_str().unwrap())]);
        let text = host.text("fault-points");
        let mut seen = BTreeSet::new();
        text.lines().filter(|point| seen.insert(*point)).map(str::to_owned).collect()
    }

    /// The notes of one check-in, which must be healthy.
    pub fn notes(&self) -> Vec<String> {
        let (code, said) = self.host.once();
        assert_eq!(code, 0, "{said}");
        serde_json::from_value(said["notes"].clone()).unwrap()
    }

    /// The same as a patch against the system "one".
    pub fn offer_patched(&mut self, text: &str, contract: Contract, config: &str) {
        self.fleet.against = Some(System::new("one", Contract::Honest));
        self.offer(text, contract, config);
        self.fleet.against = None;
    }

    /// How a release travels to the host.
    pub fn delivery(&self, release: ReleaseId) -> Delivery {
        let metadata = self.fleet.path().join("metadata");
        let trusted = trust::load(&metadata, &self.fleet.root, None).unwrap();
        let repository = self.fleet.repository();
        let manifest = repository.manifest(&trusted, release).unwrap();
        let share = &manifest.hosts[&"clinic".parse().unwrap()];
        repository.document(&share.delivery).unwrap()
    }

    /// A host that runs release 1.
    pub fn settled() -> Self {
        let mut bed = Self::new();
        let (_, system) = bed.offer("one", Contract::Honest, "config one");
        let (code, said) = bed.host.once();
        assert_eq!(code, 0, "{said}");
        assert_eq!(bed.host.current(), Some(system));
        bed.server.requests();
        bed.server.reports();
        bed
    }
}

/// An OpenSSH public key that nobody has the private half of.
pub fn public_key(n: u8) -> String {
    let key = afield_core::signed::SecretKey::from_seed(&[n; 32]).public();
    let blob = [b"\0\0\0\x0bssh-ed25519\0\0\0\x20".as_slice(), key.as_bytes()].concat();
    format!("ssh-ed25519 {}", data_encoding::BASE64.encode(&blob))
}

/// Host data of `clinic` with these people: name, profile, expiry. Each has one key, and it is its own.
pub fn people(list: &[(&str, &str, Option<&str>)]) -> HostData {
    let mut data = afield_testkit::fleet::data(&"clinic".parse().unwrap(), "config");
    for (name, profile, expires) in list {
        let key = format!("{} {name}", public_key(name.as_bytes()[0]));
        let (profile, expires) = ((*profile).to_owned(), expires.map(str::to_owned));
        let access = Access { profile, keys: vec![key], expires };
        data.access.insert((*name).to_owned(), access);
    }
    data
}
