//! The audit of access: who may do what where, as the older four tables, and what changes between two fleets.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use serde::Serialize;

use super::access::profile_of;
use super::codes::Severity;
use super::finding::{Finding, Findings};
use super::model::{Entry, Fleet, ProfileName};
use super::resolve::Resolver;
use crate::host_plan::Via;
use crate::ids::UserName;
use crate::profile::Profile;

/// Who may do what where.
#[derive(Debug, Clone, Serialize)]
pub struct Audit {
    /// The day as of which accounts are open or closed.
    pub day: Date,
    /// By host, then person; `robot` among them.
    pub hosts: BTreeMap<String, BTreeMap<UserName, Cell>>,
    /// Hosts that users.json has an entry for, with their own `enable`.
    #[serde(skip)]
    direct: BTreeMap<String, BTreeMap<UserName, String>>,
    /// By role, then person: what the role gives in depth.
    pub roles: BTreeMap<String, BTreeMap<UserName, String>>,
    /// By host: the roles that it enables itself.
    pub roles_of_hosts: BTreeMap<String, BTreeSet<String>>,
}

/// What one person may do on one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cell {
    /// The rights.
    pub profile: Profile,
    /// Why.
    pub via: Vec<Via>,
    /// The first day on which the account is closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<Date>,
    /// Whether it is closed on the day of the audit.
    pub expired: bool,
    /// How many keys open it.
    pub keys: usize,
}

/// Which of the four tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// What hosts give by their own `enable`.
    Direct,
    /// What people have in the end.
    Effective,
    /// Which roles hosts enable.
    RolesOfHosts,
    /// What roles give in depth.
    PeopleOfRoles,
}

impl Table {
    /// All four.
    pub const ALL: [Table; 4] =
        [Table::Direct, Table::Effective, Table::RolesOfHosts, Table::PeopleOfRoles];

    /// The file name that the older tool gave it.
    pub fn file_name(self) -> &'static str {
        match self {
            Table::Direct => "direct_user_host_privs.csv",
            Table::Effective => "effective_user_host_privs.csv",
            Table::RolesOfHosts => "role_host_enabled.csv",
            Table::PeopleOfRoles => "users_privs_per_role.csv",
        }
    }
}

/// Audits a fleet as of a day; otherwise the findings because of which it cannot be said who may do what.
pub fn audit(fleet: &Fleet, day: Date) -> Result<Audit, Vec<Finding>> {
    let resolver = Resolver::new(fleet);
    let mut findings = Findings::default();
    let (mut hosts, mut unknown) = (BTreeMap::new(), BTreeSet::new());
    for host in all_hosts(fleet) {
        let access = resolver.accesses().host(host);
        unknown.extend(super::check::unknown_given(&access));
        super::check::host_access(fleet, host, &access, &mut findings);
        let mut cells = BTreeMap::new();
        for (user, ways) in &access.people {
            let Some(profile) = profile_of(ways) else {
                continue;
            };
            let expires = fleet.expiry(user);
            let cell = Cell {
                profile,
                via: ways.iter().map(|way| way.via.clone()).collect(),
                expires,
                expired: expires.is_some_and(|expires| expires <= day),
                keys: resolver.keys_of(user).len(),
            };
            cells.insert((*user).clone(), cell);
        }
        hosts.insert(host.to_owned(), cells);
    }
    super::check::role_problems(fleet, resolver.accesses().roles(), &mut findings);
    super::check::profiles_exist(fleet, &unknown, &mut findings);
    let mut findings = findings.finish(&fleet.files);
    findings.retain(|finding| finding.severity == Severity::Error);
    if !findings.is_empty() {
        return Err(findings);
    }
    let roles = fleet.people.roles.iter().map(|(role, entry)| {
        let people = resolver.accesses().entry(entry).people;
        let given = people.into_iter().map(|(user, ways)| {
            let profiles: BTreeSet<Profile> = ways.iter().filter_map(|way| way.profile).collect();
            let names: Vec<&str> = profiles.into_iter().map(Profile::name).collect();
            (user.clone(), names.join("+"))
        });
        (role.clone(), given.collect())
    });
    let roles = roles.collect();
    let per_host = &fleet.people.per_host;
    let direct = per_host.iter().map(|(host, entry)| (host.clone(), direct(entry)));
    let roles_of_hosts = per_host.iter().map(|(host, entry)| {
        let roles = super::roles::mentions(entry).map(|(role, _)| role.to_owned());
        (host.clone(), roles.collect())
    });
    Ok(Audit {
        day,
        hosts,
        direct: direct.collect(),
        roles,
        roles_of_hosts: roles_of_hosts.collect(),
    })
}

