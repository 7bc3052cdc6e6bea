//! Who may do what on a host, and by which path of roles.

use std::collections::BTreeMap;

use super::model::{Entry, Fleet, ProfileName};
use super::roles::{Given, Roles};
use super::span::Span;
use crate::host_plan::Via;
use crate::ids::UserName;
use crate::profile::Profile;

/// A person's way to a profile on one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// The profile; none if it does not exist.
    pub profile: Option<Profile>,
    /// How it is come by.
    pub via: Via,
    /// Where the profile is written that counts; none for what every host has.
    pub span: Option<Span>,
}

/// All people of a host.
#[derive(Debug, Clone, Default)]
pub struct HostAccess<'a> {
    /// Each person's ways, sorted; more than one profile among them is a conflict.
    pub people: BTreeMap<&'a UserName, Vec<Way>>,
    /// A role is missing or in a circle, so that this is not all.
    pub broken: bool,
}

impl HostAccess<'_> {
    /// Whether it can be said who may do what here.
    pub fn is_sound(&self) -> bool {
        !self.broken && self.people.values().all(|ways| profile_of(ways).is_some())
    }
}

/// The one profile of a person; none if there are several, or one that does not exist.
pub fn profile_of(ways: &[Way]) -> Option<Profile> {
    let first = ways.first()?.profile?;
    ways.iter().all(|way| way.profile == Some(first)).then_some(first)
}

/// Works out access on hosts; made once for a fleet.
#[derive(Debug)]
pub struct Accesses<'a> {
    fleet: &'a Fleet,
    roles: Roles<'a>,
    robot: UserName,
}

impl<'a> Accesses<'a> {
    /// Expands all roles.
    pub fn new(fleet: &'a Fleet) -> Self {
        Self { fleet, roles: Roles::new(&fleet.people), robot: UserName::robot() }
    }

    pub(super) fn roles(&self) -> &Roles<'a> {
        &self.roles
    }

    /// People of a host, `robot` among them. A host without entry has global admins and `robot` alone.
    pub fn host(&self, host: &str) -> HostAccess<'_> {
        let mut access = match self.fleet.people.per_host.get(host) {
            Some(entry) => self.entry(entry),
            None => HostAccess::default(),
        };
        for admin in &self.fleet.people.global_admins {
            let way = Way {
                profile: Some(Profile::Admin),
                via: Via::GlobalAdmin,
                span: Some(admin.span),
            };
            let ways = access.people.entry(&admin.value).or_default();
            if !ways.iter().any(|way| way.via == Via::GlobalAdmin) {
                ways.insert(0, way);
            }
        }
        let built_in = Way { profile: Some(Profile::Robot), via: Via::BuiltIn, span: None };
        access.people.entry(&self.robot).or_default().push(built_in);
        access
    }

    /// What one entry (of a host or role) gives in depth, without global admins and `robot`.
    pub fn entry(&self, entry: &'a Entry) -> HostAccess<'a> {
        let expansion = self.roles.expand(entry);
        let mut people: BTreeMap<&'a UserName, Vec<Way>> = BTreeMap::new();
        for given in expansion.given {
            people.entry(given.user).or_default().push(way(&given));
        }
        HostAccess { people, broken: expansion.broken }
    }
}

fn way(given: &Given<'_>) -> Way {
    let profile = match given.profile {
        ProfileName::Known(profile) => Some(*profile),
        ProfileName::Unknown(_) => None,
    };
    Way { profile, via: given.via(), span: Some(given.span) }
}
