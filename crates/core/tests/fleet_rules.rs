//! One small lie for each code: a fleet in which nothing is wrong, but for one file.

#![cfg(feature = "fleet")]
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;

use afield_core::fleet::{Sources, codes};
use common::{KEY, KEY2, check, clean, set, told, waves_json};

const USERS: &str = "json/users.json";
const KEYS: &str = "json/keys.json";
const RELAYS: &str = "json/relay-servers.json";
const TUNNELS: &str = "json/tunnels.d/t.json";
const CONFIGS: &str = "app_configs/master/a-configs.yml";
const SECRETS: &str = "secrets/master/a-secrets.yml";

/// A key that is no golden one.
const KEY3: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILNX4OzyH1j5vc2KrEeKiHqnlH3tr/o1hJTKABRCkpKD";

/// RSA with 2048 bit, made for this test.
const RSA_2048: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQCq+gt+YcCCL9/pK9UvB1MbFL4LPYXOdijYNoDDGeeUXOQuey5NuDCxLdhMOfpuvyz66lXjaITqGYfknitqyNv34giDwbqBIzCjKBGgsMRgYkkPaNXQ/+D1PLzJksLDAqqo2r1EJ2KxvcVz6HxdFcyNjMhM43Js+REqYOVUeO8jkEhXeexAGyxJ1uiRayl8rM9AfZhnd7PrOtIFDVNWevvhVn9ThrsS+olV0oDKcuy/z+OVIFJgMDacfXfAjTug9nLChNqWj+vq4tli/hdOlJCSrjbx+TX0vZSwTWhk2RQesuhSi5IXwmhT07dxOzyWin8l1vx1/c648Zl/uyIgYpc/";

/// `users.json` with one line per part, from line 1: admins, expires, per-host, roles.
fn users(admins: &str, expires: &str, per_host: &str, roles: &str) -> String {
    format!(
        "{{\"global_admins\": [{admins}],\n\"users\": {{\"expires\": {{{expires}}},\n\
         \"per-host\": {{{per_host}}},\n\"roles\": {{{roles}}}}}}}"
    )
}

/// `keys.json` with a key for each person, one a line from line 2.
fn keys(people: &[(&str, &str)]) -> String {
    let lines =
        people.iter().map(|(user, key)| format!("\"{user}\": {{\"public_keys\": [{key}]}}"));
    format!("{{\"keys\": {{\n{}}}}}", lines.collect::<Vec<_>>().join(",\n"))
}

fn quoted(text: &str) -> String {
    format!("{text:?}")
}

/// `tunnels.d/t.json` with `h1` on line 2 and `r1` on line 3.
fn tunnels(h1: &str) -> String {
    format!(
        "{{\"tunnels\": {{\"per-host\": {{\n\"h1\": {{{h1}}},\n\
         \"r1\": {{\"remote_forward_port\": 0, \"public_key\": \"{KEY2}\"}}}}}}}}"
    )
}

fn h1(more: &str) -> String {
    format!("\"remote_forward_port\": 2100, \"public_key\": \"{KEY}\"{more}")
}

/// A config `c` (from line 2), with the given path, content and servers.
fn config(path: &str, content: &str, servers: &str) -> String {
    format!("configs:\n  c:\n    path: {path}\n    content: {content}\n    servers: {servers}\n")
}

/// One lie: what is told, and the files that tell it.
struct Lie {
    told: &'static [&'static str],
    files: Vec<(&'static str, String)>,
    more: fn(&mut Sources),
}

fn lie(told: &'static [&'static str], path: &'static str, text: impl Into<String>) -> Lie {
    Lie { told, files: vec![(path, text.into())], more: |_| {} }
}

impl Lie {
    fn and(mut self, path: &'static str, text: impl Into<String>) -> Self {
        self.files.push((path, text.into()));
        self
    }

    fn more(mut self, more: fn(&mut Sources)) -> Self {
        self.more = more;
        self
    }
}

