#!/usr/bin/env python3
"""A fleet of 40 hosts with everything in it, and what it resolves to, worked out anew from the written rules.

usage: reference-fleet.py make DIR SEED     writes DIR/org-config, DIR/secrets-plain and DIR/expected.json
       reference-fleet.py open DIR          opens DIR/org-config/secrets/generated/generated-secrets.yml as hosts do

Nothing here is taken from Afield: PyYAML and PyNaCl read, write and open as the older tools did, and the rest follows
`fleet-folder.md` sentence by sentence. Needs PyYAML 6 and PyNaCl.
"""
import base64, json, os, random, re, struct, sys
import yaml
from nacl.public import SealedBox
from nacl.secret import SecretBox
from nacl.signing import SigningKey

TODAY = "2026-11-23"
# Rows of the table of profiles, in its order: (shell, ssh, tunnel).
PROFILES = {
    "admin": (1, 1, 1), "dockerAdmin": (1, 1, 1), "localDockerAdmin": (1, 1, 0), "devops": (1, 1, 1), "fieldSupport": (1, 1, 1),
    "docker_logs": (1, 1, 1), "remoteTunnelWithShell": (1, 1, 1), "localShell": (1, 1, 0), "remoteTunnel": (0, 1, 1),
    "remoteTunnelMonitor": (0, 1, 1), "robot": (1, 1, 1),
}
PEOPLE = ["ann", "Bob", "_svc", "carla.m", "d-e-f", "eve_99", "fatou", "gus", "hana", "ivo", "jo", "kim", "lee", "mia", "nat"]


def signing_key(r):
    return SigningKey(bytes(r.randrange(256) for _ in range(32)))


def public(key):
    body = b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes(key.verify_key)
    return "ssh-ed25519 " + base64.b64encode(body).decode()


# --- the fleet -------------------------------------------------------------------------------------------------------

def comment(value, r):
    """`_comment` in every map, first or last, of any type."""
    if isinstance(value, list):
        return [comment(item, r) for item in value]
    if not isinstance(value, dict):
        return value
    items = [(key, comment(item, r)) for key, item in value.items()]
    items.insert(r.choice([0, len(items)]), ("_comment", r.choice(["x", 1, None, ["a", {"b": 1}], {"_comment": {}}])))
    return dict(items)


def write(root, path, text):
    full = os.path.join(root, path)
    os.makedirs(os.path.dirname(full), exist_ok=True)
    with open(full, "w", encoding="utf-8", newline="") as file:
        file.write(text)


