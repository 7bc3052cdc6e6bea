//! `afield rollout` and `afield status` against a stand-in for the hub that answers with the hub's own types.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use afield_core::assignment::{Action, Order};
use afield_core::ids::ReleaseId;
use afield_core::signed::{Envelope, SecretKey};
use afield_core::span::Span;
use afield_core::status::FleetStatus;
use common::{Field, answering};
use serde_json::{Value, json};

/// Answers the status that it was given, and takes orders with one answer.
struct StandIn {
    address: String,
    orders: Arc<Mutex<Vec<Vec<u8>>>>,
}

/// One answer for each look at the status, the last one for ever; and status and body for orders.
fn stand_in(looks: Vec<Value>, order: (u16, Value)) -> StandIn {
    let orders = Arc::new(Mutex::new(Vec::new()));
    let taken = orders.clone();
    let mut looks = looks.into_iter().peekable();
    let address = answering(move |line, body| {
        if line.starts_with("POST /v1/orders ") {
            taken.lock().unwrap().push(body);
            order.clone()
        } else if line.starts_with("GET /v1/status ") {
            let look = looks.next().unwrap();
            if looks.peek().is_none() {
                looks = vec![look.clone()].into_iter().peekable();
            }
            (200, look)
        } else {
            (404, json!({ "error": "nothing here", "remedy": "none" }))
        }
    });
    StandIn { address, orders }
}

fn status(rollout: Value) -> Value {
    let value = json!({
        "fleet": "test", "time": "2026-11-23T12:00:00Z", "newest": 3,
        "rollout": { "release": 3, "policy": { "soak": "3s", "healthy_percent": 100 }, "status": rollout,
                     "started": "2026-11-23T11:50:00Z", "passed_over": [] },
        "waves": [
            { "name": "first", "reached": 3, "hosts": 1, "running": 1, "healthy": 1, "needed": 1 },
            { "name": "middle", "reached": 3, "hosts": 1, "running": 0, "healthy": 0, "needed": 1 },
            { "name": "final", "reached": 2, "hosts": 0, "running": 0, "healthy": 0, "needed": 0 },
        ],
        "hosts": [
            { "host": "aa", "wave": "first", "assigned": 3, "running": 3, "system": null, "state": "healthy",
              "heard": { "received": "2026-11-23T11:59:48Z", "time": "2026-11-23T11:59:48Z", "seq": 4, "agent": "0.1.0" },
              "checks": [{ "name": "web", "passed": true, "saw": "status 200", "tries": 1 }], "notes": [], "failure": null },
            { "host": "bb", "wave": "middle", "assigned": 3, "running": 2, "system": null, "state": "rolled-back",
              "says": "release 3 failed: check web: connection refused",
              "heard": { "received": "2026-11-23T11:58:00Z", "time": "2026-11-23T11:58:00Z", "seq": 9, "agent": "0.1.0" },
              "checks": [], "notes": ["the clock was set back"],
              "failure": { "release": 3, "kind": "rolled-back", "why": "check web: connection refused",
                           "log": ["web: port 80800 cannot be"], "time": "2026-11-23T11:58:00Z",
                           "checks": [{ "name": "web", "passed": false, "saw": "connection refused", "tries": 4 }] } },
        ],
    });
    // The stand-in says only what a hub can say.
    serde_json::from_value::<FleetStatus>(value.clone()).unwrap();
    value
}

fn stopped() -> Value {
    status(json!({ "is": "stopped", "host": "bb", "why": "check web: connection refused" }))
}

fn fleet(hub: &StandIn) -> Field {
    let field = Field::new(&[("aa", "null"), ("bb", "null")]);
    field.write(
        "afield.toml",
        &format!(
            "fleet = \"test\"\n[build]\nfile = \"systems.nix\"\n[repository]\npath = \"repository\"\n\
             [rollout]\nsoak = \"20m\"\n[hub]\nurl = \"{}\"\n",
            hub.address
        ),
    );
    field.run(&["keys", "init", "--out", "keys"]).code(0);
    field
}

fn operator(field: &Field) -> SecretKey {
    afield_store::keys::read_secret(&field.path("keys/operator.pem")).unwrap()
}

/// The orders that arrived, opened with the operator's key.
fn orders(hub: &StandIn, field: &Field) -> Vec<Order> {
    let orders = hub.orders.lock().unwrap();
    let open = |bytes: &Vec<u8>| -> Order {
        let envelope = Envelope::from_slice(bytes).unwrap();
        envelope.open(&[operator(field).public()], 1).unwrap()
    };
    orders.iter().map(open).collect()
}

