//! Packages as a Nix closure: each one derivation, its dependencies in RPATHs and shebangs.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use afield_core::ids::NarHash;
use afield_core::release::PathInfo;
use anyhow::Context as _;
use serde::Deserialize;

use super::output;
use super::packages::{Deb, Pair};

/// Which of the two versions.
#[derive(Clone, Copy)]
pub enum Version {
    Old,
    New,
}

/// A system: its toplevel, and the paths of its closure, references before referrers.
pub struct Generation {
    pub top: String,
    pub paths: Vec<PathInfo>,
}

/// What a package goes through: unpacked, then its dependencies written where Nix packages have them.
const BUILDER: &str = r#"
set -e
PATH=/usr/bin:/bin
mkdir -p "$out"
dpkg-deb -x "$deb" "$out"
find "$out" -type d -exec chmod u+rwx,go-s {} +
mkdir -p "$out/nix-support"
echo "$deps" > "$out/nix-support/propagated-build-inputs"
rpath="$out/usr/lib/x86_64-linux-gnu"
shell=
for d in $deps; do
    rpath="$rpath:$d/usr/lib/x86_64-linux-gnu"
    case "$d" in *-base) shell="$d/bin/sh" ;; esac
done
find "$out" -type f -size +1k | while read -r f; do
    case "$(head -c 4 "$f" | tr -d '\0')" in
        ?ELF) patchelf --set-rpath "$rpath" "$f" 2>/dev/null || : ;;
        '#!/b'|'#! /') sed -i "1s|^#! */bin/[a-z]*sh|#!$shell|" "$f" ;;
    esac
done
find "$out" -exec touch -h -d @1 {} +
"#;

/// Builds a generation; `salt` is the content of a package that every other one refers to.
pub fn build(
    work: &Path,
    pairs: &[Pair],
    version: Version,
    salt: &str,
) -> anyhow::Result<Generation> {
    let script = work.join("builder.sh");
    fs::write(&script, BUILDER)?;
    let debs: BTreeMap<&str, &Deb> = pairs
        .iter()
        .map(|p| {
            let deb = match version {
                Version::Old => &p.old,
                Version::New => &p.new,
            };
            (p.name.as_str(), deb)
        })
        .collect();
    let file = work.join(format!("generation-{salt}.nix"));
    fs::write(&file, expression(&debs, salt))?;
    let top = output(nix("nix-build").arg("--no-out-link").arg(&file))?;
    let top = top.trim().to_owned();
    let paths = path_info(&top)?;
    Ok(Generation { top, paths })
}

/// A Nix program that asks no server and needs no other user.
pub fn nix(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env(
        "NIX_CONFIG",
        "build-users-group =\nsubstituters =\nsandbox = false\nfilter-syscalls = false\nexperimental-features = nix-command\n",
    );
    command
}

fn expression(debs: &BTreeMap<&str, &Deb>, salt: &str) -> String {
    let mut text = String::from(
        "let\n  make = name: deb: deps: derivation { inherit name deb; deps = map toString deps;\n    \
         system = \"x86_64-linux\"; builder = \"/bin/sh\"; args = [ ./builder.sh ]; };\n",
    );
    text.push_str(&format!(
        "  base = derivation {{ name = \"base\"; system = \"x86_64-linux\"; builder = \"/bin/sh\"; args = [ \"-c\"\n    \
         \"/bin/mkdir -p $out/bin; echo {salt} > $out/salt; echo sh > $out/bin/sh\" ]; }};\n"
    ));
    let mut done = Vec::new();
    for (name, deb) in debs {
        let deps: Vec<&str> = deb
            .depends
            .iter()
            .map(String::as_str)
            // Only earlier ones, so that no circle comes up.
            .filter(|d| *d < *name && debs.contains_key(d))
            .collect();
        let deps: Vec<String> = deps.iter().map(|d| variable(d)).collect();
        text.push_str(&format!(
            "  {} = make \"{}\" {} [ base {} ];\n",
            variable(name),
            store_name(name, &deb.version),
            format_args!("\"{}\"", deb.file.display()),
            deps.join(" ")
        ));
        done.push(variable(name));
    }
    text.push_str(&format!(
        "in derivation {{ name = \"system\"; system = \"x86_64-linux\"; builder = \"/bin/sh\";\n  \
         packages = map toString [ {} ]; args = [ \"-c\" \"/bin/mkdir $out; for p in $packages; do \
         echo $p >> $out/packages; done\" ]; }}\n",
        done.join(" ")
    ));
    text
}

fn variable(name: &str) -> String {
    format!("p_{}", name.replace(['.', '+', '-'], "_"))
}

fn store_name(name: &str, version: &str) -> String {
    let version = version.split_once(':').map_or(version, |(_, v)| v);
    format!("{name}-{}", version.replace('~', "-"))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    path: String,
    nar_hash: String,
    nar_size: u64,
    references: Vec<String>,
}

/// What Nix's database knows of a closure.
fn path_info(top: &str) -> anyhow::Result<Vec<PathInfo>> {
    let json = output(nix("nix").args(["path-info", "--json", "-r", top]))?;
    let told: Vec<Told> = serde_json::from_str(&json)?;
    let mut paths = BTreeMap::new();
    for t in told {
        let hash = output(nix("nix").args(["hash", "to-base16", "--type", "sha256", &t.nar_hash]))?;
        let references: Result<Vec<_>, _> = t.references.iter().map(|r| r.parse()).collect();
        let mut references = references?;
        references.sort();
        let info = PathInfo {
            path: t.path.parse()?,
            nar_hash: format!("sha256:{}", hash.trim()).parse::<NarHash>()?,
            nar_size: t.nar_size,
            references,
        };
        paths.insert(t.path, info);
    }
    let order = output(nix("nix-store").args(["-qR", top]))?;
    order
        .lines()
        .map(|l| paths.remove(l).with_context(|| format!("nix path-info left out {l}")))
        .collect()
}
