//! `mizzen man`: writes the manual pages. For packagers.

use camino::Utf8PathBuf;
use clap::{Args, CommandFactory};

use crate::cli::Cli;
use crate::render::Outcome;
use crate::report::{Report, Status};
use crate::surroundings::Surroundings;

/// Writes the manual pages into a folder
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// The folder; made if it isn't there
    #[arg(value_name = "FOLDER", value_hint = clap::ValueHint::DirPath)]
    folder: Utf8PathBuf,
}

/// Writes the manual pages.
///
/// # Errors
/// The folder can't be written.
pub(crate) fn run(args: ManArgs, surroundings: &Surroundings) -> Result<Outcome, Report> {
    let folder = surroundings.context.workdir.join(&args.folder);
    let written = fs_err::create_dir_all(&folder)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), &folder))
        .map_err(|error| Report::usage(format!("the manual pages can't be written: {error}")));
    written?;
    Ok(Outcome::done(Status::Succeeded))
}
