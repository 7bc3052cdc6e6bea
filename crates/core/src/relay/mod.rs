//! A relay is a stock OpenSSH server with two accounts that can do next to nothing; this renders its files.
//!
//! `tunnel` is for hosts: each may listen on its own ports of the relay's loopback. `tunneller` is for people on their
//! way to a host: each may open the ports of the hosts that are theirs. Which ports stands in front of each key in
//! `authorized_keys`; what no key may do stands here. Either alone keeps the account from a shell.

use crate::accounts::{PRINCIPALS, USER_CA};
use crate::ids::Name;
use crate::tunnel::config::Target;

/// Where sshd looks for the keys of both accounts.
pub const KEYS_FOLDER: &str = "/etc/ssh/authorized_keys.d";
/// The file of [`sshd_config`] on a relay that is not NixOS.
pub const SSHD_FILE: &str = "/etc/ssh/sshd_config.d/10-afield-relay.conf";
/// The file with the kernel's settings of [`install_script`].
pub const SYSCTL_FILE: &str = "/etc/sysctl.d/60-afield-relay.conf";
/// The file of [`NEWEST_TUNNEL`] on a relay that is not NixOS.
pub const NEWEST_FILE: &str = "/etc/ssh/afield-newest-tunnel";
/// Frees the ports of a host that comes again; PAM runs it.
pub const NEWEST_TUNNEL: &str = include_str!("newest-tunnel.sh");
/// Where the settings stand that only newer versions of sshd know.
pub const NEWER_SSHD_FILE: &str = "/etc/ssh/sshd_config.d/11-afield-relay-newer.conf";
/// What earlier versions wrote and nothing reads any more.
const OLD_FILES: &str = "/etc/ssh/afield_user_ca.pub /etc/ssh/authorized_principals.d/tunneller";
/// Retransmissions after which the kernel gives up a connection: 6 are 25 s (tcp(7), tcp_retries2).
///
/// sshd's own keepalive is not enough: each visitor of a forwarded port puts it off (seen with OpenSSH 9.2), so that
/// whoever tries again and again to reach a host would keep its dead connection, and with it the port, for a quarter of
/// an hour. What the visitors send is what remains unacknowledged.
pub const TCP_RETRIES: u8 = 6;
/// Ports of a relay that names none (spec "fleet folder" §3).
pub const DEFAULT_PORTS: [u16; 3] = [22, 80, 443];

/// What a relay is told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Relay {
    /// Ports of its sshd.
    pub ports: Vec<u16>,
    /// Lines of the account `tunnel`: who may listen.
    pub tunnel: Vec<String>,
    /// Lines of the account `tunneller`: who may pass.
    pub tunneller: Vec<String>,
    /// Hub and repository, which hosts may reach through it.
    pub reach: Vec<Target>,
    /// Keys that sign certificates of people, `type base64`; none: no certificate counts.
    pub user_ca: Vec<String>,
    /// Lines of `tunneller`'s principals: which certificates may pass.
    pub principals: Vec<String>,
}

