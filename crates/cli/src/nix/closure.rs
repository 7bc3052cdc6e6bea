//! What Nix's database knows of store paths, and their content as NARs.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::process::{Child, ChildStdout, Stdio};

use afield_core::ids::StorePath;
use afield_core::release::{Closure, FORMAT, PathInfo};
use afield_store::registration::registrations;

use super::reason::Reason;
use super::{NixError, nix, print, program, start_error};

/// So many paths are given to a program at once; the kernel limits the length of arguments.
const BATCH: usize = 5000;

/// Facts of many closures, read at once because hosts share most of their paths.
#[derive(Debug, Clone, Default)]
pub struct Facts(BTreeMap<StorePath, PathInfo>);

impl Facts {
    /// Asks Nix about the closures of some paths, all of which are built.
    pub fn of(roots: &[StorePath]) -> Result<Self, NixError> {
        let mut paths = BTreeSet::new();
        for batch in roots.chunks(BATCH) {
            let mut command = program("nix-store");
            command.args(["--query", "--requisites"]);
            command.args(batch.iter().map(StorePath::as_str));
            for line in print(&mut command, "listing the closure")?.lines() {
                paths.insert(path("listing the closure", line)?);
            }
        }
        let paths: Vec<StorePath> = paths.into_iter().collect();
        let mut facts = BTreeMap::new();
        for batch in paths.chunks(BATCH) {
            let mut command = program("nix-store");
            command.arg("--dump-db");
            command.args(batch.iter().map(StorePath::as_str));
            let text = print(&mut command, "reading Nix's database")?;
            let infos = registrations(&text)
                .map_err(|line| NixError::answer("reading Nix's database", &line))?;
            facts.extend(infos.into_iter().map(|info| (info.path.clone(), info)));
        }
        Ok(Facts(facts))
    }

    /// The closure of a path, each path after those that it refers to; always in the same order.
    pub fn closure(&self, root: &StorePath) -> Result<Closure, NixError> {
        let mut order = Vec::new();
        let mut seen = BTreeSet::new();
        // (path, whether its references are in already), so that deep closures need no deep stack.
        let mut work = vec![(root, false)];
        while let Some((path, ready)) = work.pop() {
            let info = self.info(path)?;
            if ready {
                order.push(info.clone());
            } else if seen.insert(path) {
                work.push((path, true));
                let references = info.references.iter().rev();
                work.extend(references.filter(|r| *r != path).map(|r| (r, false)));
            }
        }
        Ok(Closure { format: FORMAT, paths: order })
    }

    /// What is known of a path.
    pub fn info(&self, path: &StorePath) -> Result<&PathInfo, NixError> {
        let unknown = || NixError::answer("reading Nix's database", &format!("no {path}"));
        self.0.get(path).ok_or_else(unknown)
    }

    /// Every path of every closure.
    pub fn paths(&self) -> impl Iterator<Item = &PathInfo> {
        self.0.values()
    }
}

fn path(what: &str, line: &str) -> Result<StorePath, NixError> {
    line.parse().map_err(|_| NixError::answer(what, line))
}

/// A store path's content, streamed as a NAR. Read to its end, then ask [`Nar::finish`] whether it was all.
pub struct Nar {
    path: StorePath,
    child: Child,
    out: ChildStdout,
}

impl Drop for Nar {
    fn drop(&mut self) {
        // One that was read to its end has ended by itself, and then there is nothing to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Nar {
    /// Begins to read a path from Nix's store, whichever store that is.
    pub fn of(path: &StorePath) -> Result<Self, NixError> {
        let mut command = nix();
        command.args(["store", "dump-path", path.as_str()]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|e| start_error(&command, e))?;
        let Some(out) = child.stdout.take() else {
            return Err(NixError::answer("reading the store", "no pipe"));
        };
        let path = path.clone();
        Ok(Nar { path, child, out })
    }

    /// Whether Nix gave the whole NAR.
    pub fn finish(mut self) -> Result<(), NixError> {
        let what = format!("reading {} from the store", self.path);
        let mut said = Vec::new();
        if let Some(err) = self.child.stderr.take() {
            // What cannot be read of the reason is missing from the message, no more.
            let _ = err.take(1 << 20).read_to_end(&mut said);
        }
        match self.child.wait() {
            Ok(status) if status.success() => Ok(()),
            Ok(_) => Err(NixError::Failed { what, reason: Reason::from_stderr(&said) }),
            Err(error) => Err(NixError::answer(&what, &error.to_string())),
        }
    }
}

impl Read for Nar {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.out.read(buffer)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn name(c: char) -> String {
        format!("/nix/store/{}-{c}", c.to_string().repeat(32))
    }

    fn registration(c: char, references: &[char]) -> String {
        let hash = "0".repeat(64);
        let count = references.len();
        let mut text = format!("{}\n{hash}\n120\n\n{count}\n", name(c));
        for r in references {
            text.push_str(&format!("{}\n", name(*r)));
        }
        text
    }

    #[test]
    fn closures_come_in_order_also_with_self_references() {
        let text = registration('a', &['c', 'b', 'a']) + &registration('b', &['d']);
        let text = text + &registration('c', &['d']) + &registration('d', &[]);
        let infos = registrations(&text).unwrap();
        let facts = Facts(infos.into_iter().map(|i| (i.path.clone(), i)).collect());
        let root: StorePath = name('a').parse().unwrap();
        let closure = facts.closure(&root).unwrap();
        assert_eq!(closure.validate(&root), Ok(()));
        let names: String = closure.paths.iter().map(|p| p.path.name()).collect();
        assert_eq!(names, "dbca");
        assert_eq!(closure.paths[3].references.len(), 3);
    }
}