def make_people(r, hosts, relays):
    """users.json: chains, diamonds, roles with a profile inside roles, conflicts that a profile settles."""
    own = {user: r.choice(["admin", "dockerAdmin", "devops", "fieldSupport", "docker_logs", "remoteTunnel"]) for user in PEOPLE}
    local = ["localShell", "localDockerAdmin"]
    roles = {}
    names = [f"role{n}" for n in range(14)] + ["Ward staff, all", "röle"]
    for at, name in enumerate(names):
        entry = {"enable": {user: own[user] for user in r.sample(PEOPLE[2:], 2)}}
        later = names[at + 1:]
        if later and r.random() < 0.7:
            entry["enable_roles"] = r.sample(later, min(len(later), r.choice([1, 2])))
        if r.random() < 0.2:
            entry.pop("enable")
        roles[name] = entry
    # Conflicts with itself; only ever enabled with a profile, at two depths.
    roles["torn"] = {"enable": {"kim": r.choice(local)}, "enable_roles": ["torn_below"]}
    roles["torn_below"] = {"enable": {"kim": "remoteTunnelWithShell", "lee": "localShell"}}
    roles["settled"] = {"enable_roles_with_profile": {"torn": own["kim"]}}
    own["lee"] = own["kim"]
    for entry in roles.values():
        for user in entry.get("enable", {}):
            if user == "lee" and entry is not roles["torn_below"]:
                entry["enable"]["lee"] = own["lee"]
    per_host = {}
    for host in hosts:
        entry = {}
        if r.random() < 0.15:
            continue
        if r.random() < 0.7:
            entry["enable"] = {user: own[user] for user in r.sample(PEOPLE, 2)}
        if r.random() < 0.8:
            entry["enable_roles"] = r.sample(names, r.choice([1, 2, 3]))
        if r.random() < 0.3:
            entry["enable_roles"] = entry.get("enable_roles", []) + ["settled"]
        per_host[host] = entry
    for at, name in enumerate(names):
        host = hosts[at]
        per_host.setdefault(host, {}).setdefault("enable_roles", [])
        if name not in per_host[host]["enable_roles"]:
            per_host[host]["enable_roles"].append(name)
    # The whole mesh with one profile, over everything that conflicts below.
    per_host[hosts[-1]] = {"enable_roles_with_profile": {"torn": "localShell", names[0]: "localShell"}}
    per_host[hosts[-2]] = {"enable_roles": ["settled"]}
    # Nobody is nowhere enabled.
    per_host[hosts[-3]] = {"enable": dict(own)}
    per_host[relays[0]] = {"enable": {"mon": "remoteTunnelMonitor"}}
    users = {
        "global_admins": ["zz_admin", "Bob"],
        "users": {
            "expires": {"fatou": "2026-11-23", "gus": "2026-11-24", "hana": "2024-02-29", "zz_admin": "2020-01-01", "ivo": None},
            "per-host": per_host,
            "roles": roles,
        },
    }
    for entry in [*per_host.values(), *roles.values()]:
        if "Bob" in entry.get("enable", {}):
            entry["enable"]["Bob"] = "admin"
    for entry in per_host.values():
        if entry.get("enable_roles_with_profile"):
            continue
        if "kim" in entry.get("enable", {}):
            entry["enable"]["kim"] = own["kim"]
    everybody = ["zz_admin", "mon", "robot", *PEOPLE]
    keys = {}
    for user in everybody:
        list_ = [public(signing_key(r)) for _ in range(r.choice([1, 1, 2, 3]))]
        if r.random() < 0.4:
            options = r.choice([["cert-authority", "principals=\"a@b.org\""], ["no-pty,from=\"a.b-c\""], ["from=\"a,b\""], ["no-pty"], ["pty"], []])
            list_[0] = {"publicKey": list_[0], "keyOptions": options}
        keys[user] = {"public_keys": list_}
    return users, {"keys": keys}


def make_tunnels(r, hosts, relays, secret_keys):
    ports = r.sample(range(2000, 10000), len(hosts))
    tunnels = {}
    for host, port in zip(hosts, ports):
        entry = {"remote_forward_port": 0 if host in relays or r.random() < 0.1 else port, "public_key": public(secret_keys[host])}
        if r.random() < 0.12:
            entry["public_key"] = ""
        if r.random() < 0.2:
            entry["connectTimeout"] = r.choice([1, 60, 3600])
        for flag in ["generate_secrets", "generate_configs"]:
            if r.random() < 0.2:
                entry[flag] = r.random() < 0.5
        if r.random() < 0.2:
            entry["copy_key_to_users"] = r.sample(["zz_admin", "Bob"], r.choice([1, 2]))
        if r.random() < 0.5:
            names = r.sample(["aaa", "web", "zabbix", "Zed", "x10", "x9"], r.choice([1, 2, 3]))
            reverse = {name: {"prefix": prefix, "forwarded_port": r.choice([1, 80, 443, 10050, 65535])} for name, prefix in zip(names, r.sample(range(1, 6), 3))}
            if r.random() < 0.2:
                reverse["ssh"] = {"prefix": 0, "forwarded_port": r.choice([22, 2222])}
            entry["reverse_tunnels"] = reverse
        tunnels[host] = entry
    return tunnels


