//! What can be reached from the host, and how the way out looks; `afield_core::reach` decides.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use afield_core::ids::Name;
use afield_core::reach::{Link, Reach};
use afield_core::tunnel::{Status, Statuses, race};
use afield_store::files;

use crate::host::Host;

/// How long one try may take.
const TRY: Duration = Duration::from_secs(10);
/// The tunnel's file has at most this many bytes.
const MAX_STATUS: u64 = 1024 * 1024;
/// Any port will do: what counts is that the gateway is asked for its address.
const DISCARD: u16 = 9;
/// route(8): RTF_UP, and netdevice(7): IFF_UP.
const UP: u32 = 0x1;
/// arp(7): ATF_COM, the address is known.
const COMPLETE: u32 = 0x2;

/// What answers now: the hub, repositories on the web, and relays whose tunnel is up.
pub fn look(host: &Host) -> Reach {
    let urls = host.config.hub.iter().chain(&host.config.repositories);
    let urls: BTreeSet<&String> = urls.filter(|url| url.starts_with("http")).collect();
    let mut found: BTreeSet<String> =
        urls.into_iter().filter(|url| answers(host, url)).cloned().collect();
    for (relay, status) in tunnels(host) {
        // The word alone may be as old as the keepalive allows.
        let up = status.state == "up";
        if up && status.endpoint.as_ref().is_some_and(opens) {
            found.insert(format!("the relay {relay}"));
        }
    }
    Reach(found)
}

/// How the way out looks; `gateway` is the one that there was before.
pub fn link(host: &Host, gateway: Option<&str>) -> Link {
    let own = self::gateway(host);
    // A gateway that the change brought along proves nothing by its silence.
    let same = own.is_some() && own.as_deref() == gateway;
    Link {
        carrier: carrier(host),
        idle: idle(host),
        route: !routes(host).is_empty() || has_ipv6_route(host),
        gateway: own.filter(|_| same).and_then(|own| neighbour(host, &own)),
        relay: tunnels(host).values().any(|s| s.endpoint.as_ref().is_some_and(opens)),
    }
}

fn answers(host: &Host, url: &str) -> bool {
    let request = host.client.get(url).config().timeout_global(Some(TRY)).build();
    // Whatever it says, it is there.
    request.call().is_ok()
}

fn tunnels(host: &Host) -> BTreeMap<Name, Status> {
    let path = host.config.inside(Path::new("/run/afield-tunnel/status.json"));
    // The tunnel's account has no rights, and the folder is its own.
    let bytes = files::read_foreign(&path, MAX_STATUS).unwrap_or_default();
    serde_json::from_slice::<Statuses>(&bytes).unwrap_or_default().relays
}

fn opens(endpoint: &race::Endpoint) -> bool {
    let direct = endpoint.path == race::Path::Direct;
    let address = endpoint.host.parse().ok().map(|ip| SocketAddr::new(ip, endpoint.port));
    match address.filter(|_| direct) {
        Some(address) => TcpStream::connect_timeout(&address, TRY).is_ok(),
        // Through a proxy only the tunnel itself can tell.
        None => true,
    }
}

/// An interface sees its other end. One of a device, where there is any: a bridge of containers always does.
fn carrier(host: &Host) -> bool {
    let folder = host.config.inside(Path::new("/sys/class/net"));
    let links = fs::read_dir(folder).into_iter().flatten().flatten();
    let links = links.filter(|link| link.file_name() != "lo").map(|link| link.path());
    let (real, made): (Vec<_>, Vec<_>) = links.partition(|path| path.join("device").exists());
    let seen = |path: &PathBuf| fs::read_to_string(path.join("carrier")).unwrap_or_default();
    let links = if real.is_empty() { made } else { real };
    links.iter().any(|path| seen(path).trim() == "1")
}

/// No interface of a device was taken up, though there are some. A modem is taken up when its uplink is there, so that it
/// does not count.
fn idle(host: &Host) -> bool {
    let folder = host.config.inside(Path::new("/sys/class/net"));
    let links = fs::read_dir(folder).into_iter().flatten().flatten().map(|link| link.path());
    let text = |path: &Path, name: &str| fs::read_to_string(path.join(name)).unwrap_or_default();
    let modem = |path: &Path| text(path, "uevent").lines().any(|line| line == "DEVTYPE=wwan");
    let mut own = links.filter(|path| path.join("device").exists() && !modem(path)).peekable();
    let flags = |path: &Path| {
        text(path, "flags")
            .trim()
            .strip_prefix("0x")
            .and_then(|hex| u32::from_str_radix(hex, 16).ok())
    };
    own.peek().is_some() && own.all(|path| flags(&path).is_some_and(|flags| flags & UP == 0))
}

/// Gateways of the IPv4 default routes; unspecified on a line without addresses.
fn routes(host: &Host) -> Vec<Ipv4Addr> {
    let table = fs::read_to_string(host.config.inside(Path::new("/proc/net/route")));
    let table = table.unwrap_or_default();
    let route = |line: &str| {
        let word: Vec<&str> = line.split_whitespace().collect();
        let hex = |n: usize| u32::from_str_radix(word.get(n)?, 16).ok();
        let default = hex(1)? == 0 && hex(7)? == 0 && hex(3)? & UP != 0;
        default.then(|| hex(2).map(|gateway| Ipv4Addr::from(gateway.to_ne_bytes())))?
    };
    table.lines().skip(1).filter_map(route).collect()
}

fn has_ipv6_route(host: &Host) -> bool {
    let table = fs::read_to_string(host.config.inside(Path::new("/proc/net/ipv6_route")));
    let default = |line: &str| {
        let mut words = line.split_whitespace();
        let (to, length) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        to.bytes().all(|b| b == b'0') && length == "00" && !line.trim_end().ends_with(" lo")
    };
    table.unwrap_or_default().lines().any(default)
}

/// The gateway of the first default route.
pub fn gateway(host: &Host) -> Option<String> {
    routes(host).first().filter(|ip| !ip.is_unspecified()).map(ToString::to_string)
}

/// Whether the kernel knows a neighbour's hardware address. It is asked for it by the way, so that the answer
/// is a new one a few seconds later.
fn neighbour(host: &Host, gateway: &str) -> Option<bool> {
    if let Ok(socket) = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)) {
        // That it cannot be sent is seen in the table.
        let _ = socket.send_to(&[], (gateway, DISCARD));
    }
    let table = fs::read_to_string(host.config.inside(Path::new("/proc/net/arp"))).ok()?;
    let mut lines = table.lines().filter(|line| line.split_whitespace().next() == Some(gateway));
    let flags = lines.next()?.split_whitespace().nth(2)?.strip_prefix("0x")?;
    Some(u32::from_str_radix(flags, 16).ok()? & COMPLETE != 0)
}
