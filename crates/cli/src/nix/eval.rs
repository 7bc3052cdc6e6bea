//! One evaluation for all hosts, in which one host's error does not hide the others.
//!
//! Where `nix-eval-jobs` is, it evaluates (in parallel, and in little memory); else plain Nix does, with each
//! host in `tryEval`. That catches only `throw` and `assert`, so hosts without an answer are evaluated again
//! alone, which also brings the error's text.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use afield_core::ids::HostName;
use serde::Deserialize;

use super::reason::Reason;
use super::{NixError, System, nix, parallel, print, processors, program, run};

/// Where the hosts' systems are declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A Nix file whose value, or what its function gives for `{ }`, has one derivation a host.
    File(PathBuf),
    /// A flake's attribute set with one attribute a host.
    Flake {
        /// The flake reference.
        reference: String,
        /// The set's attribute path, as in `nixosConfigurations`.
        set: String,
        /// From a host's attribute to its derivation, as in `config.system.build.toplevel`; may be empty.
        within: Vec<String>,
    },
}

/// A flake attribute that does not tell hosts apart.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the attribute {0:?} has no part {{host}}, as in nixosConfigurations.{{host}}.config.system.build.toplevel"
)]
pub struct NoHost(String);

impl Source {
    /// From a flake reference and an attribute with `{host}` in it.
    pub fn flake(reference: &str, attribute: &str) -> Result<Self, NoHost> {
        let wrong = || NoHost(attribute.to_owned());
        let parts: Vec<&str> = attribute.split('.').map(|p| p.trim_matches('"')).collect();
        let at = parts.iter().position(|p| *p == "{host}").ok_or_else(wrong)?;
        if at == 0 {
            return Err(wrong());
        }
        Ok(Source::Flake {
            reference: reference.to_owned(),
            set: parts[..at].join("."),
            within: parts[at + 1..].iter().map(|p| (*p).to_owned()).collect(),
        })
    }

    fn within(&self) -> &[String] {
        match self {
            Source::File(_) => &[],
            Source::Flake { within, .. } => within,
        }
    }

    /// Plain Nix, evaluating a function of the set with all hosts.
    fn plain(&self, function: &str) -> Command {
        match self {
            Source::File(_) => {
                let mut command = program("nix-instantiate");
                command.args(["--eval", "--strict", "--json", "--read-write-mode", "--expr"]);
                command.arg(self.applied(function));
                command
            }
            Source::Flake { reference, set, .. } => {
                let mut command = nix();
                command.args(["eval", "--json", &format!("{reference}#{set}"), "--apply"]);
                command.arg(function);
                command
            }
        }
    }

    /// `nix-eval-jobs`, evaluating a function of the set that gives derivations.
    fn jobs(&self, function: &str) -> Command {
        let mut command = program("nix-eval-jobs");
        let workers = processors().to_string();
        command.args(["--workers", &workers]);
        match self {
            Source::File(_) => command.arg("--expr").arg(self.applied(function)),
            Source::Flake { reference, set, .. } => {
                command.args(["--flake", &format!("{reference}#{set}"), "--select", function])
            }
        };
        command
    }

    fn applied(&self, function: &str) -> String {
        let Source::File(path) = self else {
            return function.to_owned();
        };
        let file = quoted(&path.to_string_lossy());
        format!(
            "let value = import {file}; all = if builtins.isFunction value then value {{ }} else value; \
             in if builtins.isAttrs all then ({function}) all \
             else throw \"its value is a ${{builtins.typeOf all}}, but a set with one derivation a host is needed\""
        )
    }
}

/// What came of an evaluation: every host that was asked for is in one of the two.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Evaluation {
    /// Hosts that evaluate.
    pub systems: BTreeMap<HostName, System>,
    /// Hosts that do not, and why.
    pub failed: BTreeMap<HostName, Reason>,
}

/// Evaluates hosts. An error is one that is not about single hosts.
pub fn evaluate(source: &Source, hosts: &[HostName]) -> Result<Evaluation, NixError> {
    let mut answers = match with_jobs(source, hosts) {
        Some(answers) => answers,
        None => together(source, hosts)?,
    };
    let open: Vec<&HostName> = hosts.iter().filter(|h| !answers.contains_key(*h)).collect();
    // Each evaluation of a NixOS host may take a GiB, so no more at once than processors.
    let alone = parallel(&open, processors(), |host| alone(source, host));
    for (host, answer) in open.into_iter().zip(alone) {
        answers.insert(host.clone(), answer?);
    }
    let mut evaluation = Evaluation::default();
    for (host, answer) in answers {
        match answer {
            Ok(system) => drop(evaluation.systems.insert(host, system)),
            Err(reason) => drop(evaluation.failed.insert(host, reason)),
        }
    }
    Ok(evaluation)
}

type Answer = Result<System, Reason>;

/// What the expression below gives for a host.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Found {
    System {
        drv: afield_core::ids::StorePath,
        out: afield_core::ids::StorePath,
    },
    Missing {
        #[serde(rename = "missing")]
        _missing: bool,
    },
    Other {
        kind: String,
    },
    Failed {
        #[serde(rename = "failed")]
        _failed: bool,
    },
}

impl Found {
    /// None if the host has to be evaluated alone.
    fn answer(self) -> Option<Answer> {
        match self {
            Found::System { drv, out } => Some(Ok(System { drv, out })),
            Found::Missing { .. } => Some(Err(Reason::new(
                "it has no attribute of its name in what [build] of afield.toml names",
            ))),
            Found::Other { kind } => Some(Err(Reason::new(format!(
                "its attribute is a {kind}, but a derivation is needed"
            )))),
            Found::Failed { .. } => None,
        }
    }
}

