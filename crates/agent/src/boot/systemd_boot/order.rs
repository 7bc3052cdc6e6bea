//! In which order systemd-boot has its entries: its menu's, and that in which it looks for one to start.

use std::cmp::Ordering;

use super::Entry;

/// The entry's own `sort-key` and `version` decide, then its name, the newest first. (What is used up comes after all
/// others, in the same order.)
pub fn first_in_the_menu(a: &Entry, b: &Entry) -> Ordering {
    let key = |entry: &Entry| field(&entry.text, "sort-key").map(str::to_owned);
    let version = |entry: &Entry| natural(field(&entry.text, "version").unwrap_or_default());
    let by_key = match (key(a), key(b)) {
        (Some(x), Some(y)) => x.cmp(&y).then_with(|| version(b).cmp(&version(a))),
        // Those that have one stand before those that have none.
        (x, y) => x.is_none().cmp(&y.is_none()),
    };
    by_key.then_with(|| natural(&b.name).cmp(&natural(&a.name)))
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let of = |line: &'a str| line.trim().strip_prefix(name)?.strip_prefix([' ', '\t']);
    text.lines().find_map(of).map(str::trim)
}

/// Name and tries of `NAME+LEFT` or `NAME+LEFT-DONE`.
pub fn split(stem: &str) -> (String, Option<u32>) {
    let counted = stem.rsplit_once('+').and_then(|(name, tries)| {
        let left = tries.split_once('-').map_or(tries, |(left, _)| left);
        Some((name.to_owned(), left.parse().ok()?))
    });
    match counted {
        Some((name, left)) => (name, Some(left)),
        None => (stem.to_owned(), None),
    }
}

/// Sorts `generation-9` before `generation-10`.
fn natural(name: &str) -> Vec<(String, u64)> {
    let mut parts = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let text = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (word, tail) = rest.split_at(text);
        let digits = tail.find(|c: char| !c.is_ascii_digit()).unwrap_or(tail.len());
        let (number, tail) = tail.split_at(digits);
        parts.push((word.to_owned(), number.parse().unwrap_or(0)));
        rest = tail;
    }
    parts
}
