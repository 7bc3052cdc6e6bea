//! A large fleet folder in which nothing is wrong: the same for the same seed.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use data_encoding::BASE64;
use ed25519_dalek::SigningKey;

const PEOPLE: usize = 2000;
const ROLES: usize = 300;
const CONFIGS: usize = 5000;
/// Ports 2000 to 9999, of which a tenth stays free.
const PORTS: usize = 7200;

/// A small generator (xorshift64*).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() >> 33) as usize % end.max(1)
    }

    /// A real public key; one that is none would be a finding.
    fn key(&mut self) -> String {
        let mut seed = [0; 32];
        for chunk in seed.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes());
        }
        let public = SigningKey::from_bytes(&seed).verifying_key().to_bytes();
        let head = b"\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x20";
        format!("ssh-ed25519 {}", BASE64.encode(&[&head[..], &public].concat()))
    }
}

/// Writes a fleet folder.
pub fn write(dir: &Path, hosts: usize, seed: u64) -> anyhow::Result<()> {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    for folder in ["json/tunnels.d", "hosts", "app_configs/master"] {
        fs::create_dir_all(dir.join(folder))?;
    }
    for at in 0..hosts {
        fs::write(dir.join(format!("hosts/{}.nix", host(at))), "{ }\n")?;
    }
    fs::write(dir.join("json/users.json"), users(hosts, &mut random))?;
    fs::write(dir.join("json/keys.json"), keys(&mut random))?;
    for (part, list) in (0..hosts).collect::<Vec<_>>().chunks(1000).enumerate() {
        let text = tunnels(list, &mut random);
        fs::write(dir.join(format!("json/tunnels.d/part-{part:02}.json")), text)?;
    }
    let relay = format!(
        "{{\"public_key\": \"{}\", \"relay_servers\": {{\"{}\": {{\"addresses\": [\"relay.example.org\"]}}}}}}\n",
        random.key(),
        host(0)
    );
    fs::write(dir.join("json/relay-servers.json"), relay)?;
    fs::write(dir.join("waves-and-staging-hosts.nix"), waves(hosts))?;
    for part in 0..CONFIGS / 100 {
        let path = format!("app_configs/master/part-{part:02}-configs.yml");
        fs::write(dir.join(path), configs(part * 100..(part + 1) * 100, hosts, &mut random))?;
    }
    Ok(())
}

fn host(at: usize) -> String {
    format!("host-{at:05}")
}

fn person(at: usize) -> String {
    format!("person_{at:04}")
}

/// One profile for each person, so that no two roles conflict.
fn profile(at: usize) -> &'static str {
    ["admin", "devops", "dockerAdmin", "fieldSupport", "docker_logs", "remoteTunnel"][at % 6]
}

fn users(hosts: usize, random: &mut Random) -> String {
    let mut text = String::from("{\n  \"global_admins\": [],\n  \"users\": {\n    \"expires\": {");
    let expires = (0..PEOPLE).step_by(10);
    let expires = expires.map(|at| format!("\n      \"{}\": \"2099-12-31\"", person(at)));
    text.push_str(&expires.collect::<Vec<_>>().join(","));
    text.push_str("\n    },\n    \"per-host\": {");
    let entries = (0..hosts).map(|at| {
        // Every role and person is used by some host.
        let roles = [at % ROLES, random.below(ROLES), random.below(ROLES)];
        let mut roles: Vec<String> = roles.iter().map(|role| format!("\"role_{role:03}\"")).collect();
        roles.sort();
        roles.dedup();
        let direct = at % PEOPLE;
        format!(
            "\n      \"{}\": {{\n        \"enable\": {{ \"{}\": \"{}\" }},\n        \"enable_roles\": [{}]\n      }}",
            host(at),
            person(direct),
            profile(direct),
            roles.join(", ")
        )
    });
    text.push_str(&entries.collect::<Vec<_>>().join(","));
    text.push_str("\n    },\n    \"roles\": {");
    let roles = (0..ROLES).map(|role| {
        let mut people: Vec<usize> = (0..8).map(|_| random.below(PEOPLE)).collect();
        people.sort_unstable();
        people.dedup();
        let people = people.iter().map(|at| format!("\"{}\": \"{}\"", person(*at), profile(*at)));
        let people = people.collect::<Vec<_>>().join(", ");
        // Only towards higher numbers, so that there is no circle.
        let rest = ROLES - role - 1;
        let below = match role % 3 == 0 && rest > 0 {
            true => format!("\"role_{:03}\"", role + 1 + random.below(rest.min(50))),
            false => String::new(),
        };
        format!("\n      \"role_{role:03}\": {{ \"enable\": {{ {people} }}, \"enable_roles\": [{below}] }}")
    });
    text.push_str(&roles.collect::<Vec<_>>().join(","));
    text.push_str("\n    }\n  }\n}\n");
    text
}

fn keys(random: &mut Random) -> String {
    let people = (0..PEOPLE).map(|at| {
        format!("\n    \"{}\": {{ \"public_keys\": [\"{}\"] }}", person(at), random.key())
    });
    format!("{{\n  \"keys\": {{{}\n  }}\n}}\n", people.collect::<Vec<_>>().join(","))
}

fn tunnels(hosts: &[usize], random: &mut Random) -> String {
    let entries = hosts.iter().map(|at| {
        let port = if *at < PORTS { 2000 + at } else { 0 };
        format!(
            "\n      \"{}\": {{\n        \"remote_forward_port\": {port},\n        \"public_key\": \"{}\",\n        \
             \"reverse_tunnels\": {{ \"zabbix\": {{ \"prefix\": 1, \"forwarded_port\": 10050 }} }}\n      }}",
            host(*at),
            random.key()
        )
    });
    let entries = entries.collect::<Vec<_>>().join(",");
    format!("{{\n  \"tunnels\": {{\n    \"per-host\": {{{entries}\n    }}\n  }}\n}}\n")
}

fn waves(hosts: usize) -> String {
    let wave = |hosts: &mut dyn Iterator<Item = usize>| -> String {
        hosts.map(|at| format!("\"{}\" ", host(at))).collect()
    };
    let third = hosts / 3;
    let (one, two, three) =
        (wave(&mut (1..third)), wave(&mut (third..2 * third)), wave(&mut (2 * third..hosts)));
    format!(
        "{{\n  stagingHosts = [ ];\n  firstWave = [ {one}];\n  middleWave = [ {two}];\n  finalWave = [ {three}];\n  \
         latestWave = [ \"{}\" ];\n}}\n",
        host(0)
    )
}

fn configs(range: std::ops::Range<usize>, hosts: usize, random: &mut Random) -> String {
    let mut text = String::from("configs:\n");
    for at in range {
        let mut servers: Vec<usize> = (0..10).map(|_| random.below(hosts)).collect();
        servers.sort_unstable();
        servers.dedup();
        let servers: Vec<String> = servers.into_iter().map(host).collect();
        // Writing into a String cannot fail.
        let _ =
            write!(text, "  config_{at:04}:\n    path: app_{at:04}/settings.env\n    content: |\n");
        for line in 0..8 {
            let _ = writeln!(text, "      SETTING_{line}={:016x}", random.next());
        }
        let _ = writeln!(text, "    servers: [{}]", servers.join(", "));
    }
    text
}
