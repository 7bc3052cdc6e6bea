//! How long work goes, on standard error: a bar on a terminal, else a line now and then.

use std::io::{self, IsTerminal as _};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Progress of one piece of work; may be told from several threads.
pub struct Progress {
    bar: ProgressBar,
    lines: bool,
    /// The last line, and when it was printed.
    last: Mutex<(String, Option<Instant>)>,
}

/// Without a terminal there is no more than a line in this time: a real fleet has thousands of builds.
const LINE_EVERY: Duration = Duration::from_secs(2);

impl Progress {
    /// Work in so many steps; 0 if that is not known yet.
    pub fn steps(what: &'static str, total: u64) -> Self {
        Self::new(what, total, "{prefix:>12} [{bar:24}] {pos}/{len} {wide_msg}")
    }

    /// Work in so many bytes.
    pub fn bytes(what: &'static str, total: u64) -> Self {
        let style = "{prefix:>12} [{bar:24}] {bytes}/{total_bytes} {eta} {wide_msg}";
        Self::new(what, total, style)
    }

    fn new(what: &'static str, total: u64, style: &str) -> Self {
        let terminal = io::stderr().is_terminal();
        let target =
            if terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(total), target);
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(what);
        bar.enable_steady_tick(Duration::from_millis(200));
        let last = Mutex::new((String::new(), None));
        Self { bar, lines: !terminal, last }
    }

    /// What is being done now.
    pub fn at(&self, doing: &str) {
        self.bar.set_message(doing.to_owned());
        let mut last = self.last.lock().unwrap_or_else(|e| e.into_inner());
        let early = last.1.is_some_and(|then: Instant| then.elapsed() < LINE_EVERY);
        if !self.lines || early || last.0 == doing {
            return;
        }
        let (what, done) = (self.bar.prefix(), self.done());
        eprintln!("{what}: {doing}{done}");
        *last = (doing.to_owned(), Some(Instant::now()));
    }

    fn done(&self) -> String {
        let (done, total) = (self.bar.position(), self.bar.length().unwrap_or(0));
        match total {
            0 => String::new(),
            _ => format!(" ({} %)", done.min(total).saturating_mul(100) / total),
        }
    }

    /// So much is done, of so much.
    pub fn set(&self, done: u64, total: u64) {
        self.bar.set_length(total);
        self.bar.set_position(done);
    }

    /// So much more is done.
    pub fn add(&self, done: u64) {
        self.bar.inc(done);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
