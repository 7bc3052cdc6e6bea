//! A JSON file as a syntax tree: what is not changed stays byte for byte.

use anyhow::anyhow;
use jsonc_parser::ParseOptions;
use jsonc_parser::cst::{CstArray, CstInputValue, CstNode, CstObject, CstRootNode};

use crate::exit::Failure;

/// A file that is being changed.
pub struct Json {
    path: String,
    /// A byte order mark, which the tree does not keep.
    start: &'static str,
    root: CstRootNode,
    said: Vec<String>,
}

impl Json {
    /// Reads a text that the loader of the fleet folder has read before.
    pub fn parse(path: &str, text: &str) -> Result<Self, Failure> {
        let (start, text) = match text.strip_prefix('\u{feff}') {
            Some(rest) => ("\u{feff}", rest),
            None => ("", text),
        };
        let strict = ParseOptions {
            allow_comments: false,
            allow_loose_object_property_names: false,
            allow_trailing_commas: false,
            ..ParseOptions::default()
        };
        let root = CstRootNode::parse(text, &strict).map_err(|e| anyhow!("{path}: {e}"))?;
        Ok(Self { path: path.to_owned(), start, root, said: Vec::new() })
    }

    /// The text, and what was changed.
    pub fn finish(self) -> (String, Vec<String>) {
        (format!("{}{}", self.start, self.root), self.said)
    }

    /// Gives a key of the map at `at` a value, unless it has it. Maps on the way are made. Another value there is an
    /// error: it is for a person to say which is right.
    pub fn set(&mut self, at: &[&str], key: &str, value: &str) -> Result<(), Failure> {
        let map = self.map(at)?;
        match map.get(key) {
            None => drop(map.append(key, CstInputValue::String(value.to_owned()))),
            Some(old) => {
                let old = old.value().and_then(|node| text(&node)).unwrap_or_default();
                return match old == value {
                    true => Ok(()),
                    false => {
                        let message =
                            format!("{}: {}.{key} is {old:?} already", self.path, at.join("."));
                        Err(Failure::refused(message)
                            .hint("change it in the file if that is what you want"))
                    }
                };
            }
        }
        self.say(format!("{}.{key} = {value:?}", at.join(".")));
        Ok(())
    }

    /// Adds a key with a whole value to the map at `at`; it must not be there.
    pub fn insert(&mut self, at: &[&str], key: &str, value: CstInputValue) -> Result<(), Failure> {
        let map = self.map(at)?;
        if map.get(key).is_some() {
            return Err(Failure::refused(format!(
                "{}: {}.{key} is there already",
                self.path,
                at.join(".")
            )));
        }
        map.append(key, value);
        self.say(format!("{} gains {key:?}", at.join(".")));
        Ok(())
    }

    /// Adds a text to the list at `at`, unless it is in it. The list is made if need be.
    pub fn push(&mut self, at: &[&str], value: &str) -> Result<(), Failure> {
        let (list, above) = at.split_last().ok_or_else(|| anyhow!("no list was named"))?;
        let array =
            self.map(above)?.array_value_or_create(list).ok_or_else(|| self.odd(at, "a list"))?;
        if !array.elements().iter().any(|item| text(item).as_deref() == Some(value)) {
            array.append(CstInputValue::String(value.to_owned()));
            self.say(format!("{} gains {value:?}", at.join(".")));
        }
        Ok(())
    }

    /// Removes a key, here and in every map below, and a text from every list: all mentions of a name. Maps and lists
    /// that become empty stay.
    pub fn forget(&mut self, name: &str) -> Result<(), Failure> {
        let root = self.map(&[])?;
        let mut said = Vec::new();
        forget(&root, name, &mut Vec::new(), &mut said);
        self.said.append(&mut said);
        Ok(())
    }

    /// Whether the map at a path has a key.
    pub fn has(&mut self, at: &[&str], key: &str) -> bool {
        let mut map = self.root.object_value();
        for name in at {
            map = map.and_then(|map| map.object_value(name));
        }
        map.is_some_and(|map| map.get(key).is_some())
    }

    fn map(&self, at: &[&str]) -> Result<CstObject, Failure> {
        let mut map = self.root.object_value().ok_or_else(|| self.odd(&[], "a map"))?;
        for name in at {
            map = map.object_value_or_create(name).ok_or_else(|| self.odd(at, "a map"))?;
        }
        Ok(map)
    }

    fn odd(&self, at: &[&str], wanted: &str) -> Failure {
        Failure::refused(format!("{}: {} is not {wanted}", self.path, at.join(".")))
    }

    fn say(&mut self, change: String) {
        self.said.push(change);
    }
}

fn text(node: &CstNode) -> Option<String> {
    node.as_string_lit()?.decoded_value().ok()
}

fn forget(map: &CstObject, name: &str, way: &mut Vec<String>, said: &mut Vec<String>) {
    for property in map.properties() {
        let Some(key) = property.decoded_name() else { continue };
        // A remark may name anybody.
        if key == "_comment" {
            continue;
        }
        if key == name {
            said.push(format!("{} loses {name:?}", way.join(".")));
            property.remove();
            continue;
        }
        way.push(key);
        if let Some(below) = property.object_value() {
            forget(&below, name, way, said);
        } else if let Some(list) = property.array_value() {
            forget_in_list(&list, name, way, said);
        }
        way.pop();
    }
}

fn forget_in_list(list: &CstArray, name: &str, way: &[String], said: &mut Vec<String>) {
    for item in list.elements() {
        if text(&item).as_deref() == Some(name) {
            said.push(format!("{} loses {name:?}", way.join(".")));
            item.remove();
        }
    }
}
