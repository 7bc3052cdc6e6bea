//! Permission profiles: what a person may do on a host, as one table.
//!
//! Outside the fleet module because the agent turns profiles into accounts without any parser.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A permission profile (spec "fleet folder" §2); `users.json` writes the names as they stand in [`Profile::name`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[allow(missing_docs)] // Each is described by its row in `Profile::rights`.
pub enum Profile {
    Admin,
    DockerAdmin,
    LocalDockerAdmin,
    Devops,
    FieldSupport,
    DockerLogs,
    RemoteTunnelWithShell,
    LocalShell,
    RemoteTunnel,
    RemoteTunnelMonitor,
    /// What the account `robot` has on every host; nobody can be given it.
    Robot,
}

/// What may be done with sudo, without a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sudo {
    /// Nothing.
    No,
    /// Everything.
    All,
    /// These commands; the first word is a program's name, to be made absolute on the host.
    Commands(&'static [&'static str]),
}

/// The rights that come with a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rights {
    /// Has a login shell; otherwise nologin.
    pub shell: bool,
    /// May open SSH sessions.
    pub ssh: bool,
    /// May forward ports, and pass through relays to reach the host.
    pub tunnel: bool,
    /// Groups beyond those that [`Rights::all_groups`] adds.
    pub groups: &'static [&'static str],
    /// Commands as root.
    pub sudo: Sudo,
    /// The keys open root's account too.
    pub root_keys: bool,
    /// Instead of a shell, one fixed command that lists the open tunnel ports.
    pub lists_tunnels: bool,
    /// Exists on relays only.
    pub relays_only: bool,
    /// May start every deployment service of the host with sudo.
    pub starts_deployments: bool,
}

const NONE: Rights = Rights {
    shell: true,
    ssh: true,
    tunnel: true,
    groups: &[],
    sudo: Sudo::No,
    root_keys: false,
    lists_tunnels: false,
    relays_only: false,
    starts_deployments: false,
};

const START_UPGRADE: [&str; 4] = [
    "systemctl --system start nixos_rebuild_config",
    "systemctl --system start nixos_rebuild_config.service",
    "systemctl --system start nixos-upgrade",
    "systemctl --system start nixos-upgrade.service",
];
const DEVOPS: [&str; 6] = [
    "systemctl reboot",
    "dmidecode",
    START_UPGRADE[0],
    START_UPGRADE[1],
    START_UPGRADE[2],
    START_UPGRADE[3],
];
const FIELD_SUPPORT: [&str; 3] = [
    "systemctl reboot",
    "systemctl --system start dhcpcd",
    "systemctl --system start dhcpcd.service",
];
const DOCKER_LOGS: [&str; 3] = ["docker ps", "docker logs *", "docker-compose logs *"];

impl Profile {
    /// All profiles that `users.json` may name, in the order of the spec.
    pub const NAMED: [Profile; 10] = [
        Profile::Admin,
        Profile::DockerAdmin,
        Profile::LocalDockerAdmin,
        Profile::Devops,
        Profile::FieldSupport,
        Profile::DockerLogs,
        Profile::RemoteTunnelWithShell,
        Profile::LocalShell,
        Profile::RemoteTunnel,
        Profile::RemoteTunnelMonitor,
    ];

    /// The name in `users.json`; `robot` for [`Profile::Robot`].
    pub fn name(self) -> &'static str {
        match self {
            Profile::Admin => "admin",
            Profile::DockerAdmin => "dockerAdmin",
            Profile::LocalDockerAdmin => "localDockerAdmin",
            Profile::Devops => "devops",
            Profile::FieldSupport => "fieldSupport",
            Profile::DockerLogs => "docker_logs",
            Profile::RemoteTunnelWithShell => "remoteTunnelWithShell",
            Profile::LocalShell => "localShell",
            Profile::RemoteTunnel => "remoteTunnel",
            Profile::RemoteTunnelMonitor => "remoteTunnelMonitor",
            Profile::Robot => "robot",
        }
    }

    /// The profile of a name that `users.json` may use.
    pub fn named(name: &str) -> Option<Profile> {
        Profile::NAMED.into_iter().find(|profile| profile.name() == name)
    }

    /// The table of spec §2.
    pub fn rights(self) -> Rights {
        let row = NONE;
        match self {
            Profile::Admin => {
                Rights { groups: &["wheel", "docker"], sudo: Sudo::All, root_keys: true, ..row }
            }
            Profile::DockerAdmin => Rights { groups: &["docker"], ..row },
            Profile::LocalDockerAdmin => Rights { tunnel: false, groups: &["docker"], ..row },
            Profile::Devops => Rights {
                groups: &["docker", "systemd-journal"],
                sudo: Sudo::Commands(&DEVOPS),
                ..row
            },
            Profile::FieldSupport => {
                Rights { groups: &["systemd-journal"], sudo: Sudo::Commands(&FIELD_SUPPORT), ..row }
            }
            Profile::DockerLogs => {
                Rights { groups: &["systemd-journal"], sudo: Sudo::Commands(&DOCKER_LOGS), ..row }
            }
            Profile::RemoteTunnelWithShell => row,
            Profile::LocalShell => Rights { tunnel: false, ..row },
            Profile::RemoteTunnel => Rights { shell: false, ..row },
            Profile::RemoteTunnelMonitor => {
                Rights { shell: false, lists_tunnels: true, relays_only: true, ..row }
            }
            Profile::Robot => {
                Rights { sudo: Sudo::Commands(&START_UPGRADE), starts_deployments: true, ..row }
            }
        }
    }
}

impl Rights {
    /// All supplementary groups: the profile's, then those that follow from ssh, tunnel and shell.
    pub fn all_groups(&self) -> Vec<&'static str> {
        let mut groups = self.groups.to_vec();
        if self.ssh || self.tunnel {
            groups.push("ssh-users");
        }
        if self.tunnel {
            groups.push("ssh-fwd-tun-users");
        }
        if self.shell {
            groups.extend(["shell-users", "users"]);
        }
        groups
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a text is no profile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a permission profile")]
pub struct UnknownProfile(String);

impl FromStr for Profile {
    type Err = UnknownProfile;
    fn from_str(text: &str) -> Result<Self, UnknownProfile> {
        match text {
            "robot" => Ok(Profile::Robot),
            _ => {
                Profile::named(text).ok_or_else(|| UnknownProfile(text.chars().take(80).collect()))
            }
        }
    }
}

impl TryFrom<String> for Profile {
    type Error = UnknownProfile;
    fn try_from(text: String) -> Result<Self, UnknownProfile> {
        text.parse()
    }
}

impl From<Profile> for String {
    fn from(profile: Profile) -> String {
        profile.name().to_owned()
    }
}
