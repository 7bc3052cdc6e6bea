//! The table of all findings: code, severity, title, remedy and explanation.
//!
//! A code is never used again for something else. The hundreds group: 00 files, 01 people, 02 keys, 03 tunnels and
//! relays, 04 hosts and waves, 05 app configs and secrets, 06 encryption.

mod table;

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

pub use table::*;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Must be repaired: nothing is released.
    Error,
    /// Works, but is surely not meant.
    Warning,
    /// Good to know.
    Note,
}

impl Severity {
    /// `error`, `warning` or `note`.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        }
    }
}

/// Code of a finding; its text is `AF` and four digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(u16);

/// What is to be said about a code.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// The code.
    pub code: Code,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, in a few words.
    pub title: &'static str,
    /// What to do about it, in general.
    pub remedy: &'static str,
    /// Why it is wrong, and where the rule comes from.
    pub explanation: &'static str,
}

impl Code {
    /// The row of the table.
    pub fn row(self) -> &'static Row {
        // Codes are made from the table alone, so the row is there; the first stands in to keep this total.
        TABLE.binary_search_by_key(&self, |row| row.code).map_or(&TABLE[0], |at| &TABLE[at])
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AF{:04}", self.0)
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The text is not one of the codes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no code of a finding")]
pub struct UnknownCode(String);

impl FromStr for Code {
    type Err = UnknownCode;
    /// Reads `AF0101`, in any case, also without AF and leading zeros.
    fn from_str(text: &str) -> Result<Self, UnknownCode> {
        let unknown = || UnknownCode(text.chars().take(80).collect());
        let upper = text.to_ascii_uppercase();
        let digits = upper.strip_prefix("AF").unwrap_or(&upper);
        let code = Code(digits.parse().map_err(|_| unknown())?);
        match TABLE.binary_search_by_key(&code, |row| row.code) {
            Ok(_) => Ok(code),
            Err(_) => Err(unknown()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_and_complete() {
        assert!(TABLE.windows(2).all(|pair| pair[0].code < pair[1].code));
        for row in TABLE {
            assert_eq!(row.code.to_string().parse(), Ok(row.code));
            assert_eq!(row.code.row().title, row.title);
            assert!(row.remedy.ends_with('.') && row.explanation.ends_with(['.', ')']));
        }
    }
}
