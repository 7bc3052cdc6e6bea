//! Changes to a fleet folder: made in memory, checked as a whole, then written file by file.
//!
//! Files keep their order, remarks and indentation: JSON is changed as a syntax tree, the file of waves as text.

mod json;
mod waves;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use afield_core::fleet::{Finding, Severity, Sources, WAVES_FILE, WavesResult, codes, load};
use anyhow::Context as _;
use serde::Serialize;

pub use json::Json;

use crate::context::{Context, Folder};
use crate::exit::{CommandResult, Failure, Outcome};
use crate::report;

/// What a command is about to do to a fleet folder.
pub struct Changes<'a> {
    folder: &'a Folder,
    files: BTreeMap<String, Vec<u8>>,
    waves: Option<WavesResult>,
    said: Vec<Said>,
    todo: Vec<String>,
}

/// One change, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Said {
    file: String,
    change: String,
}

impl<'a> Changes<'a> {
    /// Nothing yet.
    pub fn new(folder: &'a Folder) -> Self {
        Self { folder, files: BTreeMap::new(), waves: None, said: Vec::new(), todo: Vec::new() }
    }

    /// Notes a change for people.
    pub fn say(&mut self, file: &str, change: impl Into<String>) {
        self.said.push(Said { file: file.to_owned(), change: change.into() });
    }

    /// Notes what is left for the person to do.
    pub fn leave(&mut self, todo: impl Into<String>) {
        self.todo.push(todo.into());
    }

    /// A new file; one that is there already is never replaced.
    pub fn create(&mut self, path: &str, text: String) -> Result<(), Failure> {
        if self.folder.dir.join(path).symlink_metadata().is_ok() {
            return Err(Failure::refused(format!("{path} is there already; nothing was changed")));
        }
        self.say(path, "new file");
        self.files.insert(path.to_owned(), text.into_bytes());
        Ok(())
    }

    /// The text of a file, with the changes so far.
    fn text(&self, path: &str) -> Result<String, Failure> {
        let bytes = self.files.get(path).or_else(|| self.folder.sources.files.get(path));
        let bytes = bytes.ok_or_else(|| Failure::refused(format!("there is no file {path}")))?;
        let text = std::str::from_utf8(bytes).with_context(|| path.to_owned())?;
        Ok(text.to_owned())
    }

    /// Changes a JSON file. One with errors is not touched: it may mean something else than it seems.
    pub fn json(
        &mut self,
        path: &str,
        change: impl FnOnce(&mut Json) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let wrong =
            |finding: &&Finding| finding.file == path && finding.severity == Severity::Error;
        if let Some(first) = self.folder.findings.iter().find(wrong) {
            let message = format!("{path}:{} has an error: {}", first.line, first.message);
            return Err(
                Failure::refused(message).hint("correct it first; `afield check` tells more")
            );
        }
        let mut json = Json::parse(path, &self.text(path)?)?;
        change(&mut json)?;
        let (text, said) = json.finish();
        if !said.is_empty() {
            self.files.insert(path.to_owned(), text.into_bytes());
            said.into_iter().for_each(|change| self.say(path, change));
        }
        Ok(())
    }

    /// Puts a host into a wave, if the file has it as a plain list and the real Nix agrees with the result; otherwise
    /// that is left to the person.
    pub fn wave(&mut self, attribute: &str, host: &str) -> anyhow::Result<()> {
        let before = &self.folder.sources.waves;
        let text = self.text(WAVES_FILE).ok();
        let changed = text.and_then(|text| waves::add(&text, attribute, host));
        if let (Some(changed), WavesResult::Json(before)) = (changed, before)
            && let WavesResult::Json(after) = evaluate(&self.folder.dir, &changed)?
            && waves::is_added(before, &after, attribute, host)
        {
            self.say(WAVES_FILE, format!("{attribute} gains {host:?}"));
            self.files.insert(WAVES_FILE.to_owned(), changed.into_bytes());
            self.waves = Some(WavesResult::Json(after));
            return Ok(());
        }
        self.leave(format!("add {host:?} to {attribute} in {WAVES_FILE}"));
        Ok(())
    }

