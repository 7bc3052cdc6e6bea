//! The graph of roles: what each role gives in depth, worked out once, however many hosts use it.
//!
//! Work grows with roles × people, not with the number of ways through the graph, which may be exponential.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use super::model::{Entry, People, ProfileName};
use super::span::Span;
use crate::host_plan::{MAX_WAYS, Via};
use crate::ids::UserName;
use crate::profile::Profile;

/// A profile given to a person, and the way there.
#[derive(Debug, Clone)]
pub(super) struct Given<'a> {
    pub user: &'a UserName,
    pub profile: &'a ProfileName,
    /// Where the profile is written that counts.
    pub span: Span,
    way: Option<Rc<Step<'a>>>,
    replaced: Option<Profile>,
}

/// One role on a way, and the rest of the way.
#[derive(Debug)]
struct Step<'a> {
    role: &'a str,
    /// How many roles the way has from here.
    length: usize,
    /// The names, worked out once for all hosts that come this way.
    path: OnceCell<Arc<[String]>>,
    next: Option<Rc<Step<'a>>>,
}

impl<'a> Step<'a> {
    fn before(role: &'a str, next: Option<Rc<Step<'a>>>) -> Rc<Self> {
        let length = 1 + next.as_ref().map_or(0, |step| step.length);
        Rc::new(Self { role, length, path: OnceCell::new(), next })
    }
}

impl Step<'_> {
    fn names(&self) -> Arc<[String]> {
        let steps = std::iter::successors(Some(self), |step| step.next.as_deref());
        steps.map(|step| step.role.to_owned()).collect()
    }
}

impl Drop for Step<'_> {
    /// One after the other: dropping a long way by recursion would need a deep stack.
    fn drop(&mut self) {
        let mut next = self.next.take();
        while let Some(mut step) = next.and_then(Rc::into_inner) {
            next = step.next.take();
        }
    }
}

impl Given<'_> {
    /// The way, for people.
    pub fn via(&self) -> Via {
        match &self.way {
            None => Via::Direct,
            Some(step) => Via::Roles {
                path: step.path.get_or_init(|| step.names()).clone(),
                as_profile: self.replaced,
            },
        }
    }
}

/// What an entry gives in depth.
#[derive(Debug, Default)]
pub(super) struct Expansion<'a> {
    /// Sorted by person; at most [`MAX_WAYS`] for each person and profile.
    pub given: Vec<Given<'a>>,
    /// A role below does not exist, or is in a circle, so that this is not all.
    pub broken: bool,
}

/// A mention of a role that does not exist, or that closes a circle.
#[derive(Debug)]
pub(super) struct Problem<'a> {
    /// The mention.
    pub span: Span,
    /// The role mentioned.
    pub role: &'a str,
    /// The circle, from the role to the one that mentions it; empty if the role does not exist.
    pub circle: Vec<&'a str>,
    /// Whether a host comes here.
    pub used: bool,
}

/// All roles, expanded.
#[derive(Debug)]
pub(super) struct Roles<'a> {
    people: &'a People,
    expansions: HashMap<&'a str, Expansion<'a>>,
    /// Roles that some host reaches.
    pub used: HashSet<&'a str>,
}

impl<'a> Roles<'a> {
    /// Expands all roles, those first that need no other.
    pub fn new(people: &'a People) -> Self {
        let mut roles = Self { people, expansions: HashMap::new(), used: HashSet::new() };
        roles.expand_all();
        roles.used = roles.reached(people.per_host.values().flat_map(mentions));
        roles
    }

    /// What a host's or role's entry gives in depth.
    pub fn expand(&self, entry: &'a Entry) -> Expansion<'a> {
        self.gather(entry, None)
    }

    /// Every mention of a role that is missing or closes a circle, in the order of the file.
    pub fn problems(&self) -> Vec<Problem<'a>> {
        let mut problems = Vec::new();
        let hosts = self.people.per_host.values().map(|entry| (entry, true));
        let roles = self.people.roles.iter();
        let roles = roles.map(|(name, entry)| (entry, self.used.contains(name.as_str())));
        for (entry, used) in hosts.chain(roles) {
            let missing = |(role, _): &(&str, Span)| !self.people.roles.contains_key(*role);
            for (role, span) in mentions(entry).filter(missing) {
                problems.push(Problem { span, role, circle: Vec::new(), used });
            }
        }
        self.circles(&mut problems);
        problems.sort_by_key(|problem| problem.span);
        problems
    }

    fn expand_all(&mut self) {
        let roles = &self.people.roles;
        let mut waiting: HashMap<&str, usize> = HashMap::new();
        let mut parents: HashMap<&str, Vec<&'a str>> = HashMap::new();
        let mut ready: Vec<&'a str> = Vec::new();
        for (name, entry) in roles {
            let children: BTreeSet<&str> = mentions(entry)
                .map(|(role, _)| role)
                .filter(|role| roles.contains_key(*role))
                .collect();
            waiting.insert(name, children.len());
            if children.is_empty() {
                ready.push(name);
            }
            for child in children {
                parents.entry(child).or_default().push(name);
            }
        }
        while let Some(name) = ready.pop() {
            if let Some(entry) = roles.get(name) {
                let expansion = self.gather(entry, Some(name));
                self.expansions.insert(name, expansion);
            }
            for parent in parents.get(name).into_iter().flatten() {
                if let Some(left) = waiting.get_mut(parent) {
                    *left -= 1;
                    if *left == 0 {
                        ready.push(parent);
                    }
                }
            }
        }
        // What is left is in a circle or leads into one: it has no expansion, and counts as broken.
    }

