//! Every command that a document shows exists: its subcommands and flags stand in the program's own help.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use super::Skipped;
use crate::process::{self, Programs};

/// A command line in a document.
#[derive(Debug, PartialEq, Eq)]
struct Shown {
    line: usize,
    text: String,
}

/// Looks through README.md, docs/ and the example.
pub fn check(programs: &Programs) -> Result<Skipped> {
    let mut helps = Helps::new(programs)?;
    let (mut wrong, mut skipped, mut checked) = (Vec::new(), Vec::new(), 0);
    for file in documents()? {
        let text = std::fs::read_to_string(&file)?;
        let name = file.strip_prefix(process::root()).unwrap_or(&file).display();
        for shown in commands(&text) {
            let at = format!("{name}:{}: `{}`", shown.line, shown.text);
            match helps.judge(&shown.text) {
                Verdict::Fine => checked += 1,
                Verdict::Foreign => skipped.push(format!("{at}: not a program of this repository")),
                Verdict::Wrong(why) => wrong.push(format!("{at}: {why}")),
            }
        }
    }
    println!("{checked} commands in the documents exist");
    if !wrong.is_empty() {
        bail!("documents show what does not exist:\n{}", wrong.join("\n"));
    }
    if checked == 0 {
        skipped.push("no document shows a command".into());
    }
    Ok(skipped)
}

fn documents() -> Result<Vec<PathBuf>> {
    let root = process::root();
    let mut found = vec![root.join("examples/field-fleet/README.md")];
    let top = ["README.md", "ARCHITECTURE.md", "SECURITY.md", "SPECIFICATION.md"];
    found.extend(top.map(|name| root.join(name)));
    if let Ok(docs) = std::fs::read_dir(root.join("docs")) {
        for entry in docs {
            found.push(entry?.path());
        }
    }
    found.retain(|file| file.is_file() && file.extension().is_some_and(|e| e == "md"));
    found.sort();
    Ok(found)
}

/// Lines `$ command` of fenced blocks, joined where they end in a backslash, and code spans in the text that
/// start with one of our programs.
fn commands(text: &str) -> Vec<Shown> {
    let mut found = Vec::new();
    let mut fenced = false;
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let line_number = number + 1;
        let mut push = |text: String| found.push(Shown { line: line_number, text });
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if let (true, Some(command)) = (fenced, line.trim_start().strip_prefix("$ ")) {
            let mut command = command.to_owned();
            while let Some(open) = command.strip_suffix('\\').map(str::to_owned) {
                let next = lines.next().map_or("", |(_, next)| next.trim());
                command = open + next;
            }
            push(command);
        } else if !fenced {
            let spans = line.split('`').skip(1).step_by(2);
            let ours = |span: &&str| {
                let mut words = span.split_whitespace();
                words.next().is_some_and(|first| OURS.contains(&first)) && words.next().is_some()
            };
            spans.filter(ours).for_each(|span| push(span.to_owned()));
        }
    }
    found
}

const OURS: [&str; 4] = ["afield", "afield-agent", "afield-hub", "cargo"];

enum Verdict {
    Fine,
    Foreign,
    Wrong(String),
}

/// The programs, and the help of each of their subcommands once it was asked for.
struct Helps {
    programs: BTreeMap<&'static str, PathBuf>,
    aliases: BTreeMap<String, Vec<String>>,
    known: BTreeMap<Vec<String>, Option<String>>,
}

impl Helps {
    fn new(programs: &Programs) -> Result<Self> {
        // This very program: an earlier stage may have built another into its place.
        let xtask = PathBuf::from("/proc/self/exe");
        let programs = [
            ("afield", programs.afield.clone()),
            ("afield-agent", programs.agent.clone()),
            ("afield-hub", programs.hub.clone()),
            ("xtask", xtask),
            ("cargo", PathBuf::from("cargo")),
        ];
        Ok(Self { programs: programs.into(), aliases: aliases()?, known: BTreeMap::new() })
    }

    fn judge(&mut self, text: &str) -> Verdict {
        // Only what stands before a pipe or a redirection is ours to know.
        let text = text.split(['|', '>', '#', ';', '&']).next().unwrap_or(text);
        let mut words: Vec<String> = text
            .split_whitespace()
            .map(|word| word.trim_matches(['[', ']', '…']).to_owned())
            .filter(|word| !word.is_empty())
            .skip_while(|word| word == "sudo" || is_assignment(word))
            .collect();
        let Some(first) = words.first() else {
            return Verdict::Foreign;
        };
        if !OURS.contains(&first.as_str()) {
            return Verdict::Foreign;
        }
        if first == "cargo" {
            words = self.as_cargo_runs_it(words);
        }
        match self.follow(&words) {
            Ok(()) => Verdict::Fine,
            Err(why) => Verdict::Wrong(why),
        }
    }

