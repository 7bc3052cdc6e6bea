//! What a release is held to: whatever was a way to the host before it.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::net::TcpListener;

use afield_testkit::system::Contract;
use common::Bed;
use serde_json::json;

/// `tunnel.rs` sees `afield-agent tunnel` write such a file.
#[test]
fn a_tunnel_that_is_up_is_written_down_as_a_way_to_the_host() {
    let mut bed = Bed::settled();
    let relay = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = relay.local_addr().unwrap().port();
    let way = |port: u16| json!({"path": "direct", "host": "127.0.0.1", "port": port});
    let status = json!({"relays": {
        "bru": {"state": "up", "endpoint": way(port), "failures": 0},
        "fra": {"state": "waiting", "failures": 3, "why": "no way to it"},
    }});
    fs::create_dir_all(bed.host.path("run/afield-tunnel")).unwrap();
    fs::write(bed.host.path("run/afield-tunnel/status.json"), status.to_string()).unwrap();
    bed.offer("two", Contract::Honest, "config two");
    assert_eq!(bed.host.once_with(&[("AFIELD_FAULT", "state:begin:after:1")]).0, -1);
    let state = bed.host.text("var/lib/afield/state.json");
    assert!(state.contains("the relay bru") && !state.contains("the relay fra"), "{state}");
}
