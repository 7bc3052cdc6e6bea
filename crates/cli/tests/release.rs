//! `afield release` with real Nix: what it publishes is what hosts accept, and nothing is published by half.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::fs;
use std::io::Read as _;

use afield_core::delivery::Slice;
use afield_core::host_data::HostData;
use afield_core::ids::ReleaseId;
use afield_core::release::{Base, Closure, Delivery, Manifest, ObjectRef, PathInfo};
use afield_store::object;
use afield_store::repository::Repository;
use common::Field;

const ONE: &str = r#"mk "one" "echo ${mk "shared" "echo s > $out/s"} > $out/x""#;
const TWO: &str = r#"mk "two" "echo ${mk "shared" "echo s > $out/s"} > $out/y""#;

fn fleet() -> Field {
    let field = Field::new(&[("aa", ONE), ("bb", TWO)]);
    field.waves(&["aa"], &["bb"]);
    field.run(&["keys", "init", "--out", "keys"]).code(0);
    field
}

fn manifest(field: &Field, release: u64) -> (Repository, Manifest) {
    let root = fs::read(field.path("keys/root.json")).unwrap();
    let repository = Repository::open(&field.path("repository")).unwrap();
    let manifest = repository.manifest(&field.trusted(&root), ReleaseId(release)).unwrap();
    (repository, manifest)
}

fn settings(field: &Field, more: &str) {
    let text =
        "fleet = \"test\"\n[build]\nfile = \"systems.nix\"\n[repository]\npath = \"repository\"\n";
    field.write("afield.toml", &format!("{text}{more}"));
}

#[test]
fn a_release_holds_what_hosts_need_and_prove() {
    let field = fleet();
    settings(
        &field,
        "[[checks]]\nname = \"web\"\ntype = \"tcp\"\naddress = \"{host}:80\"\n[hosts.bb]\nassignment-days = 90\n",
    );
    let config = "configs:\n  form:\n    path: intake/form.yml\n    content: \"v: 1\\n\"\n    servers: [bb]\n";
    field.write("org-config/app_configs/master/intake-configs.yml", config);
    let sealed =
        "\"bb\":\n  \"encrypted_key\": |-\n    aa\n    bb\n  \"encrypted_secrets\": |-\n    cccc\n";
    field.write("org-config/secrets/generated/generated-secrets.yml", sealed);
    let report = field.run(&["release", "--keys", "keys", "--json"]).code(0).json();
    assert_eq!(
        (&report["release"], &report["packed"]["objects"]),
        (&1.into(), &3.into()),
        "{report:#}"
    );
    let (repository, manifest) = manifest(&field, 1);
    let waves: Vec<_> = manifest.waves.iter().map(|w| (w.name.as_str(), w.hosts.len())).collect();
    assert_eq!(waves, [("first", 1), ("middle", 0), ("final", 1), ("latest", 0)]);
    let days: Vec<u32> = manifest.hosts.values().map(|h| h.fresh_days).collect();
    assert_eq!(days, [30, 90]);
    for (host, release) in &manifest.hosts {
        assert!(release.key.is_some());
        let closure: Closure = repository.document(&release.closure).unwrap();
        closure.validate(&release.system).unwrap();
        assert_eq!(closure.paths.len(), 2);
        let delivery: Delivery = repository.document(&release.delivery).unwrap();
        for info in &closure.paths {
            let offer = delivery.full(&info.path).unwrap();
            object::prove(&repository.object_path(&offer.id), offer, info).unwrap();
        }
        let data: HostData = repository.document(&release.data).unwrap();
        data.validate(host).unwrap();
        assert_eq!(data.checks.len(), 1);
        let json = serde_json::to_string(&data.checks[0]).unwrap();
        assert!(json.contains(&format!("{host}:80")), "{json}");
        assert_eq!(data.access["ann"].profile, "admin");
        assert!(data.access["ann"].keys[0].starts_with("ssh-ed25519 "));
        if host.as_str() == "bb" {
            assert_eq!(
                (data.configs["form"].path.as_str(), data.configs["form"].content.as_str()),
                ("intake/form.yml", "v: 1\n")
            );
            assert_eq!(data.sealed.unwrap().encrypted_key, "aabb");
        } else {
            assert!(data.configs.is_empty() && data.sealed.is_none());
        }
    }
}

