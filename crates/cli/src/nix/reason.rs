//! Nix's error output, cut down to what a person can use.

use std::fmt;

use serde::Serialize;

/// Why Nix did not do something: a sentence, and where in the Nix files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// The first line of the error itself, without the trace around it.
    pub text: String,
    /// `file:line` of the person's own file, if Nix named one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// The last lines of a build's log.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<String>,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.at {
            Some(at) => write!(f, "{at}: {}", self.text),
            None => f.write_str(&self.text),
        }
    }
}

/// A place that an error names: at this line of the output, `file:line`.
struct Place {
    line: usize,
    at: String,
}

impl Reason {
    /// A reason that did not come from Nix.
    pub fn new(text: impl Into<String>) -> Self {
        let (text, at, log) = (text.into(), None, Vec::new());
        Self { text, at, log }
    }

    /// From what a program of Nix wrote to its standard error.
    pub fn from_stderr(stderr: &[u8]) -> Self {
        Self::parse(&String::from_utf8_lossy(stderr))
    }

    /// From Nix's text. Old versions put the error first and traces after it, new ones the traces first.
    pub fn parse(text: &str) -> Self {
        let plain = strip_ansi(text);
        let lines: Vec<&str> = plain.lines().collect();
        let (line, message) = message(&lines);
        let at = place(&lines, line);
        let log = Vec::new();
        Self { text: message, at, log }
    }

    /// What to do about reasons that are not about a fleet's own Nix files.
    pub fn remedy(&self) -> Option<&'static str> {
        const KNOWN: [(&str, &str); 4] = [
            (
                "build users group",
                "as root without a Nix daemon, set: export NIX_CONFIG='build-users-group ='",
            ),
            ("daemon-socket", "start the daemon (systemctl start nix-daemon), or run as root"),
            ("Permission denied", "run as a user that may use Nix's store"),
            ("No space left", "free some space, for instance with nix-collect-garbage"),
        ];
        let known = KNOWN.iter().find(|(sign, _)| self.text.contains(sign));
        known.map(|(_, remedy)| *remedy)
    }
}

/// The last error in the output: its line and its message.
fn message(lines: &[&str]) -> (usize, String) {
    let found = (0..lines.len()).rev().find_map(|at| {
        let text = lines[at].trim_start().strip_prefix("error:")?.trim();
        let text = continued(text, &lines[at + 1..])?;
        Some((at, text))
    });
    found.unwrap_or_else(|| {
        let last = lines.iter().rev().find(|l| !l.trim().is_empty());
        let text = last.map_or("Nix gave no reason", |l| l.trim());
        (lines.len(), text.to_owned())
    })
}

/// A message that starts on the line after `error:`, or that only announces a list, takes lines along.
/// None if only a trace follows.
fn continued(text: &str, rest: &[&str]) -> Option<String> {
    if !text.is_empty() && !text.ends_with(':') {
        return Some(text.to_owned());
    }
    let next = rest.first().map_or("", |l| l.trim());
    if next.is_empty() || next.starts_with('…') || next.starts_with("at ") {
        return (!text.is_empty()).then(|| text.to_owned());
    }
    if text.is_empty() {
        return continued(next, rest.get(1..).unwrap_or_default());
    }
    Some(format!("{text} {}", next.trim_start_matches("- ")))
}

/// The place that the error names, or else the innermost one before it that is in no package.
fn place(lines: &[&str], error: usize) -> Option<String> {
    let places: Vec<Place> = lines.iter().enumerate().filter_map(parse_place).collect();
    let own = |p: &&Place| !p.at.starts_with("/nix/store/");
    let after = places.iter().filter(own).find(|p| p.line > error);
    let before = || places.iter().filter(own).rfind(|p| p.line < error);
    after.or_else(before).map(|p| p.at.clone())
}

/// `at /home/me/x.nix:5:13:`, without the column.
fn parse_place((line, text): (usize, &&str)) -> Option<Place> {
    let path = text.trim().strip_prefix("at ")?.trim_end_matches(':');
    let (path, column) = path.rsplit_once(':')?;
    let (file, row) = path.rsplit_once(':')?;
    let numbers = column.parse::<u32>().is_ok() && row.parse::<u32>().is_ok();
    (numbers && file.starts_with('/')).then(|| Place { line, at: format!("{file}:{row}") })
}

/// Text without the escape sequences that colour it (ECMA-48 CSI).
pub fn strip_ansi(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\x1b' {
            out.push(c);
            continue;
        }
        if chars.next() == Some('[') {
            chars.by_ref().find(|c| ('@'..='~').contains(c));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> String {
        Reason::parse(text).to_string()
    }

    #[test]
    fn the_error_of_nix_2_8_comes_first() {
        let text = "error: cannot add a string to an integer\n\n       at /fleet/h.nix:5:13:\n\n            4|   throws\n";
        assert_eq!(said(text), "/fleet/h.nix:5: cannot add a string to an integer");
        let text = "error: no disk declared\n       second line\n(use '--show-trace' to show detailed location information)\n";
        assert_eq!(said(text), "no disk declared");
        let text = "error: attribute 'drvPath' missing\n\n       at «string»:1:29:\n";
        assert_eq!(said(text), "attribute 'drvPath' missing");
    }

    #[test]
    fn the_error_of_a_current_nix_comes_after_its_trace() {
        let text = "warning: Git tree is dirty\nerror:\n       … while calling the 'head' builtin\n         at /nix/store/x-source/lib/a.nix:1:2:\n            1| a\n\n       … while evaluating the attribute 'clinic'\n         at /fleet/h.nix:7:3:\n\n       (stack trace truncated; use '--show-trace' to show the full, detailed trace)\n\n       error: no disk declared\n";
        assert_eq!(said(text), "/fleet/h.nix:7: no disk declared");
        let text = "error:\n       … while x\n         at /fleet/h.nix:7:3:\n\n       error: undefined variable 'y'\n       at /fleet/h.nix:9:1:\n            8| y\n";
        assert_eq!(said(text), "/fleet/h.nix:9: undefined variable 'y'");
    }

    #[test]
    fn a_list_of_assertions_takes_its_first_along() {
        let text = "error:\n       Failed assertions:\n";
        assert_eq!(said(text), "Failed assertions:");
        let text = "error: \n\n       error:\n       Failed assertions:\n       - The fileSystems option has no root.\n";
        assert_eq!(said(text), "Failed assertions: The fileSystems option has no root.");
        let text = "error: Failed assertions:\n       - No root.\n       - No boot.\n";
        assert_eq!(said(text), "Failed assertions: No root.");
    }

    #[test]
    fn colour_goes_and_silence_is_said() {
        assert_eq!(said("\u{1b}[31;1merror:\u{1b}[0m bad \u{1b}[35;1m'x'\u{1b}[0m"), "bad 'x'");
        assert_eq!(said(""), "Nix gave no reason");
        assert_eq!(said("killed\n\n"), "killed");
    }
}