fn file_lies() -> Vec<Lie> {
    let deep = format!("{}1{}", "[".repeat(70), "]".repeat(70));
    vec![
        lie(&["AF0001 json/keys.json:2"], KEYS, "{\"keys\": {\n\"a\" 1}}"),
        lie(&["AF0001 json/other.json:1"], "json/other.json", "{\"a\": 01}"),
        lie(&["AF0001 app_configs/master/a-configs.yml:2"], CONFIGS, "configs:\n  a: [1\n"),
        lie(&["AF0002 json/keys.json:2"], KEYS, "{\"keys\": {},\n\"keys\": {}}"),
        lie(&["AF0003 json/deep.json:1"], "json/deep.json", deep),
        lie(&["AF0004 json/keys.json:1"], USERS, users("", "", "", ""))
            .more(|sources| drop(sources.files.remove(KEYS))),
        lie(&["AF0005 json/keys.json:1"], KEYS, "{\"keys\": []}"),
        lie(&["AF0006 json/keys.json:1"], KEYS, "{}"),
        lie(&["AF0007 json/tunnels.d/t.json:2"], TUNNELS, tunnels(&h1(", \"conectTimeout\": 5"))),
        lie(&["AF0008 json/keys.json:1"], KEYS, "{\"keys\": {}, \"key\": 1}"),
        lie(&["AF0009 json/other.json:2"], USERS, users("", "", "", "")).more(|s| {
            drop(s.files.insert("json/other.json".to_owned(), b"{\n\"\xff\": 1}".to_vec()))
        }),
        lie(&["AF0011 json/linked.json:1"], USERS, users("", "", "", "")).more(|sources| {
            sources.unreadable.insert("json/linked.json".to_owned(), "a link".to_owned());
        }),
        lie(
            &["AF0013 app_configs/master/a-configs.yml:4"],
            CONFIGS,
            config("p", "!!python/x y", "[h1]"),
        ),
        lie(&["AF0013 app_configs/master/a-configs.yml:3"], CONFIGS, "configs: {}\n---\na: 1\n"),
        // Lines are counted as editors do, also where YAML sees more line ends.
        lie(
            &["AF0506 app_configs/master/a-configs.yml:5"],
            CONFIGS,
            "# a\u{85}# b\rconfigs:\r\n  c:\n    # \u{85}\n    path: p\n    content: 5\n    servers: [h1]\n",
        ),
        // A remark may stand anywhere.
        lie(&[], KEYS, "{\"_comment\": 1, \"keys\": {\"_comment\": {\"a\": [{\"_comment\": 2}]}}}"),
        lie(
            &[],
            TUNNELS,
            tunnels(&h1(", \"_comment\": \"x\", \"reverse_tunnels\": {\"_comment\": 1}")),
        ),
    ]
}