    /// Goes down the subcommands word by word, and looks up each flag in the help of where it stands.
    fn follow(&mut self, words: &[String]) -> Result<(), String> {
        let mut path = vec![words[0].clone()];
        let mut words = words[1..].iter().peekable();
        while let Some(word) = words.next() {
            let help =
                self.help(&path).ok_or_else(|| format!("there is no `{}`", path.join(" ")))?;
            if word == "--" {
                break;
            } else if word.starts_with('-') {
                let (flag, value) =
                    word.split_once('=').map_or((word.as_str(), false), |(f, _)| (f, true));
                let takes = flag_in(&help, flag)
                    .ok_or_else(|| format!("`{}` has no {flag}", path.join(" ")))?;
                if takes && !value {
                    words.next();
                }
            } else if path[0] == "cargo" && path.len() > 1 {
                // Cargo's own commands have no subcommands that a document here would show.
            } else if has_commands(&help) {
                path.push(word.clone());
            }
        }
        self.help(&path).map(drop).ok_or_else(|| format!("there is no `{}`", path.join(" ")))
    }

    /// The help of a subcommand, if it exists.
    fn help(&mut self, path: &[String]) -> Option<String> {
        if let Some(known) = self.known.get(path) {
            return known.clone();
        }
        let program: &Path = self.programs.get(path.first()?.as_str())?;
        // Cargo's long help is a man page.
        let flag = if path[0] == "cargo" { "-h" } else { "--help" };
        let mut command = Command::new(program);
        command.args(self.unhurried(path)).arg(flag).env("NO_COLOR", "1");
        let help = process::output(&mut command).ok();
        self.known.insert(path.to_vec(), help.clone());
        help
    }

    /// `cargo demo`, `cargo ci` and so on are aliases for this program, which need not be built again.
    fn as_cargo_runs_it(&self, words: Vec<String>) -> Vec<String> {
        let alias = words.get(1).and_then(|word| self.aliases.get(word));
        let ours = ["run", "--quiet", "--package", "xtask", "--"];
        match alias.and_then(|alias| alias.strip_prefix(ours.map(str::to_owned).as_slice())) {
            Some(rest) => {
                let first = std::iter::once("xtask".to_owned()).chain(rest.iter().cloned());
                first.chain(words.into_iter().skip(2)).collect()
            }
            None => words,
        }
    }

    /// A command's arguments; of an alias without the optimisation, which its help does not need and which takes minutes.
    fn unhurried(&self, path: &[String]) -> Vec<String> {
        match path {
            [cargo, alias] if cargo == "cargo" && self.aliases.contains_key(alias) => {
                let words = self.aliases[alias].iter();
                words.filter(|word| *word != "--release").cloned().collect()
            }
            _ => path[1..].to_vec(),
        }
    }
}

/// The aliases of `.cargo/config.toml`, in words.
fn aliases() -> Result<BTreeMap<String, Vec<String>>> {
    #[derive(serde::Deserialize)]
    struct Config {
        alias: BTreeMap<String, String>,
    }
    let text = std::fs::read_to_string(process::root().join(".cargo/config.toml"))?;
    let Config { alias } = toml::from_str(&text)?;
    let words = |text: String| text.split_whitespace().map(str::to_owned).collect();
    Ok(alias.into_iter().map(|(name, text)| (name, words(text))).collect())
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c == '_')
    })
}

fn has_commands(help: &str) -> bool {
    help.lines().any(|line| line.trim_end() == "Commands:")
}

/// Whether a flag of the help takes a value; none if the help does not have it.
fn flag_in(help: &str, flag: &str) -> Option<bool> {
    help.lines().map(str::trim_start).filter(|line| line.starts_with('-')).find_map(|line| {
        let mut words = line.split([' ', ',']).filter(|word| !word.is_empty());
        let found = words.clone().any(|word| word.trim_end_matches("...") == flag);
        let signature = words.by_ref().take_while(|word| word.starts_with(['-', '<', '[']));
        found.then(|| signature.into_iter().any(|word| word.starts_with('<')))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELP: &str = "Usage: afield release [OPTIONS]\n\nOptions:\n      --keys <DIR>  Where the keys are\n  -n, --dry-run     Change nothing, see <there>\n  -v, --verbose...  More\n";

    #[test]
    fn flags_are_found_as_help_writes_them() {
        let found =
            ["--keys", "--dry-run", "-n", "--verbose", "--key", "-k"].map(|f| flag_in(HELP, f));
        assert_eq!(found, [Some(true), Some(false), Some(false), Some(false), None, None]);
    }

    #[test]
    fn commands_are_found_where_people_look() {
        let text = "Type `afield check` or `afield`.\n```console\n$ afield release \\\n    --keys K\nout `cargo x y`\n```\nThen `ls -l`.\n";
        let found: Vec<_> = commands(text).into_iter().map(|s| (s.line, s.text)).collect();
        let expected = [(1, "afield check"), (3, "afield release --keys K")];
        assert_eq!(found, expected.map(|(line, text)| (line, text.to_owned())));
    }
}
