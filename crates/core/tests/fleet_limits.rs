//! Files made to exhaust whoever reads them. (Changed files of every kind: `crates/fuzz`.)

#![cfg(feature = "fleet")]
#![allow(clippy::unwrap_used)]

mod common;

use std::time::{Duration, Instant};

use afield_core::fleet::{codes, parse, resolve};

#[test]
fn files_made_to_exhaust_are_refused_at_once() {
    let laughs: String = (1..30)
        .map(|at| {
            format!("a{at}: &a{at} [*a{p}, *a{p}, *a{p}, *a{p}, *a{p}, *a{p}, *a{p}]\n", p = at - 1)
        })
        .collect();
    let anchors = format!(
        "{}{}",
        (0..60).map(|at| format!("&a{at} [")).collect::<String>(),
        "x, ".repeat(60_000)
    );
    let exhausting = [
        ("json levels", "[".repeat(1_000_000)),
        ("json values", format!("[{}1]", "1,".repeat(3_000_000))),
        ("yaml levels", "[".repeat(1_000_000)),
        ("yaml block levels", (0..2000).map(|at| format!("{}a:\n", " ".repeat(at))).collect()),
        ("yaml aliases", format!("a0: &a0 [x, x, x, x, x, x, x, x]\n{laughs}")),
        ("yaml anchors", format!("{anchors}{}", "]".repeat(60))),
        ("yaml circle", "a: &a [*a]\n".to_owned()),
    ];
    for (name, text) in exhausting {
        let begin = Instant::now();
        let (node, findings) = match name.starts_with("json") {
            true => parse::json(&text),
            false => parse::yaml(&text),
        };
        assert!(node.is_none(), "{name} was taken");
        assert_eq!(findings.len(), 1, "{name}");
        let code = findings[0].code;
        let told = [codes::LIMIT, codes::UNSUPPORTED_YAML, codes::SYNTAX].contains(&code);
        assert!(told, "{name}: {code}");
        assert!(begin.elapsed() < Duration::from_secs(10), "{name} took {:?}", begin.elapsed());
    }
}

#[test]
fn a_long_chain_of_roles_needs_no_deep_stack() {
    let roles: Vec<String> = (0..20_000)
        .map(|at| format!("\"r{at}\": {{\"enable_roles\": [\"r{}\"]}}", at + 1))
        .collect();
    let users = format!(
        "{{\"global_admins\": [], \"users\": {{\"per-host\": {{\"h1\": {{\"enable_roles\": [\"r0\"]}}}}, \
         \"roles\": {{{}, \"r20000\": {{\"enable_roles\": [\"r0\"]}}}}}}}}",
        roles.join(",\n")
    );
    let mut sources = common::clean();
    common::set(&mut sources, "json/users.json", &users);
    let (fleet, findings) = common::check(&sources);
    assert_eq!(common::told(&findings), ["AF0102 json/users.json:20000"]);
    let open =
        users.replace("{\"enable_roles\": [\"r0\"]}}}}", "{\"enable\": {\"ann\": \"admin\"}}}}}");
    common::set(&mut sources, "json/users.json", &open);
    let (straight, findings) = common::check(&sources);
    assert_eq!(common::told(&findings), ["AF0109 json/users.json:20000"]);
    assert!(resolve(&straight).findings.is_empty());
    assert!(resolve(&fleet).findings.iter().any(|finding| finding.code == codes::ROLE_CYCLE));
}

#[test]
fn a_file_in_one_long_line_is_read_in_linear_time() {
    let of = |count: usize| {
        let entries: Vec<String> = (0..count).map(|at| format!("\"k{at}\":{at}")).collect();
        let text = format!("{{{}}}", entries.join(","));
        let begin = Instant::now();
        assert!(parse::json(&text).0.is_some());
        begin.elapsed()
    };
    of(1000);
    assert!(of(200_000) < Duration::from_secs(5));
}