/// Hosts that have a file or an entry in users.json.
fn all_hosts(fleet: &Fleet) -> BTreeSet<&str> {
    let declared = fleet.hosts.keys().map(|host| host.as_str());
    declared.chain(fleet.people.per_host.keys().map(String::as_str)).collect()
}

fn direct(entry: &Entry) -> BTreeMap<UserName, String> {
    let given = entry.enable.iter().map(|grant| {
        let name = match &grant.profile.value {
            ProfileName::Known(profile) => profile.name().to_owned(),
            ProfileName::Unknown(name) => name.clone(),
        };
        (grant.user.value.clone(), name)
    });
    given.collect()
}

impl Audit {
    /// People in the tables: everybody who is given something, without `robot`, which is no person.
    pub fn people(&self) -> BTreeSet<&UserName> {
        let hosts = self.hosts.values().flat_map(|cells| cells.keys());
        let people = hosts.chain(self.roles.values().flat_map(|given| given.keys()));
        let robot = UserName::robot();
        people.filter(|user| **user != robot).collect()
    }

    /// One of the older tables: each row ends in a comma; rows and columns are sorted.
    pub fn csv(&self, table: Table) -> String {
        let people: Vec<&str> = self.people().into_iter().map(UserName::as_str).collect();
        let roles: Vec<&str> = self.roles.keys().map(String::as_str).collect();
        let mut cells = Cells::default();
        match table {
            Table::Direct => {
                let hosts: Vec<&str> = self.direct.keys().map(String::as_str).collect();
                for (host, given) in self.direct.values().enumerate() {
                    given
                        .iter()
                        .for_each(|(user, name)| cells.add(&people, user.as_str(), host, name));
                }
                cells.csv("User ↓ Host →", &people, &hosts)
            }
            Table::Effective => {
                let robot = UserName::robot();
                let used = |(host, cells): &(&String, &BTreeMap<UserName, Cell>)| {
                    self.direct.contains_key(*host) || cells.keys().any(|user| *user != robot)
                };
                let used: Vec<_> = self.hosts.iter().filter(used).collect();
                let hosts: Vec<&str> = used.iter().map(|(host, _)| host.as_str()).collect();
                for (host, (_, given)) in used.into_iter().enumerate() {
                    for (user, cell) in given.iter().filter(|(_, cell)| !cell.expired) {
                        cells.add(&people, user.as_str(), host, cell.profile.name());
                    }
                }
                cells.csv("User ↓ Host →", &people, &hosts)
            }
            Table::RolesOfHosts => {
                let hosts: Vec<&str> = self.roles_of_hosts.keys().map(String::as_str).collect();
                for (host, enabled) in &self.roles_of_hosts {
                    for role in enabled {
                        if let Ok(column) = roles.binary_search(&role.as_str()) {
                            cells.add(&hosts, host, column, "enabled");
                        }
                    }
                }
                cells.csv("Server ↓ Role →", &hosts, &roles)
            }
            Table::PeopleOfRoles => {
                for (role, given) in &self.roles {
                    for (user, name) in given {
                        if let Ok(column) = people.binary_search(&user.as_str()) {
                            cells.add(&roles, role, column, name);
                        }
                    }
                }
                cells.csv("User ↓ Role →", &roles, &people)
            }
        }
    }
}

/// The cells of a table that are not empty: a table of 10,000 hosts and 2,000 people has mostly empty ones.
#[derive(Default)]
struct Cells<'a>(Vec<(u32, u32, &'a str)>);

impl<'a> Cells<'a> {
    /// Adds a cell; one whose row is not in the table (the robot's) is left out. Rows are sorted.
    fn add(&mut self, rows: &[&str], row: &str, column: usize, text: &'a str) {
        if let Ok(row) = rows.binary_search(&row) {
            self.0.push((row as u32, column as u32, text));
        }
    }

    fn csv(mut self, corner: &str, rows: &[&str], columns: &[&str]) -> String {
        self.0.sort_unstable();
        let mut cells = self.0.into_iter().peekable();
        let mut out = format!("{corner},");
        columns.iter().for_each(|column| field(&mut out, column));
        out.push('\n');
        for (at, row) in rows.iter().enumerate() {
            field(&mut out, row);
            let mut next = 0;
            while let Some((_, column, text)) = cells.next_if(|cell| cell.0 == at as u32) {
                (next..column).for_each(|_| out.push(','));
                field(&mut out, text);
                next = column + 1;
            }
            (next..columns.len() as u32).for_each(|_| out.push(','));
            out.push('\n');
        }
        out
    }
}

