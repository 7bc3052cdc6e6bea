//! Follows operators' orders: signed, fresh, each once.

use afield_core::assignment::{Action, Order};
use afield_core::ids::ReleaseId;
use afield_core::signed::Envelope;
use afield_core::status::Followed;
use jiff::{SignedDuration, Timestamp};

use crate::gate::{self, Memory};
use crate::http::{Kind, Rejection};
use crate::hub::Hub;
use crate::log::say;
use crate::source::Known;

/// An order may be signed by a clock that runs ahead of the hub's by this much.
const CLOCK_SLACK: SignedDuration = SignedDuration::from_mins(10);

impl Hub {
    /// Follows an operator's signed order.
    pub async fn take_order(&self, envelope: &Envelope) -> Result<Followed, Rejection> {
        let mut state = self.state.lock().await;
        self.refresh(&mut state, true).await?;
        let known = state.known.clone().ok_or_else(Rejection::no_release)?;
        let now = (self.clock)();
        let order = open_order(envelope, &known, state.memory.last_order, now)?;
        let mut memory = state.memory.clone();
        memory.last_order = Some(order.issued);
        let followed = follow(&mut memory, &order.action, &known, now);
        if followed.is_err() {
            // It is used up all the same: nobody may play it again when the time is better.
            memory.rollout = state.memory.rollout.clone();
        } else {
            say(&format!("order: {}", said(&order.action)));
        }
        let changes = self.settle(&mut state, memory, &[]).await?;
        followed.map(|()| Followed { changes })
    }
}

fn open_order(
    envelope: &Envelope,
    known: &Known,
    last: Option<Timestamp>,
    now: Timestamp,
) -> Result<Order, Rejection> {
    let keys = &known.operators;
    let order: Order = envelope.open(&keys.keys, keys.threshold).map_err(|e| {
        let remedy = "sign it with an operator's key that the root metadata names (--keys)";
        Rejection::unopened("the order", &e, remedy)
    })?;
    let conflict = |error: String, remedy: &str| Err(Rejection::new(Kind::Conflict, error, remedy));
    if order.fleet != known.fleet {
        let error =
            format!("the order is for the fleet {}, and this is {}", order.fleet, known.fleet);
        return conflict(error, "send it to that fleet's hub");
    }
    if order.expires <= now {
        let error = format!("the order expired on {}, and it is {now} here", order.expires);
        return conflict(error, "sign it again; if it is new, set the clocks right");
    }
    if order.issued > now.checked_add(CLOCK_SLACK).unwrap_or(now) {
        let error = format!("the order was signed on {}, and it is only {now} here", order.issued);
        return conflict(error, "set the clocks right, and sign it again");
    }
    if let Some(last) = last.filter(|last| order.issued <= *last) {
        let error =
            format!("the order of {} is not newer than the last one, of {last}", order.issued);
        return conflict(error, "sign it again, if it is still wanted");
    }
    Ok(order)
}

fn follow(
    memory: &mut Memory,
    action: &Action,
    known: &Known,
    now: Timestamp,
) -> Result<(), Rejection> {
    let conflict = |error: String, remedy: String| Rejection::new(Kind::Conflict, error, &remedy);
    let waves = match action {
        Action::Start { release, .. } => {
            let manifest = known.manifests.get(release).ok_or_else(|| {
                let error = format!("the repository has no release {release}");
                conflict(error, known_releases(known.manifests.keys().copied().collect()))
            })?;
            gate::built_waves(manifest)
        }
        _ => Vec::new(),
    };
    let result = memory.rollout.order(action, &waves, now);
    result.map_err(|e| conflict(e.to_string(), e.remedy()))
}

fn known_releases(releases: Vec<ReleaseId>) -> String {
    match (releases.first(), releases.last()) {
        (Some(first), Some(last)) => {
            format!("it has releases {first} to {last}; publish yours: afield release")
        }
        _ => "publish it first: afield release".into(),
    }
}

fn said(action: &Action) -> String {
    match action {
        Action::Start { release, .. } => format!("start release {release}"),
        Action::Pause => "pause".into(),
        Action::Resume => "resume".into(),
        Action::Cancel => "cancel".into(),
    }
}
