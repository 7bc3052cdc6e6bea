//! Sudo rules by profile, without passwords, since nobody has one.

use super::People;
use crate::ids::Name;
use crate::profile::Sudo;

/// Where programs are on NixOS, and on Debian and Ubuntu. All belong to root, so that naming one that is not there
/// gives nothing away.
const BINS: [&str; 3] = ["/run/current-system/sw/bin", "/usr/bin", "/usr/sbin"];

/// A command of a profile with the absolute paths that its program may have.
fn programs(command: &str) -> impl Iterator<Item = String> + '_ {
    BINS.into_iter().map(move |bin| format!("{bin}/{command}"))
}

/// The file; none if nobody may do anything.
pub(super) fn rules(people: &People<'_>, deployments: &[Name]) -> Option<String> {
    let mut text = String::from(
        "# Written by afield-agent from the host data, and put back if it is changed.\n",
    );
    let mut any = false;
    for (name, person) in &people.active {
        let mut commands: Vec<String> = Vec::new();
        match person.rights.sudo {
            Sudo::No => {}
            Sudo::All => {
                text.push_str(&format!("{name} ALL=(ALL:ALL) NOPASSWD:SETENV: ALL\n"));
                any = true;
                continue;
            }
            Sudo::Commands(list) => commands.extend(list.iter().map(|c| (*c).to_owned())),
        }
        if person.rights.starts_deployments {
            let start = |unit: &Name| {
                let start = format!("systemctl --system start {unit}");
                [format!("{start}.service"), start]
            };
            commands.extend(deployments.iter().flat_map(start));
        }
        // Not SETENV: with LD_PRELOAD every one of these commands would be all of them.
        let all: Vec<String> = commands.iter().flat_map(|c| programs(c)).collect();
        if !all.is_empty() {
            text.push_str(&format!("{name} ALL=(root) NOPASSWD: {}\n", all.join(", ")));
            any = true;
        }
    }
    any.then_some(text)
}
