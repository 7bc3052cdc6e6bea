//! The decision of a rollout, as a table: each case is a little story, and what is expected at each line.
//!
//! A line is `what happens -> what changes at once`. Time moves by `wait` alone. `assigned` lists what every
//! host was last assigned. Hosts say: `aa healthy 1` (runs release 1), `aa unhealthy 1`, `aa rolled-back 2 on 1`,
//! `aa stuck 2 on 1`, `aa refused on 1`, `aa updating 2 on 1`.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use afield_core::assignment::Action;
use afield_core::health::Health;
use afield_core::ids::{HostName, ReleaseId};
use afield_core::release::Wave;
use afield_core::report::{CheckResult, Event, Report};
use afield_core::rollout::{Change, Policy, Rollout, Status};
use afield_core::span::Span;
use jiff::{SignedDuration, Timestamp};

const CASES: &[(&str, &str)] = &[
    ("a wave follows after the soak, and only by reports", "
        waves first=aa middle=bb,cc final=dd
        start 1             -> first may 1
        assigned            -> aa=1
        aa healthy 1        ->
        wait 9m             ->
        aa healthy 1        ->
        wait 1m             ->
        aa healthy 1        -> middle may 1
        assigned            -> aa=1 bb=1 cc=1
        bb healthy 1        ->
        cc healthy 1        ->
        wait 10m            ->
        bb healthy 1        ->
        cc healthy 1        -> final may 1
        dd healthy 1        ->
        wait 10m            ->
        dd healthy 1        -> done 1"),
    ("silence is not health", "
        waves first=aa final=bb
        start 1             -> first may 1
        wait 400d           ->
        aa healthy 1        ->
        wait 400d           ->
        assigned            -> aa=1
        aa healthy 1        -> final may 1"),
    ("queued reports that arrive together do not count as soaked", "
        waves first=aa final=bb
        start 1             -> first may 1
        aa healthy 1        ->
        aa healthy 1        ->
        aa healthy 1        ->"),
    ("healthy on another release does not count", "
        waves first=aa final=bb
        aa healthy 1        ->
        wait 1d             ->
        aa healthy 1        ->
        start 2             -> first may 2
        aa healthy 1        ->
        wait 10m            ->
        aa updating 2 on 1  ->
        aa healthy 2        ->
        wait 9m             ->
        aa healthy 2        ->
        wait 1m             ->
        aa healthy 2        -> final may 2"),
    ("one failed host stops it, however good the others", "
        waves first=aa,ab,ac final=dd
        percent 50
        start 1             -> first may 1
        aa healthy 1        ->
        ab healthy 1        ->
        ac rolled-back 1    -> stopped ac
        wait 10m            ->
        aa healthy 1        ->
        ab healthy 1        ->
        assigned            -> aa=1 ab=1 ac=1"),
    ("a host that fails in an earlier wave stops the later ones", "
        waves first=aa middle=bb final=cc
        soak 0s
        start 1             -> first may 1
        aa healthy 1        -> middle may 1
        aa unhealthy 1      -> stopped aa
        bb healthy 1        ->"),
    ("a failure stops it also while an earlier wave is not good any more", "
        waves first=aa middle=bb final=cc
        soak 0s
        start 1             -> first may 1
        aa healthy 1        -> middle may 1
        aa healthy 0        ->
        bb stuck 1          -> stopped bb"),
    ("trouble on the old release does not hide the failed one", "
        waves first=aa,ab final=cc
        soak 0s
        start 1             -> first may 1
        aa healthy 1        ->
        ab healthy 1        -> final may 1
        cc healthy 1        -> done 1
        start 2             -> first may 2
        pause               ->
        aa rolled-back 2 on 1 ->
        aa unhealthy 1      ->
        aa healthy 1        ->
        resume              -> stopped aa"),
    ("refused and updating are no failure, and no health", "
        waves first=aa final=bb
        start 1             -> first may 1
        aa refused on 0     ->
        aa updating 1 on 0  ->
        wait 1d             ->
        aa refused on 0     ->"),
    ("percents are rounded up", "
        waves first=aa,ab,ac final=dd
        soak 0s
        percent 34
        start 1             -> first may 1
        aa healthy 1        ->
        ab healthy 1        -> final may 1"),
    ("no percent still wants one host", "
        waves first=aa,ab final=dd
        soak 0s
        percent 0
        start 1             -> first may 1
        ab healthy 1        -> final may 1"),
    ("an empty wave holds nobody up", "
        waves first= middle=bb final= 
        soak 0s
        start 1             -> first may 1; middle may 1
        bb healthy 1        -> final may 1; done 1"),
    ("unhealthy for a moment restarts the soak", "
        waves first=aa,ab final=bb
        start 1             -> first may 1
        aa unhealthy 1      -> stopped aa
        resume              ->
        ab healthy 1        ->
        wait 9m             ->
        pause               ->
        ab unhealthy 1      ->
        ab healthy 1        ->
        resume              ->
        wait 9m             ->
        ab healthy 1        ->
        wait 1m             ->
        ab healthy 1        -> final may 1"),
    ("resume passes the failed host over, not the next one", "
        waves first=aa,ab,ac final=dd
        soak 0s
        start 1             -> first may 1
        aa rolled-back 1    -> stopped aa
        ab rolled-back 1    ->
        resume              -> stopped ab
        resume              ->
        ac healthy 1        -> final may 1"),
    ("a paused rollout waits, and goes on where it was", "
        waves first=aa final=bb
        soak 0s
        start 1             -> first may 1
        pause               ->
        pause               -> refused: the rollout of release 1 is paused, so there is nothing to pause
        aa healthy 1        ->
        resume              -> final may 1
        resume              -> refused: the rollout of release 1 is running, so there is nothing to resume"),
    ("a cancelled rollout keeps what it reached and gives no more", "
        waves first=aa final=bb
        soak 0s
        start 1             -> first may 1
        cancel              ->
        aa healthy 1        ->
        assigned            -> aa=1
        cancel              -> refused: the rollout of release 1 is cancelled, so there is nothing to cancel
        start 1             -> refused: release 1 is not newer than 1, which was handed out already
        start 2             -> first may 2"),
    ("one at a time, and never an older one", "
        waves first=aa final=bb
        resume              -> refused: no rollout is under way
        start 2             -> first may 2
        start 3             -> refused: release 2 is still being rolled out
        pause               ->
        start 3             -> refused: release 2 is still being rolled out
        cancel              ->
        start 1             -> refused: release 1 is not newer than 2, which was handed out already
        start 2             -> refused: release 2 is not newer than 2, which was handed out already
        start 3             -> first may 3"),
    ("a stopped rollout gives way to the release that takes it back", "
        waves first=aa middle=bb final=cc
        soak 0s
        start 3             -> first may 3
        aa healthy 3        -> middle may 3
        bb rolled-back 3    -> stopped bb
        start 4             -> first may 4
        assigned            -> aa=4 bb=3
        aa healthy 4        -> middle may 4
        bb healthy 4        -> final may 4
        assigned            -> aa=4 bb=4 cc=4
        cc healthy 4        -> done 4"),
    ("a host that wakes after months gets the newest release that its wave reached", "
        waves first=aa final=bb,cc
        soak 0s
        percent 50
        start 1             -> first may 1
        aa healthy 1        -> final may 1
        cc healthy 1        -> done 1
        start 2             -> first may 2
        aa healthy 2        -> final may 2
        cc healthy 2        -> done 2
        start 3             -> first may 3
        wait 200d           ->
        bb healthy 0        ->
        assigned            -> aa=3 bb=2 cc=2"),
    ("a host that moves to a later wave is never assigned an older release", "
        waves first=aa,ab final=bb
        soak 0s
        start 1             -> first may 1
        aa healthy 1        ->
        ab healthy 1        -> final may 1
        bb healthy 1        -> done 1
        start 2             -> first may 2
        cancel              ->
        waves first=aa final=ab,bb
        start 3             -> first may 3
        assigned            -> aa=3 ab=2 bb=1"),
    ("a host that moves to an earlier wave gets what that one has", "
        waves first=aa final=bb,cc
        start 1             -> first may 1
        cancel              ->
        waves first=aa,bb final=cc
        start 2             -> first may 2
        assigned            -> aa=2 bb=2"),
    ("a host is never assigned a release that has nothing for it", "
        waves first=aa final=bb
        soak 0s
        start 1             -> first may 1
        aa healthy 1        -> final may 1
        bb healthy 1        -> done 1
        waves first=aa final=bb,nn
        lacks 1=nn
        start 2             -> first may 2
        assigned            -> aa=2 bb=1
        aa healthy 2        -> final may 2
        assigned            -> aa=2 bb=2 nn=2"),
    ("a hub that lost its memory makes no host older, and can go on", "
        waves first=aa final=bb,cc
        recover aa=5 bb=4 cc=5
        assigned            -> aa=5 bb=4 cc=5
        start 4             -> refused: release 4 is not newer than 5, which was handed out already
        soak 0s
        start 5             ->
        aa healthy 5        -> final may 5
        assigned            -> aa=5 bb=5 cc=5
        bb healthy 5        ->
        cc healthy 5        -> done 5"),
    ("a hub that lost its memory after the end has nothing to start again", "
        waves first=aa final=bb
        recover aa=5 bb=5
        start 5             -> refused: release 5 is not newer than 5, which was handed out already"),
];

#[test]
fn every_case_goes_as_told() {
    for (name, story) in CASES {
        let mut world = World::new();
        for line in story.lines().map(str::trim).filter(|l| !l.is_empty()) {
            let (what, expected) = line.split_once("->").unwrap_or((line, ""));
            let found = world.step(what.trim());
            assert_eq!(found, expected.trim(), "case “{name}”, line “{line}”");
        }
    }
}

struct World {
    rollout: Rollout,
    health: BTreeMap<HostName, Health>,
    waves: Vec<Wave>,
    policy: Policy,
    lacks: BTreeSet<(ReleaseId, HostName)>,
    now: Timestamp,
}

impl World {
    fn new() -> Self {
        let policy = Policy { soak: Span::secs(600), healthy_percent: 100 };
        Self {
            rollout: Rollout::default(),
            health: BTreeMap::new(),
            waves: vec![],
            policy,
            lacks: BTreeSet::new(),
            now: "2026-11-23T00:00:00Z".parse().unwrap(),
        }
    }

    fn step(&mut self, what: &str) -> String {
        let words: Vec<&str> = what.split_whitespace().collect();
        match words[..] {
            ["waves", ..] => self.waves = words[1..].iter().map(|w| wave(w)).collect(),
            ["soak", span] => self.policy.soak = span.parse().unwrap(),
            ["percent", n] => self.policy.healthy_percent = n.parse().unwrap(),
            ["lacks", pair] => {
                let (release, host) = pair.split_once('=').unwrap();
                self.lacks.insert((release.parse().unwrap(), host.parse().unwrap()));
            }
            ["recover", ..] => {
                let pairs = words[1..].iter().map(|p| p.split_once('=').unwrap());
                let assigned = pairs.map(|(h, r)| (h.parse().unwrap(), r.parse().unwrap()));
                self.rollout = Rollout::recover(&self.waves, assigned.collect());
            }
            ["wait", span] => {
                let span: Span = span.parse().unwrap();
                self.now += SignedDuration::try_from(span.duration()).unwrap();
            }
            ["assigned"] => return self.assigned(),
            ["start", release] => {
                let policy = self.policy.clone();
                return self.order(&Action::Start { release: release.parse().unwrap(), policy });
            }
            ["pause"] => return self.order(&Action::Pause),
            ["resume"] => return self.order(&Action::Resume),
            ["cancel"] => return self.order(&Action::Cancel),
            [host, ..] => self.report(host, &words[1..]),
            [] => unreachable!("no empty lines"),
        }
        self.decide()
    }

    fn order(&mut self, action: &Action) -> String {
        match self.rollout.order(action, &self.waves, self.now) {
            Ok(()) => self.decide(),
            Err(error) => {
                assert!(!error.remedy().is_empty());
                format!("refused: {error}")
            }
        }
    }

    fn report(&mut self, host: &str, words: &[&str]) {
        let (why, log) = (String::from("broken"), vec![]);
        let from = |r: &str| r.parse::<ReleaseId>().unwrap();
        let (release, event) = match *words {
            ["healthy", r] => (r, Event::Healthy),
            ["unhealthy", r] => (r, Event::Unhealthy),
            ["refused", "on", r] => (r, Event::Refused { code: "expired".into(), why }),
            ["updating", to, "on", r] => (r, Event::Updating { to: from(to), done: 0, total: 9 }),
            ["rolled-back", r] => ("0", Event::RolledBack { from: from(r), why, log }),
            ["rolled-back", r, "on", old] => (old, Event::RolledBack { from: from(r), why, log }),
            ["stuck", r] => ("0", Event::Stuck { from: from(r), why, log }),
            _ => panic!("no such line: {words:?}"),
        };
        let passed = event != Event::Unhealthy;
        let check = CheckResult { name: "web".parse().unwrap(), passed, saw: "".into(), tries: 1 };
        let report = Report {
            fleet: "demo".parse().unwrap(),
            host: host.parse().unwrap(),
            seq: 1,
            // A host's clock counts for nothing.
            time: "1970-01-01T00:00:00Z".parse().unwrap(),
            agent: "test".into(),
            release: release.parse().ok(),
            system: None,
            event,
            checks: vec![check],
            notes: vec![],
        };
        let health = self.health.entry(report.host.clone()).or_default();
        health.observe(&report, self.now);
    }

    fn decide(&mut self) -> String {
        let mut changes = Vec::new();
        while let Some(change) = self.rollout.decide(&self.health) {
            changes.push(match &change {
                Change::Reached { wave, release } => format!("{wave} may {release}"),
                Change::Stopped { host, .. } => format!("stopped {host}"),
                Change::Done { release } => format!("done {release}"),
            });
            let status = self.rollout.active.as_ref().map(|a| &a.status);
            let stopped = matches!(status, Some(Status::Stopped { .. }));
            assert_eq!(stopped, matches!(change, Change::Stopped { .. }));
        }
        self.assigned(); // As the hub does after every decision.
        changes.join("; ")
    }

    fn assigned(&mut self) -> String {
        let lacks = self.lacks.clone();
        let has = |r: ReleaseId, h: &HostName| !lacks.contains(&(r, h.clone()));
        let assigned = self.rollout.assign(has);
        let all: Vec<_> = assigned.iter().map(|(h, r)| format!("{h}={r}")).collect();
        all.join(" ")
    }
}

fn wave(text: &str) -> Wave {
    let (name, hosts) = text.split_once('=').unwrap();
    let hosts = hosts.split(',').filter(|h| !h.is_empty()).map(|h| h.parse().unwrap()).collect();
    Wave { name: name.parse().unwrap(), hosts }
}