#[test]
fn the_next_release_packs_only_what_is_new() {
    let field = fleet();
    field.run(&["release", "--keys", "keys"]).code(0);
    let same = field.run(&["release", "--keys", "keys", "--dry-run"]).code(0).out;
    assert!(same.contains("nothing") && same.contains("would be release 2"), "{same}");

    field.systems(&[("aa", ONE), ("bb", &TWO.replace("> $out/y", "> $out/z"))]);
    settings(
        &field,
        "[[checks]]\nname = \"up\"\nhosts = [\"aa\"]\ntype = \"file\"\npath = \"/x\"\n",
    );
    let files = field.repository();
    let dry = field.run(&["release", "--keys", "keys", "--dry-run", "--json"]).code(0).json();
    assert_eq!(files, field.repository(), "a dry run wrote something");
    assert_eq!(dry["hosts"]["aa"]["system_changed"], false);
    assert_eq!(dry["hosts"]["aa"]["checks"][0], "up");
    assert_eq!(dry["hosts"]["bb"]["system_changed"], true);
    assert_eq!(dry["hosts"]["bb"]["new_paths"], 1);
    let report = field.run(&["release", "--keys", "keys", "--json"]).code(0).json();
    assert_eq!((&report["release"], &report["packed"]["objects"]), (&2.into(), &1.into()));
    let (_, one) = manifest(&field, 1);
    let (_, two) = manifest(&field, 2);
    let system = |m: &Manifest, h: &str| m.hosts[&h.parse().unwrap()].system.clone();
    assert_eq!(system(&one, "aa"), system(&two, "aa"));
    assert_ne!(system(&one, "bb"), system(&two, "bb"));

    // What went missing in the repository is packed again.
    let before = field.repository();
    let objects = before.keys().filter(|f| f.contains("/objects/"));
    objects.for_each(|f| fs::remove_file(f).unwrap());
    field.run(&["release", "--keys", "keys"]).code(0);
    let (repository, three) = manifest(&field, 3);
    let again = field.repository();
    for (host, release) in &three.hosts {
        assert_eq!(
            (&two.hosts[host].system, &two.hosts[host].closure),
            (&release.system, &release.closure)
        );
        let closure: Closure = repository.document(&release.closure).unwrap();
        let delivery: Delivery = repository.document(&release.delivery).unwrap();
        for info in &closure.paths {
            let way = delivery.full_way(&info.path).unwrap();
            let slice = delivery.slice(&way).expect("a small object stands in a pack");
            assert_eq!(
                bytes_of(&repository, way.object, None),
                bytes_of(&repository, way.object, Some(&slice))
            );
        }
    }
    // Archives, documents of two hosts, and the pack.
    assert_eq!(again.keys().filter(|f| f.contains("/objects/")).count(), 3 + 6 + 1);
}

fn bytes_of(repository: &Repository, object: &ObjectRef, slice: Option<&Slice>) -> Vec<u8> {
    let own = repository.object_path(&object.id);
    let aside = own.with_extension("aside");
    if slice.is_some() && own.exists() {
        fs::rename(&own, &aside).unwrap();
    }
    let mut bytes = Vec::new();
    repository.open_object(object, slice).unwrap().read_to_end(&mut bytes).unwrap();
    if aside.exists() {
        fs::rename(&aside, &own).unwrap();
    }
    object::prove_slice(&bytes, object).unwrap();
    bytes
}

/// A package of so many random lines, and some more text.
fn numbers(name: &str, more: &str) -> String {
    let awk = "BEGIN{srand(1);for(i=0;i<6000;i++)print rand()}";
    format!(
        r#"mk "top" "echo ${{mk "{name}" "${{busybox}}/busybox awk '{awk}' > $out/t; echo {more} >> $out/t"}} > $out/x""#
    )
}