SCALARS = """1 -1 +7 0x1F 0b101 017 08 1_000 1:30 190:20:30 1.5 -.5 .5 1. 1e3 1.e+3 1.5e-3 6.8523015e+5 685_230.15 190:20:30.15 .inf -.INF .NaN yes On TRUE
2024-01-01 2024-1-1 2024-01-01T10:20:30Z 2024-01-01t10:20:30.5+02:00 2001-12-14T21:59:43.10-05:00 y n 1__0 0o17 1.2.3 1e400 12e03 a:b a#b =a <<a 1,2 --- a?b
0xfg 32326639343165633833432343444373439303563854 -0x1F00000000000000000000000000000000000000000F 170141183460469231731687303715884105727
170141183460469231731687303715884105728 0777777777777777777777777777777777777777777777777777 _1 00.5 1:60 -1:30 +.inf 1_0.2_5 .5e+3 x""".split()
RAW = [  # YAML as people write it
    "a b c", "'it''s'", '"tab\\there \\x41 \\u00e9 \\U0001F3E5 \\N\\_\\L\\P\\e\\0"', "|\n      two\n      lines\n", "|-\n      two\n      lines\n",
    "|+\n      keep\n\n\n", "|2\n        indented\n      less\n", ">\n      folded\n      text\n\n      next\n        more\n      end\n", ">-\n      one\n      two\n",
    "plain over\n      two lines", '"quoted over\n      two lines \\\n      joined"', "'single\n\n      blank'", "!!str 5", "! 5", "*text", "&again x  # a remark",
    '"trailing "', "|\n      trailing \n      x\n", "|\n      tab\there\n      x\n", '"\\ttab"', '"a\\r\\nb\\r\\n"', "|\n      # no remark\n      a: b\n", "- not a list in quotes",
    '"{}"', "'[1, 2]'", '"\\"quoted\\""', "é ë ü", "|\n      é\n      x\n", '"\\uFEFFbom"', '"nel\\x85nel"', "'# x'", '"key: value"', '"  lead"', '"\\n"', '"\\n\\n"', '"a\\n\\nb\\n\\n"',
    '"' + "word " * 40 + 'end"', '"' + "é" * 90 + '"', '"' + "word" * 40 + '"', "'" + "it''s a " * 20 + "x'", "|\n      " + "long " * 40 + "\n      x\n", "@x".replace("@", "\\"),
    '"raw\x85nel \x85\x85 twice"', "'raw\rcr'", "'raw\ttab \t'", "plain \x85      nel", "|\n      block\x85      nel\x85", "|\r\n      dos\r\n      lines\r\n", '"\ufeff"',
    "2024-13-45x", "!!int '7'", "!!float 3", "!!bool 'yes'", "!!binary aGk=".replace("!!binary aGk=", "hi"), "'  spaces  '", "a  b   c", "http://x/y?a=b&c=d", "C:\\x", "100%", "x: y".replace(": ", ":"),
]


def make_configs(r, hosts):
    """Texts of master files. Each value is written as people may write it; PyYAML alone says what it means."""
    texts = []
    values = [*SCALARS, *RAW]
    for part in range(3):
        text = "# remark\n%sconfigs:\n" % ("---\n" if part == 1 else "")
        text += "  first%d: &first%d\n    path: shared/%d\n    content: &text |\n      shared\n      text\n    servers: &all [%s]\n" % (part, part, part, hosts[part])
        for at, raw in list(enumerate(values))[part::3]:
            if raw.startswith("- "):
                raw = json.dumps(raw)
            servers = sorted(r.sample(hosts, r.choice([1, 2, 5])))
            servers = json.dumps(servers) if at % 2 else "\n" + "".join(f"    - {host}\n" for host in servers).rstrip("\n")
            name = r.choice(["c%d", '"c %d"', "c-%d", "'é%d'", "Längerer Name %d", "c%d.x"]) % at
            path = r.choice(["p%d", "dir/p%d", '"päth %d"', "d/./p%d", "p%d.env"]) % at
            ignored = r.choice(["", "    note: dropped\n", '    default_extract: "false"\n'])
            body = raw if raw.endswith("\n") else raw + "\n"
            text += f"  {name}:\n    path: {path}\n    content: {body}    servers: {servers}\n{ignored}"
        text += "  merged%d:\n    <<: *first%d\n    path: merged/%d\n" % (part, part, part)
        texts.append(text)
    return texts


def make_secrets(r, hosts):
    texts = []
    for part in range(2):
        secrets = {}
        for at in range(part, 30, 2):
            content = r.choice(["", "x", "pass word\n", "ünï — 🔑\n", "007", "yes", "a\r\nb\r\n", "line\n" * 5, "x" * r.randrange(300), "word " * 30, " lead", "trail ", "#", "a: b", "\t"])
            entry = {"path": f"dir{at % 3}/s{at}", "content": content, "servers": r.sample(hosts, r.choice([0, 1, 3, 8]))}
            if r.random() < 0.3:
                entry["default_extract"] = r.choice(["false", "False", "true", False])
            secrets[f"sécret {at}" if at % 7 == 0 else f"secret-{at}"] = entry
        text = yaml.safe_dump({"secrets": secrets}, allow_unicode=True, default_style=r.choice([None, '"', "'"]), width=r.choice([40, 200]))
        text += f"  _comment: a remark\n  base{part}: &base\n    path: base/{part}\n    content: >-\n      folded\n      text\n    servers: [{hosts[part]}, {hosts[9]}]\n"
        text += f"  merged{part}:\n    <<: [*base, {{default_extract: 'False'}}]\n    path: merged/{part}\n"
        texts.append(text)
    return texts


