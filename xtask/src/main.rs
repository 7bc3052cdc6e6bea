//! `cargo demo`, `cargo ci` and the benches.

mod bench_eval;
mod nix_tests;

fn main() -> anyhow::Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some("nix-tests") => nix_tests::run(),
        Some("bench-eval") => bench_eval::run(),
        other => anyhow::bail!("unknown task {other:?}; there are nix-tests and bench-eval"),
    }
}
