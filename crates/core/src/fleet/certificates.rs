//! Who may be given a certificate, and for what.

use std::collections::BTreeMap;

use jiff::civil::Date;

use super::access::profile_of;
use super::model::Fleet;
use super::node::nearest;
use super::resolve::Resolver;
use crate::certificate::{on_host, on_relays};
use crate::ids::{HostName, UserName};
use crate::profile::Profile;

/// What a person's roles and hosts give them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Hosts with the profile that the person has there.
    pub hosts: BTreeMap<HostName, Profile>,
    /// For the certificate.
    pub principals: Vec<String>,
}

/// Why somebody gets no certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoGrant {
    /// A name that is not in the fleet folder.
    #[error("there is no host {host}{}", .near.as_ref().map(|n| format!("; is {n} meant?")).unwrap_or_default())]
    NoHost {
        /// As given.
        host: HostName,
        /// One that is alike.
        near: Option<String>,
    },
    /// No role of the person gives access there.
    #[error("{user} may not log in to {host}: no role or entry of users.json gives it")]
    NotThere {
        /// The person.
        user: UserName,
        /// The host.
        host: HostName,
    },
    /// Nothing at all.
    #[error("{0} may log in nowhere")]
    Nowhere(UserName),
    /// The account is closed.
    #[error("{user} is closed since {since}")]
    Closed {
        /// The person.
        user: UserName,
        /// `expires` of users.json.
        since: Date,
    },
}

/// What a certificate for these hosts holds; none named means all that the person may log in to.
pub fn grant(
    fleet: &Fleet,
    resolver: &Resolver<'_>,
    user: &UserName,
    hosts: &[HostName],
    today: Date,
) -> Result<Grant, NoGrant> {
    if let Some(since) = fleet.expiry(user).filter(|since| *since <= today) {
        return Err(NoGrant::Closed { user: user.clone(), since });
    }
    let profile = |host: &HostName| {
        let access = resolver.accesses().host(host.as_str());
        let profile = access.people.get(user).and_then(|ways| profile_of(ways));
        profile.filter(|profile| !access.broken && profile.rights().ssh)
    };
    let mut found = BTreeMap::new();
    for host in hosts {
        if !fleet.hosts.contains_key(host) {
            let known: Vec<&str> = fleet.hosts.keys().map(HostName::as_str).collect();
            let near = nearest(host.as_str(), &known).map(str::to_owned);
            return Err(NoGrant::NoHost { host: host.clone(), near });
        }
        let not_there = || NoGrant::NotThere { user: user.clone(), host: host.clone() };
        found.insert(host.clone(), profile(host).ok_or_else(not_there)?);
    }
    if hosts.is_empty() {
        found.extend(fleet.hosts.keys().filter_map(|host| Some((host.clone(), profile(host)?))));
    }
    if found.is_empty() {
        return Err(NoGrant::Nowhere(user.clone()));
    }
    let mut principals: Vec<String> = found.keys().map(|host| on_host(user, host)).collect();
    if found.values().any(|profile| profile.rights().tunnel) {
        principals.push(on_relays(user));
    }
    Ok(Grant { hosts: found, principals })
}
