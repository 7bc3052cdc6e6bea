//! The one page: how the fleet stands, without a script. All that hosts sent is escaped by `maud`.

use afield_core::health::Failure;
use afield_core::ids::ReleaseId;
use afield_core::rollout::{Active, Status};
use afield_core::status::{FleetStatus, HostStatus, State, WaveStatus, ago};
use maud::{DOCTYPE, Markup, PreEscaped, html};

const STYLE: &str = include_str!("page.css");

/// The page; it loads itself again every five seconds.
pub fn page(fleet: &FleetStatus) -> Markup {
    let name = fleet.fleet.as_ref().map_or("no fleet yet", |n| n.as_str());
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="refresh" content="5";
                title { (name) " · Afield" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { (name) }
                    p { "Afield · " (fleet.time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()) }
                }
                main {
                    @for problem in &fleet.problems {
                        p.problem role="alert" { (problem) }
                    }
                    (rollout(fleet))
                    (hosts(fleet))
                }
            }
        }
    }
}

fn rollout(fleet: &FleetStatus) -> Markup {
    let tone = fleet.rollout.as_ref().map_or("idle", |a| a.status.word());
    html! {
        section.rollout.(tone) {
            @match &fleet.rollout {
                Some(active) => (headline(active)),
                None => (idle(fleet.newest)),
            }
            @if !fleet.waves.is_empty() {
                ol.waves { @for wave in &fleet.waves { (wave_card(wave, fleet)) } }
            }
        }
    }
}

fn headline(active: &Active) -> Markup {
    let release = active.release;
    let percent = active.policy.healthy_percent;
    html! {
        h2 { "Release " (release) " " span.word { (active.status.word()) } }
        @match &active.status {
            Status::Running => p {
                "The next wave follows when " (percent) " % of this one have been healthy for " (active.policy.soak) "."
            }
            Status::Paused => p { "No further wave until an operator says " code { "afield rollout resume" } "." }
            Status::Stopped { host, why } => {
                p { strong { (host) } " failed: " (why) }
                p.remedy {
                    "Take it back: " code { "afield release --like N" } " · pass over this host: "
                    code { "afield rollout resume" }
                }
            }
            Status::Done => p { "Every wave has it." }
            Status::Cancelled => p { "Waves that it had not reached do not get it." }
        }
    }
}

fn idle(newest: Option<ReleaseId>) -> Markup {
    html! {
        h2 { "No rollout" }
        @match newest {
            Some(release) => p { "Release " (release) " is there: " code { "afield rollout start " (release) } }
            None => p { "There is no release yet: " code { "afield release" } }
        }
    }
}

fn wave_card(wave: &WaveStatus, fleet: &FleetStatus) -> Markup {
    let active = fleet.rollout.as_ref();
    let reached = active.is_some_and(|a| wave.reached >= Some(a.release));
    let percent = |n: usize| (n * 100).checked_div(wave.hosts).unwrap_or(100);
    let class = match reached {
        _ if stopped_in(wave, fleet) => "bad",
        true if wave.healthy >= wave.needed => "good",
        true => "now",
        false => "later",
    };
    html! {
        li.(class) {
            h3 { (wave.name) }
            div.bar role="img" aria-label={ (wave.running) " of " (wave.hosts) " run it" } {
                i.runs style={ "width:" (percent(wave.running)) "%" } {}
                i.well style={ "width:" (percent(wave.healthy)) "%" } {}
            }
            p {
                @if wave.hosts == 0 { "no hosts" }
                @else if reached { (wave.healthy) " of " (wave.hosts) " proved" }
                @else if let Some(old) = wave.reached { "stays at release " (old) }
                @else { "not yet" }
            }
        }
    }
}

/// Whether the host that stopped the rollout stands in this wave.
fn stopped_in(wave: &WaveStatus, fleet: &FleetStatus) -> bool {
    let Some(Status::Stopped { host, .. }) = fleet.rollout.as_ref().map(|a| &a.status) else {
        return false;
    };
    fleet.hosts.iter().any(|h| h.host == *host && h.wave.as_ref() == Some(&wave.name))
}

fn hosts(fleet: &FleetStatus) -> Markup {
    html! {
        section.hosts {
            h2 { "Hosts" }
            (summary(&fleet.hosts))
            table {
                thead { tr {
                    th { "Host" } th { "Wave" } th { "Release" } th { "State" } th { "Heard" }
                } }
                @for host in &fleet.hosts { (row(fleet, host)) }
            }
        }
    }
}

/// How many are in each state, trouble first.
fn summary(hosts: &[HostStatus]) -> Markup {
    let mut counts = std::collections::BTreeMap::<State, usize>::new();
    for host in hosts {
        *counts.entry(host.state).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(state, _)| !state.is_trouble());
    html! {
        p.summary { @for (state, n) in counts { (badge(state, &format!("{n} {}", words(state)))) } }
    }
}

fn row(fleet: &FleetStatus, host: &HostStatus) -> Markup {
    html! {
        tbody id=(host.host) {
            tr {
                th scope="row" { (host.host) }
                td.wave { (host.wave.as_ref().map_or("none", |w| w.as_str())) }
                td.release { (releases(host)) }
                td.state { (badge(host.state, words(host.state))) }
                td.heard { @match &host.heard {
                    Some(heard) => {
                        time datetime=(heard.received) {
                            (ago(fleet.time.duration_since(heard.received).as_secs())) " ago"
                        }
                    }
                    None => "never",
                } }
            }
            @if !host.says.is_empty() || host.failure.is_some() || !host.notes.is_empty() {
                tr.more { td colspan="5" { (more(fleet, host)) } }
            }
        }
    }
}

fn releases(host: &HostStatus) -> Markup {
    let number = |r: Option<ReleaseId>| r.map_or("–".to_owned(), |r| r.to_string());
    html! {
        @if host.assigned.is_none() || host.running == host.assigned { (number(host.running)) }
        @else { (number(host.running)) span.arrow { " → " } (number(host.assigned)) }
    }
}

fn more(fleet: &FleetStatus, host: &HostStatus) -> Markup {
    let told = |f: &Failure| host.says.ends_with(&f.why);
    html! {
        @if !host.failure.as_ref().is_some_and(told) && !host.says.is_empty() { p { (host.says) } }
        @if let Some(update) = &host.update {
            progress value=(update.done) max=(update.total.max(1)) {}
        }
        @if let Some(failure) = &host.failure { (failed(fleet, failure)) }
        @for note in &host.notes { p.note { "Note: " (note) } }
    }
}

fn failed(fleet: &FleetStatus, failure: &Failure) -> Markup {
    let age = ago(fleet.time.duration_since(failure.time).as_secs());
    html! {
        div.failure {
            p { strong { "Release " (failure.release) " failed " (age) " ago: " } (failure.why) }
            @for check in failure.checks.iter().filter(|c| !failure.why.contains(&c.saw)) {
                p { "Check " strong { (check.name) } ", tried " (check.tries) " times: " (check.saw) }
            }
            @if !failure.log.is_empty() {
                pre { @for line in &failure.log { (line) "\n" } }
            }
        }
    }
}

fn badge(state: State, text: &str) -> Markup {
    html! { span.badge.(state.word()) { (text) } }
}

fn words(state: State) -> &'static str {
    match state {
        State::RolledBack => "rolled back",
        State::NeverSeen => "never seen",
        other => other.word(),
    }
}
