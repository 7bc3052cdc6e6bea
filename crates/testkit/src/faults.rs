//! The faults of an hour, by a seed: what befalls the ways to three relays. The same in real time (`cargo bench-tunnel`)
//! and in virtual time (`crates/core/tests/tunnel_hour.rs`).

/// A generator whose numbers are the same everywhere.
pub struct Chance(pub u64);

impl Chance {
    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    /// A part of one.
    pub fn part(&mut self) -> f64 {
        self.below(1_000_000) as f64 / 1e6
    }
}

/// What happens.
#[derive(Clone, Copy, PartialEq)]
pub enum What {
    /// The way to the relay swallows everything.
    Cut,
    /// Its sshd is killed.
    Killed,
    /// The NAT forgets the connection to it.
    Forgotten,
    /// The site's modem restarts: the NAT forgets the connections to all relays.
    AllForgotten,
}

/// One fault of the plan.
#[derive(Clone, Copy)]
pub struct Planned {
    /// The second in which it begins.
    pub at: u64,
    /// For so many seconds.
    pub lasts: u64,
    /// What it is.
    pub what: What,
}

/// Faults of one relay (0 to 2), or of the site's modem (3), in so many seconds. Each relay is in trouble for about a
/// seventh of the time; the modem restarts every ten minutes.
pub fn plan(seed: u64, who: u64, seconds: u64) -> Vec<Planned> {
    let mut chance = Chance(seed ^ (who << 40));
    let (mut at, mut faults) = (20 + chance.below(60), Vec::new());
    while at < seconds {
        let what = match (who, chance.below(3)) {
            (3, _) => What::AllForgotten,
            (_, 0) => What::Cut,
            (_, 1) => What::Killed,
            (_, _) => What::Forgotten,
        };
        let lasts = match what {
            What::Cut | What::Killed => 5 + chance.below(86),
            What::Forgotten | What::AllForgotten => 1,
        };
        faults.push(Planned { at, lasts, what });
        let pause = match who {
            3 => 300 + chance.below(600),
            _ => 60 + chance.below(180),
        };
        at += lasts + pause;
    }
    faults
}
