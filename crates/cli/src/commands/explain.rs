//! `afield explain CODE`: what a finding means, why it is wrong, and what to do.

use afield_core::fleet::Code;
use afield_core::fleet::codes::{Row, TABLE};
use clap::Args;
use serde_json::{Value, json};

use crate::context::Context;
use crate::exit::{CommandResult, Failure, Outcome};

/// Arguments of `afield explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The code of a finding, such as AF0101; without it, all are listed
    code: Option<String>,
}

/// Explains a code, or lists all.
pub fn run(args: &ExplainArgs, context: &mut Context) -> CommandResult {
    let Some(text) = &args.code else {
        return list(context);
    };
    let code: Code = text.parse().map_err(|error| {
        Failure::usage(format!("{error}")).hint("`afield explain` without a code lists all")
    })?;
    let row = code.row();
    if context.out.json() {
        context.out.value(&value(row))?;
        return Ok(Outcome::Done);
    }
    let head = format!("{} ({}): {}", row.code, row.severity.name(), row.title);
    context.out.line(&format!("{head}\n\n{}\n\nWhat to do: {}", row.explanation, row.remedy))?;
    Ok(Outcome::Done)
}

fn list(context: &mut Context) -> CommandResult {
    if context.out.json() {
        let all: Vec<Value> = TABLE.iter().map(value).collect();
        context.out.value(&all)?;
        return Ok(Outcome::Done);
    }
    for row in TABLE {
        context.out.line(&format!("{} {:7} {}", row.code, row.severity.name(), row.title))?;
    }
    Ok(Outcome::Done)
}

fn value(row: &Row) -> Value {
    json!({
        "code": row.code,
        "severity": row.severity,
        "title": row.title,
        "explanation": row.explanation,
        "remedy": row.remedy,
    })
}
