//! What the kernel knows of a connection before OpenSSH does: how often it has sent the same again without an answer.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
    sockopt,
};

/// How often in a row a connection has asked in vain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Unanswered {
    pub times: u32,
    /// By the kernel alone: nothing that was sent waits for an answer.
    pub probes_only: bool,
}

/// How often in a row the connection between two addresses has sent the same, or asked whether the other end is there;
/// none if there is no such connection.
pub(super) fn unanswered(here: SocketAddr, there: SocketAddr) -> Option<Unanswered> {
    // A kernel without sock_diag for TCP answers as if there were no such connection.
    asked(here, there).or_else(|| listed(here, there))
}

/// sock_diag(7): the one kind of message, to the kernel and back.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// Lengths of a message's header (netlink(7)), of `inet_diag_req_v2` and `inet_diag_msg` (sock_diag(7)).
const HEADER: usize = 16;
const REQUEST: usize = 56;
const ANSWER: usize = 72;

/// One question for one connection: the kernel's whole table takes hundreds of times as long.
fn asked(here: SocketAddr, there: SocketAddr) -> Option<Unanswered> {
    let (kind, flags) = (SocketType::RAW, SocketFlags::CLOEXEC);
    let socket = socket_with(AddressFamily::NETLINK, kind, flags, Some(netlink::SOCK_DIAG)).ok()?;
    let limit = Some(Duration::from_secs(1));
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, limit).ok()?;
    send(&socket, &request(here, there), SendFlags::empty()).ok()?;
    let mut buffer = [0; 1024];
    let (length, _) = recv(&socket, &mut buffer[..], RecvFlags::empty()).ok()?;
    answered(buffer.get(..length)?)
}

/// `inet_diag_req_v2`: family, protocol, no extensions, any state, ports and addresses as they travel, any interface, any
/// cookie.
fn request(here: SocketAddr, there: SocketAddr) -> Vec<u8> {
    /// netlink(7): NLM_F_REQUEST.
    const ASKS: u16 = 1;
    const TCP: u8 = 6;
    let family = if here.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let mut bytes = Vec::with_capacity(HEADER + REQUEST);
    bytes.extend(((HEADER + REQUEST) as u32).to_ne_bytes());
    bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend(ASKS.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend([family.as_raw() as u8, TCP, 0, 0]);
    bytes.extend(u32::MAX.to_ne_bytes());
    bytes.extend(here.port().to_be_bytes());
    bytes.extend(there.port().to_be_bytes());
    for address in [here.ip(), there.ip()] {
        bytes.extend(octets(address).into_iter().chain([0; 12]).take(16));
    }
    bytes.extend([0; 4]);
    bytes.extend([0xff; 8]);
    bytes
}

/// `inet_diag_msg`: the third byte says which timer runs, the fourth what it counts; `idiag_wqueue` says how much waits.
fn answered(message: &[u8]) -> Option<Unanswered> {
    /// The timer of what was sent and is not answered.
    const RETRANSMITS: u8 = 1;
    let body = message.get(HEADER..HEADER + ANSWER)?;
    let kind = u16::from_ne_bytes(message.get(4..6)?.try_into().ok()?);
    let waits = u32::from_ne_bytes(body.get(60..64)?.try_into().ok()?) > 0;
    let [_, _, timer, times, ..] = *body else { return None };
    let found = Unanswered { times: times.into(), probes_only: !waits && timer != RETRANSMITS };
    (kind == SOCK_DIAG_BY_FAMILY).then_some(found)
}

/// The same from the kernel's table of all connections.
fn listed(here: SocketAddr, there: SocketAddr) -> Option<Unanswered> {
    let table = match here {
        SocketAddr::V4(_) => "/proc/thread-self/net/tcp",
        SocketAddr::V6(_) => "/proc/thread-self/net/tcp6",
    };
    find(&fs::read_to_string(table).ok()?, here, there)
}

/// proc_pid_net(5), "tcp": addresses in hexadecimal; the fifth word says how much waits; the seventh counts retransmissions, the ninth probes, which
/// the kernel sends where even the first packet could not leave.
fn find(table: &str, here: SocketAddr, there: SocketAddr) -> Option<Unanswered> {
    let (here, there) = (written(here), written(there));
    let line = table.lines().map(|line| line.split_whitespace().skip(1)).find(|words| {
        let mut words = words.clone();
        words.next() == Some(&here) && words.next() == Some(&there)
    });
    let mut rest = line?.skip(3);
    let waits = !rest.next()?.starts_with("00000000:");
    let again = u32::from_str_radix(rest.nth(1)?, 16).ok()?;
    let probes: u32 = rest.nth(1)?.parse().ok()?;
    Some(Unanswered { times: again.max(probes), probes_only: !waits && again == 0 })
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(ip) => ip.octets().into(),
        IpAddr::V6(ip) => ip.octets().into(),
    }
}

fn written(address: SocketAddr) -> String {
    // Each 32 bits of an address are written as this machine reads them from memory.
    let words = octets(address.ip());
    let hex = words.chunks_exact(4).map(|word| {
        let word: [u8; 4] = word.try_into().unwrap_or_default();
        format!("{:08X}", u32::from_ne_bytes(word))
    });
    format!("{}:{:04X}", hex.collect::<String>(), address.port())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_found_by_a_question_and_in_the_table() {
        for any in ["127.0.0.1:0", "[::1]:0"] {
            let listener = std::net::TcpListener::bind(any).unwrap();
            let there = listener.local_addr().unwrap();
            let stream = std::net::TcpStream::connect(there).unwrap();
            let here = stream.local_addr().unwrap();
            let nothing = Unanswered { times: 0, probes_only: true };
            assert_eq!(asked(here, there), Some(nothing), "{here}");
            assert_eq!(listed(here, there), Some(nothing), "{here}");
            let other = SocketAddr::new(there.ip(), 1);
            assert_eq!(unanswered(here, other), None, "{here}");
        }
    }

    #[test]
    fn an_answer_that_is_short_or_an_error_is_none() {
        let mut message = vec![0; HEADER + ANSWER];
        message[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        message[HEADER + 2..HEADER + 4].copy_from_slice(&[2, 3]);
        let probes = Some(Unanswered { times: 3, probes_only: true });
        assert_eq!(answered(&message), probes);
        message[HEADER + 60..HEADER + 64].copy_from_slice(&9_u32.to_ne_bytes());
        assert_eq!(answered(&message).map(|found| found.probes_only), Some(false));
        assert!((0..message.len()).all(|length| answered(&message[..length]).is_none()));
        message[4] = 2;
        assert_eq!(answered(&message), None);
    }

    #[test]
    fn the_numbers_are_the_fifth_seventh_and_ninth_word() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 01014D0A:D431 02014D0A:0016 01 00000024:00000000 01:0000012C 0000000B  1000        0 67 2 0 24 4 26 10 -1
   1: 01014D0A:D432 02014D0A:0016 01 00000000:00000000 02:000003E8 00000000     0        3 65 2 0 24 4 26 10 -1";
        let there = "10.77.1.2:22".parse().unwrap();
        for (here, times, probes_only) in
            [("10.77.1.1:54321", 11, false), ("10.77.1.1:54322", 3, true)]
        {
            let found = find(table, here.parse().unwrap(), there);
            let right = Unanswered { times, probes_only };
            assert_eq!(found, cfg!(target_endian = "little").then_some(right));
        }
    }
}
