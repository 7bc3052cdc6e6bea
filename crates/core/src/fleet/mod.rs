//! The fleet folder: [`load`] reads it, [`check`] finds what is wrong, [`resolve`] gives each host's plan.
//!
//! Formats and rules: spec "fleet folder". Nothing here touches a file; the caller brings the bytes as [`Sources`].

pub mod access;
pub mod audit;
pub mod certificates;
mod check;
pub mod codes;
pub mod finding;
mod json;
pub mod keys;
mod load;
pub mod model;
pub mod node;
mod relay_keys;
pub mod render;
mod resolve;
mod roles;
mod scalar;
mod sources;
pub mod span;
mod yaml;

pub use check::{check, describe};
pub use codes::{Code, Severity};
pub use finding::Finding;
pub use load::{Loaded, load};
pub use model::Fleet;
pub use resolve::{Resolved, Resolver, resolve};
pub use sources::{Sources, WAVES_FILE, WavesResult};

/// The parsers alone, for fuzzing: each reads any text without panicking, hanging or unbounded memory.
pub mod parse {
    use super::Finding;
    use super::finding::Findings;
    use super::node::{LIMITS, Node};
    use super::span::{FileId, Files};

    /// Reads JSON.
    pub fn json(text: &str) -> (Option<Node>, Vec<Finding>) {
        run(text, super::json::parse)
    }

    /// Reads YAML.
    pub fn yaml(text: &str) -> (Option<Node>, Vec<Finding>) {
        run(text, super::yaml::parse)
    }

    type Parse = fn(&str, FileId, super::node::Limits, &mut Findings) -> Option<Node>;

    fn run(text: &str, parse: Parse) -> (Option<Node>, Vec<Finding>) {
        let mut files = Files::default();
        let file = files.id("input");
        let mut findings = Findings::default();
        let node = parse(text, file, LIMITS, &mut findings);
        (node, findings.finish(&files))
    }
}
