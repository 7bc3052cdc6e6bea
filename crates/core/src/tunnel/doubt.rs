//! Whether a connection that stands still leads anywhere.
//!
//! A NAT that forgot it, a relay that lost power, a link that is cut: all look alike from the host, nothing comes
//! back. OpenSSH waits three keepalives (30 s) before it believes that. Meanwhile a new connection is tried beside the
//! old one. If it is answered, and the old one still is not although it asked again since, the old one is dead for
//! sure: nobody's session is cut off on a link that only loses packets or was away for a moment.

use std::time::Duration;

use super::race::{Endpoint, Race};

/// Retransmissions without an answer after which a connection is doubted: 0.6 s on a LAN, 3 s over a satellite.
pub(super) const DOUBT_AFTER: u32 = 2;
/// So many more while another connection stood, and it is dead.
const DEAD_AFTER: u32 = 2;
/// After a long cut the next retransmission may be a minute away; then this long is enough.
const DEAD_WITHIN: Duration = Duration::from_secs(5);

/// How a connection has asked in vain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Silence {
    /// How often.
    pub times: u32,
    /// Nothing but the kernel's own questions is under way, so that it asks once more whenever it is told to; and all
    /// other connections of the host are silent too. Of many packets not one would have come through.
    pub everywhere: bool,
}

/// A connection in doubt.
#[derive(Debug)]
pub(super) struct Doubt {
    /// Tries beside it.
    pub race: Race,
    /// How the old connection has asked in vain.
    pub silence: Silence,
    /// Rounds so far.
    pub rounds: u32,
    /// When the next round begins, if the last one was in vain.
    pub again: Option<Duration>,
    proof: Option<Proof>,
}

/// A new connection that stands.
#[derive(Debug)]
struct Proof {
    endpoint: Endpoint,
    at: Duration,
    times: u32,
    /// When an answer to what the old connection asks now would be here.
    answer_by: Duration,
}

impl Doubt {
    /// The first round is a knock at the way that the connection itself goes.
    pub fn new(race: Race, silence: Silence) -> Self {
        Self { race, silence, rounds: 1, again: None, proof: None }
    }

    /// Begins another round.
    pub fn restart(&mut self, race: Race) {
        self.race = race;
        self.rounds += 1;
        self.again = None;
    }

    /// Another connection was answered; false if one was already. `answer_within`: by then the old one would be too.
    pub fn greeted(&mut self, endpoint: Endpoint, answer_within: Duration, now: Duration) -> bool {
        let first = self.proof.is_none() && self.race.is_open(&endpoint);
        if first {
            let (times, answer_by) = (self.silence.times, now + answer_within);
            self.proof = Some(Proof { endpoint, at: now, times, answer_by });
        }
        first
    }

    /// Whether another connection stands.
    pub fn is_proven(&self) -> bool {
        self.proof.is_some()
    }

    /// The way of the new connection, once the old one is dead for sure.
    pub fn verdict(&self, now: Duration) -> Option<&Endpoint> {
        let proof = self.proof.as_ref()?;
        let dead = self.silence.times >= proof.times + DEAD_AFTER || now >= self.dead_at(proof);
        dead.then_some(&proof.endpoint)
    }

    fn dead_at(&self, proof: &Proof) -> Duration {
        match self.silence.everywhere {
            true => proof.answer_by,
            false => proof.at + DEAD_WITHIN,
        }
    }

    /// The way of the new connection, if there is one.
    pub fn proven(&self) -> Option<&Endpoint> {
        self.proof.as_ref().map(|proof| &proof.endpoint)
    }

    /// When there is something to do next.
    pub fn wake_at(&self) -> Option<Duration> {
        match (&self.proof, self.again) {
            (Some(proof), _) => Some(self.dead_at(proof)),
            (None, Some(again)) => Some(again),
            (None, None) => self.race.wake_at(),
        }
    }
}
