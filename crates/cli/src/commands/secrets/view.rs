//! `afield secrets view FILE`: a vault file's text, or what `generated-secrets.yml` holds for one host.

use std::path::{Path, PathBuf};

use afield_core::secrets::age::Identity;
use afield_core::secrets::sealed;
use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use super::file;
use super::keyring::{KeyArgs, Keyring, Kind};
use crate::context::Context;
use crate::exit::{CommandResult, Failure, Outcome};

/// Arguments of `afield secrets view`.
#[derive(Debug, Args)]
pub struct ViewArgs {
    /// A vault or age file; or, with --host, the file of sealed secrets (generated-secrets.yml)
    file: PathBuf,
    /// Open what is sealed to this host; --identity is then the host's private SSH key
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    #[command(flatten)]
    keys: KeyArgs,
}

/// Shows the plaintext on standard output.
pub fn run(args: &ViewArgs, context: &mut Context) -> CommandResult {
    let keyring = Keyring::new(&args.keys);
    if let Some(host) = &args.host {
        return view_host(&args.file, host, keyring.identity()?, context);
    }
    let opened = keyring.open(&args.file)?;
    if context.out.json() {
        let text = std::str::from_utf8(&opened.plain).ok();
        let (kind, id) = match &opened.kind {
            Kind::Vault(id) => ("vault", id.as_deref()),
            Kind::Age => ("age", None),
        };
        let file = args.file.display().to_string();
        context.out.value(&json!({ "file": file, "kind": kind, "vault_id": id, "text": text }))?;
    } else {
        context.out.bytes(&opened.plain)?;
    }
    Ok(Outcome::Done)
}

fn view_host(path: &Path, host: &str, key: &Identity, context: &mut Context) -> CommandResult {
    let Identity::Ssh(key) = key else {
        return Err(Failure::usage("with --host, --identity must be the host's SSH key"));
    };
    let text = file::read_text(path, sealed::MAX_FILE)?;
    let hosts = sealed::parse(&text).with_context(|| path.display().to_string())?;
    let Some(entry) = hosts.get(host) else {
        return Err(Failure::refused(format!("{} has nothing for host `{host}`", path.display()))
            .hint("its name may be misspelt, or it has no secrets"));
    };
    let what = || format!("{}: host `{host}`", path.display());
    let padded = entry.open_padded(key).with_context(what)?;
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
    context.out.value(&json!({ "host": host, "secrets": secrets.collect::<Vec<_>>() }))?;
    Ok(Outcome::Done)
}
