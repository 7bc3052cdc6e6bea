//! One file per command: its arguments and its `run`.

pub mod access;
pub mod build;
pub mod bundle;
pub mod cert;
pub mod check;
pub mod completions;
pub mod configs;
pub mod connect;
pub mod deploy_hook;
pub mod explain;
pub mod host;
pub mod init;
pub mod keys;
pub mod relay;
pub mod release;
pub mod repository;
pub mod rollout;
pub mod secrets;
pub mod show;
pub mod ssh;
pub mod status;
pub mod user;
pub mod why;

use crate::cli::Command;
use crate::context::Context;
use crate::exit::CommandResult;

/// Runs a command.
pub fn run(command: Command, context: &mut Context) -> CommandResult {
    match command {
        Command::Init(args) => init::run(&args, context),
        Command::Host(args) => host::run(&args, context),
        Command::User(args) => user::run(&args, context),
        Command::Build(args) => build::run(&args, context),
        Command::Bundle(args) => bundle::run(&args, context),
        Command::Check(args) => check::run(&args, context),
        Command::Explain(args) => explain::run(&args, context),
        Command::Show(args) => show::run(&args, context),
        Command::Why(args) => why::run(&args, context),
        Command::Access(args) => access::run(&args, context),
        Command::Configs(args) => configs::run(&args, context),
        Command::Ssh(args) => ssh::ssh(&args, context),
        Command::Scp(args) => ssh::scp(&args, context),
        Command::Forward(args) => ssh::forward(&args, context),
        Command::SshConfig(args) => ssh::config(&args, context),
        Command::Connect(args) => connect::run(&args, context),
        Command::Relay(args) => relay::run(&args, context),
        Command::DeployHook(args) => deploy_hook::run(&args, context),
        Command::Rollout(args) => rollout::run(&args, context),
        Command::Status(args) => status::run(&args, context),
        Command::Keys(args) => keys::run(&args, context),
        Command::Release(args) => release::run(&args, context),
        Command::Repository(args) => repository::run(&args, context),
        Command::Secrets(args) => secrets::run(args, context),
        Command::Completions(args) => completions::run(&args, context),
    }
}
