//! `cargo bench-eval`: CPU and memory of evaluating a fleet in one go, against one evaluation per host.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::nix_tests::{nix_instantiate, nixpkgs_lib, repository_root};

const HOSTS: usize = 100;
/// Hosts that are evaluated alone; their mean stands for all.
const ALONE: usize = 5;

/// What Nix tells with `NIX_SHOW_STATS`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stats {
    /// Seconds.
    cpu_time: f64,
    gc: Heap,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Heap {
    /// Bytes.
    heap_size: f64,
}

/// Measures and prints both ways.
pub fn run() -> Result<()> {
    let lib = nixpkgs_lib()?;
    let work = tempfile::tempdir()?;
    let fleet = work.path().join("org-config");
    generate(&fleet)?;
    let measure = |only: Option<usize>| evaluate(&lib, &fleet, work.path(), only);

    let together = measure(None)?;
    let mut alone = Stats { cpu_time: 0.0, gc: Heap { heap_size: 0.0 } };
    for host in 0..ALONE {
        let one = measure(Some(host * HOSTS / ALONE))?;
        alone.cpu_time += one.cpu_time / ALONE as f64;
        alone.gc.heap_size = alone.gc.heap_size.max(one.gc.heap_size);
    }

    let mib = |bytes: f64| bytes / f64::from(1 << 20);
    let each = together.cpu_time / HOSTS as f64;
    println!("{HOSTS} generated hosts, nixpkgs' lib only (no package set):");
    println!(
        "  one evaluation for all   {:.3} s CPU a host, {:.1} MiB heap a host ({:.0} MiB in all)",
        each,
        mib(together.gc.heap_size) / HOSTS as f64,
        mib(together.gc.heap_size)
    );
    println!(
        "  one evaluation per host  {:.3} s CPU a host, {:.1} MiB heap a host",
        alone.cpu_time,
        mib(alone.gc.heap_size)
    );
    println!(
        "  ratio                    CPU {:.2}, memory {:.2}",
        each / alone.cpu_time,
        together.gc.heap_size / HOSTS as f64 / alone.gc.heap_size
    );
    Ok(())
}

fn evaluate(lib: &Path, fleet: &Path, store: &Path, only: Option<usize>) -> Result<Stats> {
    let mut command = nix_instantiate(&store.join("store"));
    command.arg("--strict").arg(repository_root()?.join("nix/tests/bench/default.nix"));
    command.arg("--arg").arg("nixpkgsLib").arg(lib).arg("--arg").arg("src").arg(fleet);
    if let Some(host) = only {
        command.args(["--argstr", "only", &format!("host-{host}")]);
    }
    let output = command
        // Nix reserves much at the start, which would hide what is used.
        .env("GC_INITIAL_HEAP_SIZE", "1000000")
        .env("NIX_SHOW_STATS", "1")
        .output()
        .context("running nix-instantiate; install Nix (Debian: nix-bin)")?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the evaluation failed: {told}");
    let json = told.find('{').map(|start| &told[start..]).context("Nix told no statistics")?;
    // Warnings may follow.
    let mut values = serde_json::Deserializer::from_str(json).into_iter();
    values.next().context("Nix told no statistics")?.context("statistics of Nix")
}

/// A fleet folder of [`HOSTS`] hosts with 60 people in a dozen roles.
fn generate(dir: &Path) -> Result<()> {
    let write = |path: &str, text: &str| -> Result<()> {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap_or(dir))?;
        fs::write(&path, text).with_context(|| path.display().to_string())
    };
    let key = |n: usize| format!("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5{n:048}");
    let join = |parts: Vec<String>| parts.join(",\n");

    let keys =
        (0..60).map(|n| format!(r#""user_{n}": {{"public_keys": ["{}"]}}"#, key(n))).collect();
    write(
        "json/keys.json",
        &format!(r#"{{"keys": {{{}, "robot": {{"public_keys": ["{}"]}}}}}}"#, join(keys), key(99)),
    )?;
    let roles = (0..12).map(|r| {
        let users: Vec<_> = (0..5).map(|u| format!(r#""user_{}": "devops""#, r * 5 + u)).collect();
        format!(r#""role_{r}": {{"enable": {{{}}}}}"#, users.join(", "))
    });
    let per_host = (0..HOSTS).map(|h| {
        format!(r#""host-{h}": {{"enable_roles": ["role_{}", "role_{}"]}}"#, h % 12, (h + 5) % 12)
    });
    write(
        "json/users.json",
        &format!(
            r#"{{"global_admins": ["user_59"], "users": {{"roles": {{{}}}, "per-host": {{{}}}}}}}"#,
            // The global admin is in no role: two profiles for one person are refused.
            join(roles.map(|role| role.replace(r#", "user_59": "devops""#, "")).collect()),
            join(per_host.collect())
        ),
    )?;
    let tunnels = (0..HOSTS).map(|h| {
        format!(
            r#""host-{h}": {{"remote_forward_port": {}, "public_key": "{}"}}"#,
            2000 + h,
            key(1000 + h)
        )
    });
    write(
        "json/tunnels.d/tunnels.json",
        &format!(r#"{{"tunnels": {{"per-host": {{{}}}}}}}"#, join(tunnels.collect())),
    )?;
    let relay = r#"{"public_key": "KEY", "relay_servers": {"relay": {"addresses": ["relay.example.org"]}}}"#;
    write("json/relay-servers.json", &relay.replace("KEY", &key(2000)))?;
    let metadata = r#"{"hq_outgoing_ips": [], "env_var_prefix": "FLEET", "github_org": "example", "config_repo": "fleet", "acme_email_address": "a@example.org"}"#;
    write("json/org-metadata.json", metadata)?;

    write("secrets/generated/generated-secrets.yml", "{}\n")?;

    let mut names = String::new();
    for h in 0..HOSTS {
        let _ = write!(names, "\"host-{h}\" ");
        let host = format!(
            "{{ time.timeZone = \"Africa/Juba\"; settings = {{ hardwarePlatform = \"nuc\"; boot.mode = \"uefi\"; \
             network.host_name = \"host-{h}\"; reverse_tunnel.enable = true; docker.enable = true; crypto.encrypted_opt.enable = true; }}; }}\n"
        );
        write(&format!("hosts/host-{h}.nix"), &host)?;
    }
    write(
        "waves-and-staging-hosts.nix",
        &format!(
            "{{ firstWave = []; middleWave = []; finalWave = [ {names}]; latestWave = []; stagingHosts = []; }}\n"
        ),
    )
}
