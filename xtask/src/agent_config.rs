//! The agent's configuration as the modules write it, checked by the real agent (issue 6.5), as in a build.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::Value;

use crate::nix_tests::{Count, Nix};

#[derive(Deserialize)]
struct Configs {
    /// By host.
    right: BTreeMap<String, Value>,
    /// By what is wrong.
    wrong: BTreeMap<String, Value>,
}

/// Right ones are taken, wrong ones refused.
pub fn check(nix: &Nix, count: &mut Count) -> Result<()> {
    let configs: Configs = nix.json("agentConfigs")?;
    let agent = agent()?;
    let dir = tempfile::tempdir()?;
    let told = |name: &str, config: &Value| -> Result<(bool, String)> {
        let file = dir.path().join(format!("{name}.toml"));
        std::fs::write(&file, toml::to_string(config)?)?;
        let output = Command::new(&agent).arg("check-config").arg(&file).output()?;
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        Ok((output.status.success(), told))
    };
    for (host, config) in &configs.right {
        let (ok, why) = told(host, config)?;
        count.tell(&format!("agent-config/{host}"), if ok { Ok(()) } else { Err(why) });
    }
    for (what, config) in &configs.wrong {
        let (ok, _) = told(what, config)?;
        let result = if ok { Err("the agent takes it, and must not".into()) } else { Ok(()) };
        count.tell(&format!("agent-config/{what}"), result);
    }
    Ok(())
}

/// The agent of this repository, built if need be.
fn agent() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built =
        Command::new(cargo).args(["build", "--quiet", "--package", "afield-agent"]).status();
    ensure!(built.context("running cargo")?.success(), "afield-agent does not build");
    let beside = std::env::current_exe()?.with_file_name("afield-agent");
    ensure!(beside.is_file(), "there is no agent at {}", beside.display());
    Ok(beside)
}
