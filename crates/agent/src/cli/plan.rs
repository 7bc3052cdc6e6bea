//! What `afield-agent plan` prints.

use std::process::ExitCode;

use afield_agent::host::Host;
use afield_agent::reconcile;
use afield_core::plan::Step;

use super::Cli;

/// Says what a check-in would do.
pub fn plan(cli: &Cli, host: &Host) -> anyhow::Result<ExitCode> {
    let (plan, refusal) = reconcile::preview(host)?;
    let refused = refusal.as_ref().map(|r| (r.code(), r.to_string()));
    if cli.json {
        let refused =
            refused.as_ref().map(|(code, why)| serde_json::json!({"code": code, "why": why}));
        println!("{}", serde_json::json!({ "plan": plan, "refused": refused }));
    } else {
        if let Some((code, why)) = &refused {
            println!("refused ({code}): {why}");
        }
        println!("{}", plan.why);
        for (n, step) in plan.steps.iter().enumerate() {
            println!("{:3}. {}", n + 1, describe(step));
        }
    }
    Ok(if refusal.is_some() { ExitCode::from(3) } else { ExitCode::SUCCESS })
}

fn describe(step: &Step) -> String {
    match step {
        Step::Wait { wait, bytes } => format!("{wait}; {bytes} bytes are to come"),
        Step::Lack { needed, free } => format!("stop: {needed} bytes are needed, {free} are free"),
        Step::Fetch { missing, bytes } => {
            let patches = missing.iter().filter(|m| !m.bases.is_empty()).count();
            let n = missing.len();
            format!(
                "fetch {bytes} bytes in {n} objects, {patches} of them patches, and import them"
            )
        }
        Step::Begin { to, .. } => match to.release {
            Some(release) => format!("write down the attempt at release {release}"),
            None => "write down the attempt".into(),
        },
        Step::ApplyData { data } => format!("apply the host data {data}"),
        Step::Activate { system } => format!("activate {system}"),
        Step::Await { system } => format!("wait for the activation of {system}"),
        Step::Prove => "prove it by the checks, or roll back".into(),
        Step::Commit => "write it down as the last good state".into(),
        Step::GiveUp { why } => format!("give up, and tell: {why}"),
        Step::RollBack { why } => format!("roll back: {why}"),
        Step::LackBoot(lack) => {
            format!("stop: {} bytes are needed to boot it, {} are free", lack.needed, lack.free)
        }
        Step::NoTrial { why } => format!("stop: a restart cannot be tried here: {why}"),
        Step::Promote { system } => format!("make {system} what the machine starts by itself"),
        Step::Arm { system } => format!("give {system} the next boot on trial"),
        Step::Reboot { why } => format!("restart: {why}"),
        Step::WaitForWindow { why, window } => {
            format!(
                "wait until {} to restart, at most until {}: {why}",
                window.opens, window.closes
            )
        }
        Step::OnTrial => "judge the last good state by its first boot".into(),
        Step::Watch => "run the checks and report".into(),
    }
}
