//! Notices that the network or the clock changed, so that a host that waits tries again at once.

use std::collections::BTreeMap;
use std::io;
use std::net::TcpStream;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with, sockopt,
};

/// rtnetlink(7): RTMGRP_LINK, _IPV4_IFADDR, _IPV4_ROUTE, _IPV6_IFADDR, _IPV6_ROUTE.
const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;
/// netlink(7): length of a message's header.
const HEADER: usize = 16;
/// rtnetlink(7): RTM_NEWLINK.
const NEW_LINK: u16 = 16;
/// netdevice(7): IFF_UP, IFF_RUNNING and IFF_LOWER_UP.
const FLAGS: u32 = 0x1 | 0x40 | 0x1_0000;

/// Sends a word whenever a link, an address or a route changes.
pub(super) fn network(tell: Sender<()>) -> io::Result<()> {
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        // Protocol 0 is NETLINK_ROUTE.
        None,
    )?;
    bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
    std::thread::spawn(move || {
        let mut seen = Seen::default();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let changed = match recv(&socket, &mut buffer[..], RecvFlags::empty()) {
                Ok((n, _)) => seen.changes(buffer.get(..n).unwrap_or_default()),
                // So much changed that messages were lost.
                Err(Errno::NOBUFS) => true,
                Err(Errno::INTR) => false,
                Err(_) => return,
            };
            if changed && tell.send(()).is_err() {
                return;
            }
        }
    });
    Ok(())
}

/// After so much silence the kernel asks a connection's other end, at once if it was silent that long already, and goes
/// on at this pace until it is answered; that ends no connection. None: it asks by itself no more.
pub(super) fn ask_after(
    connection: &TcpStream,
    silence: Option<Duration>,
    pace: Duration,
) -> rustix::io::Result<()> {
    /// The kernel's most: OpenSSH and `link` decide when enough has been asked.
    const TRIES: u32 = 127;
    let Some(silence) = silence else {
        return sockopt::set_socket_keepalive(connection, false);
    };
    // In this order: what sets the length also counts the silence so far.
    sockopt::set_socket_keepalive(connection, true)?;
    sockopt::set_tcp_keepcnt(connection, TRIES)?;
    sockopt::set_tcp_keepintvl(connection, pace)?;
    sockopt::set_tcp_keepidle(connection, silence)
}

/// What is known of links; drivers of wireless cards announce links that have not changed.
#[derive(Default)]
struct Seen {
    flags: BTreeMap<[u8; 4], u32>,
}

impl Seen {
    fn changes(&mut self, mut messages: &[u8]) -> bool {
        let mut changed = false;
        while let Some((message, rest)) = split(messages) {
            changed |= self.change(message);
            messages = rest;
        }
        changed
    }

    fn change(&mut self, message: &[u8]) -> bool {
        let kind = message.get(4..6).and_then(|b| b.try_into().ok()).map(u16::from_ne_bytes);
        if kind != Some(NEW_LINK) {
            return true;
        }
        // struct ifinfomsg: family, padding, type, index (at 4), flags (at 8), change.
        let word = |at: usize| {
            message.get(HEADER + at..HEADER + at + 4).and_then(|b| <[u8; 4]>::try_from(b).ok())
        };
        match (word(4), word(8)) {
            (Some(index), Some(flags)) => {
                let flags = u32::from_ne_bytes(flags) & FLAGS;
                self.flags.insert(index, flags) != Some(flags)
            }
            _ => true,
        }
    }
}

fn split(messages: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = messages.get(..4)?.try_into().ok().map(u32::from_ne_bytes)? as usize;
    if length < HEADER || length > messages.len() {
        return None;
    }
    let next = length.next_multiple_of(4).min(messages.len());
    Some((messages.get(..length)?, messages.get(next..)?))
}

/// Compares the wall clock with one that only goes on while the machine is awake.
pub(super) struct Clock {
    start: Instant,
    ahead: i128,
}

impl Clock {
    /// From now on.
    pub fn new() -> Self {
        let start = Instant::now();
        Self { start, ahead: ahead(start) }
    }

    /// Whether the clock was set, or the machine slept, by more than ten seconds since the last question.
    pub fn jumped(&mut self) -> bool {
        let ahead = ahead(self.start);
        let jumped = (ahead - self.ahead).abs() > 10_000;
        self.ahead = ahead;
        jumped
    }
}

/// Milliseconds of the wall clock minus those since `start`.
fn ahead(start: Instant) -> i128 {
    let wall = match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i128::try_from(since.as_millis()).unwrap_or(i128::MAX / 2),
        Err(before) => -i128::try_from(before.duration().as_millis()).unwrap_or(i128::MAX / 2),
    };
    wall - i128::try_from(start.elapsed().as_millis()).unwrap_or(0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_jumps_is_noticed_once() {
        let mut clock = Clock::new();
        assert!(!clock.jumped());
        // As if it had been set, or the machine had slept, since the last look.
        for by in [20_000, -20_000] {
            clock.ahead += by;
            assert!(clock.jumped() && !clock.jumped(), "{by} ms");
        }
        clock.ahead += 5_000;
        assert!(!clock.jumped(), "time servers move it all the time");
    }

    fn message(kind: u16, body: &[u32]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(u32::try_from(HEADER + body.len() * 4).unwrap().to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend(body.iter().flat_map(|word| word.to_ne_bytes()));
        bytes
    }

    #[test]
    fn a_link_that_only_announces_itself_is_no_change() {
        let mut seen = Seen::default();
        let link = |index, flags| message(NEW_LINK, &[0, index, flags, 0]);
        assert!(seen.changes(&link(2, 0x1_0043)));
        assert!(!seen.changes(&link(2, 0x1_0043)), "the same again");
        assert!(!seen.changes(&link(2, 0x1_0143)), "another flag, such as promiscuous");
        assert!(seen.changes(&link(2, 0x3)), "the carrier is gone");
        assert!(seen.changes(&link(3, 0x1_0043)), "another link");
        let address = message(20, &[0, 0]);
        assert!(
            seen.changes(&[link(2, 0x3), address].concat()),
            "a new address in the same packet"
        );
        assert!(!seen.changes(&[1, 2, 3]), "rubbish");
        assert!(!seen.changes(&[0; 32]), "a length of nothing");
    }
}
