//! `mizzen schema`: the JSON Schemas of the experiment file and of what `--json` prints.

use clap::Args;
use mizzen_core::{config, executor};

use crate::render::Outcome;
use crate::render::documents::{SCHEMA_NAMES, schema};
use crate::report::{Report, Status};
use crate::surroundings::Surroundings;

/// Prints the JSON Schema of experiment files, or of what `--json` prints
#[derive(Debug, Args)]
pub(crate) struct SchemaArgs {
    /// Which: `experiment` for the experiment file, else the command
    #[arg(value_name = "NAME", default_value = "experiment", value_parser = names())]
    name: String,
}

fn names() -> clap::builder::PossibleValuesParser {
    std::iter::once("experiment")
        .chain(SCHEMA_NAMES)
        .collect::<Vec<_>>()
        .into()
}

/// Prints a schema.
///
/// # Errors
/// Nobody reads it.
pub(crate) fn run(args: SchemaArgs, surroundings: &Surroundings) -> Result<Outcome, Report> {
    let document = match schema(&args.name) {
        Some(schema) => schema,
        None => config::json_schema(&executor::vocabulary()),
    };
    let text = serde_json::to_string_pretty(&document)
        .map_err(|error| Report::from_output(error.into()))?;
    surroundings.output.print(&format!("{text}\n"))?;
    Ok(Outcome::done(Status::Succeeded))
}