/// The patch offered to a host for the path of this name, with its target and its delivery.
fn patch_for(
    field: &Field,
    release: u64,
    host: &str,
    name: &str,
) -> (Delivery, PathInfo, Vec<Base>) {
    let (repository, manifest) = manifest(field, release);
    let share = &manifest.hosts[&host.parse().unwrap()];
    let closure: Closure = repository.document(&share.closure).unwrap();
    let delivery: Delivery = repository.document(&share.delivery).unwrap();
    let info = closure.paths.iter().find(|p| p.path.name() == name).unwrap().clone();
    let way = delivery.best(&info.path, |o| o.size, |_| true).unwrap();
    let (slice, bases) = (delivery.slice(&way).unwrap(), way.bases.to_vec());
    assert!(!bases.is_empty(), "no patch for {name}: {:?}", delivery.offers[&info.path]);
    assert!(way.object.size * 20 < delivery.full(&info.path).unwrap().size, "{way:?}");
    bytes_of(&repository, way.object, Some(&slice));
    (delivery, info, bases)
}

#[test]
fn what_changed_a_little_travels_as_a_patch_that_is_made_once() {
    let field = fleet();
    let (old, new) = (numbers("numbers-1.0", "a"), numbers("numbers-1.1", "b"));
    field.systems(&[("aa", &old), ("bb", &old)]);
    field.run(&["release", "--keys", "keys"]).code(0);
    field.systems(&[("aa", &new), ("bb", &new)]);
    let report = field.run(&["release", "--keys", "keys", "--json"]).code(0).json();
    // Of the package and of the toplevel, once for both hosts.
    assert_eq!(report["packed"]["patches"], 2, "{report:#}");
    let cost = &report["hosts"]["aa"]["cost"];
    assert!(cost["objects"].as_u64() < cost["full"].as_u64().map(|n| n / 10), "{cost}");
    let (_, _, bases) = patch_for(&field, 2, "bb", "numbers-1.1");
    assert_eq!(bases[0].path.name(), "numbers-1.0");

    // Hosts of release 1 still get it with release 3, and it is not made or stored again.
    let again =
        field.run(&["release", "--keys", "keys", "--json", "--against", "1"]).code(0).json();
    assert_eq!((&again["packed"]["patches"], &again["packed"]["objects"]), (&0.into(), &0.into()));
    patch_for(&field, 3, "aa", "numbers-1.1");

    // A machine without the old store paths takes them from the repository.
    field.nix("chmod", &["-R", "u+w", "store"]);
    fs::remove_dir_all(field.path("store")).unwrap();
    fs::remove_dir_all(field.path("home")).unwrap();
    let newest = numbers("numbers-1.2", "c");
    field.systems(&[("aa", &newest), ("bb", &newest)]);
    let report = field.run(&["release", "--keys", "keys", "--json"]).code(0).json();
    assert_eq!(report["packed"]["patches"], 2, "{report:#}");
    let (_, _, bases) = patch_for(&field, 4, "aa", "numbers-1.2");
    assert_eq!(bases[0].path.name(), "numbers-1.1");
}

#[test]
fn a_forecast_tells_what_each_site_fetches_and_publishes_nothing() {
    let field = fleet();
    let sites = "[sites.boats]\nhosts = [\"aa\"]\nbudget = { bytes-per-day = \"10kB\", windows = [\"22:00-06:00\"] }\n";
    settings(&field, sites);
    let old = numbers("numbers-1.0", "a");
    field.systems(&[("aa", &old), ("bb", ONE)]);
    let said = field.run(&["release", "--keys", "keys", "--forecast"]).code(0).out;
    assert!(said.contains("boats (1 host):") && said.contains("nights"), "{said}");
    assert!(said.contains("nothing was published"), "{said}");
    assert!(!field.path("repository/metadata/timestamp.json").exists());
    field.run(&["release", "--keys", "keys"]).code(0);
    let (repository, manifest) = manifest(&field, 1);
    let data: HostData = repository.document(&manifest.hosts[&"aa".parse().unwrap()].data).unwrap();
    assert_eq!(data.budget.unwrap().bytes_per_day.unwrap().0, 10_000);
    let data: HostData = repository.document(&manifest.hosts[&"bb".parse().unwrap()].data).unwrap();
    assert_eq!(data.budget, None);
    settings(&field, &sites.replace("bytes-per-day", "bytes-a-day"));
    let ran = field.run(&["release", "--keys", "keys"]);
    assert!(ran.code != 0 && ran.err.contains("bytes-a-day"), "{ran:#?}");
}

