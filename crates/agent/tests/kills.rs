//! The agent is killed at every fault point that an update passes, as a power cut would, and started again:
//! the host converges, and no object that was complete is fetched twice.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::fs;

use afield_core::delivery::Way;
use afield_core::host_data::HostData;
use afield_core::ids::ReleaseId;
use afield_core::report::{Event, Report};
use afield_testkit::host::Host;
use afield_testkit::server::{Request, Server};
use afield_testkit::system::{Contract, System};
use common::{Bed, people};

/// What was complete, or partly here, when the agent was killed: length by object.
fn downloads(host: &Host) -> BTreeMap<String, (u64, bool)> {
    let Ok(entries) = fs::read_dir(host.path("var/lib/afield/downloads")) else {
        return BTreeMap::new();
    };
    let one = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let complete = !name.ends_with(".part");
        let id = name.trim_end_matches(".part").to_owned();
        (id, (entry.metadata().unwrap().len(), complete))
    };
    entries.map(one).collect()
}

/// Where each object of the release stands: pack and first byte, by object.
fn places(bed: &Bed) -> BTreeMap<String, (String, u64)> {
    let delivery = bed.delivery(ReleaseId(2));
    let ways = delivery.offers.keys().flat_map(|path| delivery.ways(path));
    let place = |way: Way<'_>| {
        let slice = delivery.slice(&way).unwrap();
        (way.object.id.hex(), (slice.pack.id.hex(), slice.offset))
    };
    ways.map(place).collect()
}

fn check_nothing_twice(
    point: &str,
    places: &BTreeMap<String, (String, u64)>,
    here: &BTreeMap<String, (u64, bool)>,
    asked: &[Request],
) {
    for request in asked {
        let name = request.path.rsplit('/').next().unwrap();
        let (from, to) = (request.from, request.to.unwrap_or(u64::MAX));
        for (id, (length, _)) in here {
            let Some((_, offset)) = places.get(id).filter(|(pack, _)| pack == name) else {
                continue;
            };
            let again = to.min(offset + length).saturating_sub(from.max(*offset));
            assert_eq!(again, 0, "{point}: bytes of {id} were here and asked for again in {name}");
        }
        match here.get(name) {
            Some((_, true)) => panic!("{point}: {name} was complete and asked for again"),
            Some((length, false)) => {
                assert!(request.from >= *length, "{point}: {length} bytes of {name} were here");
            }
            None => {}
        }
    }
}

/// A host on release 1 to which release 2 is offered; every kill happens to a copy of it.
fn offered(contract: Contract) -> Bed {
    let mut bed = Bed::settled_with(&told("config one", "fay"));
    bed.fleet.against = Some(System::new("one", Contract::Honest));
    bed.offer_data("two", contract, &told("config two", "zed"));
    bed.fleet.against = None;
    bed
}

/// One person, since every file that is placed or removed is a point of its own.
fn told(config: &str, person: &str) -> HostData {
    let mut data = people(&[(person, "remoteTunnel", None)]);
    data.configs.get_mut("settings").unwrap().content = config.to_owned();
    data
}

/// Who has a file of each kind; half an account would show here.
fn accounts(host: &Host) -> Vec<String> {
    let mut found = Vec::new();
    for folder in ["etc/userdb", "var/lib/afield-access/authorized_keys.d"] {
        let entries = fs::read_dir(host.path(folder)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        found.extend(names.filter(|name| name.contains("fay") || name.contains("zed")));
    }
    found.sort();
    found
}

fn whole(person: &str) -> Vec<String> {
    let ends = ["", ".group", ".user", ":ssh-fwd-tun-users.membership", ":ssh-users.membership"];
    ends.map(|end| format!("{person}{end}")).to_vec()
}

/// Kills a copy of the host at one point, and lets it go on. Returns what it reported.
fn kill_at(point: &str, bed: &Bed) -> (Host, Vec<Report>) {
    let server = Server::start(bed.fleet.path());
    let host = bed.host.copy(&server);
    let (code, said) = host.once_with(&[("AFIELD_FAULT", point)]);
    assert_eq!(code, -1, "{point} was not passed, or not deadly: {said}");
    let here = downloads(&host);
    server.requests();
    for _ in 0..2 {
        host.once();
    }
    check_nothing_twice(point, &places(bed), &here, &server.requests());
    (host, server.reports())
}

#[test]
fn killed_at_every_point_of_a_good_release_the_host_gets_it() {
    let bed = offered(Contract::Honest);
    let points = bed.fault_points();
    assert!(points.len() > 40, "only {points:?}");
    for point in points {
        let (host, reports) = kill_at(&point, &bed);
        assert_eq!(host.text("etc/site"), "two", "{point}");
        let config = host.text("run/.app_configs/app/settings.yml");
        assert_eq!(config, "config two", "{point}");
        assert_eq!(accounts(&host), whole("zed"), "{point}");
        let last = reports.last().unwrap_or_else(|| panic!("{point}: no report"));
        assert_eq!((&last.event, last.release), (&Event::Healthy, Some(ReleaseId(2))), "{point}");
    }
}

#[test]
fn killed_at_every_point_of_a_broken_release_the_host_goes_back() {
    let bed = offered(Contract::BrokenService);
    for point in bed.fault_points() {
        let (host, reports) = kill_at(&point, &bed);
        assert_eq!(host.text("etc/site"), "one", "{point}");
        let config = host.text("run/.app_configs/app/settings.yml");
        assert_eq!(config, "config one", "{point}");
        assert_eq!(accounts(&host), whole("fay"), "{point}");
        let told = |e: &Event| matches!(e, Event::RolledBack { from: ReleaseId(2), .. });
        let times = reports.iter().filter(|r| told(&r.event)).count();
        assert_eq!(times, 1, "{point}: told {times} times in {reports:?}");
    }
}
