//! One secret in a file: `name: {path, content, default_extract?}`, alike in master files and in what a host gets.

use zeroize::Zeroizing;

use super::yaml::{Kind, Node};
use super::{Extract, check_path};

pub(super) struct Entry {
    pub name: String,
    pub path: String,
    pub content: Zeroizing<String>,
    pub extract: Extract,
}

/// What is wrong, and in which line.
pub(super) type Wrong = (usize, String);

pub(super) fn read(name: &Node, body: &Node) -> Result<Entry, Wrong> {
    let Some(label) = name.text() else {
        return Err((name.line, format!("the secret's name is {}, not text", name.describe())));
    };
    let Some(fields) = body.map() else {
        let what = body.describe();
        return Err((
            body.line,
            format!("secret `{label}` must be a map with path, content and servers, not {what}"),
        ));
    };
    // Readers differ in which of the two counts.
    if let Some((field, _)) = repeated(fields).first() {
        let twice = field.text().unwrap_or_default();
        return Err((field.line, format!("secret `{label}` has `{twice}` twice; keep one")));
    }
    let text = |field: &str| -> Result<(usize, &str), Wrong> {
        let Some(node) = body.get(field) else {
            return Err((name.line, format!("secret `{label}` has no `{field}`")));
        };
        let wrong = || {
            (node.line, format!("`{field}` of secret `{label}` is {}, not text", node.describe()))
        };
        Ok((node.line, node.text().ok_or_else(wrong)?))
    };
    let (line, path) = text("path")?;
    check_path(path).map_err(|problem| (line, format!("`path` of secret `{label}`: {problem}")))?;
    let (_, content) = text("content")?;
    Ok(Entry {
        name: label.to_owned(),
        path: path.to_owned(),
        content: Zeroizing::new(content.to_owned()),
        extract: extract(label, body.get("default_extract"))?,
    })
}

fn extract(label: &str, node: Option<&Node>) -> Result<Extract, Wrong> {
    let Some(node) = node else {
        return Ok(Extract::Absent);
    };
    let wrong =
        || (node.line, format!("`default_extract` of secret `{label}` must be true or false"));
    let Kind::Scalar { text, word } = &node.kind else {
        return Err(wrong());
    };
    if !word {
        return Ok(Extract::Text(text.to_string()));
    }
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" => Ok(Extract::Bool(true)),
        "false" | "no" | "off" => Ok(Extract::Bool(false)),
        "" | "~" | "null" => Ok(Extract::Absent),
        _ => Err(wrong()),
    }
}

/// The entries of a map by name, with the first line of each name that stands twice.
pub(super) fn repeated(entries: &[(Node, Node)]) -> Vec<(&Node, usize)> {
    let mut seen = std::collections::HashMap::new();
    let mut twice = Vec::new();
    for (name, _) in entries {
        if let Some(text) = name.text()
            && let Some(first) = seen.insert(text, name.line)
        {
            twice.push((name, first));
        }
    }
    twice
}
