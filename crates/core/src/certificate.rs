//! Short-lived SSH certificates of people: what stands in them, and which of them count where.
//!
//! A certificate carries principals, and an account takes those that its file of principals lists (sshd_config(5),
//! AuthorizedPrincipalsFile). A principal names person and host, so that one certificate opens just the hosts that it
//! was signed for; relays have one of their own. That a person still has the account is the host's affair: where the
//! fleet folder gives it no more, no certificate opens it.

use crate::ids::{HostName, UserName};

/// The longest that a certificate is valid, in hours: a week.
pub const MAX_HOURS: u32 = 168;

/// What opens an account of a host.
pub fn on_host(user: &UserName, host: &HostName) -> String {
    format!("{user}@{host}")
}

/// What lets a person pass through relays, to the hosts that they may reach then. No host can have such a name.
pub fn on_relays(user: &UserName) -> String {
    format!("{user}@:relays")
}

/// The words to ssh-keygen(1) that sign `public` (a file) for so long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signing<'a> {
    /// The CA: a private key's file, a public key's file whose private key the ssh-agent has, or (with `pkcs11`) one
    /// in a token.
    pub ca: &'a str,
    /// The CA's private key is in the ssh-agent.
    pub in_agent: bool,
    /// The library of the token that has it.
    pub pkcs11: Option<&'a str>,
    /// Whose certificate, by whom; it stands in the logs of whoever is logged in to.
    pub identity: &'a str,
    /// Its number, by which it can be revoked.
    pub serial: u64,
    /// What it opens.
    pub principals: &'a [String],
    /// How long.
    pub hours: u32,
}

/// Clocks of hosts may be behind.
const BEFORE: &str = "-10m";

/// Arguments of ssh-keygen; `public` is the file of the person's key, and the certificate comes beside it.
pub fn arguments(signing: &Signing<'_>, public: &str) -> Vec<String> {
    let mut words: Vec<String> = vec!["-q".into(), "-s".into(), signing.ca.into()];
    if signing.in_agent {
        words.push("-U".into());
    }
    words.extend(signing.pkcs11.iter().flat_map(|lib| ["-D".to_owned(), (*lib).to_owned()]));
    let valid = format!("{BEFORE}:+{}h", signing.hours);
    let serial = signing.serial.to_string();
    let principals = signing.principals.join(",");
    for (option, value) in [
        ("-I", signing.identity),
        ("-z", serial.as_str()),
        ("-n", principals.as_str()),
        ("-V", valid.as_str()),
        // No agent, no X11, no rc file: only what work on a host needs.
        ("-O", "clear"),
        ("-O", "permit-pty"),
        ("-O", "permit-port-forwarding"),
    ] {
        words.extend([option.to_owned(), value.to_owned()]);
    }
    words.push(public.to_owned());
    words
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn no_host_is_named_like_the_relays() {
        let user: UserName = "amara".parse().unwrap();
        assert_eq!(on_host(&user, &"clinic".parse().unwrap()), "amara@clinic");
        assert!(":relays".parse::<HostName>().is_err());
        // A comma would make two principals of one.
        for bad in ["a,b", "a b", "a@b"] {
            assert!(bad.parse::<UserName>().is_err() && bad.parse::<HostName>().is_err(), "{bad}");
        }
    }
}
