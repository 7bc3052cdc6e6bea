//! Which base for which file: by path in the package of the same name, then by content, then by a name alike.

use std::collections::HashMap;
use std::path::Path;

use afield_core::ids::StorePath;

use super::{Library, MIN_ELSEWHERE, blank, content};
use crate::patch::bases::{Renamed, names};
use crate::patch::plan::Pair;
use crate::patch::tree::{Entry, Tree};
use crate::patch::{MAX_BASES, Source};

/// For each file of the target the file of a base that it is made from.
pub struct Choice {
    /// Candidates that became bases.
    pub bases: Vec<usize>,
    /// For each file of the target: which of the bases, and which of its files.
    pub from: Vec<Option<(usize, usize)>>,
}

impl Choice {
    pub fn new(target: &Source, tree: &Tree, library: &Library) -> std::io::Result<Self> {
        let mut choice = Self {
            bases: library.primary(&target.info.path).into_iter().collect(),
            from: Vec::new(),
        };
        let names = choice.bases.first().map(|k| Names::of(&library.known[*k].looked.tree));
        let blank = blank(target);
        for file in tree.files() {
            let named = names.as_ref().and_then(|n| n.same_path(file));
            let found = match named {
                Some(f) => Some((0, f)),
                None => choice.elsewhere(tree, file, library, &blank)?.or_else(|| {
                    let f = names.as_ref().and_then(|n| n.alike(file));
                    f.map(|f| (0, f))
                }),
            };
            choice.from.push(found);
        }
        Ok(choice)
    }

    /// The same content under another name, in any candidate.
    fn elsewhere(
        &mut self,
        tree: &Tree,
        file: &Entry,
        library: &Library,
        blank: &Renamed,
    ) -> std::io::Result<Option<(usize, usize)>> {
        if file.len < MIN_ELSEWHERE {
            return Ok(None);
        }
        let Some((k, f)) = library.contents.get(&content(tree, file, blank)?) else {
            return Ok(None);
        };
        if let Some(base) = self.bases.iter().position(|b| b == k) {
            return Ok(Some((base, *f)));
        }
        if self.bases.len() == MAX_BASES {
            return Ok(None);
        }
        self.bases.push(*k);
        Ok(Some((self.bases.len() - 1, *f)))
    }
}

/// The files of a base by name.
struct Names<'t> {
    tree: &'t Tree,
    paths: HashMap<&'t Path, usize>,
    /// With digits blanked: the path, and the last part of it.
    blanked: HashMap<Vec<u8>, Vec<usize>>,
}

impl<'t> Names<'t> {
    fn of(tree: &'t Tree) -> Self {
        let mut names = Self { tree, paths: HashMap::new(), blanked: HashMap::new() };
        for (k, file) in tree.files().iter().enumerate() {
            names.paths.insert(&file.name, k);
            for key in keys(&file.name) {
                names.blanked.entry(key).or_default().push(k);
            }
        }
        names
    }

    fn same_path(&self, file: &Entry) -> Option<usize> {
        self.paths.get(file.name.as_path()).copied()
    }

    /// A file of nearly the same name; of several, the one whose length is nearest.
    fn alike(&self, file: &Entry) -> Option<usize> {
        let found = keys(&file.name).into_iter().find_map(|k| self.blanked.get(&k))?;
        let far = |k: &usize| self.tree.files()[*k].len.abs_diff(file.len);
        found.iter().copied().min_by_key(far)
    }
}

/// A path with its numbers blanked, and its last part likewise.
fn keys(name: &Path) -> [Vec<u8>; 2] {
    let last = name.file_name().unwrap_or_default();
    let mut last = blanked(last.as_encoded_bytes());
    last.insert(0, b'/');
    [blanked(name.as_os_str().as_encoded_bytes()), last]
}

/// A name with its numbers blanked.
pub fn blanked(name: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::new();
    for b in name {
        match b {
            b'0'..=b'9' if out.last() == Some(&b'#') => {}
            b'0'..=b'9' => out.push(b'#'),
            b => out.push(*b),
        }
    }
    out
}

/// A package's name without its version, as Nix splits them: at the first hyphen before a digit.
pub fn stem(name: &str) -> String {
    let bytes = name.as_bytes();
    let cut = (1..bytes.len()).find(|k| bytes[k - 1] == b'-' && bytes[*k].is_ascii_digit());
    let Some(cut) = cut else {
        return name.to_owned();
    };
    // The output behind the version (`-dev`, `-man`) belongs to the name.
    let rest = &name[cut..];
    let output = rest.rsplit_once('-').map(|(_, o)| o);
    let output = output.filter(|o| o.bytes().all(|b| b.is_ascii_alphabetic()));
    format!("{}{}", &name[..cut], output.unwrap_or_default())
}

/// Which hash of the bases is read as which of the target's: those of the same name, and the path itself.
pub fn pairs(target: &Source, bases: &[Source]) -> Vec<Pair> {
    let to = names(target.info);
    let mut pairs = Vec::new();
    for (b, base) in bases.iter().enumerate() {
        for (f, from) in names(base.info).iter().enumerate() {
            if to.contains(from) {
                continue;
            }
            let own = *from == &base.info.path && b == 0;
            let same =
                |p: &&StorePath| p.name() == from.name() || stem(p.name()) == stem(from.name());
            let found = if own {
                to.iter().position(|p| *p == &target.info.path)
            } else {
                let exact = to.iter().position(|p| p.name() == from.name());
                exact.or_else(|| to.iter().position(same))
            };
            if let Some(t) = found {
                pairs.push(Pair { base: b as u64, from: f as u64, to: t as u64 });
            }
        }
    }
    pairs
}