def waves_file(waves, staging):
    def nix(names):
        return "[ " + " ".join(json.dumps(name) for name in names) + " ]"
    first, middle, final, latest = waves
    half = len(middle) // 2
    return (
        "# Waves: \"not-a-host\" in a remark\n"
        f"let\n  stagingHosts = {nix(staging)};\n  small = {nix(middle[:half])};\n  rest = name: name != \"nobody\";\n"
        f"  relays = {{ latestWave = {nix(latest)}; }};\nin\n{{\n  inherit stagingHosts;\n  inherit (relays) latestWave;\n"
        f"  firstWave = stagingHosts ++ {nix(first)};\n  middleWave = small ++ {nix(middle[half:])};\n"
        f"  finalWave = builtins.filter rest {nix(final)};\n}}\n"
    )


def make(root, seed):
    r = random.Random(seed)
    org = os.path.join(root, "org-config")
    numbers = ["1", "2", "10", "9", "100", "007", "z", "A"]
    hosts = [f"{kind}-{n}" for kind in ["nuc", "Vm", "lap", "x"] for n in numbers] + ["relay-a", "Relay-B", *[f"h{n}" for n in range(6)]]
    assert len(hosts) == 40
    relays = ["relay-a", "Relay-B"]
    others = [host for host in hosts if host not in relays]
    r.shuffle(others)
    hosts = others + relays
    secret_keys = {host: signing_key(r) for host in sorted(hosts)}
    ubuntu = set(r.sample(others, 6))
    for host in hosts:
        write(org, f"hosts/{'ubuntu/' if host in ubuntu else ''}{host}.nix", "{ }\n")
    users, keys = make_people(r, others, relays)
    tunnels = make_tunnels(r, hosts, relays, secret_keys)
    dump = lambda value: json.dumps(comment(value, r), indent=r.choice([1, 2, 4, None]), ensure_ascii=r.random() < 0.5) + "\n"
    write(org, "json/users.json", dump(users))
    write(org, "json/keys.json", dump(keys))
    relay = {"public_key": public(signing_key(r)), "relay_servers": {"relay-a": {"addresses": ["a.example.org", "192.0.2.1"]}, "Relay-B": {"addresses": ["b.example.org"], "ports": [443, 2222]}}}
    write(org, "json/relay-servers.json", dump(relay))
    for part in range(3):
        write(org, f"json/tunnels.d/part{part}.json", dump({"tunnels": {"per-host": {host: tunnels[host] for host in hosts[part::3]}}}))
    order = others[:]
    r.shuffle(order)
    staging, first, middle, final = order[:3], order[3:8], order[8:20], order[20:]
    waves = [first, middle, final, relays]
    write(org, "waves-and-staging-hosts.nix", waves_file(waves, staging))
    configs = make_configs(r, hosts)
    for part, text in enumerate(configs):
        write(org, f"app_configs/master/{'deep/er/' if part == 2 else ''}part{part}-configs.yml", text)
    secrets = make_secrets(r, hosts)
    for part, text in enumerate(secrets):
        write(root, f"secrets-plain/{'deep/' if part else ''}part{part}-secrets.yml", text)
    write(root, "keys.json", json.dumps({host: bytes(key).hex() for host, key in secret_keys.items()}))
    expected = resolve(hosts, ubuntu, relays, users, keys["keys"], tunnels, relay, [staging + first, middle, final, relays], staging, configs, secrets)
    write(root, "expected.json", json.dumps(expected))


# --- what it means ---------------------------------------------------------------------------------------------------

def expand(entry, roles, path=()):
    """(user, profile) of an entry in depth; a profile given to a role replaces whatever is found below it."""
    found = list(entry.get("enable", {}).items())
    for role in entry.get("enable_roles", []):
        assert role not in path
        found += expand(roles[role], roles, (*path, role))
    for role, profile in entry.get("enable_roles_with_profile", {}).items():
        found += [(user, profile) for user, _ in expand(roles[role], roles, (*path, role))]
    return found


