//! Reboot windows of `afield.toml` that would be without effect, and nobody would notice before the night.

use std::collections::BTreeSet;

use afield_core::ids::{HostName, Name};

use super::{Declared, Project};
use crate::exit::Failure;

/// Refuses a window of a host or wave that is not there, and a site's if one of its hosts is not.
pub fn refuse_lost_windows(project: &Project, declared: &Declared) -> Result<(), Failure> {
    let settings = &project.settings;
    let hosts: BTreeSet<&HostName> = declared.hosts.keys().collect();
    let waves: Vec<&Name> = declared.waves.iter().map(|w| &w.name).collect();
    if let Some(wave) = settings.reboot.waves.keys().find(|wave| !waves.contains(wave)) {
        let place = project.place(&["reboot", "waves", wave.as_str()]);
        let names: Vec<&str> = waves.iter().map(|w| w.as_str()).collect();
        return Err(lost(&place, &format!("there is no wave {wave}"))
            .hint(format!("the waves are {}", names.join(", "))));
    }
    let mut own = settings.hosts.iter().filter(|(_, own)| own.reboot_window.is_some());
    if let Some((host, _)) = own.find(|(host, _)| !hosts.contains(host)) {
        let place = project.place(&["hosts", host.as_str(), "reboot-window"]);
        return Err(unknown(&place, host));
    }
    for (site, own) in settings.sites.iter().filter(|(_, own)| own.reboot_window.is_some()) {
        if let Some(host) = own.hosts.iter().find(|host| !hosts.contains(host)) {
            return Err(unknown(&project.place(&["sites", site.as_str(), "hosts"]), host));
        }
    }
    Ok(())
}

fn unknown(place: &str, host: &HostName) -> Failure {
    lost(place, &format!("there is no host {host}"))
        .hint("correct the name; afield show hosts lists all that there are")
}

fn lost(place: &str, why: &str) -> Failure {
    Failure::refused(format!("{place}: a reboot window has no effect, since {why}"))
}
