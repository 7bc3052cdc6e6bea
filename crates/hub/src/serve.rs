//! `afield-hub serve`: reads the files it was given, opens both listeners, and ticks once a second.

use std::future::IntoFuture as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use afield_store::files::read_limited;
use afield_store::keys;
use afield_store::repository::Repository;
use afield_store::trust::MAX_ROOT;
use anyhow::{Context as _, Result, bail};
use axum::Router;
use clap::Args;
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::http;
use crate::hub::{Hub, Setup};
use crate::log::say;

/// How often the repository and the rollout are looked at.
const TICK: Duration = Duration::from_secs(1);
/// Requests under way get this long to end when the hub is stopped; whatever they wanted can be asked again.
const GRACE: Duration = Duration::from_secs(10);

/// What `serve` is told.
#[derive(Debug, Args)]
pub struct Serve {
    /// The repository's folder; `afield release` writes into it, and the hub its assignments
    #[arg(long, value_name = "DIR")]
    pub repository: PathBuf,
    /// The root metadata that trust starts from; `afield keys init` wrote it as root.json
    #[arg(long, value_name = "FILE")]
    pub trust_root: PathBuf,
    /// The key that assignments are signed with (rollout.pem)
    #[arg(long, value_name = "FILE")]
    pub rollout_key: PathBuf,
    /// The hub's memory, an SQLite file; made if it is not there
    #[arg(long, value_name = "FILE")]
    pub database: PathBuf,
    /// Where hosts connect
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8470")]
    pub listen: SocketAddr,
    /// Where operators connect; whoever reaches it can read everything, so keep it private
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8471")]
    pub operator_listen: SocketAddr,
    /// Load and verify everything, say what would be done, and exit
    #[arg(long)]
    pub dry_run: bool,
    /// With --dry-run: say it as JSON
    #[arg(long, requires = "dry_run")]
    pub json: bool,
}

/// Serves until the process is told to stop.
pub async fn serve(args: &Serve) -> Result<()> {
    if args.dry_run {
        return dry_run(args).await;
    }
    // First, since a second hub must not get as far as the database.
    let hosts = listen(args.listen, "--listen").await?;
    let operators = listen(args.operator_listen, "--operator-listen").await?;
    let hub = Hub::open(setup(args)?).await;
    let hub = Arc::new(hub.with_context(|| shown(&args.database))?);
    say(&format!("hosts:     http://{}", hosts.local_addr()?));
    say(&format!("operators: http://{}", operators.local_addr()?));
    let (stop, stopped) = watch::channel(false);
    let serving = async {
        tokio::try_join!(
            run(hosts, http::hosts(hub.clone()), stopped.clone()),
            run(operators, http::operators(hub.clone()), stopped.clone()),
        )
    };
    tokio::select! {
        done = serving => done.map(|_| ()),
        never = tick(&hub) => never,
        late = stop_on_signal(stop) => late,
    }
}

async fn listen(address: SocketAddr, flag: &str) -> Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener
        .with_context(|| format!("cannot listen on {address}; give another address with {flag}"))
}

async fn run(
    listener: TcpListener,
    router: Router,
    mut stopped: watch::Receiver<bool>,
) -> Result<()> {
    let stop = async move {
        // An error means that the sender is gone, which is the end as well.
        let _ = stopped.wait_for(|stop| *stop).await;
    };
    Ok(axum::serve(listener, router).with_graceful_shutdown(stop).into_future().await?)
}

async fn tick(hub: &Hub) -> Result<()> {
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        // A full disk may have room again later; until then nothing is handed out.
        if let Err(e) = hub.tick().await {
            say(&format!("cannot go on: {}", crate::source::chain(&e)));
        }
    }
}

/// Returns when those that are served take too long to go.
async fn stop_on_signal(stop: watch::Sender<bool>) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    say("stopping");
    stop.send_replace(true);
    tokio::time::sleep(GRACE).await;
    say("some requests did not end; stopped all the same");
    Ok(())
}

async fn dry_run(args: &Serve) -> Result<()> {
    let folders = ["metadata", "targets", "objects", "assignments"];
    if let Some(missing) = folders.iter().find(|f| !args.repository.join(f).is_dir()) {
        bail!(
            "{} has no folder {missing}; give the repository's folder, as in [repository] path of afield.toml",
            args.repository.display()
        );
    }
    let hub = Hub::look(setup(args)?).await.with_context(|| shown(&args.database))?;
    let (changes, assignments) = hub.plan().await;
    let status = hub.status().await;
    if args.json {
        let plan = serde_json::json!({
            "problems": status.problems, "changes": changes, "assignments": assignments,
        });
        println!("{plan}");
    } else {
        status.problems.iter().for_each(|p| println!("problem: {p}"));
        changes.iter().for_each(|change| println!("would decide: {change}"));
        for a in &assignments {
            println!("would assign: {} release {}, until {}", a.host, a.release, a.expires);
        }
        println!("would serve hosts on {}, operators on {}", args.listen, args.operator_listen);
    }
    if status.problems.is_empty() {
        return Ok(());
    }
    bail!("the hub could not do all of its work; see the problems above")
}

fn setup(args: &Serve) -> Result<Setup> {
    let root = &args.trust_root;
    let trust_root = read_limited(root, MAX_ROOT).with_context(|| {
        format!(
            "{} cannot be read; give the root.json that `afield keys init` wrote",
            root.display()
        )
    })?;
    Ok(Setup {
        repository: Repository::open(&args.repository)?,
        trust_root,
        rollout_key: keys::read_secret(&args.rollout_key)?,
        database: args.database.clone(),
        clock: Arc::new(Timestamp::now),
    })
}

fn shown(database: &Path) -> String {
    format!("the hub's memory is in {} (--database)", database.display())
}
