//! What a fleet folder is read from: bytes in memory, gathered by the caller.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::HostName;

/// The fleet folder's files and the facts that only Nix can give. Paths are relative to the fleet folder, with `/`.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// Content by path: `json/**/*.json`, `app_configs/master/**/*-configs.yml`, `secrets/master/**/*-secrets.yml`,
    /// and `waves-and-staging-hosts.nix` (for places only; it is not evaluated here).
    pub files: BTreeMap<String, Vec<u8>>,
    /// Paths of `hosts/*.nix` and `hosts/ubuntu/*.nix`.
    pub hosts: BTreeSet<String>,
    /// What `waves-and-staging-hosts.nix` evaluates to.
    pub waves: WavesResult,
    /// Deployment services by host, if something has evaluated them.
    pub services: Option<BTreeMap<HostName, BTreeSet<String>>>,
    /// What encrypted secret files hold in clear, by path, for a caller who can open them. Their content is not kept.
    pub opened_secrets: BTreeMap<String, Vec<u8>>,
    /// Why encrypted secret files stayed closed although the caller tried, by path.
    pub closed_secrets: BTreeMap<String, String>,
    /// Files that the caller could not read, and why.
    pub unreadable: BTreeMap<String, String>,
}

/// What became of `waves-and-staging-hosts.nix`.
#[derive(Debug, Clone, Default)]
pub enum WavesResult {
    /// There is no such file.
    #[default]
    Missing,
    /// Nix gave this JSON.
    Json(String),
    /// Nix refused it: its message, and the line and column if it told them.
    Failed(String, Option<(u32, u32)>),
    /// Nix could not be asked, and why.
    NotEvaluated(String),
}

/// Path of the file with the waves.
pub const WAVES_FILE: &str = "waves-and-staging-hosts.nix";

impl Sources {
    /// Whether a path is one that [`super::load`] reads.
    pub fn wanted(path: &str) -> bool {
        let below = |folder: &str, end: &str| path.starts_with(folder) && path.ends_with(end);
        path == WAVES_FILE
            || below("json/", ".json")
            || below("app_configs/master/", "-configs.yml")
            || below("secrets/master/", "-secrets.yml")
    }

    /// Whether a path is the file of a host: directly in `hosts/` or `hosts/ubuntu/`.
    pub fn is_host(path: &str) -> bool {
        let Some(rest) = path.strip_prefix("hosts/") else {
            return false;
        };
        let name = rest.strip_prefix("ubuntu/").unwrap_or(rest);
        name.strip_suffix(".nix").is_some_and(|stem| !stem.is_empty() && !stem.contains('/'))
    }
}