fn people_lies() -> Vec<Lie> {
    let keyed = |users: String| move |told| lie(told, USERS, users);
    let ann = || keys(&[("ann", &quoted(KEY3))]);
    let direct = "\"h1\": {\"enable\": {\"ann\": \"devops\"}}";
    let with = |told: &'static [&'static str], text: String| keyed(text)(told).and(KEYS, ann());
    vec![
        with(
            &["AF0101 json/users.json:3"],
            users("", "", &format!("{direct}, \"r1\": {{\"enable_roles\": [\"x\"]}}"), ""),
        ),
        with(
            &["AF0102 json/users.json:4"],
            users(
                "",
                "",
                &format!("{direct}, \"r1\": {{\"enable_roles\": [\"a\"]}}"),
                "\"a\": {\"enable_roles\": [\"b\"]}, \"b\": {\"enable_roles_with_profile\": {\"a\": \"admin\"}}",
            ),
        ),
        with(
            &["AF0103 json/users.json:4", "AF0108 json/users.json:4"],
            users("", "", direct, "\"a\": {\"enable_roles\": [\"x\"]}"),
        ),
        with(
            &["AF0104 json/users.json:4", "AF0108 json/users.json:4"],
            users("", "", direct, "\"a\": {\"enable_roles\": [\"a\"]}"),
        ),
        with(
            &["AF0105 json/users.json:3"],
            users(
                "",
                "",
                "\"h1\": {\"enable\": {\"ann\": \"devops\"}, \"enable_roles\": [\"a\"]}",
                "\"a\": {\"enable\": {\"ann\": \"admin\"}}",
            ),
        ),
        // An override settles what conflicts below it.
        with(
            &[],
            users(
                "",
                "",
                "\"h1\": {\"enable_roles_with_profile\": {\"a\": \"admin\"}}",
                "\"a\": {\"enable\": {\"ann\": \"devops\"}, \"enable_roles\": [\"b\"]}, \"b\": {\"enable\": {\"ann\": \"admin\"}}",
            ),
        ),
        with(
            &["AF0106 json/users.json:3"],
            users("", "", "\"h1\": {\"enable\": {\"ann\": \"Admin\"}}", ""),
        ),
        // Where nobody gets it: in a role that no host uses, and where another profile takes its place.
        with(
            &["AF0108 json/users.json:4", "AF0119 json/users.json:4"],
            users("", "", direct, "\"a\": {\"enable\": {\"ann\": \"boss\"}}"),
        ),
        with(
            &["AF0119 json/users.json:4"],
            users(
                "",
                "",
                "\"h1\": {\"enable_roles_with_profile\": {\"a\": \"admin\"}}",
                "\"a\": {\"enable\": {\"ann\": \"boss\"}}",
            ),
        ),
        with(
            &["AF0106 json/users.json:3"],
            users(
                "",
                "",
                "\"h1\": {\"enable_roles_with_profile\": {\"a\": \"boss\"}}",
                "\"a\": {\"enable\": {\"ann\": \"admin\"}}",
            ),
        ),
        with(&["AF0107 json/users.json:3"], users("\"ann\"", "", direct, "")),
        with(&[], users("\"ann\"", "", "\"h1\": {\"enable\": {\"ann\": \"admin\"}}", "")),
        with(&["AF0108 json/users.json:4"], users("", "", direct, "\"a\": {}")),
        lie(&["AF0109 json/users.json:3"], USERS, users("", "", direct, "")),
        with(&["AF0111 json/users.json:2"], users("", "\"ann\": \"2027-02-29\"", direct, "")),
        with(&["AF0111 json/users.json:2"], users("", "\"ann\": \"2027-2-3\"", direct, "")),
        with(&["AF0112 json/users.json:2"], users("", "\"ann\": \"2026-11-23\"", direct, "")),
        with(&[], users("", "\"ann\": \"2026-11-24\"", direct, "")),
        // No date, as the older platform's type allows.
        with(&[], users("", "\"ann\": null", direct, "")),
        with(&[], users("", "\"robot\": \"2027-01-01\"", direct, "")),
        with(&["AF0113 json/users.json:2"], users("\"ann\"", "\"ann\": \"2027-01-01\"", "", "")),
        with(&["AF0114 json/users.json:2"], users("", "\"bob\": \"2027-01-01\"", direct, "")),
        with(&["AF0115 json/users.json:3"], users("", "", &direct.replace("h1", "h2"), "")),
        with(
            &["AF0116 json/users.json:3"],
            users(
                "",
                "",
                &format!("{direct}, \"r1\": {{\"enable\": {{\"../x\": \"admin\"}}}}"),
                "",
            ),
        ),
        with(
            &["AF0117 json/users.json:3"],
            users(
                "",
                "",
                &format!("{direct}, \"r1\": {{\"enable\": {{\"root\": \"admin\"}}}}"),
                "",
            ),
        ),
        with(
            &["AF0118 json/users.json:3"],
            users("", "", "\"h1\": {\"enable\": {\"ann\": \"remoteTunnelMonitor\"}}", ""),
        ),
        with(&[], users("", "", "\"r1\": {\"enable\": {\"ann\": \"remoteTunnelMonitor\"}}", "")),
        with(&["AF0120 json/users.json:1"], users("\"ann\", \"ann\"", "", "", "")),
        // The robot is on every host; nobody else can be it.
        lie(
            &["AF0105 json/users.json:3"],
            USERS,
            users("", "", "\"h1\": {\"enable\": {\"robot\": \"admin\"}}", ""),
        ),
    ]
}