    /// The folder as it would be.
    fn sources(&self) -> Sources {
        let mut sources = self.folder.sources.clone();
        for (path, bytes) in &self.files {
            match Sources::is_host(path) {
                true => drop(sources.hosts.insert(path.clone())),
                false => drop(sources.files.insert(path.clone(), bytes.clone())),
            }
        }
        if let Some(waves) = &self.waves {
            sources.waves = waves.clone();
        }
        sources
    }

    /// Findings that are not there now, apart from those that this command brings along and tells.
    fn new_findings(&self, context: &Context, expected: &[codes::Code]) -> (Sources, Vec<Finding>) {
        let sources = self.sources();
        let (_, after) = load(&sources).check(context.today);
        let key = |f: &Finding| (f.code, f.file.clone(), f.message.clone());
        let mut known: BTreeMap<_, usize> = BTreeMap::new();
        self.folder.findings.iter().for_each(|f| *known.entry(key(f)).or_default() += 1);
        let mut is_new = |f: &Finding| match known.get_mut(&key(f)) {
            Some(left) if *left > 0 => {
                *left -= 1;
                false
            }
            _ => !expected.contains(&f.code),
        };
        (sources, after.into_iter().filter(|finding| is_new(finding)).collect())
    }

    /// Checks, writes unless `dry_run`, and tells. Nothing is written if something would be wrong that is not now.
    pub fn finish(
        self,
        context: &mut Context,
        expected: &[codes::Code],
        dry_run: bool,
    ) -> CommandResult {
        let (sources, wrong) = self.new_findings(context, expected);
        if !wrong.is_empty() {
            let after = self.folder.with(sources);
            for finding in &wrong {
                let text = report::text(finding, &after, context.cwd(), false);
                context.out.note(&format!("{}\n", text.trim_end()));
            }
            let message = "with this change `afield check` would find what is told above; nothing was changed";
            return Err(Failure::refused(message));
        }
        if !dry_run {
            self.write()?;
        }
        self.tell(context, dry_run)
    }

    /// Writes all files, and takes back what was written if one fails.
    fn write(&self) -> anyhow::Result<()> {
        let mut done: Vec<(PathBuf, Option<&Vec<u8>>)> = Vec::new();
        for (path, bytes) in &self.files {
            let full = self.folder.dir.join(path);
            if let Err(error) = put(&full, bytes) {
                for (path, old) in done.into_iter().rev() {
                    match old {
                        Some(old) => put(&path, old)?,
                        None => std::fs::remove_file(&path)
                            .with_context(|| path.display().to_string())?,
                    }
                }
                return Err(error.context("nothing was changed"));
            }
            done.push((full, self.folder.sources.files.get(path)));
        }
        Ok(())
    }

    fn tell(&self, context: &mut Context, dry_run: bool) -> CommandResult {
        if context.out.json() {
            context.out.value(&serde_json::json!({
                "dry_run": dry_run, "changes": self.said, "left_to_do": self.todo,
            }))?;
            return Ok(Outcome::Done);
        }
        let would = if dry_run { "would be: " } else { "" };
        for Said { file, change } in &self.said {
            context.out.line(&format!("{file}: {would}{change}"))?;
        }
        if self.said.is_empty() {
            context.out.line("nothing to change: all of it is there already")?;
        }
        for todo in &self.todo {
            context.out.line(&format!("left to you: {todo}"))?;
        }
        Ok(Outcome::Done)
    }
}

/// Replaces a file, or makes it with its folders; synced, with the folder that has it.
pub fn put(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let folder = path.parent().context("the file has no folder")?;
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    crate::write::replace(path, bytes, false)?;
    Ok(())
}

/// What Nix makes of a changed file of waves, which lies beside the real one while it is asked.
fn evaluate(dir: &Path, text: &str) -> anyhow::Result<WavesResult> {
    let mut beside = tempfile::Builder::new().prefix(".afield-").suffix(".nix").tempfile_in(dir)?;
    std::io::Write::write_all(&mut beside, text.as_bytes())?;
    Ok(crate::waves::evaluate_file(dir, beside.path()))
}

/// Names in a row, sorted, for messages.
pub fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: BTreeSet<&str> = names.into_iter().collect();
    names.into_iter().collect::<Vec<_>>().join(", ")
}