#[test]
fn without_time_for_patches_full_objects_serve() {
    let field = fleet();
    let (old, new) = (numbers("numbers-1.0", "a"), numbers("numbers-1.1", "b"));
    field.systems(&[("aa", &old), ("bb", &old)]);
    field.run(&["release", "--keys", "keys"]).code(0);
    field.systems(&[("aa", &new), ("bb", &new)]);
    let args = ["release", "--keys", "keys", "--patch-budget", "0s", "--json"];
    let report = field.run(&args).code(0).json();
    assert_eq!(report["packed"]["patches"], 0, "{report:#}");
    assert!(report["packed"]["patches_late"].as_u64() >= Some(1), "{report:#}");
    // The next release goes on where the time ended.
    let report =
        field.run(&["release", "--keys", "keys", "--json", "--against", "1"]).code(0).json();
    assert_eq!(report["packed"]["patches"], 2, "{report:#}");
}

#[test]
fn taking_back_needs_no_nix() {
    let mut field = fleet();
    field.run(&["release", "--keys", "keys"]).code(0);
    field.systems(&[("aa", TWO), ("bb", TWO)]);
    field.run(&["release", "--keys", "keys"]).code(0);
    field.only_programs(&["busybox"]);
    let dry = field
        .run(&["release", "--keys", "keys", "--like", "1", "--dry-run", "--json"])
        .code(0)
        .json();
    assert_eq!(dry["hosts"]["aa"]["system_changed"], true);
    assert_eq!(dry["hosts"]["bb"]["system_changed"], false);
    let ran = field.run(&["release", "--keys", "keys", "--like", "1"]).code(0);
    assert!(ran.out.contains("release 3 with the systems of release 1"), "{}", ran.out);
    let (_, one) = manifest(&field, 1);
    let (_, three) = manifest(&field, 3);
    assert_eq!(
        (three.like, &three.hosts, &three.waves),
        (Some(ReleaseId(1)), &one.hosts, &one.waves)
    );
    let ran = field.run(&["release", "--keys", "keys", "--like", "9"]).code(2);
    assert!(ran.err.contains("no release 9") && ran.err.contains("1 to 3"), "{}", ran.err);
}

