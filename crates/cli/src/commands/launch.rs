//! `mizzen launch`: an experiment file.

use camino::Utf8PathBuf;
use clap::Args;
use mizzen_core::store::Store;
use mizzen_core::submit;

use crate::attach::{AttachArgs, Shown, attach_or_detach};
use crate::prepare::{FileFormat, OrderedJobArgs, Source, package, prepare};
use crate::reach::reach;
use crate::render::Outcome;
use crate::report::Report;
use crate::surroundings::Surroundings;

/// Runs an experiment file and shows how its jobs are doing
///
/// Options for jobs hold for the tasks of the file that don't say otherwise. The experiment outlives this command: closing
/// the terminal does it no harm, and `mizzen status` and `mizzen logs` show it from anywhere.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mizzen launch experiment.toml
  mizzen launch sweep.yaml -e gpu --set 'tasks.train.sweep.lr=[0.1, 1]'
  generate-jobs | mizzen launch - --format json -d")]
pub(crate) struct LaunchArgs {
    /// The experiment file (.toml, .yaml or .json), or - for standard input
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    file: Utf8PathBuf,
    /// The file's notation, where its name does not tell: toml, yaml or json
    #[arg(long, value_name = "FORMAT", hide_possible_values = true)]
    format: Option<FileFormat>,
    #[command(flatten)]
    jobs: OrderedJobArgs,
    #[command(flatten)]
    on_failure: OnFailureArgs,
    #[command(flatten)]
    attach: AttachArgs,
    /// Show the logs of all jobs too, each line behind its job's name
    #[arg(short = 'f', long)]
    logs: bool,
}

/// What happens to the rest after a job failed for good.
#[derive(Debug, Args)]
pub(crate) struct OnFailureArgs {
    /// After a job has failed for good: `continue` with all that does not depend on it, `finish` what runs and start nothing new, `cancel` what runs
    #[arg(long, value_name = "WHAT", hide_possible_values = true)]
    on_failure: Option<OnFailure>,
    /// The same as --on-failure finish
    #[arg(long, conflicts_with_all = ["on_failure", "keep_going"])]
    fail_fast: bool,
    /// The same as --on-failure continue
    #[arg(long, conflicts_with = "on_failure")]
    keep_going: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum OnFailure {
    Continue,
    Finish,
    Cancel,
}

impl OnFailureArgs {
    /// The word for the document, if one was given.
    pub(crate) fn word(&self) -> Option<&'static str> {
        match (self.on_failure, self.fail_fast, self.keep_going) {
            (Some(OnFailure::Continue), ..) | (None, _, true) => Some("continue"),
            (Some(OnFailure::Finish), ..) | (None, true, _) => Some("finish"),
            (Some(OnFailure::Cancel), ..) => Some("cancel"),
            (None, false, false) => None,
        }
    }
}

/// Runs an experiment file.
///
/// # Errors
/// The file, the flags or the configuration are wrong, the store can't be written; or as any attached command.
pub(crate) fn run(args: LaunchArgs, surroundings: &Surroundings) -> Result<Outcome, Report> {
    let source = Source::File {
        path: args.file,
        format: args.format,
    };
    let mut prepared = prepare(&source, &args.jobs, args.on_failure.word(), surroundings)?;
    let context = &surroundings.context;
    package(surroundings, &mut prepared)?;
    reach(surroundings, &prepared.plan)?;
    let mut store = Store::open(&context.home)?;
    submit::create(context, &mut store, &prepared, &surroundings.command_line)?;
    attach_or_detach(
        surroundings,
        store,
        prepared.id,
        &args.attach,
        Shown::Progress { logs: args.logs },
    )
}