/// A piece of sshd_config(5) for a relay.
///
/// It is to be read before the machine's own settings, since the first value counts. Other accounts keep what they
/// have.
pub fn sshd_config(relay: &Relay) -> String {
    let mut text = String::from(
        "# A relay of Afield; see `afield relay config --help`. Changes here are lost.\n",
    );
    for port in &relay.ports {
        text.push_str(&format!("Port {port}\n"));
    }
    text.push_str(
        "# After an outage all hosts come at once; one address alone must not take all places.
MaxStartups 100:30:300
PerSourceMaxStartups 50
# A handshake takes 10 s over a satellite.
LoginGraceTime 60
",
    );
    let host_data = crate::accounts::KEYS;
    let reach: Vec<String> = relay.reach.iter().map(Target::to_string).collect();
    let (both, open) = match reach.is_empty() {
        true => ("remote", "none".to_owned()),
        false => ("yes", reach.join(" ")),
    };
    let certificates = match relay.user_ca.is_empty() {
        true => String::new(),
        false => format!(
            "\n    TrustedUserCAKeys {USER_CA}\n    AuthorizedPrincipalsFile {PRINCIPALS}/%u"
        ),
    };
    for (user, forwarding, other) in [
        ("tunnel", both, format!("PermitOpen {open}")),
        ("tunneller", "local", format!("PermitListen none{certificates}")),
    ] {
        text.push_str(&format!(
            "
Match User {user}
    AuthorizedKeysFile {KEYS_FOLDER}/%u {host_data}/%u
    AuthorizedKeysCommand none
    AuthenticationMethods publickey
    AllowTcpForwarding {forwarding}
    {other}
    GatewayPorts no
    AllowStreamLocalForwarding no
    AllowAgentForwarding no
    X11Forwarding no
    PermitTunnel no
    PermitTTY no
    PermitUserRC no
    # No shell, no command, no sftp; forwarding needs no session.
    MaxSessions 0
    ForceCommand /bin/false
    # A host asks for a sign of life every 10 s. One that is silent for 30 s is gone, and its ports are free again.
    ClientAliveInterval 15
    ClientAliveCountMax 1
"
        ));
    }
    text.push_str("\nMatch all\n");
    text
}

