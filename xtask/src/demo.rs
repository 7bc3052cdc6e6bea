//! `cargo demo`: one change travels from the fleet folder to six hosts, by the real programs over real files and
//! sockets. What it claims it has seen on the hosts: their files and the pages that they serve.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::process::Programs;
use crate::setup;

mod host;
mod net;
mod picture;
mod show;
mod stage;
mod story;
mod teardown;
mod watch;

/// `cargo demo`.
#[derive(clap::Args)]
pub struct Args {
    /// End after the story, with exit code 0 only if all of it was seen on the hosts
    #[arg(long)]
    once: bool,
    /// Keep the demo's folder, and say where it is
    #[arg(long)]
    keep: bool,
    /// Build the programs as they are shipped: smaller and faster, and minutes later
    #[arg(long)]
    release: bool,
    /// Use the programs in this folder instead of building them
    #[arg(long, value_name = "DIR", conflicts_with = "release")]
    programs: Option<PathBuf>,
    /// Write a picture of the hub's page, as it is when a host has rolled back
    #[arg(long, value_name = "FILE")]
    picture: Option<PathBuf>,
}

impl Args {
    /// As `cargo ci` runs it: with the programs that were built for the tests, to save an optimised build.
    pub fn in_ci() -> Self {
        Self { once: true, keep: false, release: false, programs: None, picture: None }
    }
}

/// Sets the stage, plays, and clears away.
pub fn run(args: &Args) -> Result<()> {
    setup::ensure(args.picture.is_some())?;
    let programs = match &args.programs {
        Some(folder) => Programs::of(folder),
        None => {
            println!("building afield, afield-agent and afield-hub …");
            Programs::build(args.release)?
        }
    };
    let folder = tempfile::Builder::new().prefix("afield-demo-").tempdir()?.keep();

    let show = show::Show::new();
    let stage = stage::Stage::set(programs, &folder, args.keep)?;
    let played = story::play(&stage, &show, args.picture.as_deref());
    if args.keep {
        println!("\nThe demo's folder stays: {}", folder.display());
    }
    if played.is_err() {
        eprintln!("\n{}", stage.logs());
    } else if !args.once {
        println!("\nThe hub's page is http://{}/ until you press Ctrl-C.", stage.page());
        loop {
            std::thread::park();
        }
    }
    played
        .with_context(|| format!("the demo failed after {:.0} s", show.elapsed().as_secs_f32()))?;
    stage.teardown.end()?;
    println!("\nSeen on the hosts, all of it, in {:.0} s.", show.elapsed().as_secs_f32());
    Ok(())
}
