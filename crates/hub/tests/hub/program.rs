//! The program itself: starts, tells where it listens, and ends when it is told to.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use afield_store::keys::write_seed;

use crate::support::{ROLLOUT, WAVES, World};

/// `afield-hub serve` on the files of a world, on ports that are free.
fn program(world: &World) -> Command {
    let dir = world.dir.path();
    std::fs::write(dir.join("root.json"), &world.root).unwrap();
    if !dir.join("rollout.pem").exists() {
        write_seed(&dir.join("rollout.pem"), &[ROLLOUT; 32]).unwrap();
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_afield-hub"));
    command.current_dir(dir).arg("serve");
    for (flag, value) in [
        ("--repository", "repository"),
        ("--trust-root", "root.json"),
        ("--rollout-key", "rollout.pem"),
        ("--database", "hub.sqlite"),
        ("--listen", "127.0.0.1:0"),
        ("--operator-listen", "127.0.0.1:0"),
    ] {
        command.args([flag, value]);
    }
    command
}

#[test]
fn it_serves_until_it_is_told_to_stop() {
    let mut world = World::empty();
    world.publish(1, WAVES);
    let mut hub = program(&world).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(hub.stderr.take().unwrap()).lines();
    let mut lines = lines.map(Result::unwrap);
    let address =
        lines.find_map(|l| Some(l.strip_prefix("operators: http://")?.to_owned())).unwrap();
    let answer = world.ask(address.parse().unwrap(), "GET /healthz", b"");
    assert_eq!((answer.status, answer.body.as_str()), (200, "ok\n"));
    let told = Command::new("kill").args(["-TERM", &hub.id().to_string()]).status().unwrap();
    assert!(told.success());
    assert!(lines.any(|l| l == "stopping"));
    assert_eq!(hub.wait().unwrap().code(), Some(0));
}

#[test]
fn a_dry_run_says_what_is_wrong_and_makes_no_file() {
    let mut world = World::empty();
    let run = |world: &World| {
        let output = program(world).args(["--dry-run", "--json"]).output().unwrap();
        let plan: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code(), plan["problems"].as_array().unwrap().len())
    };
    assert_eq!(run(&world), (Some(1), 1));
    world.publish(1, WAVES);
    assert_eq!(run(&world), (Some(0), 0));
    assert!(!world.database().exists());
    let usage = program(&world).arg("--nonsense").output().unwrap();
    assert_eq!(usage.status.code(), Some(2));
}