/// A field and its comma; quoted if it has to be (RFC 4180).
fn field(out: &mut String, text: &str) {
    if text.contains([',', '"', '\n', '\r']) {
        out.push('"');
        out.push_str(&text.replace('"', "\"\""));
        out.push('"');
    } else {
        out.push_str(text);
    }
    out.push(',');
}

/// What changes for one person on some hosts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Change {
    /// Who.
    pub user: UserName,
    /// What is different.
    #[serde(flatten)]
    pub what: What,
    /// Where.
    pub hosts: BTreeSet<String>,
}

/// A difference in access.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum What {
    /// Has access that was not there.
    Gains {
        /// The new rights.
        profile: Profile,
    },
    /// Has access no more.
    Loses {
        /// The rights that there were.
        profile: Profile,
    },
    /// Has other rights.
    Changes {
        /// The rights that there were.
        from: Profile,
        /// The new rights.
        to: Profile,
    },
    /// Has the same rights until another day.
    Expiry {
        /// The day that there was.
        from: Option<Date>,
        /// The new day.
        to: Option<Date>,
    },
    /// May log in with other keys.
    Keys {
        /// Fingerprints of keys that are new.
        added: BTreeSet<String>,
        /// Fingerprints of keys that are gone.
        removed: BTreeSet<String>,
    },
}

/// What two fleets differ in, sorted by person; otherwise the findings of the one that cannot be audited.
pub fn diff(before: &Fleet, after: &Fleet, day: Date) -> Result<Vec<Change>, Vec<Finding>> {
    let (old, new) = (audit(before, day)?, audit(after, day)?);
    let (old_keys, new_keys) = (Resolver::new(before), Resolver::new(after));
    let changed = |user: &UserName| {
        let (was, is) = (fingerprints(&old_keys, user), fingerprints(&new_keys, user));
        let added: BTreeSet<String> = is.difference(&was).cloned().collect();
        let removed: BTreeSet<String> = was.difference(&is).cloned().collect();
        (was != is).then_some(What::Keys { added, removed })
    };
    // The same for all of a person's hosts.
    let mut keys: BTreeMap<UserName, Option<What>> = BTreeMap::new();
    let mut changes: BTreeMap<(UserName, What), BTreeSet<String>> = BTreeMap::new();
    let none = BTreeMap::new();
    let hosts: BTreeSet<&String> = old.hosts.keys().chain(new.hosts.keys()).collect();
    for host in hosts {
        let (was, is) =
            (old.hosts.get(host).unwrap_or(&none), new.hosts.get(host).unwrap_or(&none));
        let people: BTreeSet<&UserName> = was.keys().chain(is.keys()).collect();
        for user in people {
            let mut add = |what: What| {
                changes.entry((user.clone(), what)).or_default().insert(host.clone());
            };
            let open = |cells: &BTreeMap<UserName, Cell>| {
                cells.get(user).filter(|cell| !cell.expired).cloned()
            };
            match (open(was), open(is)) {
                (None, None) => {}
                (None, Some(cell)) => add(What::Gains { profile: cell.profile }),
                (Some(cell), None) => add(What::Loses { profile: cell.profile }),
                (Some(was), Some(is)) => {
                    if was.profile != is.profile {
                        add(What::Changes { from: was.profile, to: is.profile });
                    }
                    if was.expires != is.expires {
                        add(What::Expiry { from: was.expires, to: is.expires });
                    }
                    let keys = keys.entry(user.clone());
                    if let Some(what) = keys.or_insert_with(|| changed(user)).clone() {
                        add(what);
                    }
                }
            }
        }
    }
    let changes = changes.into_iter().map(|((user, what), hosts)| Change { user, what, hosts });
    Ok(changes.collect())
}

fn fingerprints(resolver: &Resolver<'_>, user: &UserName) -> BTreeSet<String> {
    let keys = resolver.keys_of(user);
    let line = |key: &crate::host_plan::AuthorizedKey| {
        let print = super::keys::fingerprint(&key.key);
        match key.options.is_empty() {
            true => print,
            false => format!("{} {print}", key.options.join(",")),
        }
    };
    keys.iter().map(line).collect()
}
