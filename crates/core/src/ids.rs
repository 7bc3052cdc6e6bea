//! Identifiers: one newtype each, parsed once, at the edge.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Why a text is not the identifier that it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a {kind}: {rule}")]
pub struct InvalidId {
    /// What the text should have been.
    pub kind: &'static str,
    /// The text, cut to 80 characters.
    pub text: String,
    /// The rule that it breaks, as a person would say it.
    pub rule: &'static str,
}

impl InvalidId {
    fn new(kind: &'static str, text: &str, rule: &'static str) -> Self {
        let text = text.chars().take(80).collect();
        Self { kind, text, rule }
    }
}

/// Implements the text forms of a newtype over `String` whose `check` says what is wrong.
macro_rules! string_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text of the identifier.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let check: fn(&str) -> Result<(), &'static str> = $check;
                match check(text) {
                    Ok(()) => Ok(Self(text.to_owned())),
                    Err(rule) => Err(InvalidId::new($kind, text, rule)),
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

string_id!(
    /// Name of a host: letters, digits and inner hyphens, starting with a letter, 2 to 63 characters.
    HostName, "host name", |t| {
        let b = t.as_bytes();
        if b.len() < 2 || b.len() > 63 {
            Err("it has 2 to 63 characters")
        } else if !b[0].is_ascii_alphabetic() {
            Err("it starts with a letter")
        } else if !b[b.len() - 1].is_ascii_alphanumeric() {
            Err("it ends with a letter or digit")
        } else if !b.iter().all(|c| c.is_ascii_alphanumeric() || *c == b'-') {
            Err("it has only letters, digits and hyphens")
        } else {
            Ok(())
        }
    }
);

string_id!(
    /// Name of a wave, site, check or other declared thing: `[A-Za-z0-9][A-Za-z0-9_.-]*`, up to 100 characters.
    Name, "name", |t| {
        if t.is_empty() || t.len() > 100 {
            Err("it has 1 to 100 characters")
        } else if !t.as_bytes()[0].is_ascii_alphanumeric() {
            Err("it starts with a letter or digit")
        } else if !t.bytes().all(|c| c.is_ascii_alphanumeric() || b"_.-".contains(&c)) {
            Err("it has only letters, digits and the characters _ . -")
        } else {
            Ok(())
        }
    }
);

string_id!(
    /// Name of an account: `[A-Za-z_][A-Za-z0-9_.-]*`, up to 32 characters (systemd, "User/Group Name Syntax").
    UserName, "user name", |t| {
        if t.is_empty() || t.len() > 32 {
            Err("it has 1 to 32 characters")
        } else if !(t.as_bytes()[0].is_ascii_alphabetic() || t.as_bytes()[0] == b'_') {
            Err("it starts with a letter or _")
        } else if !t.bytes().all(|c| c.is_ascii_alphanumeric() || b"_.-".contains(&c)) {
            Err("it has only letters, digits and the characters _ . -")
        } else {
            Ok(())
        }
    }
);

impl UserName {
    /// The account for deployments, which every host has.
    pub fn robot() -> Self {
        Self("robot".to_owned())
    }
}

string_id!(
    /// A path in the Nix store: `/nix/store/<32 characters>-<name>`
    /// (Nix manual, "Store Path"; names have at most 211 characters).
    StorePath, "store path", |t| {
        let Some(base) = t.strip_prefix("/nix/store/") else {
            return Err("it is directly below /nix/store");
        };
        let Some((hash, name)) = base.split_at_checked(32) else {
            return Err("a hash of 32 characters follows /nix/store/");
        };
        if !hash.bytes().all(|c| b"0123456789abcdfghijklmnpqrsvwxyz".contains(&c)) {
            return Err("its hash has only the characters of Nix's base 32");
        }
        let Some(name) = name.strip_prefix('-') else {
            return Err("a hyphen stands between hash and name");
        };
        if name.is_empty() || name.len() > 211 || name.starts_with('.') {
            return Err("its name has 1 to 211 characters and does not start with a dot");
        }
        if !name.bytes().all(|c| c.is_ascii_alphanumeric() || b"+-._?=".contains(&c)) {
            return Err("its name has only letters, digits and + - . _ ? =");
        }
        Ok(())
    }
);

impl StorePath {
    /// The 32 characters after `/nix/store/`.
    pub fn hash_part(&self) -> &str {
        &self.0[11..43]
    }

    /// What follows the hash and its hyphen.
    pub fn name(&self) -> &str {
        &self.0[44..]
    }

    /// `<hash>-<name>`, the name of the entry in `/nix/store`.
    pub fn base_name(&self) -> &str {
        &self.0[11..]
    }
}

/// Number of a release: 1, 2, 3, … A host never accepts a smaller one than it has seen.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
pub struct ReleaseId(pub u64);

impl fmt::Display for ReleaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl FromStr for ReleaseId {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        match text.parse() {
            Ok(n) if n > 0 => Ok(Self(n)),
            _ => Err(InvalidId::new("release", text, "it is a number from 1")),
        }
    }
}

/// Implements a SHA-256 newtype with the text form `sha256:<64 hex digits>`.
macro_rules! sha256_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name([u8; 32]);

        impl $name {
            /// The hash of some bytes.
            pub fn of(bytes: &[u8]) -> Self {
                Self(Sha256::digest(bytes).into())
            }

            /// From the 32 raw bytes.
            pub fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// 64 lower-case hex digits.
            pub fn hex(&self) -> String {
                HEXLOWER.encode(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let wrong = || InvalidId::new($kind, text, "it is sha256: and 64 hex digits");
                let hex = text.strip_prefix("sha256:").ok_or_else(wrong)?;
                let bytes = HEXLOWER.decode(hex.as_bytes()).map_err(|_| wrong())?;
                Ok(Self(bytes.try_into().map_err(|_| wrong())?))
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.to_string()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "sha256:{}", self.hex())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

sha256_id!(
    /// Address of an object: the SHA-256 of its bytes as they stand in the repository.
    ObjectId,
    "object address"
);
sha256_id!(
    /// SHA-256 of a store path's NAR serialisation, Nix's proof of content.
    NarHash,
    "NAR hash"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn store_paths_keep_to_the_store() {
        let ok = "/nix/store/00000000000000000000000000000000-busybox-1.35";
        assert_eq!(
            ok.parse::<StorePath>().map(|p| p.name().to_owned()).as_deref(),
            Ok("busybox-1.35")
        );
        for bad in [
            "/etc/passwd",
            "/nix/store/../etc/passwd",
            "/nix/store/00000000000000000000000000000000-a/b",
            "/nix/store/0000000000000000000000000000000e-a",
            "/nix/store/00000000000000000000000000000000-",
            "/nix/store/00000000000000000000000000000000-.links",
            "/nix/store/é",
        ] {
            assert!(bad.parse::<StorePath>().is_err(), "{bad} was taken");
        }
    }

    #[test]
    fn host_names_follow_the_old_pattern() {
        for ok in ["A1", "a-b", "benuc016"] {
            assert!(ok.parse::<HostName>().is_ok(), "{ok} was refused");
        }
        for bad in ["a.b", "9bad", "a", "ab-", "", "a_b"] {
            assert!(bad.parse::<HostName>().is_err(), "{bad} was taken");
        }
    }
}