/// Makes a plain Debian or Ubuntu a relay, or brings one up to date: a shell script for root, to be piped into
/// `ssh root@relay sh`. Twice does the same as once; nothing is put in place that `sshd -t` does not accept.
pub fn install_script(name: &Name, relay: &Relay) -> String {
    let mut script = format!(
        "#!/bin/sh
# Makes this machine the relay {name}. Written by `afield relay config {name}`.
set -eu
umask 022
for user in tunnel tunneller; do
  getent passwd \"$user\" >/dev/null || useradd --system --home-dir /nonexistent --shell /usr/sbin/nologin \"$user\"
  # No password, but not locked either: a locked account is refused without PAM.
  usermod --password '*' \"$user\"
done
mkdir -p {KEYS_FOLDER} {PRINCIPALS} /etc/ssh/sshd_config.d /etc/sysctl.d
grep -qsi '^[[:space:]]*include[[:space:]].*/etc/ssh/sshd_config.d/' /etc/ssh/sshd_config || {{
  echo 'afield: /etc/ssh/sshd_config does not include /etc/ssh/sshd_config.d/*.conf; add that as its first line' >&2
  exit 1
}}
"
    );
    for (path, lines) in [
        (format!("{KEYS_FOLDER}/tunnel"), relay.tunnel.join("\n")),
        (format!("{KEYS_FOLDER}/tunneller"), relay.tunneller.join("\n")),
        (format!("{PRINCIPALS}/tunneller"), relay.principals.join("\n")),
        (USER_CA.to_owned(), relay.user_ca.join("\n")),
        (NEWEST_FILE.to_owned(), NEWEST_TUNNEL.to_owned()),
        (SSHD_FILE.to_owned(), sshd_config(relay)),
    ] {
        let text = lines.trim_end();
        script.push_str(&format!("cat >{path}.new <<'AFIELD_END'\n{text}\nAFIELD_END\n"));
    }
    script.push_str(&format!(
        "# What counts from here on counts for each new connection. sshd does not look again at those that stand: if
# somebody may do less than before, all connections of the account end, and whoever may still come is back within
# seconds.
rights() {{
  cat \"$1\" 2>/dev/null | awk '
    /^restrict/ {{
      who = $0; sub(/^[^ ]* /, \"\", who); print \"key\", who
      n = split($1, each, \",\"); for (i = 1; i <= n; i++) print each[i], who
      next
    }}
    {{ print }}' | sort -u
}}
put() {{
  rights \"$2\" >\"$2.before\"
  mv \"$2.new\" \"$2\"
  rights \"$2\" >\"$2.after\"
  less=$(comm -23 \"$2.before\" \"$2.after\")
  rm \"$2.before\" \"$2.after\"
  if [ -n \"$less\" ]; then pkill -KILL -u \"$1\" || true; fi
}}
put tunnel {KEYS_FOLDER}/tunnel
put tunneller {KEYS_FOLDER}/tunneller
put tunneller {PRINCIPALS}/tunneller
put tunneller {USER_CA}
rm -f {OLD_FILES}
mv {NEWEST_FILE}.new {NEWEST_FILE}
if [ -e /etc/pam.d/sshd ] && ! grep -q {NEWEST_FILE} /etc/pam.d/sshd; then
  echo 'session optional pam_exec.so quiet type=open_session /bin/sh {NEWEST_FILE}' >>/etc/pam.d/sshd
fi
if [ -e {SSHD_FILE} ]; then cp {SSHD_FILE} {SSHD_FILE}.old; fi
mv {SSHD_FILE}.new {SSHD_FILE}
if ! sshd -t; then
  rm {SSHD_FILE}
  if [ -e {SSHD_FILE}.old ]; then mv {SSHD_FILE}.old {SSHD_FILE}; fi
  echo 'afield: sshd does not accept the settings; they were taken back' >&2
  exit 1
fi
rm -f {SSHD_FILE}.old
# From 9.8 on, sshd locks an address out for what single connections did. Behind one address there are many hosts.
if sshd -T 2>/dev/null | grep -qi '^persourcepenalties'; then
  echo 'PerSourcePenalties no' >{NEWER_SSHD_FILE}
else
  rm -f {NEWER_SSHD_FILE}
fi
echo 'net.ipv4.tcp_retries2 = {TCP_RETRIES}' >{SYSCTL_FILE}
sysctl -q -p {SYSCTL_FILE}
if [ -d /run/systemd/system ]; then systemctl reload-or-restart ssh.service; fi
"
    ));
    script
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn both_accounts_can_only_forward_and_only_one_way() {
        let text = sshd_config(&Relay { ports: vec![22, 443], ..Relay::default() });
        assert!(
            text.contains("Port 22\nPort 443\nMaxStartups")
                || text.contains("Port 22\nPort 443\n#")
        );
        let sections: Vec<&str> = text.split("\nMatch ").collect();
        let [global, tunnel, tunneller, all] = sections[..] else {
            panic!("{} sections", sections.len());
        };
        assert!(tunnel.starts_with("User tunnel\n") && tunneller.starts_with("User tunneller\n"));
        assert!(tunnel.contains("AllowTcpForwarding remote\n    PermitOpen none\n"));
        assert!(tunneller.contains("AllowTcpForwarding local\n    PermitListen none\n"));
        for section in [tunnel, tunneller] {
            for closed in
                ["MaxSessions 0", "PermitTTY no", "AllowAgentForwarding no", "X11Forwarding no"]
            {
                assert!(section.contains(closed), "{closed} is missing in {section}");
            }
        }
        assert!(!global.contains("Forwarding"), "other accounts keep what they have");
        assert_eq!(all, "all\n");
    }

    #[test]
    fn the_script_carries_keys_as_they_are() {
        let keys = vec![
            "restrict,port-forwarding,permitlisten=\"2001\" ssh-ed25519 AAAA tunnel@a'b".to_owned(),
        ];
        let relay = Relay { ports: vec![22], tunnel: keys.clone(), ..Relay::default() };
        let script = install_script(&"relay-bru".parse().unwrap(), &relay);
        let file = "cat >/etc/ssh/authorized_keys.d/tunnel.new <<'AFIELD_END'\n";
        let (_, rest) = script.split_once(file).unwrap();
        assert_eq!(rest.split_once("\nAFIELD_END\n").unwrap().0, keys[0]);
    }
}
