//! Where something stands in the fleet folder.

use std::collections::HashMap;

/// A place in a file. Small and `Copy`: a fleet has hundreds of thousands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// The file, by its number in [`Files`].
    pub file: FileId,
    /// Line, from 1; 0 if the whole file is meant.
    pub line: u32,
    /// Column in characters, from 1; 0 if the whole file is meant.
    pub column: u32,
    /// Length in characters on that line.
    pub length: u32,
}

impl Span {
    /// A whole file.
    pub fn whole(file: FileId) -> Self {
        Self { file, line: 0, column: 0, length: 0 }
    }
}

/// Number of a file in [`Files`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct FileId(u32);

/// The files that spans point into.
#[derive(Debug, Clone, Default)]
pub struct Files {
    names: Vec<String>,
    ids: HashMap<String, FileId>,
}

impl Files {
    /// The number of a file, given at its first mention. The path is relative to the fleet folder.
    pub fn id(&mut self, path: &str) -> FileId {
        if let Some(id) = self.ids.get(path) {
            return *id;
        }
        let id = FileId(u32::try_from(self.names.len()).unwrap_or(u32::MAX));
        self.names.push(path.to_owned());
        self.ids.insert(path.to_owned(), id);
        id
    }

    /// The number of a file that has been mentioned.
    pub fn get(&self, path: &str) -> Option<FileId> {
        self.ids.get(path).copied()
    }

    /// The path of a file, relative to the fleet folder.
    pub fn name(&self, id: FileId) -> &str {
        self.names.get(id.0 as usize).map_or("", String::as_str)
    }
}

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Its place.
    pub span: Span,
}

impl<T> Located<T> {
    /// A value at a place.
    pub fn new(value: T, span: Span) -> Self {
        Self { value, span }
    }
}
