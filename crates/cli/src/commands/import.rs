//! `mizzen import`: an exported experiment becomes history here.

use camino::Utf8PathBuf;
use clap::Args;
use mizzen_core::store::Store;
use mizzen_core::submit::archive::{self, ArchiveError};

use crate::render::Outcome;
use crate::report::{Report, Status};
use crate::surroundings::Surroundings;

/// Takes in an experiment that `mizzen export` has written
///
/// It keeps its id. It can be shown, read, compared and run again (`mizzen repro`); it is never driven here. A file that is
/// damaged, or is none of mizzen's, leaves nothing behind.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// The file
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    file: Utf8PathBuf,
}

/// Imports an experiment.
///
/// # Errors
/// The file can't be read or is not whole, or another experiment has the id.
pub(crate) fn run(args: ImportArgs, surroundings: &Surroundings) -> Result<Outcome, Report> {
    let context = &surroundings.context;
    let mut store = Store::open(&context.home)?;
    let path = context.workdir.join(args.file);
    let imported = archive::import(context, &mut store, &path)?;
    let verb = if imported.known {
        "is here already"
    } else {
        "is imported"
    };
    surroundings
        .output
        .say(&format!("{} ({}) {verb}", imported.title, imported.id));
    Ok(Outcome::done(Status::Succeeded))
}

impl From<ArchiveError> for Report {
    fn from(error: ArchiveError) -> Report {
        match error {
            ArchiveError::Submit(error) => error.into(),
            ArchiveError::Taken(ref id) => Report::usage(error.to_string())
                .hint(format!("`mizzen show {id}` shows the one that is here")),
            other => Report::usage(other.to_string()),
        }
    }
}