#[test]
fn a_host_that_fails_stops_the_release_unless_it_is_left_out() {
    let field = fleet();
    field.systems(&[("aa", ONE), ("bb", r#"throw "no disk""#)]);
    let files = field.repository();
    let ran = field.run(&["release", "--keys", "keys"]).code(3);
    assert!(ran.err.contains("bb") && ran.err.contains("no disk"), "{}", ran.err);
    assert!(ran.err.contains("--without-failed"), "{}", ran.err);
    assert_eq!(files, field.repository(), "a refused release wrote something");
    let report =
        field.run(&["release", "--keys", "keys", "--without-failed", "--json"]).code(0).json();
    assert_eq!(report["failed"]["bb"]["reason"], "no disk");
    let (_, manifest) = manifest(&field, 1);
    assert_eq!(manifest.hosts.len(), 1);
    assert!(manifest.waves.iter().all(|w| w.hosts.iter().all(|h| h.as_str() == "aa")));
}

#[test]
fn what_cannot_be_right_is_refused_before_anything_is_built() {
    let field = fleet();
    settings(&field, "[[checks]]\nname = \"web\"\ntype = \"tcp\"\naddress = \"{ip}:80\"\n");
    let ran = field.run(&["release", "--keys", "keys"]).code(3);
    assert!(ran.err.contains("{ip}") && ran.err.contains("vars"), "{}", ran.err);
    settings(&field, "");
    let keys = fs::read_to_string(field.path("org-config/json/keys.json")).unwrap();
    field.write("org-config/json/keys.json", "{\"keys\": 7}");
    let ran = field.run(&["release", "--keys", "keys"]).code(3);
    assert!(
        ran.err.contains("json/keys.json:1") && ran.err.contains("afield check"),
        "{}",
        ran.err
    );
    field.write("org-config/json/keys.json", &keys);
    let ran = field.run(&["release", "--keys", "nowhere"]).code(2);
    assert!(ran.err.contains("nowhere/root.json"), "{}", ran.err);
    field.run(&["keys", "init", "--out", "sea", "--fleet-name", "sea"]).code(0);
    let ran = field.run(&["release", "--keys", "sea"]).code(3);
    assert!(ran.err.contains("for the fleet sea"), "{}", ran.err);
    let lock = fs::File::create(field.path("repository/.lock")).unwrap();
    lock.lock().unwrap();
    let ran = field.run(&["release", "--keys", "keys"]).code(3);
    assert!(ran.err.contains("at work in this repository"), "{}", ran.err);
    drop(lock);
    let timestamp = field.path("repository/metadata/timestamp.json");
    field.run(&["release", "--keys", "keys"]).code(0);
    fs::write(&timestamp, "{}").unwrap();
    let ran = field.run(&["release", "--keys", "keys"]).code(3);
    assert!(ran.err.contains("not in order") && ran.err.contains("backup"), "{}", ran.err);
}

#[test]
fn a_store_path_that_was_changed_is_not_packed() {
    let field = fleet();
    let report = field.run(&["build", "--json"]).code(0).json();
    let system = report["hosts"]["aa"]["system"].as_str().unwrap();
    let file = field.path("store").join(&system[1..]).join("x");
    let mut permissions = fs::metadata(&file).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o644);
    fs::set_permissions(&file, permissions).unwrap();
    fs::write(&file, "tampered\n").unwrap();
    let ran = field.run(&["release", "--keys", "keys"]).code(1);
    assert!(ran.err.contains("is not what was built") && ran.err.contains("repair"), "{}", ran.err);
    assert!(!field.path("repository/metadata/timestamp.json").exists());
}

#[test]
fn refreshing_signs_anew_and_makes_no_release() {
    let field = fleet();
    field.run(&["release", "--keys", "keys", "--refresh"]).code(3);
    field.run(&["release", "--keys", "keys"]).code(0);
    let timestamp = field.path("repository/metadata/timestamp.json");
    let before = std::fs::read(&timestamp).unwrap();
    field.run(&["release", "--keys", "keys", "--refresh", "--dry-run"]).code(0);
    assert_eq!(std::fs::read(&timestamp).unwrap(), before);
    let said = field.run(&["release", "--keys", "keys", "--refresh", "--json"]).code(0).json();
    assert_eq!(said["refreshed"], 1, "{said}");
    assert_ne!(std::fs::read(&timestamp).unwrap(), before);
    let (_, manifest) = manifest(&field, 1);
    assert_eq!(manifest.release.0, 1);
}

fn data(field: &Field, release: u64, host: &str) -> HostData {
    let (repository, manifest) = manifest(field, release);
    let host = host.parse().unwrap();
    let data: HostData = repository.document(&manifest.hosts[&host].data).unwrap();
    data.validate(&host).unwrap();
    data
}

#[test]
fn host_data_holds_what_the_fleet_folder_says_about_a_host() {
    let field = Field::new(&[("aa", ONE), ("relay", ONE)]);
    field.waves(&["aa"], &["relay"]);
    field.run(&["keys", "init", "--out", "keys"]).code(0);
    field.write(
        "org-config/json/users.json",
        r#"{"global_admins":["ann"],"users":{"expires":{"fay":"2090-05-01"},
            "per-host":{"aa":{"enable":{"fay":"devops"}}},"roles":{}}}"#,
    );
    let keys = serde_json::json!({ "keys": {
        "ann": { "public_keys": [common::public_key(100)] },
        "fay": { "public_keys": [{ "publicKey": common::public_key(102), "keyOptions": ["no-pty"] }] },
    }});
    field.write("org-config/json/keys.json", &keys.to_string());
    let ca = common::public_key(110);
    let access = format!("[access]\nend-sessions = true\nuser-ca = [\"{ca}\"]\n");
    settings(&field, &format!("{access}[relays]\nhosts-reach = [\"hub.example.org:443\"]\n"));
    field.write("org-config/secrets/generated/generated-secrets.yml", "{}\n");
    let age = "-----BEGIN AGE ENCRYPTED FILE-----\nYWdl\n-----END AGE ENCRYPTED FILE-----\n";
    field.write("org-config/secrets/generated/age/aa.age", age);
    field.run(&["release", "--keys", "keys"]).code(0);

    let aa = data(&field, 1, "aa");
    assert_eq!((aa.format, aa.end_sessions, aa.age.as_deref()), (2, true, Some(age)));
    let fay = &aa.access["fay"];
    assert_eq!((fay.profile.as_str(), fay.expires.as_deref()), ("devops", Some("2090-05-01")));
    assert_eq!(fay.keys, [format!("no-pty {} fay", common::public_key(102))]);
    assert_eq!(aa.access["robot"].profile, "robot");
    let tunnel = aa.tunnel.unwrap();
    assert_eq!(
        (tunnel.forwards[0].listen, tunnel.relays[0].addresses[0].as_str()),
        (2000, "192.0.2.1")
    );
    assert!(aa.relay.is_none() && aa.relay_principals.is_empty() && aa.hosts_reach.is_empty());
    let relay = data(&field, 1, "relay");
    assert_eq!([aa.user_ca[0].as_str(), relay.user_ca[0].as_str()], [&ca, &ca]);
    assert_eq!(relay.hosts_reach, ["hub.example.org:443".parse().unwrap()]);
    let fay = relay.relay_principals.iter().find(|line| line.ends_with(" fay@:relays")).unwrap();
    assert!(fay.contains("permitopen=\"localhost:2000\",expiry-time=\"20900501\""), "{fay}");
    let relay = relay.relay.unwrap();
    assert!(relay.tunnel[0].starts_with("restrict,port-forwarding,permitlisten=\"2000\""));
    assert!(
        relay
            .tunneller
            .iter()
            .any(|line| line.contains("expiry-time=\"20900501\"") && line.ends_with(" fay"))
    );

    // Who leaves is named before it is published, and changes nothing but host data.
    field.write(
        "org-config/json/users.json",
        r#"{"global_admins":["ann"],"users":{"expires":{},"per-host":{},"roles":{}}}"#,
    );
    let dry = field.run(&["release", "--keys", "keys", "--dry-run", "--json"]).code(0).json();
    assert_eq!(dry["hosts"]["aa"]["access"], serde_json::json!(["fay"]), "{dry:#}");
    let (aa, relay) = (&dry["hosts"]["aa"], &dry["hosts"]["relay"]);
    assert_eq!((&aa["system_changed"], &relay["relay_changed"]), (&false.into(), &true.into()));

    // For hosts whose agent is too old for format 2: one release in between that it can take.
    settings(&field, "host-data-format = 1\n");
    field.run(&["release", "--keys", "keys"]).code(2);
    field.write("afield.toml", "fleet = \"test\"\nhost-data-format = 1\n[build]\nfile = \"systems.nix\"\n[repository]\npath = \"repository\"\n");
    field.run(&["release", "--keys", "keys"]).code(0);
    let old = data(&field, 2, "aa");
    assert!(old.format == 1 && old.tunnel.is_none() && old.access.contains_key("ann"));
    assert!(old.user_ca.is_empty());
}

