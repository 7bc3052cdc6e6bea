//! Numbers of accounts and groups: given once on a host, and never to anyone else.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// Format number of [`Ids`].
const FORMAT: u32 = 1;
/// Below are accounts that systems and people make by hand, above those of containers (systemd, "UIDS-GIDS").
const FIRST: u32 = 20_000;
const LAST: u32 = 29_999;

/// The host's own memory of accounts; part of no release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ids {
    /// Format number.
    pub format: u32,
    /// The next number that nobody had.
    pub next: u32,
    /// Everyone who ever had an account here: uid, which is also the gid of their own group.
    pub users: BTreeMap<String, u32>,
    /// Groups that were made here.
    pub groups: BTreeMap<String, u32>,
    /// Paths that may have been written. Noted before it is done, so that a power cut leaves nothing behind unknown.
    pub written: BTreeSet<String>,
}

/// No number is left.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "all numbers from {FIRST} to {LAST} have been given to accounts of this host; none is ever given twice"
)]
pub struct NoIds;

impl Default for Ids {
    fn default() -> Self {
        Self {
            format: FORMAT,
            next: FIRST,
            users: BTreeMap::new(),
            groups: BTreeMap::new(),
            written: BTreeSet::new(),
        }
    }
}

impl Ids {
    /// Whether a newer agent wrote it.
    pub fn is_newer(&self) -> bool {
        self.format > FORMAT
    }

    /// Whether a number is one that is given out here.
    pub fn is_ours(id: u32) -> bool {
        (FIRST..=LAST).contains(&id)
    }

    /// Gives a number to each that has none. `taken` are numbers that somebody else has, or that files belong to.
    pub fn reserve(
        &mut self,
        users: &BTreeSet<&str>,
        groups: &BTreeSet<&str>,
        taken: &BTreeSet<u32>,
    ) -> Result<(), NoIds> {
        let (mut next, known) = (self.next, self.clone());
        let mut number = || {
            while taken.contains(&next) {
                next += 1;
            }
            let id = next;
            next += 1;
            if Self::is_ours(id) { Ok(id) } else { Err(NoIds) }
        };
        for user in users.iter().filter(|name| !known.users.contains_key(**name)) {
            self.users.insert((*user).to_owned(), number()?);
        }
        for group in groups.iter().filter(|name| !known.groups.contains_key(**name)) {
            self.groups.insert((*group).to_owned(), number()?);
        }
        self.next = next;
        Ok(())
    }

    /// Takes over what can be seen on the host, after the memory was lost.
    pub fn learn(&mut self, users: BTreeMap<String, u32>, groups: BTreeMap<String, u32>) {
        let seen = users.values().chain(groups.values()).copied().filter(|id| Self::is_ours(*id));
        self.next = seen.map(|id| id + 1).fold(self.next, u32::max);
        self.users = users.into_iter().filter(|(_, id)| Self::is_ours(*id)).collect();
        self.groups = groups.into_iter().filter(|(_, id)| Self::is_ours(*id)).collect();
    }
}