/// The set's function that looks at hosts; `guard` wraps what a host gives.
fn look(source: &Source, hosts: &[&HostName], guard: &str) -> String {
    let list: Vec<String> = hosts.iter().map(|h| quoted(h.as_str())).collect();
    let within: Vec<String> = source.within().iter().map(|p| quoted(p)).collect();
    format!(
        r#"all:
let
  dig = builtins.foldl' (set: part: set.${{part}});
  look = host:
    if !(all ? ${{host}}) then {{ missing = true; }}
    else let value = dig all.${{host}} [ {within} ]; in
      if (value.type or null) == "derivation" then {{ drv = value.drvPath; out = value.outPath; }}
      else {{ kind = builtins.typeOf value; }};
  guard = {guard};
in builtins.listToAttrs (map (host: {{ name = host; value = guard (look host); }}) [ {list} ])"#,
        within = within.join(" "),
        list = list.join(" "),
    )
}

const TRY: &str = "value: let tried = builtins.tryEval (builtins.deepSeq value value); \
                   in if tried.success then tried.value else { failed = true; }";

/// All hosts in one plain evaluation. Hosts without an answer are left out.
fn together(source: &Source, hosts: &[HostName]) -> Result<BTreeMap<HostName, Answer>, NixError> {
    let all: Vec<&HostName> = hosts.iter().collect();
    match print(&mut source.plain(&look(source, &all, TRY)), "evaluating") {
        Ok(text) => read(&text),
        Err(NixError::Failed { .. }) => {
            // One host's error that cannot be caught, or an error of all: then not even the names are there.
            print(&mut source.plain("builtins.attrNames"), "evaluating")?;
            Ok(BTreeMap::new())
        }
        Err(error) => Err(error),
    }
}

/// One host, for its answer or its error.
fn alone(source: &Source, host: &HostName) -> Result<Answer, NixError> {
    let what = format!("evaluating {host}");
    match print(&mut source.plain(&look(source, &[host], "value: value")), &what) {
        Ok(text) => {
            let answer = read(&text)?.remove(host);
            answer.ok_or_else(|| NixError::answer(&what, &text))
        }
        Err(NixError::Failed { reason, .. }) => Ok(Err(reason)),
        Err(error) => Err(error),
    }
}

fn read(text: &str) -> Result<BTreeMap<HostName, Answer>, NixError> {
    let found: BTreeMap<HostName, Found> =
        serde_json::from_str(text).map_err(|_| NixError::answer("evaluating", text))?;
    let answers = found.into_iter().filter_map(|(host, f)| Some((host, f.answer()?)));
    Ok(answers.collect())
}

/// A line of `nix-eval-jobs`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Job {
    attr: String,
    drv_path: Option<afield_core::ids::StorePath>,
    #[serde(default)]
    outputs: BTreeMap<String, afield_core::ids::StorePath>,
    error: Option<String>,
}

/// With `nix-eval-jobs`; none where it is not, or where it cannot do this, which plain Nix then does or explains.
fn with_jobs(source: &Source, hosts: &[HostName]) -> Option<BTreeMap<HostName, Answer>> {
    let list: Vec<String> = hosts.iter().map(|h| quoted(h.as_str())).collect();
    let within: Vec<String> = source.within().iter().map(|p| quoted(p)).collect();
    let function = format!(
        "all: builtins.mapAttrs (_: value: builtins.foldl' (set: part: set.${{part}}) value [ {} ]) \
         (builtins.intersectAttrs (builtins.listToAttrs (map (name: {{ inherit name; value = null; }}) [ {} ])) all)",
        within.join(" "),
        list.join(" "),
    );
    let output = run(&mut source.jobs(&function)).ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let jobs: Vec<Job> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>().ok()?;
    let mut answers = BTreeMap::new();
    for job in jobs {
        let Ok(host) = job.attr.trim_matches('"').parse::<HostName>() else {
            continue;
        };
        let out = job.outputs.get("out").cloned();
        match (job.error, job.drv_path, out) {
            (Some(error), ..) => drop(answers.insert(host, Err(Reason::parse(&error)))),
            (None, Some(drv), Some(out)) => drop(answers.insert(host, Ok(System { drv, out }))),
            _ => {}
        }
    }
    (!answers.is_empty()).then_some(answers)
}

/// A Nix string literal.
fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace("${", "\\${");
    format!("\"{escaped}\"")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn flake_attributes_split_at_the_host() {
        let flake = |a| Source::flake("/fleet", a);
        let Ok(Source::Flake { set, within, .. }) =
            flake("nixosConfigurations.{host}.config.system.build.toplevel")
        else {
            panic!("refused");
        };
        assert_eq!(set, "nixosConfigurations");
        assert_eq!(within, ["config", "system", "build", "toplevel"]);
        let Ok(Source::Flake { within, .. }) = flake("systemConfigs.\"{host}\"") else {
            panic!("refused");
        };
        assert!(within.is_empty());
        assert!(flake("nixosConfigurations").is_err() && flake("{host}").is_err());
    }

    #[test]
    fn texts_cannot_leave_their_quotes() {
        assert_eq!(quoted(r#"a"b\c${d}"#), r#""a\"b\\c\${d}""#);
    }
}
