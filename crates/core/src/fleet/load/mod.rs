//! Reads every file into a [`Fleet`]. A finding costs the value it is about, never the rest of its file.

mod entries;
mod people;
mod tunnels;
mod waves;

use super::codes;
use super::finding::{Finding, Findings};
use super::json;
use super::model::{Fleet, Host, Unseen};
use super::node::{LIMITS, Node};
use super::sources::Sources;
use super::span::{FileId, Located, Span};
use crate::host_plan::HostKind;
use crate::ids::{HostName, UserName};

/// What came out of reading a fleet folder.
#[derive(Debug)]
pub struct Loaded {
    /// What could be understood.
    pub fleet: Fleet,
    /// What could not, sorted by file and line.
    pub findings: Vec<Finding>,
}

impl Loaded {
    /// The findings of loading and of [`super::check`], sorted by file and line.
    pub fn check(self, today: jiff::civil::Date) -> (Fleet, Vec<Finding>) {
        let mut findings = self.findings;
        findings.extend(super::check(&self.fleet, today));
        super::finding::sort(&mut findings);
        (self.fleet, findings)
    }
}

/// Reads a fleet folder.
pub fn load(sources: &Sources) -> Loaded {
    let mut fleet = Fleet { services: sources.services.clone(), ..Fleet::default() };
    let mut loader = Loader { sources, fleet: &mut fleet, findings: Findings::default() };
    loader.hosts();
    people::load(&mut loader);
    tunnels::load(&mut loader);
    waves::load(&mut loader);
    entries::load(&mut loader);
    loader.other_json();
    loader.unreadable();
    let findings = loader.findings;
    let findings = findings.finish(&fleet.files);
    Loaded { fleet, findings }
}

/// What the parts of loading share.
struct Loader<'a> {
    sources: &'a Sources,
    fleet: &'a mut Fleet,
    findings: Findings,
}

/// The JSON files that have a meaning of their own.
const KNOWN_JSON: [&str; 3] = ["json/users.json", "json/keys.json", "json/relay-servers.json"];

impl Loader<'_> {
    fn hosts(&mut self) {
        for path in &self.sources.hosts {
            let Some(rest) = path.strip_prefix("hosts/") else {
                continue;
            };
            let (kind, file) = match rest.strip_prefix("ubuntu/") {
                Some(file) => (HostKind::Ubuntu, file),
                None => (HostKind::Nixos, rest),
            };
            let span = Span::whole(self.fleet.files.id(path));
            let stem = file.strip_suffix(".nix").unwrap_or(file);
            let Some(name) = host_name(&mut self.findings, stem, span) else {
                continue;
            };
            let host = Host { kind, span };
            if let Some(first) = self.fleet.hosts.insert(name, host) {
                let message = format!("the host {stem} has two files");
                self.findings.add(codes::HOST_TWICE, span, message).other(first.span, "and here");
            }
        }
        if !self.fleet.hosts.is_empty() {
            self.fleet.unseen.push(Unseen {
                file: "hosts/".to_owned(),
                why: "host files are Nix; they are looked into when systems are built".to_owned(),
            });
        }
    }

    /// The text of a file; a finding and none if it is not UTF-8.
    fn text(&mut self, path: &str, bytes: &[u8]) -> Option<(String, FileId)> {
        let file = self.fleet.files.id(path);
        match std::str::from_utf8(bytes) {
            Ok(text) => Some((text.to_owned(), file)),
            Err(error) => {
                let good = &bytes[..error.valid_up_to()];
                let line = 1 + good.iter().filter(|byte| **byte == b'\n').count();
                let span = Span { file, line: line as u32, column: 1, length: 1 };
                let message = "this line has bytes that are no UTF-8";
                self.findings.add(codes::NOT_UTF8, span, message);
                None
            }
        }
    }

    /// A JSON file as a tree.
    fn json(&mut self, path: &str) -> Option<Node> {
        let bytes = self.sources.files.get(path)?;
        let (text, file) = self.text(path, bytes)?;
        json::parse(&text, file, LIMITS, &mut self.findings)
    }

    /// A JSON file that has to be there.
    fn needed_json(&mut self, path: &str) -> Option<Node> {
        if self.sources.files.contains_key(path) {
            return self.json(path);
        }
        if !self.sources.unreadable.contains_key(path) {
            let file = self.fleet.files.id(path);
            self.findings.file(codes::MISSING_FILE, file, format!("there is no file {path}"));
        }
        None
    }

    /// Reads the remaining JSON files for their form alone: Nix modules will trip over them otherwise.
    fn other_json(&mut self) {
        let paths: Vec<&String> = self.sources.files.keys().collect();
        for path in paths {
            let own = path.starts_with("json/") && path.ends_with(".json");
            let known = KNOWN_JSON.contains(&path.as_str()) || path.starts_with("json/tunnels.d/");
            if own && !known {
                self.json(path);
            }
        }
    }

    fn unreadable(&mut self) {
        for (path, why) in &self.sources.unreadable {
            let file = self.fleet.files.id(path);
            let message = format!("{path} was not read: {why}");
            self.findings.file(codes::NOT_LOOKED_INTO, file, message);
        }
    }
}

/// A host's name, or a finding.
fn host_name(findings: &mut Findings, text: &str, span: Span) -> Option<HostName> {
    match text.parse() {
        Ok(name) => Some(name),
        Err(error) => {
            findings.add(codes::BAD_HOST_NAME, span, error.to_string());
            None
        }
    }
}

/// A person's name, or a finding.
fn user_name(findings: &mut Findings, text: &str, span: Span) -> Option<Located<UserName>> {
    match text.parse::<UserName>() {
        Ok(name) if matches!(name.as_str(), "root" | "tunnel" | "tunneller") => {
            let message = format!("the account {name} is the system's own");
            findings.add(codes::RESERVED_USER, span, message);
            None
        }
        Ok(name) => Some(Located::new(name, span)),
        Err(error) => {
            findings.add(codes::BAD_USER_NAME, span, error.to_string());
            None
        }
    }
}