def natural(text):
    return [int(part) if at % 2 else part for at, part in enumerate(re.split(r"(0|[1-9][0-9]*)", text))]


def csv(corner, rows, columns, cell):
    lines = [[corner, *columns]] + [[row, *[cell(row, column) for column in columns]] for row in rows]
    quoted = lambda text: '"' + text.replace('"', '""') + '"' if re.search('[,"\r\n]', text) else text
    return "".join("".join(quoted(text) + "," for text in line) + "\n" for line in lines)


class Lines(yaml.SafeDumper):
    pass


Lines.add_representer(str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if len(text.splitlines()) > 1 else None))
Lines.ignore_aliases = lambda self, data: True


def resolve(hosts, ubuntu, relays, users, keys, tunnels, relay, waves, staging, configs, secrets):
    admins, people = users["global_admins"], users["users"]
    roles, per_host = people["roles"], people["per-host"]
    expires = {user: day for user, day in people["expires"].items() if day and user not in admins}
    access = {}
    for host in hosts:
        found = {}
        for user, profile in [*expand(per_host.get(host, {}), roles), *[(user, "admin") for user in admins], ("robot", "robot")]:
            assert found.setdefault(user, profile) == profile, f"{user} has two profiles on {host}"
        access[host] = found
    lines = {user: [(key["keyOptions"], key["publicKey"]) if isinstance(key, dict) else ([], key) for key in entry["public_keys"]] for user, entry in keys.items()}
    for host in sorted(tunnels):
        for user in tunnels[host].get("copy_key_to_users", []):
            if tunnels[host]["public_key"]:
                lines.setdefault(user, []).append(([], tunnels[host]["public_key"]))
    all_configs, codes = {}, {}
    for text in configs:
        all_configs.update(yaml.safe_load(text)["configs"])
    for entry in all_configs.values():
        if not isinstance(entry["content"], str):
            codes["AF0506"] = codes.get("AF0506", 0) + 1
    codes["AF0304"] = sum(not entry["public_key"] for entry in tunnels.values())
    codes["AF0112"] = sum(day <= TODAY for user, day in expires.items())
    codes["AF0113"] = 1
    gets = lambda host: tunnels[host].get("generate_configs", True)
    codes["AF0507"] = sum(not any(map(gets, entry["servers"])) for entry in all_configs.values())
    generated = {}
    for name, entry in all_configs.items():
        for host in filter(gets, entry["servers"]):
            generated.setdefault(host, {})[name] = {"content": entry["content"], "path": entry["path"]}
    out = {"codes": {code: count for code, count in codes.items() if count}, "generated": yaml.dump(generated, Dumper=Lines), "hosts": {}}
    names = ["first", "middle", "final", "latest"]
    for host in hosts:
        tunnel = tunnels[host]
        reverse = {"ssh": {"prefix": 0, "forwarded_port": 22}, **tunnel.get("reverse_tunnels", {})}
        port = tunnel["remote_forward_port"]
        ports = {name: {"relay_port": 10000 * one["prefix"] + port, "local_port": one["forwarded_port"]} for name, one in reverse.items()}
        shown = {"key": tunnel["public_key"] or None, "port": port, "connect_timeout": tunnel.get("connectTimeout", 360), "tunnels": ports}
        texts = {name: {"path": entry["path"], "content": entry["content"] if isinstance(entry["content"], str) else None} for name, entry in generated.get(host, {}).items()}
        out["hosts"][host] = {
            "kind": "ubuntu" if host in ubuntu else "nixos",
            "wave": next(name for name, wave in zip(names, waves) if host in wave),
            "branch": "staging" if host in staging else "main",
            "access": {user: {"profile": profile, "expires": expires.get(user), "keys": [key_line(*key, user) for key in lines.get(user, [])]} for user, profile in access[host].items()},
            "tunnel": shown if port else None,
            "configs": texts,
        }
    out["relay"] = relay_accounts(hosts, tunnels, access, lines, expires)
    out["csv"] = tables(hosts, access, per_host, roles, expires)
    out["padded"] = padded(secrets, tunnels)
    return out


def key_line(options, key, user):
    return " ".join([*([",".join(options)] if options else []), key, user])


