//! A fleet folder as it stood in a Git revision, read through `git` without a work tree.

use std::collections::BTreeMap;
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use afield_core::fleet::{Sources, WAVES_FILE, WavesResult};
use anyhow::{Context as _, bail, ensure};

/// The most bytes of all files of one revision.
const ALL_BYTES: u64 = 512 << 20;

/// The repository that a fleet folder is in.
pub struct Repository {
    root: PathBuf,
    /// The fleet folder within it, ending in a slash unless empty.
    prefix: String,
}

impl Repository {
    /// Finds the repository of a folder.
    pub fn of(dir: &Path) -> anyhow::Result<Self> {
        let root = git(dir, &["rev-parse", "--show-toplevel"])
            .with_context(|| format!("{} is in no Git repository", dir.display()))?;
        let prefix = git(dir, &["rev-parse", "--show-prefix"])?;
        Ok(Self { root: PathBuf::from(root.trim_end()), prefix: prefix.trim_end().to_owned() })
    }

    /// The last revision that two have in common, from which a pull request starts.
    pub fn merge_base(&self, one: &str, other: &str) -> anyhow::Result<String> {
        let base = git(&self.root, &["merge-base", "--end-of-options", one, other])
            .with_context(|| format!("{one:?} and {other:?} have no revision in common"))?;
        Ok(base.trim_end().to_owned())
    }

    /// The fleet folder's sources at a revision. The waves are not evaluated: who may do what does not depend on them.
    pub fn sources(&self, revision: &str) -> anyhow::Result<Sources> {
        let commit = format!("{revision}^{{commit}}");
        let commit = git(&self.root, &["rev-parse", "--verify", "--end-of-options", &commit])
            .with_context(|| format!("{revision:?} is no revision of this repository"))?;
        let mut sources = Sources {
            waves: WavesResult::NotEvaluated("it is read from a Git revision".to_owned()),
            ..Sources::default()
        };
        let mut wanted: BTreeMap<String, String> = BTreeMap::new();
        let tree = git(&self.root, &["ls-tree", "-r", "-z", "--full-tree", commit.trim_end()])?;
        for entry in tree.split_terminator('\0') {
            let (meta, path) = entry.split_once('\t').context("git ls-tree gave an odd line")?;
            let Some(path) = path.strip_prefix(&self.prefix) else {
                continue;
            };
            let mut meta = meta.split(' ');
            let (mode, object) = (meta.next().unwrap_or(""), meta.nth(1).unwrap_or(""));
            let file = mode == "100644" || mode == "100755";
            if Sources::is_host(path) && file {
                sources.hosts.insert(path.to_owned());
            } else if Sources::wanted(path) && path != WAVES_FILE {
                match file {
                    true => drop(wanted.insert(path.to_owned(), object.to_owned())),
                    false => {
                        let why = "it is a link, which is not followed in a revision".to_owned();
                        sources.unreadable.insert(path.to_owned(), why);
                    }
                }
            }
        }
        let contents = self.objects(wanted.values())?;
        sources.files = wanted.into_keys().zip(contents).collect();
        Ok(sources)
    }

    /// The contents of objects, all by one `git cat-file --batch`.
    fn objects<'a>(
        &self,
        ids: impl Iterator<Item = &'a String> + Clone,
    ) -> anyhow::Result<Vec<Vec<u8>>> {
        // Through files, so that neither side waits for the other.
        let (mut input, mut output) = (tempfile::tempfile()?, tempfile::tempfile()?);
        for id in ids.clone() {
            writeln!(input, "{id}")?;
        }
        input.rewind()?;
        let status = Command::new("git")
            .arg("-C")
            .arg(&self.root)
            .args(["cat-file", "--batch"])
            .stdin(input)
            .stdout(output.try_clone()?)
            .status()
            .context("cannot run git")?;
        ensure!(status.success(), "git cat-file ended with {status}");
        output.rewind()?;
        let mut bytes = Vec::new();
        output.take(ALL_BYTES).read_to_end(&mut bytes)?;
        let mut rest = &bytes[..];
        let mut contents = Vec::new();
        for id in ids {
            let end = rest.iter().position(|byte| *byte == b'\n').context("git gave too little")?;
            let head = String::from_utf8_lossy(&rest[..end]).into_owned();
            let size: usize = match head.split(' ').collect::<Vec<_>>()[..] {
                [_, "blob", size] => size.parse()?,
                _ => bail!("git has no object {id}"),
            };
            let content = rest.get(end + 1..end + 1 + size).context("git gave too little")?;
            contents.push(content.to_vec());
            rest = rest.get(end + size + 2..).unwrap_or_default();
        }
        Ok(contents)
    }
}

/// What git prints.
fn git(dir: &Path, args: &[&str]) -> anyhow::Result<String> {
    let output = Command::new("git")
        .arg("-C")
        .arg(dir)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .context("cannot run git")?;
    if !output.status.success() {
        bail!("git: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    String::from_utf8(output.stdout).context("git gave a name that is no UTF-8")
}
