//! A fleet, a server that can lie, and one host.
#![allow(dead_code, clippy::unwrap_used, reason = "each test file uses its part")]

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