#[test]
fn a_host_gets_the_reboot_window_that_is_nearest_to_it() {
    let field = Field::new(&[("aa", ONE), ("bb", TWO), ("cc", ONE), ("dd", TWO)]);
    field.waves(&["aa", "bb"], &["cc", "dd"]);
    field.run(&["keys", "init", "--out", "keys"]).code(0);
    let window =
        |release: u64, host: &str| data(&field, release, host).reboot_window.map(|w| w.to_string());
    settings(&field, "");
    field.run(&["release", "--keys", "keys"]).code(0);
    assert_eq!(window(1, "aa"), None);
    settings(
        &field,
        "[reboot]\nwindow = \"01:00-05:00\"\nwaves.final = \"02:00-03:00\"\n\
         [sites.boats]\nhosts = [\"bb\", \"dd\"]\nreboot-window = \"22:00-04:00\"\n\
         [hosts.dd]\nreboot-window = \"12:00-12:30\"\n",
    );
    let dry = field.run(&["release", "--keys", "keys", "--dry-run", "--json"]).code(0).json();
    assert_eq!(dry["hosts"]["aa"]["settings_changed"], true, "{dry:#}");
    field.run(&["release", "--keys", "keys"]).code(0);
    let of = |host: &str| window(2, host).unwrap();
    assert_eq!([of("aa"), of("cc")], ["01:00-05:00", "02:00-03:00"]);
    assert_eq!([of("bb"), of("dd")], ["22:00-04:00", "12:00-12:30"]);
}

