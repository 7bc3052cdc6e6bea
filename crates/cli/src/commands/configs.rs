//! `afield configs render`: `generated-app-configs.yml`, byte for byte as the older tool writes it.

use std::path::{Path, PathBuf};

use afield_core::fleet::{Finding, Severity, codes, render};
use clap::{Args, Subcommand};

use crate::context::{Context, Folder};
use crate::exit::{CommandResult, Failure, Outcome};
use crate::{report, write};

/// Arguments of `afield configs`.
#[derive(Debug, Args)]
pub struct ConfigsArgs {
    #[command(subcommand)]
    command: ConfigsCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigsCommand {
    /// Write the generated file from the master files
    Render(RenderArgs),
}

#[derive(Debug, Args)]
struct RenderArgs {
    /// The file to write, or - for standard output [default: app_configs/generated/generated-app-configs.yml]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Only tell what would be done
    #[arg(long)]
    dry_run: bool,
}

/// Runs `afield configs`.
pub fn run(args: &ConfigsArgs, context: &mut Context) -> CommandResult {
    match &args.command {
        ConfigsCommand::Render(args) => render_file(args, context),
    }
}

fn render_file(args: &RenderArgs, context: &mut Context) -> CommandResult {
    let folder = context.folder()?;
    let about: Vec<&Finding> = folder.findings.iter().filter(|f| concerns(f)).collect();
    for finding in &about {
        let text = report::text(finding, &folder, context.cwd(), false);
        context.out.note(&format!("{}\n", text.trim_end()));
    }
    if about.iter().any(|finding| prevents(finding)) {
        return Err(Failure::failed(anyhow::anyhow!(
            "the app configs cannot be rendered; nothing was written"
        ))
        .hint("correct what is told above"));
    }
    let text = render::app_configs(&folder.fleet);
    let out = args.out.clone().unwrap_or_else(|| default_out(&folder));
    if out == Path::new("-") {
        context.out.text(&text)?;
        return Ok(Outcome::Done);
    }
    let written = write::replace(&out, text.as_bytes(), args.dry_run)?;
    let would = if args.dry_run { "would be " } else { "" };
    context.out.note(&format!("{}: {would}{}", out.display(), written.word()));
    Ok(Outcome::Done)
}

fn default_out(folder: &Folder) -> PathBuf {
    folder.dir.join("app_configs/generated/generated-app-configs.yml")
}

/// Findings that are worth telling here.
fn concerns(finding: &Finding) -> bool {
    finding.file.starts_with("app_configs/master/")
        || (finding.file.starts_with("json/tunnels.d") && prevents(finding))
}

/// Whether the generated file would be wrong or could do harm.
///
/// A host that does not exist does neither: the older tool writes its part, and nobody reads it.
fn prevents(finding: &Finding) -> bool {
    let harmless = [codes::FILE_UNKNOWN_HOST, codes::FILE_PATH_TWICE];
    let in_configs = finding.file.starts_with("app_configs/master/");
    // Of the tunnels only `generate_configs` counts, so only what hides entries is in the way.
    let unread = [
        codes::SYNTAX,
        codes::DUPLICATE_KEY,
        codes::LIMIT,
        codes::WRONG_TYPE,
        codes::NOT_UTF8,
        codes::TUNNEL_TWICE,
    ];
    finding.severity == Severity::Error
        && !harmless.contains(&finding.code)
        && (in_configs || unread.contains(&finding.code))
}
