//! What the person at the terminal sees: headings, commands, and a bar for each host.

use std::io::IsTerminal as _;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::process;

/// The narrator.
pub struct Show {
    started: Instant,
    chapter: std::cell::Cell<u32>,
}

impl Show {
    /// Starts the clock.
    pub fn new() -> Self {
        Self { started: Instant::now(), chapter: std::cell::Cell::new(0) }
    }

    /// A numbered heading.
    pub fn chapter(&self, title: &str) {
        self.chapter.set(self.chapter.get() + 1);
        println!("\n{}. {title}", self.chapter.get());
    }

    /// A line of the story.
    pub fn say(&self, text: &str) {
        println!("   {text}");
    }

    /// Something that was seen, and when.
    pub fn saw(&self, text: &str) {
        println!("   {:6.1} s  {text}", self.elapsed().as_secs_f32());
    }

    /// Since the start.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Shows a command as typed, with paths shortened, runs it, and shows and gives what it wrote.
    pub fn command(
        &self,
        command: &mut Command,
        codes: &[i32],
        short: &[(&str, &str)],
    ) -> Result<String> {
        let shorten = |text: &str| {
            short.iter().fold(text.to_owned(), |text, (long, name)| text.replace(long, name))
        };
        println!("   $ {}", shorten(&process::named(command)));
        let text = process::output_accepting(command, codes)?;
        for line in shorten(&text).lines() {
            println!("     {line}");
        }
        Ok(text)
    }
}

/// One bar a host on a terminal; elsewhere a line for each thing that changed.
pub struct Bars {
    shown: Option<MultiProgress>,
    bars: Vec<ProgressBar>,
    said: Vec<String>,
}

impl Bars {
    /// One bar for each name.
    pub fn new(names: &[String]) -> Self {
        let terminal = std::io::stdout().is_terminal();
        let shown = terminal.then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stdout()));
        // A template that indicatif refuses is a plain bar, no reason to fail.
        let style =
            ProgressStyle::with_template("   {prefix:12} [{bar:24}] {pos:>2}/{len:2} {msg}")
                .map_or_else(|_| ProgressStyle::default_bar(), |s| s.progress_chars("=> "));
        let bar = |name: &String| {
            let bar = ProgressBar::new(0).with_style(style.clone());
            let bar = match &shown {
                Some(all) => all.add(bar),
                None => bar,
            };
            bar.set_prefix(name.clone());
            bar
        };
        let bars = if terminal { names.iter().map(bar).collect() } else { Vec::new() };
        Self { shown, bars, said: vec![String::new(); names.len()] }
    }

    /// How far the host at this place is: so many of its store paths are there, and what it does.
    pub fn set(
        &mut self,
        place: usize,
        show: &Show,
        name: &str,
        have: usize,
        of: usize,
        what: &str,
    ) {
        if let Some(bar) = self.bars.get(place) {
            bar.set_length(of as u64);
            bar.set_position(have as u64);
            bar.set_message(what.to_owned());
        } else if let Some(said) = self.said.get_mut(place).filter(|said| *said != what) {
            // What a host was like before anything happened is no news.
            if !said.is_empty() {
                show.saw(&format!("{name:12} {have}/{of} paths, {what}"));
            }
            what.clone_into(said);
        }
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        for bar in &self.bars {
            bar.abandon();
        }
        if self.shown.is_some() {
            println!();
        }
    }
}
