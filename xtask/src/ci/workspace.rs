//! What cargo says about the workspace.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::process;

/// The workspace's packages.
#[derive(serde::Deserialize)]
pub struct Workspace {
    /// Each package.
    pub packages: Vec<Package>,
}

/// One package.
#[derive(serde::Deserialize)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// What its manifest names.
    pub dependencies: Vec<Dependency>,
    features: BTreeMap<String, Vec<String>>,
}

/// One dependency in a manifest.
#[derive(serde::Deserialize)]
pub struct Dependency {
    /// The package's name.
    pub name: String,
    /// `dev`, `build`, or none for an ordinary one.
    pub kind: Option<String>,
}

impl Workspace {
    /// Asks cargo.
    pub fn load() -> Result<Self> {
        let mut cargo = Command::new("cargo");
        cargo.current_dir(process::root());
        cargo.args(["metadata", "--format-version=1", "--no-deps"]);
        serde_json::from_str(&process::output(&mut cargo)?)
            .context("cargo metadata changed its form")
    }

    /// Whether a package declares a feature.
    pub fn has_feature(&self, package: &str, feature: &str) -> bool {
        let mut found = self.packages.iter().filter(|p| p.name == package);
        found.any(|p| p.features.contains_key(feature))
    }

    /// Which package of the workspace depends on which, tests left out.
    pub fn edges(&self) -> BTreeSet<(&str, &str)> {
        let ours: BTreeSet<&str> = self.packages.iter().map(|p| p.name.as_str()).collect();
        let edges = self.packages.iter().flat_map(|package| {
            let shipped = package.dependencies.iter().filter(|d| d.kind.as_deref() != Some("dev"));
            shipped.map(|d| (package.name.as_str(), d.name.as_str()))
        });
        edges.filter(|(_, to)| ours.contains(to)).collect()
    }
}
