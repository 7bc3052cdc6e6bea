//! What the kernel knows of a connection before OpenSSH does: how often it has sent the same again without an answer.

use std::fs;
use std::net::{IpAddr, SocketAddr};

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
    let table = match here {
        SocketAddr::V4(_) => "/proc/thread-self/net/tcp",
        SocketAddr::V6(_) => "/proc/thread-self/net/tcp6",
    };
    // A table of the kernel's own, of one line a connection.
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

fn written(address: SocketAddr) -> String {
    let words: Vec<u8> = match address.ip() {
        IpAddr::V4(ip) => ip.octets().into(),
        IpAddr::V6(ip) => ip.octets().into(),
    };
    // Each 32 bits of an address are written as this machine reads them from memory.
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
    fn a_connection_is_found_in_the_table() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let there = listener.local_addr().unwrap();
        let stream = std::net::TcpStream::connect(there).unwrap();
        let here = stream.local_addr().unwrap();
        let nothing = Unanswered { times: 0, probes_only: true };
        assert_eq!(unanswered(here, there), Some(nothing));
        assert_eq!(unanswered(here, "127.0.0.1:1".parse().unwrap()), None);
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
