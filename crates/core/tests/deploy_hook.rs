//! `afield deploy-hook` against the inventories of the older tool.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::PathBuf;

use afield_core::deploy_hook::{Through, inventory, targets};
use serde_json::Value;

#[path = "../../testkit/src/golden.rs"]
mod found;

fn cases() -> PathBuf {
    found::golden("outputs/deploy-inventory")
}

#[test]
fn inventories_are_those_of_the_older_tool() {
    let mut seen = 0;
    for case in std::fs::read_dir(cases()).unwrap() {
        let case = case.unwrap().path();
        let read = |name: &str| std::fs::read_to_string(case.join(name));
        let arguments: Vec<String> = serde_json::from_str(&read("args.json").unwrap()).unwrap();
        let argument = |name: &str| {
            let at = arguments.iter().position(|a| *a == format!("--{name}")).unwrap();
            arguments[at + 1].clone()
        };
        let through = Through {
            relay: argument("sshrelay_domain"),
            user: argument("sshrelay_user"),
            port: argument("sshrelay_port").parse().unwrap(),
            key: argument("keyfile"),
            timeout: argument("timeout").parse().unwrap(),
        };
        let event = read(&argument("eventlog")).unwrap();
        let found = targets(&event, &argument("fixedhosts"), &argument("fixedtunnelports"));
        match read("inventory.json") {
            Ok(golden) => {
                let golden: Value = serde_json::from_str(&golden).unwrap();
                assert_eq!(inventory(&found.unwrap(), &through), golden, "{}", case.display());
            }
            // Refused by both; ours names the port and says what to give instead.
            Err(_) => {
                let golden = read("error.txt").unwrap();
                let said = found.unwrap_err().to_string();
                assert!(
                    golden.contains("'30x1'") && said.contains("\"30x1\""),
                    "{}: {said}",
                    case.display()
                );
            }
        }
        seen += 1;
    }
    assert!(seen >= 5, "only {seen} cases in {}", cases().display());
}
