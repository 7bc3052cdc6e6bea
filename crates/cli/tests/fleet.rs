//! `afield` on the golden fleet, as an operator runs it: the real program, a cleared environment, the real Nix and git.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use afield_testkit::golden::golden;
use serde_json::Value;

/// A copy of the golden fleet in which everything is in order but what the golden fleet is meant to show.
fn fleet() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    copy(&golden("inputs/org-config"), &dir.path().join("org-config"));
    dir
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::write(&target, fs::read(entry.path()).unwrap()).unwrap();
        }
    }
}

fn edit(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{from:?} is not in {}", path.display());
    fs::write(path, text.replace(from, to)).unwrap();
}

fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_afield"));
    command.current_dir(dir).args(["--today", "2026-11-23"]).args(args).env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}

fn run(dir: &Path, args: &[&str]) -> Output {
    command(dir, args).output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", err(output)))
}

fn told(output: &Output) -> Vec<String> {
    let findings = json(output)["findings"].as_array().unwrap().clone();
    findings
        .iter()
        .map(|f| {
            format!("{} {}:{}", f["code"].as_str().unwrap(), f["file"].as_str().unwrap(), f["line"])
        })
        .collect()
}

#[test]
fn check_tells_code_place_excerpt_and_remedy() {
    let dir = fleet();
    let output = run(dir.path(), &["check"]);
    assert_eq!(output.status.code(), Some(1), "{}", err(&output));
    let expected = "\
error[AF0503]: the app config for_unknown_host is for \"ghost-host\", and there is no such host
  --> org-config/app_configs/master/field/ward-configs.yml:35:15
   |
34 |     content: \"boo\\n\"
35 |     servers: [ghost-host, prov-new]
   |               ^^^^^^^^^^
   |
   = help: Remove the host, or correct its name.
";
    assert!(out(&output).starts_with(expected), "{}", out(&output));
    assert!(err(&output).contains("8 hosts: 1 error, 6 warnings"), "{}", err(&output));
    assert!(err(&output).contains("secrets/master/dhis2-secrets.yml: it is encrypted"));
}

#[test]
fn check_exits_1_with_an_error_alone() {
    let dir = fleet();
    let wards = dir.path().join("org-config/app_configs/master/field/ward-configs.yml");
    edit(&wards, "[ghost-host, prov-new]", "[prov-new]");
    let output = run(dir.path(), &["check", "--format", "json"]);
    assert_eq!(output.status.code(), Some(0));
    let value = json(&output);
    let fields: Vec<&String> = value["findings"][0].as_object().unwrap().keys().collect();
    assert_eq!(fields, ["code", "column", "file", "line", "message", "remedy", "severity"]);
    assert!(value["findings"].as_array().unwrap().iter().all(|f| f["severity"] == "warning"));
    // The same by the global argument.
    assert_eq!(json(&run(dir.path(), &["--json", "check"])), value);
}