def relay_accounts(hosts, tunnels, access, lines, expires):
    ports = {}
    for host in hosts:
        reverse = {"ssh": {"prefix": 0}, **tunnels[host].get("reverse_tunnels", {})}
        port = tunnels[host]["remote_forward_port"]
        ports[host] = [10000 * reverse[name]["prefix"] + port for name in sorted(reverse)] if port else []
    listen = []
    for host in hosts:
        if ports[host] and tunnels[host]["public_key"]:
            allowed = ",".join(f'restrict,port-forwarding,permitlisten="{port}"' for port in ports[host])
            listen.append(f"{allowed} {tunnels[host]['public_key']} tunnel@{host}")
    people = []
    restricting = ("cert-authority", "principals", "no-", "from")
    for user in sorted(lines):
        reached = sorted({port for host in hosts if PROFILES[access[host].get(user, "localShell")][2] for port in ports[host]})
        for options, key in lines[user] if reached else []:
            # Only what restricts; several options in one text are not taken apart.
            own = [o for o in options if o.startswith(restricting) and "," not in re.sub('"[^"]*"', "", o)]
            until = [f'expiry-time="{expires[user].replace("-", "")}"'] if user in expires else []
            people.append(",".join(["restrict,port-forwarding", *[f'permitopen="localhost:{port}"' for port in reached], *until, *own]) + f" {key} {user}")
    return {"tunnel": sorted(listen, key=natural), "tunneller": people}


def tables(hosts, access, per_host, roles, expires):
    depth = {role: {} for role in roles}
    for role, entry in roles.items():
        for user, profile in expand(entry, roles, (role,)):
            depth[role].setdefault(user, set()).add(profile)
    people = sorted({user for found in [*access.values(), *depth.values()] for user in found} - {"robot"})
    closed = {user for user, day in expires.items() if day <= TODAY}
    order = list(PROFILES)
    effective = sorted(host for host in hosts if host in per_host or set(access[host]) - {"robot"})
    enabled = {host: {*entry.get("enable_roles", []), *entry.get("enable_roles_with_profile", {})} for host, entry in per_host.items()}
    return {
        "direct_user_host_privs.csv": csv("User ↓ Host →", people, sorted(per_host), lambda user, host: per_host[host].get("enable", {}).get(user, "")),
        "effective_user_host_privs.csv": csv("User ↓ Host →", people, effective, lambda user, host: "" if user in closed else access[host].get(user, "")),
        "role_host_enabled.csv": csv("Server ↓ Role →", sorted(per_host), sorted(roles), lambda host, role: "enabled" if role in enabled[host] else ""),
        "users_privs_per_role.csv": csv("User ↓ Role →", sorted(roles), people, lambda role, user: "+".join(sorted(depth[role].get(user, ()), key=order.index))),
    }


def padded(texts, tunnels):
    """The exact bytes to be sealed. `default_extract: false` without quotes stays as it is written."""
    by_host = {}
    for text in texts:
        for name, entry in yaml.safe_load(text)["secrets"].items():
            if name == "_comment":
                continue
            for host in entry["servers"]:
                if tunnels[host]["public_key"] and tunnels[host].get("generate_secrets", True):
                    by_host.setdefault(host, {})[name] = {key: entry[key] for key in ["content", "default_extract", "path"] if key in entry}
    plain = {host: yaml.safe_dump(secrets) for host, secrets in by_host.items()}
    length = -(-max(len(text.encode()) for text in plain.values()) // 1000) * 1000
    return {host: text + "\n" * (length - len(text.encode())) for host, text in plain.items()}


def open_sealed(root):
    with open(os.path.join(root, "keys.json")) as file:
        seeds = json.load(file)
    with open(os.path.join(root, "org-config/secrets/generated/generated-secrets.yml")) as file:
        entries = yaml.safe_load(file)
    opened = {}
    for host, entry in entries.items():
        private = SigningKey(bytes.fromhex(seeds[host])).to_curve25519_private_key()
        key = SealedBox(private).decrypt(base64.b64decode(entry["encrypted_key"]))
        opened[host] = SecretBox(key).decrypt(base64.b64decode(entry["encrypted_secrets"])).decode()
    print(json.dumps(opened))


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(sys.argv[2], int(sys.argv[3]))
    else:
        open_sealed(sys.argv[2])
