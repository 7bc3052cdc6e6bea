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
    pub const ALL: [Table; 4] = [
        Table::Direct,
        Table::Effective,
        Table::RolesOfHosts,
        Table::PeopleOfRoles,
    ];

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
    let mut hosts = BTreeMap::new();
    for host in all_hosts(fleet) {
        let access = resolver.accesses().host(host);
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
    super::check::profiles_exist(fleet, &mut findings);
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
    let direct = per_host
        .iter()
        .map(|(host, entry)| (host.clone(), direct(entry)));
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
    declared
        .chain(fleet.people.per_host.keys().map(String::as_str))
        .collect()
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
        let people: Vec<&UserName> = self.people().into_iter().collect();
        match table {
            Table::Direct => {
                let hosts: Vec<&String> = self.direct.keys().collect();
                csv("User ↓ Host →", &people, &hosts, |user, host| {
                    self.direct[*host].get(*user).map_or("", String::as_str)
                })
            }
            Table::Effective => {
                let robot = UserName::robot();
                let used = |(host, cells): &(&String, &BTreeMap<UserName, Cell>)| {
                    self.direct.contains_key(*host) || cells.keys().any(|user| *user != robot)
                };
                let hosts: Vec<_> = self.hosts.iter().filter(used).collect();
                let names: Vec<&String> = hosts.iter().map(|(host, _)| *host).collect();
                csv("User ↓ Host →", &people, &names, |user, host| {
                    let cell = self.hosts[*host].get(*user);
                    cell.filter(|cell| !cell.expired)
                        .map_or("", |cell| cell.profile.name())
                })
            }
            Table::RolesOfHosts => {
                let hosts: Vec<&String> = self.roles_of_hosts.keys().collect();
                let roles: Vec<&String> = self.roles.keys().collect();
                csv("Server ↓ Role →", &hosts, &roles, |host, role| {
                    if self.roles_of_hosts[*host].contains(*role) {
                        "enabled"
                    } else {
                        ""
                    }
                })
            }
            Table::PeopleOfRoles => {
                let roles: Vec<&String> = self.roles.keys().collect();
                csv("User ↓ Role →", &roles, &people, |role, user| {
                    self.roles[*role].get(*user).map_or("", String::as_str)
                })
            }
        }
    }
}

fn csv<'a, R: ToString, C: ToString>(
    corner: &str,
    rows: &[R],
    columns: &[C],
    cell: impl Fn(&R, &C) -> &'a str,
) -> String {
    let mut out = format!("{corner},");
    for column in columns {
        field(&mut out, &column.to_string());
    }
    out.push('\n');
    for row in rows {
        field(&mut out, &row.to_string());
        for column in columns {
            field(&mut out, cell(row, column));
        }
        out.push('\n');
    }
    out
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
        let (was, is) = (
            old.hosts.get(host).unwrap_or(&none),
            new.hosts.get(host).unwrap_or(&none),
        );
        let people: BTreeSet<&UserName> = was.keys().chain(is.keys()).collect();
        for user in people {
            let mut add = |what: What| {
                changes
                    .entry((user.clone(), what))
                    .or_default()
                    .insert(host.clone());
            };
            let open = |cells: &BTreeMap<UserName, Cell>| {
                cells.get(user).filter(|cell| !cell.expired).cloned()
            };
            match (open(was), open(is)) {
                (None, None) => {}
                (None, Some(cell)) => add(What::Gains {
                    profile: cell.profile,
                }),
                (Some(cell), None) => add(What::Loses {
                    profile: cell.profile,
                }),
                (Some(was), Some(is)) => {
                    if was.profile != is.profile {
                        add(What::Changes {
                            from: was.profile,
                            to: is.profile,
                        });
                    }
                    if was.expires != is.expires {
                        add(What::Expiry {
                            from: was.expires,
                            to: is.expires,
                        });
                    }
                    let keys = keys.entry(user.clone());
                    if let Some(what) = keys.or_insert_with(|| changed(user)).clone() {
                        add(what);
                    }
                }
            }
        }
    }
    let changes = changes
        .into_iter()
        .map(|((user, what), hosts)| Change { user, what, hosts });
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