#[test]
fn a_reboot_window_that_cannot_be_right_is_refused_with_its_line() {
    let field = fleet();
    // The line, from 1, and what is said.
    for (text, line, says) in [
        ("[reboot]\nwindow = \"25:00-05:00\"\n", 7, "two times of day"),
        ("[hosts.aa]\nassignment-days = 9\nreboot-window = \"01-05\"\n", 8, "two times of day"),
        ("[sites.s]\nhosts = []\nreboot-window = \"01:00-01:10\"\n", 8, "15 minutes or longer"),
        ("[reboot]\nwindows = \"01:00-05:00\"\n", 7, "unknown field"),
        ("[hosts.zz]\nreboot-window = \"01:00-05:00\"\n", 7, "no host zz"),
        ("[reboot.waves]\nfinale = \"01:00-05:00\"\n", 7, "no wave finale"),
        ("[sites.s]\nreboot-window = \"01:00-05:00\"\nhosts = [\"zz\"]\n", 8, "no host zz"),
    ] {
        settings(&field, text);
        let before = field.repository();
        let ran = field.run(&["release", "--keys", "keys"]);
        let place = format!("afield.toml:{line}");
        assert!([2, 3].contains(&ran.code), "{text}: {}", ran.err);
        assert!(ran.err.contains(&place) && ran.err.contains(says), "{text}: {}", ran.err);
        assert!(ran.err.contains("hint:"), "{text}: {}", ran.err);
        assert_eq!(before, field.repository(), "{text}");
    }
}

#[test]
fn a_release_that_would_take_the_secrets_away_is_refused() {
    let field = fleet();
    field.write("org-config/secrets/master/a-secrets.yml", "$ANSIBLE_VAULT;1.1;AES256\n6161\n");
    let report = field.run(&["release", "--keys", "keys", "--json"]).code(0).json();
    assert!(report["notes"][0].as_str().unwrap().contains("afield secrets seal"), "{report:#}");
    let age = "-----BEGIN AGE ENCRYPTED FILE-----\nYWdl\n-----END AGE ENCRYPTED FILE-----\n";
    field.write("org-config/secrets/generated/age/aa.age", age);
    field.run(&["release", "--keys", "keys"]).code(0);
    fs::remove_dir_all(field.path("org-config/secrets/generated")).unwrap();
    let ran = field.run(&["release", "--keys", "keys"]).code(3);
    assert!(
        ran.err.contains("would lose") && ran.err.contains("afield secrets seal"),
        "{}",
        ran.err
    );
}
