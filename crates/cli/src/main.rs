//! `afield`: see [`afield_cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    afield_cli::run(std::env::args_os())
}
