//! `afield build` with real Nix: hosts that fail do not stop the others, and are named with a usable reason.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::Field;
use serde_json::Value;

const GOOD: &str = r#"mk "good" "echo fine > $out/x""#;

fn failed<'a>(report: &'a Value, host: &str) -> &'a Value {
    let failed = &report["failed"][host];
    assert!(failed.is_object(), "{host} did not fail: {report:#}");
    failed
}

#[test]
fn each_failing_host_is_named_and_the_others_are_built() {
    let field = Field::new(&[
        ("good1", GOOD),
        ("good2", r#"mk "other" "echo ${mk "dep" "echo d > $out/d"} > $out/x""#),
        ("throws", r#"throw "no disk declared\nsecond line""#),
        ("asserts", r#"assert false; mk "a" """#),
        ("types", r#"1 + "x""#),
        ("absent", "import ./nowhere.nix"),
        ("string", r#""no derivation""#),
        ("breaks", r#"mk "breaks" "echo one; echo 'boom: no such port' >&2; exit 3""#),
        ("deep", r#"mk "deep" "cat ${mk "depbad" "echo in the dep; exit 4"}/x""#),
    ]);
    field.write("org-config/hosts/unlisted.nix", "{ }\n");
    let ran = field.run(&["build", "--json"]).code(1);
    let report = ran.json();
    let good = report["hosts"].as_object().unwrap();
    assert_eq!(good.keys().collect::<Vec<_>>(), ["good1", "good2"]);
    assert_eq!(good["good1"]["closure_paths"], 1);
    assert_eq!(good["good2"]["closure_paths"], 2);
    assert!(good["good2"]["closure_bytes"].as_u64().unwrap() > 200);

    let reason = |host: &str| failed(&report, host)["reason"].as_str().unwrap().to_owned();
    let step = |host: &str| failed(&report, host)["step"].as_str().unwrap().to_owned();
    assert_eq!(reason("throws"), "no disk declared");
    assert!(reason("asserts").contains("assert"), "{}", reason("asserts"));
    assert!(reason("types").contains("integer"), "{}", reason("types"));
    let at = failed(&report, "types")["at"].as_str().unwrap();
    assert!(at.contains("systems.nix:"), "{at}");
    assert!(reason("absent").contains("nowhere.nix"), "{}", reason("absent"));
    assert!(reason("string").contains("is a string"), "{}", reason("string"));
    assert!(reason("unlisted").contains("no attribute"), "{}", reason("unlisted"));
    for host in ["throws", "asserts", "types", "absent", "string", "unlisted"] {
        assert_eq!(step(host), "evaluate");
    }
    for host in ["breaks", "deep"] {
        assert_eq!(step(host), "build");
    }
    assert!(reason("breaks").contains("'breaks.drv' failed"), "{}", reason("breaks"));
    let log = failed(&report, "breaks")["log"].as_array().unwrap();
    assert_eq!(log, &["one", "boom: no such port"]);
    assert!(reason("deep").contains("'depbad.drv'"), "{}", reason("deep"));
    assert_eq!(failed(&report, "deep")["log"][0], "in the dep");

    // What was built stays until it is built anew: the links are roots of garbage collection.
    let root = std::fs::read_link(field.path("home/.cache/afield/roots/test/good1")).unwrap();
    assert_eq!(good["good1"]["system"], root.to_str().unwrap());
    let text = field.run(&["build", "good1", "breaks"]).code(1).out;
    assert!(text.contains("good1") && text.contains("/nix/store/"), "{text}");
    assert!(
        text.contains("breaks does not build: ") && text.contains("boom: no such port"),
        "{text}"
    );
}

#[test]
fn a_dry_run_only_evaluates() {
    let field = Field::new(&[("breaks", r#"mk "breaks" "exit 1""#), ("good", GOOD)]);
    let report = field.run(&["build", "--dry-run", "--json"]).code(0).json();
    let system = report["hosts"]["good"]["system"].as_str().unwrap();
    assert!(!field.path("store").join(&system[1..]).exists());
    assert!(!field.path("home").exists(), "a dry run wrote something");
    let out = field.path("result.json");
    field.run(&["build", "good", "--out", out.to_str().unwrap()]).code(0);
    let written: Value = serde_json::from_slice(&std::fs::read(out).unwrap()).unwrap();
    assert_eq!(written["hosts"]["good"]["system"], system);
    assert!(field.path("store").join(&system[1..]).exists());
}

#[test]
fn a_file_that_is_wrong_as_a_whole_is_one_error() {
    let field = Field::new(&[("aa", GOOD), ("bb", GOOD)]);
    field.write("systems.nix", "{ aa = 1; bb = ; }");
    let ran = field.run(&["build"]).code(1);
    assert!(ran.err.contains("systems.nix:1: syntax error"), "{}", ran.err);
    field.write("systems.nix", "[ 1 ]");
    let ran = field.run(&["build"]).code(1);
    assert!(ran.err.contains("list"), "{}", ran.err);
    std::fs::remove_file(field.path("systems.nix")).unwrap();
    let ran = field.run(&["build"]).code(2);
    assert!(ran.err.contains("systems.nix") && ran.err.contains("hint:"), "{}", ran.err);
}

#[test]
fn wrong_usage_says_what_is_right() {
    let field = Field::new(&[("aa", GOOD)]);
    let ran = field.run(&["build", "nobody"]).code(2);
    assert!(ran.err.contains("no host nobody") && ran.err.contains("aa"), "{}", ran.err);
    field.write("afield.toml", "fleet = \"test\"\n[build]\nflie = \"x\"\n");
    let ran = field.run(&["build"]).code(2);
    assert!(ran.err.contains("flie") && ran.err.contains("3 |"), "{}", ran.err);
}

#[test]
fn without_nix_it_says_how_to_get_it() {
    let mut field = Field::new(&[("aa", GOOD)]);
    field.only_programs(&["busybox"]);
    let ran = field.run(&["build"]).code(1);
    assert!(ran.err.contains("apt install nix-bin"), "{}", ran.err);
}

#[test]
fn flakes_are_evaluated_by_their_attribute() {
    let field = Field::new(&[("aa", GOOD), ("bb", GOOD)]);
    field.write("org-config/hosts/ubuntu/cc.nix", "{ }\n");
    field.write(
        "flake.nix",
        r#"{ outputs = _:
          let mk = name: derivation { inherit name; system = "x86_64-linux"; builder = "/none"; };
          in {
            nixosConfigurations = {
              aa.config.system.build.toplevel = mk "system-aa";
              bb.config.system.build.toplevel = throw "no root file system";
            };
            systemConfigs.cc = mk "system-cc";
          }; }"#,
    );
    let settings = |build: &str| {
        let text = format!(
            "fleet = \"test\"\n[repository]\npath = \"r\"\n[build]\nflake = \"path:.\"\n{build}"
        );
        field.write("afield.toml", &text);
    };
    settings(
        "attribute = \"nixosConfigurations.{host}.config.system.build.toplevel\"\nubuntu-attribute = \"systemConfigs.{host}\"\n",
    );
    let report = field.run(&["build", "--dry-run", "--json"]).code(1).json();
    assert!(
        report["hosts"]["aa"]["system"].as_str().unwrap().ends_with("-system-aa"),
        "{report:#}"
    );
    assert!(
        report["hosts"]["cc"]["system"].as_str().unwrap().ends_with("-system-cc"),
        "{report:#}"
    );
    assert_eq!(failed(&report, "bb")["reason"], "no root file system");

    settings("attribute = \"nixosConfigurations.{host}.config.system.build.toplevel\"\n");
    let ran = field.run(&["build", "--dry-run"]).code(2);
    assert!(ran.err.contains("ubuntu-attribute"), "{}", ran.err);
    settings("attribute = \"nixosConfigurations.toplevel\"\nubuntu-attribute = \"x\"\n");
    let ran = field.run(&["build", "--dry-run"]).code(2);
    assert!(ran.err.contains("no part {host}"), "{}", ran.err);
}

#[test]
fn nix_eval_jobs_is_used_where_it_is() {
    let mut field = Field::new(&[("aa", GOOD), ("bb", GOOD), ("cc", GOOD)]);
    let drv = "/nix/store/00000000000000000000000000000000-jobs.drv";
    let out = "/nix/store/00000000000000000000000000000000-jobs";
    field.program(
        "nix-eval-jobs",
        &format!(
            "#!/bin/sh\nprintf '%s\\n' \"$@\" > {}/args\n\
             printf '%s\n' '{{\"attr\":\"aa\",\"attrPath\":[\"aa\"],\"drvPath\":\"{drv}\",\"outputs\":{{\"out\":\"{out}\"}},\"name\":\"x\",\"system\":\"y\"}}'\n\
             printf '%s\n' '{{\"attr\":\"bb\",\"attrPath\":[\"bb\"],\"error\":\"error:\\n       … while x\\n\\n       error: no disk\"}}'\n",
            field.dir.path().display()
        ),
    );
    let report = field.run(&["build", "--dry-run", "--json"]).code(1).json();
    assert_eq!(report["hosts"]["aa"]["system"], out);
    assert_eq!(failed(&report, "bb")["reason"], "no disk");
    // What it says nothing of, plain Nix is asked about.
    assert!(report["hosts"]["cc"]["system"].as_str().unwrap().ends_with("-good"));
    assert!(field.path("args").exists());

    field.program("nix-eval-jobs", "#!/bin/sh\necho 'error: no such option' >&2\nexit 1\n");
    let report = field.run(&["build", "--dry-run", "--json"]).code(0).json();
    assert_eq!(report["hosts"].as_object().unwrap().len(), 3);
}
