//! The operators' secrets files, once decrypted: `secrets: {name: {path, content, servers, default_extract?}}`.

use std::collections::HashMap;

use zeroize::Zeroizing;

use super::entry::{self, Entry};
use super::yaml::{self, Node};
use super::{Extract, MAX_PLAINTEXT};

/// Something wrong in a master file, with its place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{file}:{line}: {message}")]
pub struct Problem {
    /// As given to [`parse`].
    pub file: String,
    /// Counted from 1, in the decrypted text.
    pub line: usize,
    /// What is wrong and what to do; never a secret's content.
    pub message: String,
}

/// A secret as the operators wrote it.
#[derive(Clone)]
pub struct MasterSecret {
    /// Its name, unique in the fleet.
    pub name: String,
    /// Where the host puts it.
    pub path: String,
    /// What the host puts there.
    pub content: Zeroizing<String>,
    /// `default_extract`, as written.
    pub extract: Extract,
    /// The hosts that get it, in the order written, each once.
    pub servers: Vec<String>,
    /// The file it stands in, as given to [`parse`].
    pub file: String,
    /// The line of its name, counted from 1.
    pub line: usize,
}

impl std::fmt::Debug for MasterSecret {
    /// Shows the place and the hosts, not the content.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: {} for {:?}", self.file, self.line, self.name, self.servers)
    }
}

/// Reads one decrypted file; `file` is its name for messages. Finds all problems, not just the first.
pub fn parse(file: &str, text: &str) -> Result<Vec<MasterSecret>, Vec<Problem>> {
    let problem = |line, message: String| Problem { file: file.to_owned(), line, message };
    if text.len() > MAX_PLAINTEXT {
        return Err(vec![problem(1, format!("the file is larger than {MAX_PLAINTEXT} bytes"))]);
    }
    let root = yaml::parse(text).map_err(|error| vec![problem(error.line, error.message)])?;
    let section = section(&root).map_err(|(line, message)| vec![problem(line, message)])?;
    let mut problems = Vec::new();
    for (name, first) in entry::repeated(section) {
        let label = name.text().unwrap_or_default();
        let message = format!(
            "secret `{label}` stands twice: here and in line {first}; rename or remove one"
        );
        problems.push(problem(name.line, message));
    }
    let mut secrets = Vec::new();
    // As in the other files of the fleet folder, a remark may stand anywhere.
    for (name, body) in section.iter().filter(|(name, _)| name.text() != Some("_comment")) {
        match entry::read(name, body)
            .and_then(|entry| Ok((servers(&entry.name, name.line, body)?, entry)))
        {
            Ok((servers, Entry { name: label, path, content, extract })) => {
                let (file, line) = (file.to_owned(), name.line);
                secrets.push(MasterSecret {
                    name: label,
                    path,
                    content,
                    extract,
                    servers,
                    file,
                    line,
                });
            }
            Err((line, message)) => problems.push(problem(line, message)),
        }
    }
    if problems.is_empty() { Ok(secrets) } else { Err(problems) }
}

fn section(root: &Node) -> Result<&[(Node, Node)], entry::Wrong> {
    if let Some((name, first)) = entry::repeated(root.map().unwrap_or_default()).first() {
        let label = name.text().unwrap_or_default();
        return Err((name.line, format!("`{label}:` stands twice: here and in line {first}")));
    }
    let Some(section) = root.get("secrets") else {
        return Err((root.line, "there is no map `secrets:` at the top of the file".to_owned()));
    };
    section.map().ok_or_else(|| {
        let what = section.describe();
        (section.line, format!("`secrets:` holds {what}; write `secrets: {{}}` if there are none"))
    })
}

fn servers(label: &str, line: usize, body: &Node) -> Result<Vec<String>, entry::Wrong> {
    let Some(node) = body.get("servers") else {
        return Err((
            line,
            format!("secret `{label}` has no `servers`; write `servers: []` for none"),
        ));
    };
    let yaml::Kind::List(items) = &node.kind else {
        return Err((
            node.line,
            format!("`servers` of secret `{label}` is {}, not a list", node.describe()),
        ));
    };
    let mut servers: Vec<String> = Vec::new();
    for item in items {
        let wrong = || {
            (
                item.line,
                format!("a server of secret `{label}` is {}, not a host name", item.describe()),
            )
        };
        let host = item.text().ok_or_else(wrong)?;
        if !servers.iter().any(|known| known == host) {
            servers.push(host.to_owned());
        }
    }
    Ok(servers)
}

/// Names that stand in two files, each told at the later place.
pub fn duplicates(secrets: &[MasterSecret]) -> Vec<Problem> {
    let mut first: HashMap<&str, &MasterSecret> = HashMap::new();
    let mut problems = Vec::new();
    for secret in secrets {
        if let Some(known) = first.get(secret.name.as_str()) {
            let (file, line, name) = (secret.file.clone(), secret.line, &secret.name);
            let message = format!(
                "secret `{name}` stands also in {}:{}; rename or remove one",
                known.file, known.line
            );
            problems.push(Problem { file, line, message });
        } else {
            first.insert(&secret.name, secret);
        }
    }
    problems
}
