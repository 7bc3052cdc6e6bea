//! `afield-agent run`: check-ins for ever, as a service of systemd.

use std::collections::BTreeSet;
use std::path::Path;

use afield_core::report::Event;

use crate::config::Config;
use crate::host::Host;
use crate::journal::{self, Level};
use crate::notify::{Heart, tell};
use crate::reconcile::{self, Outcome};
use crate::upgrade;

/// Returns only to be started anew: as another program, or with another configuration.
pub fn run(host: &Host, file: &Path) {
    upgrade::become_chosen(&host.config);
    journal::host(host.config.host.as_str());
    let heart = Heart::start(host.config.activation_timeout.duration());
    let mut told = BTreeSet::new();
    tell("READY=1");
    loop {
        let say = progress(&heart);
        let done = reconcile::once(host, &say);
        let verdict = upgrade::Verdict::of(&done);
        match done {
            Ok(outcome) => tell_news(&outcome, &mut told),
            // The next check-in may find it mended; giving up would leave the host alone.
            Err(e) => journal::say(Level::Error, &format!("{e:#}")),
        }
        if upgrade::after_check_in(&host.config, verdict) || reconfigured(host, file) {
            return;
        }
        heart.beat();
        std::thread::sleep(host.config.interval.duration());
        heart.beat();
    }
}

/// Whether a switch, or a person, changed the configuration. One that cannot be read changes nothing: the host would be
/// without an agent.
fn reconfigured(host: &Host, file: &Path) -> bool {
    let changed = Config::read(file).is_ok_and(|config| config != host.config);
    if changed {
        let text = format!("{} was changed; the agent starts anew", file.display());
        journal::say(Level::Notice, &text);
    }
    changed
}

/// What a check-in says on its way. Progress of a transfer is for `systemctl status`, not for the journal.
fn progress(heart: &Heart) -> impl Fn(&str) + '_ {
    let last = std::cell::RefCell::new(String::new());
    move |text: &str| {
        heart.beat();
        tell(&format!("STATUS={text}"));
        if *last.borrow() != text && !text.starts_with("fetching:") {
            journal::say(Level::Info, text);
            text.clone_into(&mut last.borrow_mut());
        }
    }
}

/// Says what was not so at the check-in before.
fn tell_news(outcome: &Outcome, told: &mut BTreeSet<String>) {
    let mut now = BTreeSet::new();
    let mut news = |level: Level, text: String, more: &[(&str, &str)]| {
        if !told.contains(&text) {
            journal::say_with(level, &text, more);
        }
        now.insert(text);
    };
    for check in outcome.checks.iter().filter(|check| !check.passed) {
        let text = format!("the check {} fails: {}", check.name, check.saw);
        news(Level::Warning, text, &[("AFIELD_CHECK", check.name.as_str())]);
    }
    for note in &outcome.notes {
        news(Level::Notice, note.clone(), &[]);
    }
    let (level, name, text) = describe(outcome);
    tell(&format!("STATUS={text}"));
    news(level, text, &[("AFIELD_EVENT", name)]);
    if let Err(why) = &outcome.sent {
        news(Level::Notice, format!("reports wait: {why}"), &[]);
    }
    *told = now;
}

/// An event for a person: how bad it is, its name, and a sentence.
fn describe(outcome: &Outcome) -> (Level, &'static str, String) {
    let release = outcome.good.release.map_or("no release".into(), |r| format!("release {r}"));
    match &outcome.event {
        Event::Healthy => (Level::Info, "healthy", format!("healthy, at {release}")),
        Event::Unhealthy => (Level::Warning, "unhealthy", format!("UNHEALTHY, at {release}")),
        Event::Updating { to, done, total } => {
            (Level::Info, "updating", format!("updating to {to}: {done} of {total} bytes"))
        }
        Event::RolledBack { from, why, .. } => {
            (Level::Error, "rolled-back", format!("rolled back from release {from}: {why}"))
        }
        Event::Stuck { from, why, .. } => {
            (Level::Error, "stuck", format!("STUCK after release {from}: {why}"))
        }
        Event::Refused { code, why } => {
            (Level::Warning, "refused", format!("refused ({code}): {why}"))
        }
    }
}