#[test]
fn check_finds_the_folder_from_below_and_by_argument() {
    let dir = fleet();
    let below = dir.path().join("org-config/hosts");
    let expected = told(&run(dir.path(), &["--json", "check"]));
    assert_eq!(told(&run(&below, &["--json", "check"])), expected);
    let given = dir.path().join("org-config");
    assert_eq!(
        told(&run(Path::new("/"), &["--json", "--fleet", given.to_str().unwrap(), "check"])),
        expected
    );
    let nowhere = tempfile::tempdir().unwrap();
    let output = run(nowhere.path(), &["check"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("hint: "), "{}", err(&output));
}

#[test]
fn check_speaks_sarif_and_github() {
    let dir = fleet();
    let sarif = json(&run(dir.path(), &["check", "--format", "sarif"]));
    assert_eq!(sarif["version"], "2.1.0");
    let result = &sarif["runs"][0]["results"][0];
    assert_eq!((&result["ruleId"], &result["level"]), (&"AF0503".into(), &"error".into()));
    let place = &result["locations"][0]["physicalLocation"]["region"];
    assert_eq!(
        (&place["startLine"], &place["startColumn"], &place["endColumn"]),
        (&35.into(), &15.into(), &25.into())
    );
    let lines = out(&run(dir.path(), &["check", "--format", "github"]));
    let first = "::error file=app_configs/master/field/ward-configs.yml,line=35,col=15,title=AF0503::the app config";
    assert!(lines.starts_with(first), "{lines}");
    assert!(lines.lines().all(|line| line.starts_with("::")));
}

#[test]
fn colour_is_for_terminals_unless_asked_for() {
    let dir = fleet();
    assert!(!out(&run(dir.path(), &["check"])).contains('\u{1b}'));
    assert!(out(&run(dir.path(), &["--color", "always", "check"])).contains('\u{1b}'));
}

#[test]
fn waves_are_evaluated_by_the_real_nix() {
    let dir = fleet();
    let waves = dir.path().join("org-config/waves-and-staging-hosts.nix");
    let of_waves = |dir: &Path| -> Vec<String> {
        told(&run(dir, &["--json", "check"]))
            .into_iter()
            .filter(|f| f.starts_with("AF04") || f.starts_with("AF0011"))
            .collect()
    };
    assert_eq!(of_waves(dir.path()), [""; 0]);
    let good = fs::read_to_string(&waves).unwrap();
    for (from, to, expected) in [
        ("\"lap-kabul\"", "\"lap-kabul\" \"vm-prod\"", "AF0403 waves-and-staging-hosts.nix:8"),
        ("\"lap-kabul\"", "", "AF0402 hosts/lap-kabul.nix:1"),
        ("inherit stagingHosts;", "inherit stagingHost;", "AF0410 waves-and-staging-hosts.nix:"),
        ("[ \"vm-uat\" ]", "[ \"vm-uat\" ", "AF0410 waves-and-staging-hosts.nix:2"),
        (
            "[ \"vm-uat\" ]",
            "builtins.readFile /etc/hostname",
            "AF0410 waves-and-staging-hosts.nix:1",
        ),
        ("[ \"vm-uat\" ]", "\"vm-uat\"", "AF0410"),
        ("latestWave", "lastWave", "AF0412 waves-and-staging-hosts.nix:1"),
    ] {
        fs::write(&waves, good.replace(from, to)).unwrap();
        let got = of_waves(dir.path());
        assert!(got.len() == 1 && got[0].starts_with(expected), "{to}: {got:?}, not {expected}");
    }
}

#[test]
fn without_nix_the_waves_are_told_as_not_looked_into() {
    let dir = fleet();
    let output =
        command(dir.path(), &["--json", "check"]).env("PATH", "/nonexistent").output().unwrap();
    assert!(
        told(&output).contains(&"AF0011 waves-and-staging-hosts.nix:1".to_owned()),
        "{}",
        out(&output)
    );
    let show = command(dir.path(), &["--json", "show", "host", "nuc-pap"])
        .env("PATH", "/nonexistent")
        .output()
        .unwrap();
    assert_eq!(json(&show)["wave"], Value::Null);
}

#[test]
fn a_link_out_of_the_folder_is_not_followed() {
    let dir = fleet();
    let json_dir = dir.path().join("org-config/json");
    let outside = dir.path().join("outside.json");
    fs::write(&outside, "{ this is no JSON").unwrap();
    std::os::unix::fs::symlink(&outside, json_dir.join("linked.json")).unwrap();
    std::os::unix::fs::symlink("/etc", json_dir.join("etc")).unwrap();
    let output = run(dir.path(), &["--json", "check"]);
    let told = told(&output);
    assert!(told.contains(&"AF0011 json/linked.json:1".to_owned()), "{told:?}");
    assert!(!told.iter().any(|f| f.starts_with("AF0001")), "{told:?}");
}

#[test]
fn explain_says_more_and_knows_all_codes() {
    let dir = tempfile::tempdir().unwrap();
    let text = out(&run(dir.path(), &["explain", "af0105"]));
    assert!(text.starts_with("AF0105 (error): a person with two profiles on one host"), "{text}");
    assert!(out(&run(dir.path(), &["explain"])).lines().count() > 60);
    assert_eq!(run(dir.path(), &["explain", "AF9999"]).status.code(), Some(2));
}

#[test]
fn show_and_why_tell_the_path_of_roles() {
    let dir = fleet();
    let text = out(&run(dir.path(), &["show", "host", "nuc-pap"]));
    assert!(text.contains("wave middle, branch main"), "{text}");
    assert!(text.contains("dr_amal       dockerAdmin through field_all → emr_support\n"), "{text}");
    assert!(text.contains("web: relay port 52002 → port 443 here"), "{text}");
    let plan = json(&run(dir.path(), &["--json", "show", "host", "nuc-pap"]));
    let expected = serde_json::json!([{"by": "roles", "path": ["devops", "devops_core"], "as": "docker_logs"}]);
    assert_eq!(plan["access"]["bruno_dias"]["via"], expected);

    let text = out(&run(dir.path(), &["why", "nurse_lucie", "nuc-juba"]));
    let expected = "nurse_lucie has docker_logs on nuc-juba:\n  docker_logs through emr_support → emr_nurses (json/users.json:";
    assert!(text.starts_with(expected), "{text}");
    let none = json(&run(dir.path(), &["--json", "why", "dr_amal", "lap-kabul"]));
    assert_eq!((&none["can_log_in"], &none["profile"]), (&false.into(), &Value::Null));
    assert!(none["but"][1].as_str().unwrap().contains("emr_support, field_all"), "{none}");
    let late = run(dir.path(), &["--today", "2027-03-31", "--json", "why", "ext_lena", "nuc-juba"]);
    assert_eq!(late.status.code(), Some(2), "an argument twice is wrong usage");

    for (kind, name) in [("user", "ext_lena"), ("role", "hq"), ("relay", "relay-fra")] {
        let shown = json(&run(dir.path(), &["--json", "show", kind, name]));
        assert_eq!(shown[kind], name);
    }
    let unknown = run(dir.path(), &["show", "host", "nuc-papp"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(err(&unknown).contains("is nuc-pap meant?"), "{}", err(&unknown));
}

#[test]
fn configs_render_writes_the_golden_bytes() {
    let dir = fleet();
    let file = dir.path().join("out.yml");
    let args = ["configs", "render", "--out", file.to_str().unwrap()];
    let dry = run(dir.path(), &[&args[..], &["--dry-run"]].concat());
    assert!(dry.status.success() && !file.exists(), "{}", err(&dry));
    assert!(run(dir.path(), &args).status.success());
    let golden = fs::read(golden("outputs/python/generated-app-configs.yml")).unwrap();
    assert_eq!(fs::read(&file).unwrap(), golden);
    assert!(err(&run(dir.path(), &args)).contains("unchanged"));
    assert_eq!(run(dir.path(), &["configs", "render", "--out", "-"]).stdout, golden);
    // What would do harm is refused, and the old file stays.
    let wards = dir.path().join("org-config/app_configs/master/field/ward-configs.yml");
    edit(&wards, "path: ghost", "path: ../../etc/ghost");
    let output = run(dir.path(), &args);
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("AF0504"), "{}", err(&output));
    assert_eq!(fs::read(&file).unwrap(), golden);
}

#[test]
fn audit_writes_tables_page_and_json() {
    let dir = fleet();
    let to = dir.path().join("audit");
    let args = ["access", "audit", "-o", to.to_str().unwrap()];
    assert_eq!(run(dir.path(), &args).status.code(), Some(2), "the folder has to be there");
    fs::create_dir(&to).unwrap();
    let dry = run(dir.path(), &[&args[..], &["--dry-run"]].concat());
    assert!(dry.status.success() && fs::read_dir(&to).unwrap().next().is_none());
    assert!(run(dir.path(), &args).status.success());
    let old = fs::read(golden("outputs/audit/direct_user_host_privs.csv")).unwrap();
    assert_eq!(fs::read(to.join("direct_user_host_privs.csv")).unwrap(), old);
    let effective = fs::read_to_string(to.join("effective_user_host_privs.csv")).unwrap();
    assert!(
        effective.contains("\namara_okafor,admin,admin,admin,admin,admin,admin,admin,admin,\n"),
        "{effective}"
    );
    let page = fs::read_to_string(to.join("access.html")).unwrap();
    assert!(
        page.contains(
            "<td class=\"expires\">dockerAdmin<br><small>closed from 2027-03-31</small></td>"
        ) && page.contains("<td>2027-03-31</td>")
    );
    assert!(
        !page.contains("http://") && !page.contains("https://"),
        "nothing is loaded from elsewhere"
    );
    let all: Value =
        serde_json::from_str(&fs::read_to_string(to.join("access.json")).unwrap()).unwrap();
    assert_eq!(all["hosts"]["prov-new"]["robot"]["profile"], "robot");
}

#[test]
fn audit_of_a_conflict_writes_nothing_and_says_where() {
    let dir = fleet();
    let users = dir.path().join("org-config/json/users.json");
    edit(&users, "\"zoe_field\": \"fieldSupport\"", "\"bruno_dias\": \"fieldSupport\"");
    let to = dir.path().join("audit");
    fs::create_dir(&to).unwrap();
    let output = run(dir.path(), &["access", "audit", "-o", to.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        err(&output).contains("json/users.json:25: bruno_dias has several profiles"),
        "{}",
        err(&output)
    );
    assert!(fs::read_dir(&to).unwrap().next().is_none());
}

fn git(dir: &Path, args: &[&str]) {
    let output = git_output(dir, args);
    assert!(output.status.success(), "git {args:?}: {}", err(&output));
}

fn git_output(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new("git");
    command
        .current_dir(dir)
        .args(["-c", "user.name=t", "-c", "user.email=t@example.org"])
        .args(args);
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
    command.output().unwrap()
}

#[test]
fn diff_tells_who_gains_or_loses_what_where() {
    let dir = fleet();
    let commit = |message: &str| {
        git(dir.path(), &["add", "-A"]);
        git(dir.path(), &["commit", "-q", "-m", message]);
    };
    git(dir.path(), &["init", "-q"]);
    commit("before");
    let users = dir.path().join("org-config/json/users.json");
    let keys = dir.path().join("org-config/json/keys.json");
    edit(&users, "\"zoe_field\": \"fieldSupport\",", "");
    edit(&users, "\"dr_amal\": \"dockerAdmin\"", "\"dr_amal\": \"devops\"");
    edit(&users, "\"ext_lena\": \"2027-03-31\",", "");
    edit(
        &users,
        "\"nurse_lucie\": \"localDockerAdmin\"",
        "\"nurse_lucie\": \"localDockerAdmin\", \"former_staff\": \"localShell\"",
    );
    edit(
        &keys,
        "AAAAC3NzaC1lZDI1NTE5AAAAIPz3buGpdyUWSA/3fbqUgc+6M0RL4XdOeLzfmlIWTSl5",
        "AAAAC3NzaC1lZDI1NTE5AAAAILNX4OzyH1j5vc2KrEeKiHqnlH3tr/o1hJTKABRCkpKD",
    );
    let expected = "\
dr_amal has devops instead of dockerAdmin on nuc-juba, nuc-pap
ext_lena is closed from never instead of 2027-03-31 on lap-kabul, nuc-juba, nuc-pap, vm-uat
former_staff gains localShell on lap-kabul
tnl_juba has other keys:";
    // Against the files as they are, then against the next commit.
    let worktree = out(&run(dir.path(), &["access", "diff", "HEAD"]));
    assert!(worktree.starts_with(expected), "{worktree}");
    assert!(worktree.ends_with("zoe_field loses fieldSupport on nuc-juba\n"), "{worktree}");
    commit("after");
    assert_eq!(out(&run(dir.path(), &["access", "diff", "HEAD~1..HEAD"])), worktree);
    let changes = json(&run(dir.path(), &["--json", "access", "diff", "HEAD~1..HEAD"]));
    let lost = serde_json::json!({"user": "zoe_field", "change": "loses", "profile": "fieldSupport", "hosts": ["nuc-juba"]});
    assert_eq!(changes["changes"].as_array().unwrap().last().unwrap(), &lost);
    let comment = out(&run(dir.path(), &["access", "diff", "HEAD~1..HEAD", "--format", "comment"]));
    assert!(comment.contains("| zoe\\_field | loses fieldSupport | nuc-juba |"), "{comment}");
    // A pull request: what it changed itself, not what happened on the main branch meanwhile.
    git(dir.path(), &["checkout", "-q", "-b", "side", "HEAD~1"]);
    edit(&keys, "\"dr_amal\": {", "\"dr_amal\": {\n      \"_comment\": 1,");
    commit("side");
    let range =
        format!("{}...side", out(&git_output(dir.path(), &["rev-parse", "HEAD@{1}"])).trim());
    assert_eq!(out(&run(dir.path(), &["access", "diff", &range])), "", "{range}");
    let same = run(dir.path(), &["access", "diff", "HEAD..HEAD"]);
    assert!(same.status.success() && same.stdout.is_empty());
    let wrong = run(dir.path(), &["access", "diff", "--format=text", "nothing..HEAD"]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(err(&wrong).contains("\"nothing\" is no revision"), "{}", err(&wrong));
}

#[test]
fn completions_know_every_command() {
    let dir = tempfile::tempdir().unwrap();
    let script = out(&run(dir.path(), &["completions", "bash"]));
    for word in ["check", "explain", "show", "why", "access", "configs"] {
        assert!(script.contains(word), "{word}");
    }
}
