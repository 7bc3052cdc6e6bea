//! The story: four releases, one of which breaks a host.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::host::{Host, Seen, Target};
use super::show::Show;
use super::stage::Stage;
use super::{net, picture, watch};

/// The host whose service release 3 breaks; it stands in the middle wave.
const BROKEN: &str = "hosp-jacmel";
/// How long the final wave is watched after the rollout stopped: longer than the soak time and an agent's interval.
const STILLNESS: Duration = Duration::from_secs(6);

const NOTICES: [&str; 3] = [
    "Notice 1: measles vaccines arrive on Monday.",
    "Notice 2: measles vaccines arrive on Tuesday.",
    "Notice 3: measles vaccines have arrived.",
];

/// Plays it.
pub fn play(stage: &Stage, show: &Show, picture: Option<&Path>) -> Result<()> {
    show.chapter("Six hosts in three countries, a fleet folder in Git, and fresh keys");
    stage.make_keys(show)?;
    stage.show(show, &["check"])?;

    show.chapter("Release 1 reaches every host, wave by wave");
    let first = stage.targets(NOTICES[0])?;
    stage.sign(show, &["release"])?;
    stage.start_hub()?;
    stage.start_agents()?;
    stage.sign(show, &["rollout", "start", "1"])?;
    wave_by_wave(stage, show, &first)?;

    show.chapter("Release 2 changes an app config and every system");
    stage.edit("site/notice.txt", NOTICES[0], NOTICES[1])?;
    let file = "org-config/app_configs/master/clinics/intake-configs.yml";
    stage.edit(file, "version: 1", "version: 2")?;
    stage.commit("Vaccines come a day later; the intake form asks for an address")?;
    let second = stage.targets(NOTICES[1])?;
    stage.sign(show, &["release"])?;
    stage.sign(show, &["rollout", "start", "2"])?;
    wave_by_wave(stage, show, &second)?;

    show.chapter("Release 3 breaks the web service of one host in the middle wave");
    stage.edit("site/notice.txt", NOTICES[1], NOTICES[2])?;
    let file = format!("org-config/hosts/{BROKEN}.nix");
    stage.edit(&file, "web.port = 8080", "web.port = 80800")?;
    stage.commit("Vaccines are here (and a finger slipped)")?;
    let third = stage.targets(NOTICES[2])?;
    stage.sign(show, &["release"])?;
    stage.sign(show, &["rollout", "start", "3"])?;
    rolls_back(stage, show, &second, &third)?;
    stops(stage, show, &second, &third)?;
    tells_why(stage, show)?;
    if let Some(file) = picture {
        picture::take(stage.page(), file)?;
        show.say(&format!("the hub's page is in {}", file.display()));
    }

    show.chapter("The operator takes release 3 back: release 4 has the systems of release 2");
    stage.sign(show, &["release", "--like", "2"])?;
    stage.sign(show, &["rollout", "start", "4"])?;
    all_green(stage, show, &second)
}

/// Every host arrives, and none before the whole wave ahead of it.
fn wave_by_wave(stage: &Stage, show: &Show, targets: &[Target]) -> Result<()> {
    let what = "every host runs the release";
    let arrived = watch::hosts(stage, show, what, targets, |seen| Ok(all_are(seen, targets)))?;
    let of = |wave: usize| {
        let members = stage.hosts.iter().zip(&arrived).filter(move |(host, _)| host.wave == wave);
        members.filter_map(|(_, arrived)| *arrived)
    };
    for wave in 1..=2 {
        let (last, next) = (of(wave - 1).max(), of(wave).min());
        ensure!(last < next, "wave {} was served before wave {wave} was done", wave + 1);
    }
    let ends: Vec<String> = (0..=2)
        .filter_map(|wave| Some(format!("{:.1} s", of(wave).max()?.as_secs_f32())))
        .collect();
    show.say(&format!("seen on all six hosts; the waves were done at {}", ends.join(", ")));
    hub_says(stage, "the hub calls the rollout done", is_done)
}

fn is_done(status: &Value) -> bool {
    status["rollout"]["status"]["is"] == "done"
}

