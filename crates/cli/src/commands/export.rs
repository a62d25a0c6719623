//! `mizzen export`: an experiment as one file.

use camino::Utf8PathBuf;
use clap::Args;
use mizzen_core::submit::archive;

use crate::render::Outcome;
use crate::render::text::{bytes, count};
use crate::report::{Report, Status};
use crate::select::{self, ExperimentArg};
use crate::surroundings::Surroundings;

/// Writes an experiment to one file that a colleague can import
///
/// Record, configuration, events, logs and code. Values of variables with private names (TOKEN, KEY, …) and secrets are left
/// out; logs are as the jobs wrote them. The file's path goes to standard output.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mizzen export iris                       into ./iris-ID.mizzen
  mizzen import iris-3f8k2m9x4p.mizzen     at the colleague's")]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    experiment: ExperimentArg,
    /// The file [default: TITLE-ID.mizzen in the working directory]
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    file: Option<Utf8PathBuf>,
}

/// Exports an experiment.
///
/// # Errors
/// There is no such experiment, it still runs, or the file can't be written.
pub(crate) fn run(args: ExportArgs, surroundings: &Surroundings) -> Result<Outcome, Report> {
    let (context, output) = (&surroundings.context, &surroundings.output);
    let store = select::open(surroundings)?;
    let id = select::experiment(&store, &args.experiment.experiment)?;
    let title = store.summary(&id)?.title;
    let file = args
        .file
        .unwrap_or_else(|| format!("{title}-{id}.mizzen").into());
    let path = context.workdir.join(file);
    let exported = archive::export(context, &store, &id, &path)?;
    for tree in &exported.missing {
        output.say(&format!(
            "note: the tree {} is not kept any more, and not in it",
            &tree[..tree.len().min(12)]
        ));
    }
    output.say(&format!(
        "{title} with {} and {}: {}",
        count(exported.files, "file"),
        count(exported.trees, "tree"),
        bytes(exported.bytes)
    ));
    output.print(&format!("{path}\n"))?;
    Ok(Outcome::done(Status::Succeeded))
}
