//! What a release costs each site: bytes, and how long that takes with the site's budget.

use std::collections::BTreeMap;

use afield_core::budget::told;
use afield_core::ids::{HostName, Name};
use afield_core::settings::Settings;
use serde::Serialize;

use super::write::Cost;
use crate::output::count;

/// What a release costs the hosts of one site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SiteForecast {
    /// The site; none for hosts that stand in none.
    pub site: Option<Name>,
    /// How many hosts of it are in the release.
    pub hosts: usize,
    /// Bytes that one of them fetches, at most.
    pub bytes: u64,
    /// Bytes of all of them.
    pub total: u64,
    /// The dearest host, in words: how much, and how long.
    pub words: String,
}

/// Site by site.
pub fn of(settings: &Settings, costs: &BTreeMap<HostName, Cost>) -> Vec<SiteForecast> {
    let mut sites: BTreeMap<Option<&Name>, Vec<(&HostName, u64)>> = BTreeMap::new();
    for (host, cost) in costs {
        let bytes = cost.objects + cost.documents;
        sites.entry(settings.site_of(host)).or_default().push((host, bytes));
    }
    let forecast = |(site, hosts): (Option<&Name>, Vec<(&HostName, u64)>)| {
        let (dearest, bytes) = hosts.iter().copied().max_by_key(|(_, bytes)| *bytes)?;
        let budget = settings.budget_of(dearest).unwrap_or_default();
        Some(SiteForecast {
            site: site.cloned(),
            hosts: hosts.len(),
            bytes,
            total: hosts.iter().map(|(_, bytes)| bytes).sum(),
            words: told(bytes, &budget),
        })
    };
    sites.into_iter().filter_map(forecast).collect()
}

impl SiteForecast {
    /// One line for a person.
    pub fn line(&self) -> String {
        let site = self.site.as_ref().map_or("hosts without a site", |site| site.as_str());
        let each = if self.hosts == 1 { "" } else { ", for the dearest of them" };
        format!("{site} ({}): {}{each}", count(self.hosts, "host"), self.words)
    }
}
