//! `afield secrets view FILE`: a vault file's text, or what `generated-secrets.yml` holds for one host.

use std::path::{Path, PathBuf};

use afield_core::secrets::hostkey::HostPrivate;
use afield_core::secrets::sealed;
use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use super::file;
use super::password::PasswordArgs;
use crate::context::Context;
use crate::exit::{CommandResult, Failure, Outcome};

/// A private key file has about 400 bytes.
const LARGEST_KEY: usize = 64 << 10;

/// Arguments of `afield secrets view`.
#[derive(Debug, Args)]
pub struct ViewArgs {
    /// A vault file; or, with --host, the file of sealed secrets
    file: PathBuf,
    /// Open what is sealed to this host
    #[arg(long, value_name = "HOST", requires = "identity")]
    host: Option<String>,
    /// The host's private SSH key (OpenSSH, ed25519, without a passphrase)
    #[arg(long, value_name = "KEYFILE", requires = "host")]
    identity: Option<PathBuf>,
    #[command(flatten)]
    password: PasswordArgs,
}

/// Shows the plaintext on standard output.
pub fn run(args: &ViewArgs, context: &mut Context) -> CommandResult {
    if let (Some(host), Some(identity)) = (&args.host, &args.identity) {
        return view_host(&args.file, host, identity, context);
    }
    let opened = file::open_vault(&args.file, &args.password.read()?)?;
    if context.out.json() {
        let text = std::str::from_utf8(&opened.plain).ok();
        let file = args.file.display().to_string();
        context
            .out
            .value(&json!({ "file": file, "vault_id": opened.id, "text": text }))?;
    } else {
        context.out.bytes(&opened.plain)?;
    }
    Ok(Outcome::Done)
}

fn view_host(path: &Path, host: &str, identity: &Path, context: &mut Context) -> CommandResult {
    let key = HostPrivate::from_openssh(&file::read_text(identity, LARGEST_KEY)?)
        .with_context(|| identity.display().to_string())?;
    let text = file::read_text(path, sealed::MAX_FILE)?;
    let hosts = sealed::parse(&text).with_context(|| path.display().to_string())?;
    let Some(entry) = hosts.get(host) else {
        return Err(
            Failure::refused(format!("{} has nothing for host `{host}`", path.display()))
                .hint("its name may be misspelt, or it has no secrets"),
        );
    };
    let what = || format!("{}: host `{host}`", path.display());
    let padded = entry.open_padded(&key).with_context(what)?;
    if !context.out.json() {
        context.out.bytes(padded.trim_ascii_end())?;
        context.out.text("\n")?;
        return Ok(Outcome::Done);
    }
    let tree = sealed::tree(&padded).with_context(what)?;
    let secrets = tree.secrets.iter();
    let secrets = secrets.map(|secret| {
        json!({ "name": secret.name, "path": secret.path, "content": *secret.content, "extract": secret.extract })
    });
    context
        .out
        .value(&json!({ "host": host, "secrets": secrets.collect::<Vec<_>>() }))?;
    Ok(Outcome::Done)
}
