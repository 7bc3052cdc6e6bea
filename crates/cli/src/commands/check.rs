//! `afield check`: everything that is wrong in the fleet folder, in one run.

use std::path::PathBuf;

use afield_core::fleet::Severity;
use clap::{Args, ValueEnum};
use serde_json::json;

use super::secrets::keyring::{KeyArgs, Keyring};
use crate::context::{Context, Folder};
use crate::exit::{CommandResult, Outcome};
use crate::output::count;
use crate::report;

/// Arguments of `afield check`.
#[derive(Debug, Args)]
#[command(
    after_help = "Files of secrets are looked into if a key is given: the vault password by --password-file, \
--password-command or AFIELD_VAULT_PASSWORD, the key of age files by --identity. Nothing is asked for, and what they hold \
is never shown. What was not looked into, and why, is told on standard error, and as not_checked in JSON."
)]
pub struct CheckArgs {
    /// Form of the findings; --json is the same as --format json
    #[arg(long, value_name = "FORM", default_value = "text")]
    format: Format,
    #[command(flatten)]
    keys: KeyArgs,
}

/// Form of findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// With source excerpts, for people
    Text,
    /// One value: {"findings": […], "not_checked": […]}
    Json,
    /// SARIF 2.1.0, for code scanning
    Sarif,
    /// Workflow commands of GitHub Actions
    Github,
}

/// Checks the fleet folder; what it finds goes to standard output, a summary for people to standard error.
pub fn run(args: &CheckArgs, context: &mut Context) -> CommandResult {
    let keyring = Keyring::without_prompts(&args.keys);
    let folder =
        context.folder_opened(&context.fleet_dir()?, |sources| keyring.open_all(sources))?;
    let format = if context.out.json() { Format::Json } else { args.format };
    match format {
        Format::Text => text(&folder, context)?,
        Format::Json => context.out.value(&json!({
            "findings": folder.findings,
            "not_checked": folder.fleet.unseen,
        }))?,
        Format::Sarif => {
            let base = repository(&folder);
            context.out.value(&report::sarif(&folder.findings, &folder, &base))?;
        }
        Format::Github => {
            let base = repository(&folder);
            for finding in &folder.findings {
                context.out.line(&report::github(finding, &folder, &base))?;
            }
        }
    }
    let error = folder.findings.iter().any(|finding| finding.severity == Severity::Error);
    Ok(if error { Outcome::Findings } else { Outcome::Done })
}

fn text(folder: &Folder, context: &mut Context) -> anyhow::Result<()> {
    let (color, cwd) = (context.out.color(), context.cwd().to_path_buf());
    for finding in &folder.findings {
        let text = report::text(finding, folder, &cwd, color);
        context.out.line(&format!("{}\n", text.trim_end()))?;
    }
    let of = |severity| folder.findings.iter().filter(|f| f.severity == severity).count();
    let (errors, warnings) =
        (count(of(Severity::Error), "error"), count(of(Severity::Warning), "warning"));
    let hosts = count(folder.fleet.hosts.len(), "host");
    context.out.note(&format!("{hosts}: {errors}, {warnings}"));
    for unseen in &folder.fleet.unseen {
        context.out.note(&format!("not looked into: {}: {}", unseen.file, unseen.why));
    }
    Ok(())
}

/// The root of the repository that the folder is in, by which programs name files; else the folder itself.
fn repository(folder: &Folder) -> PathBuf {
    let mut above = folder.dir.ancestors();
    let root = above.find(|dir| dir.join(".git").exists());
    root.unwrap_or(&folder.dir).to_path_buf()
}