/// The broken host was seen with the new system and no page, and then with the old system and its page.
fn rolls_back(stage: &Stage, show: &Show, old: &[Target], new: &[Target]) -> Result<()> {
    let place = place_of(stage, BROKEN)?;
    let (mut tried, mut without_page) = (false, false);
    let what = format!(
        "{BROKEN} has tried release 3 and is back, and the hosts before and beside it run it"
    );
    watch::hosts(stage, show, &what, new, |seen| {
        let host = &seen[place];
        tried |= host.runs(&new[place]);
        without_page |= host.runs(&new[place]) && host.page.is_none();
        let back = without_page && host.is(&old[place]);
        let others = stage.hosts.iter().enumerate();
        let mut others = others.filter(|(i, host)| *i != place && host.wave < 2);
        Ok(back && others.all(|(i, _)| seen[i].is(&new[i])))
    })
    .with_context(|| {
        format!("{BROKEN} was seen with the new system: {tried}, without its page: {without_page}")
    })?;
    show.saw(&format!(
        "{BROKEN} ran release 3, served no page, and is back at the system of release 2"
    ));
    Ok(())
}

/// For a while nothing moves: the final wave keeps what it has.
fn stops(stage: &Stage, show: &Show, old: &[Target], new: &[Target]) -> Result<()> {
    let expected = |i: usize| {
        let host = &stage.hosts[i];
        if host.wave == 2 || host.name == BROKEN { &old[i] } else { &new[i] }
    };
    let until = Instant::now() + STILLNESS;
    let what = "the time of watching is over";
    watch::hosts(stage, show, what, new, |seen| {
        for (i, host) in stage.hosts.iter().enumerate() {
            let seen: &Seen = &seen[i];
            ensure!(
                !seen.contradicts(expected(i)),
                "{} moved although the rollout should have stopped: {}",
                host.name,
                seen.words()
            );
        }
        Ok(Instant::now() > until)
    })?;
    let seconds = STILLNESS.as_secs();
    show.saw(&format!("for {seconds} s nothing moved: the final wave still runs release 2"));
    Ok(())
}

/// `afield status` names the host, the check, and the line of the log that explains it.
fn tells_why(stage: &Stage, show: &Show) -> Result<()> {
    let text = stage.show(show, &["status", BROKEN])?;
    for word in [BROKEN, "web", "bad port '80800'"] {
        ensure!(text.contains(word), "`afield status {BROKEN}` does not say {word:?}");
    }
    Ok(())
}

/// Every host is seen at the old systems, and then the hub says so too.
fn all_green(stage: &Stage, show: &Show, targets: &[Target]) -> Result<()> {
    watch::hosts(stage, show, "every host is back at release 2's system", targets, |seen| {
        Ok(all_are(seen, targets))
    })?;
    show.saw("all six hosts serve what they served with release 2");
    hub_says(stage, "the hub has heard it of every host", green)?;
    stage.show(show, &["status"])?;
    watch::until("every host still serves it", || {
        let now: Vec<Seen> = stage.hosts.iter().map(Host::look).collect();
        Ok(all_are(&now, targets).then_some(()))
    })
}

fn all_are(seen: &[Seen], targets: &[Target]) -> bool {
    seen.iter().zip(targets).all(|(seen, target)| seen.is(target))
}

/// Whether the hub calls the rollout done, and knows six healthy hosts on release 4.
fn green(status: &Value) -> bool {
    let hosts = status["hosts"].as_array().map_or(&[][..], Vec::as_slice);
    let well = |host: &Value| host["running"] == 4 && host["state"] == "healthy";
    is_done(status) && hosts.len() == 6 && hosts.iter().all(well)
}

/// Waits for the hub's opinion. The story never rests on it; but the hub takes no new rollout before its soak time
/// is over, and operators should see at the end what was seen on the hosts.
fn hub_says(stage: &Stage, what: &str, said: fn(&Value) -> bool) -> Result<()> {
    watch::until(what, || {
        stage.teardown.all_alive()?;
        let status = net::get(stage.page(), "/v1/status").unwrap_or_default();
        let status: Value = serde_json::from_str(&status).unwrap_or_default();
        Ok(said(&status).then_some(()))
    })
}

fn place_of(stage: &Stage, name: &str) -> Result<usize> {
    let place = stage.hosts.iter().position(|host| host.name == name);
    match place {
        Some(place) => Ok(place),
        None => bail!("the example has no host {name}"),
    }
}
