//! The fast layer: small, signed data that a host applies without a new system (design §4).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::budget::Budget;
use crate::ids::{HostName, Name};
use crate::span::Span;

/// Format number of [`HostData`]; an agent refuses a higher one.
pub const FORMAT: u32 = 1;

/// Everything a host is told besides its system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostData {
    /// [`FORMAT`].
    pub format: u32,
    /// The host that it is for.
    pub host: HostName,
    /// What must hold before a change counts as good.
    #[serde(default)]
    pub checks: Vec<Check>,
    /// App configs by name; they are written below `/run/.app_configs`.
    #[serde(default)]
    pub configs: BTreeMap<String, ConfigFile>,
    /// People who may log in. Carried, and applied by a later version.
    #[serde(default)]
    pub access: BTreeMap<String, Access>,
    /// The host's entry of `generated-secrets.yml`, sealed to its key. Carried likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<Sealed>,
    /// What the link of the host's site allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
}

/// One app config.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigFile {
    /// Where, below the folder of app configs; relative, without `..`.
    pub path: String,
    /// What.
    pub content: String,
}

/// What one person may do on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// A permission profile of the fleet folder.
    pub profile: String,
    /// Lines for `authorized_keys`.
    pub keys: Vec<String>,
    /// `YYYY-MM-DD`: disabled from that day on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
}

/// Secrets sealed to the host's key; base64 as in `generated-secrets.yml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// The box's key, sealed to the host.
    pub encrypted_key: String,
    /// The box.
    pub encrypted_secrets: String,
}

/// Something that must hold on a healthy host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Unique on the host; what reports call it.
    pub name: Name,
    /// What is looked at.
    #[serde(flatten)]
    pub probe: Probe,
    /// How long one try may take.
    #[serde(default = "default_deadline")]
    pub deadline: Span,
    /// How often it is tried before it counts as failed.
    #[serde(default = "default_tries")]
    pub tries: u32,
    /// Pause between two tries.
    #[serde(default = "default_pause")]
    pub pause: Span,
    /// A log file whose last lines belong into the report of a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
}

fn default_deadline() -> Span {
    Span::secs(10)
}

fn default_tries() -> u32 {
    5
}

fn default_pause() -> Span {
    Span::secs(2)
}

/// What a check looks at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Probe {
    /// GET answers with this status, and with this text somewhere in the body.
    Http {
        /// `http://…`; what is asked is on the host itself or beside it.
        url: String,
        /// The only good status.
        #[serde(default = "default_status")]
        status: u16,
        /// Text that the first 64 KiB of the body must contain.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        contains: Option<String>,
    },
    /// A TCP connection to `host:port` opens.
    Tcp {
        /// `host:port`.
        address: String,
    },
    /// A program ends with status 0. No shell stands between.
    Command {
        /// Program and arguments.
        command: Vec<String>,
    },
    /// A systemd unit is active.
    Unit {
        /// With its suffix, as in `docker.service`.
        unit: String,
    },
    /// A file is there, and contains this text if given.
    File {
        /// Absolute path.
        path: String,
        /// Text that its first 64 KiB must contain.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        contains: Option<String>,
    },
}

fn default_status() -> u16 {
    200
}

/// What is wrong with host data that was signed all the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DataFlaw {
    /// Written by a newer Afield.
    #[error("it has format {0}, and this version reads up to {FORMAT}; update the agent first")]
    Format(u32),
    /// Meant for another host.
    #[error("it is for the host {0}")]
    OtherHost(HostName),
    /// An app config would leave its folder.
    #[error("app config {name} has the path {path:?}, which leaves the folder of app configs")]
    Escape {
        /// The config's name.
        name: String,
        /// Its path.
        path: String,
    },
    /// Two app configs would write one file, or one a file where the other needs a folder.
    #[error("app configs {0} and {1} write to the same path")]
    Clash(String, String),
}

impl HostData {
    /// Checks what the signature cannot.
    pub fn validate(&self, host: &HostName) -> Result<(), DataFlaw> {
        if self.format > FORMAT {
            return Err(DataFlaw::Format(self.format));
        }
        if self.host != *host {
            return Err(DataFlaw::OtherHost(self.host.clone()));
        }
        let mut paths: BTreeMap<&str, &str> = BTreeMap::new();
        for (name, file) in &self.configs {
            if !stays_inside(&file.path) {
                let (name, path) = (name.clone(), file.path.clone());
                return Err(DataFlaw::Escape { name, path });
            }
            let clash = paths.iter().find(|(other, _)| overlap(other, &file.path));
            if let Some((_, other)) = clash {
                return Err(DataFlaw::Clash((*other).to_owned(), name.clone()));
            }
            paths.insert(&file.path, name);
        }
        Ok(())
    }
}

/// Whether a relative path stays below the folder that it starts from.
pub fn stays_inside(path: &str) -> bool {
    !path.is_empty()
        && !path.contains('\0')
        && path.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
}

fn overlap(a: &str, b: &str) -> bool {
    let below = |a: &str, b: &str| b.strip_prefix(a).is_some_and(|rest| rest.starts_with('/'));
    a == b || below(a, b) || below(b, a)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn data(paths: &[&str]) -> HostData {
        let file = |path: &str| ConfigFile { path: path.into(), content: String::new() };
        HostData {
            format: 1,
            host: "clinic".parse().unwrap(),
            checks: vec![],
            configs: paths.iter().enumerate().map(|(i, p)| (format!("c{i}"), file(p))).collect(),
            access: BTreeMap::new(),
            sealed: None,
            budget: None,
        }
    }

    #[test]
    fn configs_stay_in_their_folder_and_apart() {
        let host = "clinic".parse().unwrap();
        assert_eq!(data(&["a/b.yml", "a/c.yml"]).validate(&host), Ok(()));
        for bad in ["/etc/passwd", "../x", "a/../../x", "", "a//b", "a/", "./a", "a\0b"] {
            let found = data(&[bad]).validate(&host);
            assert!(matches!(found, Err(DataFlaw::Escape { .. })), "{bad:?} gave {found:?}");
        }
        let clash = |p: &[&str]| matches!(data(p).validate(&host), Err(DataFlaw::Clash(..)));
        assert!(clash(&["a", "a/b"]) && clash(&["a/b", "a"]) && clash(&["a", "a"]));
        let other = data(&[]).validate(&"other".parse().unwrap());
        assert_eq!(other, Err(DataFlaw::OtherHost("clinic".parse().unwrap())));
    }

    #[test]
    fn checks_read_as_operators_write_them() {
        let json =
            r#"{"name":"web","type":"http","url":"http://127.0.0.1/","tries":3,"deadline":"2s"}"#;
        let check: Check = serde_json::from_str(json).unwrap();
        assert_eq!((check.tries, check.deadline), (3, Span::secs(2)));
        assert!(matches!(check.probe, Probe::Http { status: 200, contains: None, .. }));
    }
}