    fn gather(&self, entry: &'a Entry, own: Option<&'a str>) -> Expansion<'a> {
        let own_way = own.map(|role| Step::before(role, None));
        let mut all = Expansion::default();
        for grant in &entry.enable {
            let (user, profile) = (&grant.user.value, &grant.profile.value);
            let span = grant.profile.span;
            all.given.push(Given { user, profile, span, way: own_way.clone(), replaced: None });
        }
        let plain = entry.roles.iter().map(|role| (role, None));
        let replaced = entry.roles_with_profile.iter().map(|(role, by)| (role, Some(by)));
        for (role, by) in plain.chain(replaced) {
            let Some(below) = self.expansions.get(role.value.as_str()) else {
                all.broken = true;
                continue;
            };
            all.broken |= below.broken;
            for given in &below.given {
                let mut given = given.clone();
                if let Some(role) = own {
                    given.way = Some(Step::before(role, given.way.take()));
                }
                if let Some(by) = by {
                    (given.profile, given.span) = (&by.value, by.span);
                    given.replaced = match by.value {
                        ProfileName::Known(profile) => Some(profile),
                        ProfileName::Unknown(_) => None,
                    };
                }
                all.given.push(given);
            }
        }
        limit_ways(&mut all.given);
        all
    }

    fn reached(&self, from: impl Iterator<Item = (&'a str, Span)>) -> HashSet<&'a str> {
        let mut found = HashSet::new();
        let mut open: Vec<&'a str> = from.map(|(role, _)| role).collect();
        while let Some(role) = open.pop() {
            if let Some((name, entry)) = self.people.roles.get_key_value(role)
                && found.insert(name.as_str())
            {
                open.extend(mentions(entry).map(|(role, _)| role));
            }
        }
        found
    }

    /// Finds circles by walking in depth, with a stack of its own: a chain of roles may be long.
    fn circles(&self, problems: &mut Vec<Problem<'a>>) {
        let mut done: HashSet<&str> = HashSet::new();
        for start in self.people.roles.keys() {
            if self.expansions.contains_key(start.as_str()) || done.contains(start.as_str()) {
                continue;
            }
            let mut path: Vec<(&'a str, Vec<(&'a str, Span)>)> =
                vec![(start, self.children(start))];
            let mut on_path: BTreeMap<&str, usize> = BTreeMap::from([(start.as_str(), 0)]);
            while let Some((role, children)) = path.last_mut() {
                let Some((child, span)) = children.pop() else {
                    on_path.remove(*role);
                    done.insert(role);
                    path.pop();
                    continue;
                };
                if let Some(at) = on_path.get(child) {
                    let circle: Vec<&str> = path[*at..].iter().map(|(role, _)| *role).collect();
                    let used = self.used.contains(child);
                    problems.push(Problem { span, role: child, circle, used });
                } else if !done.contains(child) && !self.expansions.contains_key(child) {
                    on_path.insert(child, path.len());
                    path.push((child, self.children(child)));
                }
            }
        }
    }

    fn children(&self, role: &str) -> Vec<(&'a str, Span)> {
        let entry = self.people.roles.get(role);
        let all = entry.into_iter().flat_map(mentions);
        all.filter(|(role, _)| self.people.roles.contains_key(*role)).collect()
    }
}

/// Every role that an entry mentions, with the place.
pub(super) fn mentions(entry: &Entry) -> impl Iterator<Item = (&str, Span)> {
    let replaced = entry.roles_with_profile.iter().map(|(role, _)| role);
    entry.roles.iter().chain(replaced).map(|role| (role.value.as_str(), role.span))
}

/// Sorts by person and profile, and keeps the shortest ways of each.
fn limit_ways(given: &mut Vec<Given<'_>>) {
    let length = |given: &Given<'_>| given.way.as_ref().map_or(0, |step| step.length);
    let name = |profile: &ProfileName| match profile {
        ProfileName::Known(profile) => (Some(*profile), String::new()),
        ProfileName::Unknown(name) => (None, name.clone()),
    };
    // Sorting by a key that is worked out once each; the sort is stable, so the file decides among equals.
    given.sort_by_cached_key(|given| (given.user, name(given.profile), length(given)));
    let mut kept = 0;
    let mut last: Option<(&UserName, &ProfileName)> = None;
    given.retain(|given| {
        let this = (given.user, given.profile);
        kept = if last == Some(this) { kept + 1 } else { 1 };
        last = Some(this);
        kept <= MAX_WAYS
    });
}
