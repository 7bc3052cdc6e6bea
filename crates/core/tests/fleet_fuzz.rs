//! The parsers take anything: seeded mutations of the golden files, and files made to exhaust.
//!
//! Bounded in time; `AFIELD_FUZZ_SECONDS` makes it longer, `AFIELD_FUZZ_SEED` makes it other.

#![cfg(feature = "fleet")]
#![allow(clippy::unwrap_used)]

mod common;

use std::time::{Duration, Instant};

use afield_core::fleet::{Sources, codes, load, parse, resolve};
use common::{TODAY, golden_sources};

/// A small generator (xorshift64*), so that a seed gives the same run everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % end.max(1)
    }
}

const PIECES: [&str; 40] = [
    "{",
    "}",
    "[",
    "]",
    "\"",
    "'",
    ":",
    ",",
    "\n",
    "  ",
    "- ",
    "? ",
    "|",
    ">",
    "|2-",
    "&a ",
    "*a",
    "<<: ",
    "!!str ",
    "!x ",
    "---\n",
    "...\n",
    "%YAML 1.1\n",
    "#",
    "\\u",
    "\\ud800",
    "\\",
    "null",
    "true",
    "1e999",
    "-",
    "0x",
    "é",
    "🏥",
    "\u{85}",
    "\u{2028}",
    "\u{feff}",
    "\t",
    "\r",
    "_comment",
];

fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        match random.below(5) {
            0 if !bytes.is_empty() => {
                let at = at.min(bytes.len() - 1);
                bytes[at] = random.below(256) as u8;
            }
            1 => drop(bytes.splice(at..at, PIECES[random.below(PIECES.len())].bytes())),
            2 => {
                let end = (at + random.below(20)).min(bytes.len());
                bytes.drain(at..end);
            }
            3 => {
                let end = (at + random.below(60)).min(bytes.len());
                let copy = bytes[at..end].to_vec();
                let to = random.below(bytes.len() + 1);
                bytes.splice(to..to, copy);
            }
            _ => bytes.truncate(at),
        }
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

#[test]
fn mutated_files_never_make_it_panic_or_hang() {
    let mut random = Random(setting("AFIELD_FUZZ_SEED", 20_261_123));
    let end = Instant::now() + Duration::from_secs(setting("AFIELD_FUZZ_SECONDS", 3));
    let clean = golden_sources();
    let paths: Vec<String> = clean.files.keys().cloned().collect();
    let mut rounds = 0;
    while Instant::now() < end {
        let mut sources: Sources = clean.clone();
        for _ in 0..=random.below(2) {
            let path = &paths[random.below(paths.len())];
            mutate(sources.files.get_mut(path).unwrap(), &mut random);
            let text = String::from_utf8_lossy(&sources.files[path]).into_owned();
            parse::json(&text);
            parse::yaml(&text);
        }
        let begin = Instant::now();
        let (fleet, findings) = load(&sources).check(TODAY);
        resolve(&fleet);
        assert!(begin.elapsed() < Duration::from_secs(5), "a round took {:?}", begin.elapsed());
        assert!(findings.windows(2).all(|f| (&f[0].file, f[0].line) <= (&f[1].file, f[1].line)));
        rounds += 1;
    }
    assert!(rounds > 0);
}

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
