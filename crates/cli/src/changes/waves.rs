//! Puts a name into a list of `waves-and-staging-hosts.nix`, leaving the rest of the text as it is.
//!
//! Only where the attribute's value is or ends in a plain list of texts, `firstWave = [ "a" "b" ];`. Nix is asked afterwards whether that
//! did what was meant, so this need not understand Nix.

use serde_json::Value;

/// The text with the name at the end of the attribute's last list; none if there is no plain one.
pub fn add(text: &str, attribute: &str, name: &str) -> Option<String> {
    let open = open_bracket(text, attribute)?;
    let (close, last) = end_of_list(text, open)?;
    let one_line = !text[open..close].contains('\n');
    let (at, new) = match (one_line, last) {
        (true, Some(last)) => (last, format!(" {name:?}")),
        (true, None) => (
            open + 1,
            format!(" {name:?}{}", if text[open + 1..].starts_with(' ') { "" } else { " " }),
        ),
        (false, Some(last)) => {
            let line = text[..last].rfind('\n').map_or(0, |end| end + 1);
            let indent: String =
                text[line..].chars().take_while(|c| *c == ' ' || *c == '\t').collect();
            (last, format!("\n{indent}{name:?}"))
        }
        (false, None) => return None,
    };
    Some(format!("{}{new}{}", &text[..at], &text[at..]))
}

/// Where the last list of an attribute's value begins, as in `firstWave = stagingHosts ++ [ "a" ];`. Of several places
/// with the attribute the last one counts, remarks left out.
fn open_bracket(text: &str, attribute: &str) -> Option<usize> {
    let mut found = None;
    for (at, _) in text.match_indices(attribute) {
        let line = text[..at].rfind('\n').map_or(0, |end| end + 1);
        let before = text[..at].chars().next_back();
        let part_of_name =
            |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '\'' | '"' | '.');
        if text[line..at].contains('#') || before.is_some_and(part_of_name) {
            continue;
        }
        let rest = text[at + attribute.len()..].trim_start();
        if let Some(value) = rest.strip_prefix('=').filter(|value| !value.starts_with('=')) {
            found = last_list(text, text.len() - value.len()).or(found);
        }
    }
    found
}

/// The opening bracket of the list with which the value that begins at `start` ends.
fn last_list(text: &str, start: usize) -> Option<usize> {
    let value = &text[start..start + text[start..].find(';')?];
    value.trim_end().ends_with(']').then(|| value.rfind('[').map(|at| start + at))?
}

/// The closing bracket, and where the last text ends; none if there is anything but texts and remarks.
fn end_of_list(text: &str, open: usize) -> Option<(usize, Option<usize>)> {
    let mut last = None;
    let mut chars = text[open + 1..].char_indices().map(|(at, c)| (open + 1 + at, c));
    while let Some((at, c)) = chars.next() {
        match c {
            ']' => return Some((at, last)),
            '#' => drop(chars.by_ref().find(|(_, c)| *c == '\n')?),
            '"' => {
                let (end, _) = chars.by_ref().find(|(_, c)| matches!(c, '"' | '\\' | '$'))?;
                if !text[end..].starts_with('"') {
                    return None;
                }
                last = Some(end + 1);
            }
            c if c.is_whitespace() => {}
            _ => return None,
        }
    }
    None
}

/// Whether the waves after are those before and one name more in one wave.
pub fn is_added(before: &str, after: &str, attribute: &str, name: &str) -> bool {
    let parse = |text: &str| serde_json::from_str::<Value>(text);
    let (Ok(mut before), Ok(after)) = (parse(before), parse(after)) else { return false };
    match before.get_mut(attribute).and_then(Value::as_array_mut) {
        Some(list) => list.push(name.into()),
        None => return false,
    }
    before == after
}
