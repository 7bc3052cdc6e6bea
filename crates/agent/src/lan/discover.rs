//! Who is there: by mDNS (RFC 6762, 6763), in the process without rights. What others announce is a hint, no more.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use afield_store::files;
use anyhow::Context as _;
use mdns_sd::{ResolvedService, ServiceDaemon, ServiceEvent, ServiceInfo};

use super::{Settings, is_local};
use crate::config::Config;

/// What hosts of Afield announce themselves as.
const SERVICE: &str = "_afield._tcp.local.";
/// No more peers are written down.
const MOST: usize = 32;

/// Announces this host, and keeps the file of peers as it is, until dropped.
pub fn start(config: &Config, settings: &Settings) -> anyhow::Result<ServiceDaemon> {
    let path = config.inside(&settings.peers);
    let folder = path.parent().context("[lan] peers is no path of a file")?;
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let daemon = ServiceDaemon::new().context("multicast is not possible here")?;
    let (fleet, host) = (config.fleet.to_string(), config.host.to_string());
    let name = format!("{host}.local.");
    let properties = [("fleet", fleet.as_str())];
    let info = ServiceInfo::new(SERVICE, &host, &name, "", settings.port, &properties[..])?;
    let mine = info.get_fullname().to_owned();
    daemon.register(info.enable_addr_auto())?;
    let events = daemon.browse(SERVICE)?;
    std::thread::spawn(move || {
        let mut found: BTreeMap<String, Vec<SocketAddr>> = BTreeMap::new();
        for event in events.iter() {
            match event {
                ServiceEvent::ServiceResolved(service) => {
                    let others = service.fullname != mine;
                    let ours = service.txt_properties.get_property_val_str("fleet")
                        == Some(fleet.as_str());
                    if others
                        && ours
                        && (found.len() < MOST || found.contains_key(&service.fullname))
                    {
                        found.insert(service.fullname.clone(), addresses(&service));
                    }
                }
                ServiceEvent::ServiceRemoved(_, fullname) => drop(found.remove(&fullname)),
                _ => continue,
            }
            let all: Vec<SocketAddr> = found.values().flatten().copied().collect();
            let written = serde_json::to_vec(&all).map_err(Into::into);
            if let Err(e) = written.and_then(|bytes| files::write_atomic(&path, &bytes)) {
                eprintln!("afield-agent: {} cannot be written: {e}", path.display());
            }
        }
    });
    Ok(daemon)
}

/// One address of a peer: where it answers is tried out by whoever asks.
fn addresses(service: &ResolvedService) -> Vec<SocketAddr> {
    let v4 = service.addresses.iter().map(|a| a.to_ip_addr()).filter(|ip| ip.is_ipv4());
    let local = v4.filter(|ip| is_local(*ip) && !ip.is_loopback());
    local.take(2).map(|ip| SocketAddr::new(ip, service.port)).collect()
}