#[test]
fn orders_are_signed_and_say_what_was_asked() {
    let changes = json!({ "changes": [{ "is": "reached", "wave": "first", "release": 3 }] });
    let hub = stand_in(vec![stopped()], (200, changes));
    let field = fleet(&hub);
    let dry = field.run(&["rollout", "start", "--keys", "keys", "--dry-run"]).code(0);
    assert!(dry.out.contains("would order: start release 3"), "{}", dry.out);
    assert!(orders(&hub, &field).is_empty());

    let ran = field.run(&["rollout", "start", "--keys", "keys"]).code(0);
    assert!(
        ran.out.contains("healthy for 20m") && ran.out.contains("wave first may have release 3"),
        "{}",
        ran.out
    );
    field
        .run(&[
            "rollout",
            "start",
            "2",
            "--keys",
            "keys",
            "--soak",
            "1m",
            "--healthy-percent",
            "50",
        ])
        .code(0);
    for verb in ["pause", "resume", "cancel"] {
        field.run(&["rollout", verb, "--keys", "keys"]).code(0);
    }
    let orders = orders(&hub, &field);
    assert!(orders.iter().all(|o| o.fleet.as_str() == "test" && o.expires > o.issued));
    assert!(orders.windows(2).all(|pair| pair[0].issued < pair[1].issued));
    let actions: Vec<Action> = orders.into_iter().map(|o| o.action).collect();
    let Action::Start { release, policy } = &actions[0] else {
        panic!("{actions:?}");
    };
    assert_eq!(
        (*release, policy.soak, policy.healthy_percent),
        (ReleaseId(3), Span::secs(1200), 100)
    );
    let Action::Start { release, policy } = &actions[1] else {
        panic!("{actions:?}");
    };
    assert_eq!((*release, policy.soak, policy.healthy_percent), (ReleaseId(2), Span::secs(60), 50));
    assert_eq!(actions[2..], [Action::Pause, Action::Resume, Action::Cancel]);
}

#[test]
fn what_the_hub_refuses_is_told_with_its_remedy() {
    let refusal =
        json!({ "error": "release 3 is still being rolled out", "remedy": "cancel it first" });
    let hub = stand_in(vec![stopped()], (409, refusal));
    let field = fleet(&hub);
    let ran = field.run(&["rollout", "start", "--keys", "keys"]).code(3);
    assert!(
        ran.err.contains("still being rolled out") && ran.err.contains("hint: cancel it first"),
        "{}",
        ran.err
    );
    let ran = field.run(&["rollout", "pause", "--keys", "nowhere"]).code(1);
    assert!(ran.err.contains("operator.pem"), "{}", ran.err);
    field.run(&["rollout", "pause"]).code(2);
    field.run(&["rollout", "start", "--keys", "keys", "--healthy-percent", "0"]).code(2);
}

#[test]
fn waiting_ends_when_the_rollout_does() {
    let running = status(json!({ "is": "running" }));
    let done = status(json!({ "is": "done" }));
    let hub = stand_in(vec![running.clone(), done], (200, json!({})));
    let field = fleet(&hub);
    let ran = field.run(&["rollout", "status", "--wait"]).code(0);
    assert!(ran.out.contains("rollout of release 3: done"), "{}", ran.out);

    let hub = stand_in(vec![running.clone(), stopped()], (200, json!({})));
    let ran = field.run(&["rollout", "status", "--wait", "--hub", &hub.address]).code(1);
    assert!(ran.out.contains("stopped: bb failed: check web"), "{}", ran.out);

    let hub = stand_in(vec![running], (200, json!({})));
    field.run(&["rollout", "status", "--wait", "--timeout", "0s", "--hub", &hub.address]).code(1);
    let ran = field.run(&["rollout", "status", "--json", "--hub", &hub.address]).code(0);
    assert_eq!(ran.json()["waves"][1]["name"], "middle");
}

#[test]
fn status_names_the_host_the_check_and_the_log() {
    let hub = stand_in(vec![stopped()], (200, json!({})));
    let field = fleet(&hub);
    let all = field.run(&["status"]).code(0).out;
    let golden = "\
fleet test, newest release 3
rollout of release 3: stopped: bb failed: check web: connection refused

wave    has release  hosts  running it  healthy
first   3            1      1           1 of 1 needed
middle  3            1      0           0 of 1 needed
final   2            0      0           0 of 0 needed

host  wave    runs  should  heard      state
aa    first   3     3       12 s ago   healthy
bb    middle  2     3       2 min ago  rolled-back  release 3 failed: check web: connection refused
";
    assert_eq!(all, golden);
    let one = field.run(&["status", "bb"]).code(0).out;
    let golden = "\
bb (wave middle): rolled-back
  release 3 failed: check web: connection refused
runs release 2, should run 3
heard 2 min ago (report 9, agent 0.1.0)

release 3 failed 2 min ago; the host went back to the last good one
  check web: connection refused
  check web failed: connection refused (tried 4 times)
  last lines of its log:
    web: port 80800 cannot be
note: the clock was set back
";
    assert_eq!(one, golden);
    assert_eq!(field.run(&["status", "aa", "--json"]).code(0).json()["running"], 3);
    field.run(&["status", "--fail"]).code(1);
    field.run(&["status", "aa", "--fail"]).code(0);
    let coloured = field.run(&["status", "--color", "always"]).code(0).out;
    assert!(coloured.contains("\u{1b}[31;1mrolled-back\u{1b}[0m"), "{coloured:?}");
    let ran = field.run(&["status", "cc"]).code(2);
    assert!(ran.err.contains("no host cc"), "{}", ran.err);
}

#[test]
fn a_hub_that_is_not_there_or_none_is_said() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let field = Field::new(&[("aa", "null")]);
    let ran = field.run(&["status", "--hub", &address]).code(1);
    assert!(ran.err.contains("cannot be reached") && ran.err.contains("ssh -L"), "{}", ran.err);
    let ran = field.run(&["status"]).code(2);
    assert!(ran.err.contains("names no hub"), "{}", ran.err);
    let other = stand_in(vec![json!("hello")], (200, json!({})));
    let ran = field.run(&["status", "--hub", &other.address]).code(1);
    assert!(ran.err.contains("is not a hub"), "{}", ran.err);
    // TLS is there: a plain server is no TLS server, and that is an error, not a crash.
    let ran = field.run(&["status", "--hub", &other.address.replace("http:", "https:")]).code(1);
    assert!(ran.err.contains("cannot be reached"), "{}", ran.err);
}
