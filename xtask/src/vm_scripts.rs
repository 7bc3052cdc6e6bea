//! The scripts of the NixOS VM tests are Python: parsed here, since nothing runs them where there is no nixpkgs.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use crate::nix_tests::{Count, Nix};

/// Parses each of them.
pub fn parse(nix: &Nix, count: &mut Count) -> Result<()> {
    for (file, script) in nix.json::<BTreeMap<String, String>>("vmScripts")? {
        let mut python = Command::new("python3");
        python.args(["-c", "import ast, sys; ast.parse(sys.stdin.read())"]);
        python.stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut python = python.spawn().context("running python3")?;
        if let Some(mut input) = python.stdin.take() {
            input.write_all(script.as_bytes())?;
        }
        let done = python.wait_with_output()?;
        let result = match done.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&done.stderr).into_owned()),
        };
        count.tell(&format!("vm-script/{file}"), result);
    }
    Ok(())
}
