//! Finds the scenarios: every file of `tests/vm/` but `main.rs` becomes a module of the test program.

use std::path::Path;
use std::{env, fs};

fn main() {
    println!("cargo:rerun-if-changed=tests/vm");
    let here = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let folder = Path::new(&here).join("tests/vm");
    let entries = fs::read_dir(&folder).expect("tests/vm is there");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("it can be read").path()).collect();
    files.retain(|file| file.extension().is_some_and(|e| e == "rs") && !file.ends_with("main.rs"));
    files.sort();
    let modules: String = files.iter().map(|file| module(file)).collect();
    let out = env::var("OUT_DIR").expect("cargo sets it");
    fs::write(Path::new(&out).join("scenarios.rs"), modules).expect("OUT_DIR can be written");
}

fn module(file: &Path) -> String {
    let name = file.file_stem().expect("it has a name").to_string_lossy();
    format!("#[path = {:?}]\nmod {name};\n", file.display().to_string())
}