fn key_lies() -> Vec<Lie> {
    let enabled = || users("\"ann\", \"bob\"", "", "", "");
    let two = |ann: &str, bob: &str| keys(&[("ann", ann), ("bob", bob)]);
    let (ann, other) = (
        quoted(KEY3),
        quoted("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJt3xybdjaILMS2NSSOViqot3as2zSS9JkMHYqp1H9hx"),
    );
    let low =
        quoted("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    let cut =
        quoted("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    let option = format!("{{\"publicKey\": {ann}, \"keyOptions\": [\"command=rm /\"]}}");
    let commented = quoted(&format!("{KEY3} ann@laptop"));
    let with = |told, keys: String| lie(told, USERS, enabled()).and(KEYS, keys);
    vec![
        with(&[], two(&ann, &other)),
        with(
            &["AF0201 json/keys.json:4"],
            keys(&[("ann", &ann), ("bob", &other), ("left", &quoted(KEY))]),
        ),
        lie(
            &["AF0108 json/users.json:4", "AF0202 json/keys.json:2"],
            USERS,
            users("", "", "", "\"a\": {\"enable\": {\"ann\": \"admin\"}}"),
        )
        .and(KEYS, keys(&[("ann", &ann)])),
        with(&["AF0109 json/users.json:1", "AF0203 json/keys.json:2"], two(&commented, &other)),
        with(&["AF0109 json/users.json:1", "AF0204 json/keys.json:2"], two(&option, &other)),
        with(&["AF0205 json/keys.json:2"], two(&quoted(RSA_2048), &other)),
        with(&["AF0205 json/keys.json:2"], two(&low, &other)),
        with(&["AF0206 json/keys.json:2"], two(&cut, &other)),
        with(&["AF0207 json/keys.json:3"], two(&ann, &ann)),
        with(&["AF0207 json/keys.json:2"], two(&format!("{ann}, {ann}"), &other)),
    ]
}

fn tunnel_lies() -> Vec<Lie> {
    let t = |told, more: &str| lie(told, TUNNELS, tunnels(&h1(more)));
    let port = |told, port: &str| lie(told, TUNNELS, tunnels(&h1("").replace("2100", port)));
    let reverse = |told, prefix: &str, port: &str| {
        let more = format!(
            ", \"reverse_tunnels\": {{\"web\": {{\"prefix\": {prefix}, \"forwarded_port\": {port}}}}}"
        );
        lie(told, TUNNELS, tunnels(&h1(&more)))
    };
    let rsa = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQCw5dImgDsDrriiAWVHPl79SJcmPGQrptZhWoi9JDpAu/PrOWUUwwh4gOL8co0S9mCGb4myuH/X9iQlUCfOzkDKBYL0adrbpMdK1dORtkeTRsENol1/dognASm11sLMaoQXMWfVp/1vCbhrIlCPQVhXiZP8tf5BbkDWCF83pYVmlDkApb15HC/6O/QwKkLjnRmDfRoNuEOE3jiREGOtPZbTyB2YrLBOZMaK3hqpczfqE6f0y6PYeouaMT8U987xfoZyAqH99YOYxJ1oMohyadKdGFfBq7iP0d/UIrycRk8eN4yC7QNZh6VHxb74OIpLT9rTU42OVXS26rTpsMHfa1/5TXL/rjwa1xTXS4JfEbWSksYnHcv9UinpUVeZKX3PbdHTS3jtIJBVtzmvZi/6mqK2bEGNuyou4Q9fyhcZHVNSIl35hCTxVqIeXHpkT9inGA7KC3YGFeJYN3kO0yCP6+wcSH14XGPt919iIZHtjoW4duidtT1Uo97eN5s0bad/hv8=";
    let relays =
        |servers: &str| format!("{{\"public_key\": \"{KEY}\",\n\"relay_servers\": {{{servers}}}}}");
    let second = format!("{{\"tunnels\": {{\"per-host\": {{\"h1\": {{{}}}}}}}}}", h1(""));
    vec![
        port(&["AF0301 json/tunnels.d/t.json:2"], "10000"),
        port(&["AF0301 json/tunnels.d/t.json:2"], "-1"),
        port(&["AF0005 json/tunnels.d/t.json:2"], "2100.5"),
        port(&[], "2000"),
        lie(
            &["AF0302 json/tunnels.d/t.json:3"],
            TUNNELS,
            tunnels(&h1("")).replace("port\": 0", "port\": 2100"),
        ),
        lie(&["AF0303 json/tunnels.d/u.json:1"], "json/tunnels.d/u.json", second),
        lie(&["AF0304 json/tunnels.d/t.json:2"], TUNNELS, tunnels(&h1("").replace(KEY, ""))),
        lie(&["AF0305 json/tunnels.d/t.json:2"], TUNNELS, tunnels(&h1("").replace(KEY, rsa))),
        lie(&[], TUNNELS, tunnels(&h1(", \"generate_secrets\": false").replace(KEY, rsa))),
        reverse(&["AF0306 json/tunnels.d/t.json:2"], "6", "80"),
        reverse(&["AF0307 json/tunnels.d/t.json:2"], "0", "80"),
        reverse(&[], "5", "65535"),
        reverse(&["AF0319 json/tunnels.d/t.json:2"], "5", "0"),
        t(&["AF0308 json/tunnels.d/t.json:2"], ", \"connectTimeout\": 0"),
        t(&["AF0309 json/tunnels.d/t.json:2"], ", \"copy_key_to_users\": [\"nobody1\"]"),
        t(&[], ", \"copy_key_to_users\": [\"robot\"]"),
        lie(&["AF0310 json/tunnels.d/t.json:3"], TUNNELS, tunnels(&h1("")).replace(KEY2, KEY)),
        lie(&["AF0311 hosts/h2.nix:1", "AF0402 hosts/h2.nix:1"], USERS, users("", "", "", ""))
            .more(|sources| {
                sources.hosts.insert("hosts/h2.nix".to_owned());
            }),
        lie(
            &["AF0312 json/tunnels.d/t.json:2", "AF0404 waves-and-staging-hosts.nix:2"],
            USERS,
            users("", "", "", ""),
        )
        .more(|sources| {
            sources.hosts.remove("hosts/h1.nix");
        }),
        lie(&["AF0314 json/relay-servers.json:1"], RELAYS, relays("")),
        lie(
            &["AF0315 json/relay-servers.json:2"],
            RELAYS,
            relays("\"r1\": {\"addresses\": [\"a\"]}, \"r2\": {\"addresses\": [\"b\"]}"),
        ),
        lie(&["AF0316 json/relay-servers.json:2"], RELAYS, relays("\"r1\": {\"addresses\": []}")),
        lie(
            &["AF0316 json/relay-servers.json:2"],
            RELAYS,
            relays("\"r1\": {\"addresses\": [\"a\"], \"ports\": [0, 22]}"),
        ),
    ]
}

fn host_lies() -> Vec<Lie> {
    let same = || users("", "", "", "");
    let w = "waves-and-staging-hosts.nix";
    let at = |told, more: fn(&mut Sources)| lie(told, USERS, same()).more(more);
    vec![
        at(&["AF0401 hosts/h_1.nix:1"], |s| {
            s.hosts.insert("hosts/h_1.nix".to_owned());
        }),
        at(&["AF0402 hosts/h1.nix:1"], |s| s.waves = waves_json(&[], &[], &[], &["r1"], &[])),
        lie(
            &["AF0403 waves-and-staging-hosts.nix:2"],
            w,
            "{ firstWave = [ \"h1\" ]; latestWave = [ \"r1\" ];\nfinalWave = [ \"h1\" ]; }",
        )
        .more(|s| s.waves = waves_json(&["h1"], &[], &["h1"], &["r1"], &[])),
        at(&["AF0404 waves-and-staging-hosts.nix:1"], |s| {
            s.waves = waves_json(&["h1"], &["h9"], &[], &["r1"], &[])
        }),
        at(&["AF0405 waves-and-staging-hosts.nix:1"], |s| {
            s.waves = waves_json(&["h1"], &[], &[], &["r1"], &["h9"])
        }),
        at(&["AF0406 waves-and-staging-hosts.nix:2"], |s| {
            s.waves = waves_json(&["h1", "h1"], &[], &[], &["r1"], &[])
        }),
        at(&["AF0407 hosts/ubuntu/h1.nix:1"], |s| {
            s.hosts.insert("hosts/ubuntu/h1.nix".to_owned());
        }),
        at(&["AF0408 waves-and-staging-hosts.nix:3"], |s| {
            s.waves = waves_json(&["h1", "r1"], &[], &[], &[], &[])
        }),
        at(&["AF0410 waves-and-staging-hosts.nix:3"], |s| {
            s.waves =
                afield_core::fleet::WavesResult::Failed("syntax error".to_owned(), Some((3, 1)));
        }),
        at(&["AF0412 waves-and-staging-hosts.nix:1"], |s| {
            s.waves = afield_core::fleet::WavesResult::Json("{\"firstWave\": 1}".to_owned());
        }),
        at(&["AF0004 waves-and-staging-hosts.nix:1"], |s| {
            s.waves = afield_core::fleet::WavesResult::Missing
        }),
    ]
}

fn entry_lies() -> Vec<Lie> {
    let c = |told, path, content, servers| lie(told, CONFIGS, config(path, content, servers));
    let two = |second: &str| {
        format!(
            "{}  d:\n    path: {second}\n    content: y\n    servers: [h1, r1]\n",
            config("etc/x", "y", "[h1, r1]")
        )
    };
    let secret = |told, more: &str| {
        let clear =
            format!("secrets:\n  s:\n    path: s\n    content: x\n    servers: [h1]\n{more}");
        lie(told, SECRETS, clear)
    };
    vec![
        c(&[], "p", "x", "[h1]"),
        c(&["AF0501 app_configs/master/a-configs.yml:3"], "''", "x", "[h1]"),
        c(&["AF0501 app_configs/master/a-configs.yml:3"], "5", "x", "[h1]"),
        c(&["AF0501 app_configs/master/a-configs.yml:4"], "p", "''", "[h1]"),
        c(&["AF0005 app_configs/master/a-configs.yml:5"], "p", "x", "h1"),
        c(&["AF0005 app_configs/master/a-configs.yml:4"], "p", "{a: 1}", "[h1]"),
        lie(&["AF0502 app_configs/master/b/c-configs.yml:2"], CONFIGS, config("p", "x", "[h1]"))
            .and("app_configs/master/b/c-configs.yml", config("q", "x", "[h1]")),
        lie(
            &["AF0002 app_configs/master/a-configs.yml:6"],
            CONFIGS,
            config("p", "x", "[h1]") + "  c: {}\n",
        ),
        c(&["AF0503 app_configs/master/a-configs.yml:5"], "p", "x", "[h1, h7]"),
        c(&["AF0504 app_configs/master/a-configs.yml:3"], "/etc/passwd", "x", "[h1]"),
        c(&["AF0504 app_configs/master/a-configs.yml:3"], "a/../../b", "x", "[h1]"),
        c(&["AF0504 app_configs/master/a-configs.yml:3"], "a/", "x", "[h1]"),
        c(&[], "a/..b", "x", "[h1]"),
        lie(&["AF0505 app_configs/master/a-configs.yml:7"], CONFIGS, two("etc//./x")),
        lie(&["AF0505 app_configs/master/a-configs.yml:3"], CONFIGS, two("etc")),
        lie(&[], CONFIGS, two("etc/xy")),
        c(&["AF0506 app_configs/master/a-configs.yml:4"], "p", "yes", "[h1]"),
        lie(&["AF0507 app_configs/master/a-configs.yml:2"], CONFIGS, config("p", "x", "[h1]"))
            .and(TUNNELS, tunnels(&h1(", \"generate_configs\": false"))),
        c(&["AF0508 app_configs/master/a-configs.yml:5"], "p", "x", "[h1, h1]"),
        secret(&["AF0601 secrets/master/a-secrets.yml:1"], ""),
        secret(
            &["AF0510 secrets/master/a-secrets.yml:6", "AF0601 secrets/master/a-secrets.yml:1"],
            "    default_extract: maybe\n",
        ),
        secret(
            &[
                "AF0304 json/tunnels.d/t.json:2",
                "AF0509 secrets/master/a-secrets.yml:5",
                "AF0601 secrets/master/a-secrets.yml:1",
            ],
            "",
        )
        .and(TUNNELS, tunnels(&h1("").replace(KEY, ""))),
        lie(&["AF0602 secrets/master/a-secrets.yml:1"], SECRETS, "$ANSIBLE_VAULT;1.3;AES256\n30\n"),
        lie(
            &["AF0602 secrets/master/a-secrets.yml:1"],
            SECRETS,
            "$ANSIBLE_VAULT;1.1;AES256\nxyz\n",
        ),
        lie(&[], SECRETS, "$ANSIBLE_VAULT;1.2;AES256;prod\n3030\n"),
    ]
}

#[test]
fn nothing_is_told_of_a_clean_fleet() {
    let (fleet, findings) = check(&clean());
    assert_eq!(told(&findings), [""; 0]);
    let unseen: Vec<&str> = fleet.unseen.iter().map(|unseen| unseen.file.as_str()).collect();
    assert_eq!(unseen, ["hosts/"]);
}

#[test]
fn each_lie_is_told_where_it_stands_and_nothing_else() {
    let (mut covered, mut wrong) = (BTreeSet::new(), Vec::new());
    let lies = [file_lies(), people_lies(), key_lies(), tunnel_lies(), host_lies(), entry_lies()];
    for lie in lies.into_iter().flatten() {
        let mut sources = clean();
        for (path, text) in &lie.files {
            set(&mut sources, path, text);
        }
        (lie.more)(&mut sources);
        let (_, findings) = check(&sources);
        let (mut got, mut want) = (told(&findings), lie.told.to_vec());
        got.sort();
        want.sort_unstable();
        if got != want {
            wrong.push(format!("{:#?}\ngot {got:?}\nwant {want:?}", lie.files));
        }
        for finding in findings {
            assert!(finding.column >= 1 && !finding.remedy.is_empty());
            covered.insert(finding.code.to_string());
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    // Told of fleets too large for this table.
    covered.insert(codes::PORTS_SCARCE.to_string());
    let all: BTreeSet<String> = codes::TABLE.iter().map(|row| row.code.to_string()).collect();
    assert_eq!(all.difference(&covered).collect::<Vec<_>>(), [""; 0], "codes without a lie");
}

#[test]
fn ports_are_told_before_they_run_out() {
    let of = |hosts: usize| {
        let mut sources = clean();
        let tunnel = |at: usize| {
            format!("\"x{at}\": {{\"remote_forward_port\": {}, \"public_key\": \"\"}}", 2000 + at)
        };
        let all: Vec<String> = (0..hosts).map(tunnel).collect();
        set(
            &mut sources,
            TUNNELS,
            &format!("{{\"tunnels\": {{\"per-host\": {{{}}}}}}}", all.join(",\n")),
        );
        let (_, findings) = check(&sources);
        findings.iter().filter(|finding| finding.code == codes::PORTS_SCARCE).count()
    };
    assert_eq!((of(7200), of(7201)), (0, 1));
}

#[test]
fn a_mesh_of_roles_is_resolved_without_walking_every_way() {
    let mut sources = clean();
    let layer = |at: usize| {
        let next = format!("\"enable_roles\": [\"a{}\", \"b{}\"]", at + 1, at + 1);
        format!("\"a{at}\": {{{next}}}, \"b{at}\": {{{next}}}")
    };
    // 2^60 ways lead to the last layer.
    let mut roles: Vec<String> = (0..60).map(layer).collect();
    roles.push("\"a60\": {\"enable\": {\"ann\": \"admin\"}}, \"b60\": {}".to_owned());
    let hosts = "\"h1\": {\"enable_roles\": [\"a0\", \"b0\"]}";
    set(&mut sources, USERS, &users("", "", hosts, &roles.join(",\n")));
    set(&mut sources, KEYS, &keys(&[("ann", &quoted(KEY3))]));
    let (fleet, findings) = check(&sources);
    assert_eq!(told(&findings), [""; 0]);
    let plans = afield_core::fleet::resolve(&fleet).plans;
    let access = &plans[&"h1".parse().unwrap()].access[&"ann".parse().unwrap()];
    assert_eq!(access.via.len(), afield_core::host_plan::MAX_WAYS);
}

#[test]
fn findings_of_one_run_are_all_told_in_the_order_of_files_and_lines() {
    let mut sources = clean();
    set(
        &mut sources,
        USERS,
        &users(
            "",
            "\"ann\": \"2027-13-99\"",
            "\"h1\": {\"enable\": {\"ann\": \"boss\"}, \"enable_roles\": [\"x\"]}",
            "",
        ),
    );
    set(&mut sources, TUNNELS, &tunnels(&h1(", \"connectTimeout\": -1").replace("2100", "1")));
    set(&mut sources, CONFIGS, &config("/p", "1", "[h7]"));
    let (_, findings) = check(&sources);
    let expected = [
        "AF0507 app_configs/master/a-configs.yml:2",
        "AF0504 app_configs/master/a-configs.yml:3",
        "AF0506 app_configs/master/a-configs.yml:4",
        "AF0503 app_configs/master/a-configs.yml:5",
        "AF0301 json/tunnels.d/t.json:2",
        "AF0308 json/tunnels.d/t.json:2",
        "AF0111 json/users.json:2",
        "AF0109 json/users.json:3",
        "AF0106 json/users.json:3",
        "AF0101 json/users.json:3",
    ];
    assert_eq!(told(&findings), expected);
}

#[test]
fn a_key_has_the_form_of_its_type_to_the_character() {
    let forms = [
        ("ssh-ed25519", "AAAAC3NzaC1lZDI1NTE5", 48..=48, 0..=0),
        ("ecdsa-sha2-nistp256", "AAAAE2VjZHNhLXNoYTItbmlzdHAyNTY", 108..=108, 1..=1),
        ("ssh-rsa", "AAAAB3NzaC1yc2E", 355..=4000, 0..=2),
        (
            "sk-ssh-ed25519@openssh.com",
            "AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29t",
            58..=4000,
            0..=2,
        ),
    ];
    let taken = |text: &str| afield_core::fleet::keys::parse(text).is_ok();
    for (name, start, lengths, paddings) in forms {
        let least = *lengths.start();
        for length in [0, 1, least - 1, least, least + 1, least + 3, 4000] {
            for padding in 0..=3 {
                let (body, end) = ("A/+z".repeat(1001), "=".repeat(padding));
                let text = format!("{name} {start}{}{end}", &body[..length]);
                let expected = lengths.contains(&length) && paddings.contains(&padding);
                assert_eq!(
                    taken(&text),
                    expected,
                    "{name} with {length} characters and {padding} ="
                );
            }
        }
        let (good, end) = ("A".repeat(least), "=".repeat(*paddings.start()));
        let good = format!("{name} {start}{good}{end}");
        assert!(taken(&good));
        let lies = [
            format!(" {good}"),
            format!("{good} "),
            format!("{good}\n"),
            format!("{good} comment"),
            good.replace(' ', "  "),
            good.replace(' ', "\t"),
            good.replacen('A', "B", 1),
            good.to_uppercase(),
            good.replace("AAAA", "AA-A"),
            good.replace(' ', ""),
        ];
        for lie in lies {
            assert!(!taken(&lie), "{lie:?}");
        }
    }
}
