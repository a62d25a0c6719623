//! The command line's root: what stands before a command, and the list of commands. Doc comments are the help.

use std::ffi::OsString;

use camino::Utf8PathBuf;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::commands::{
    cancel, completions, devspace, diff, doctor, executors, export, gc, get, import, import_nemo,
    launch, logs, ls, man, plan, repro, retry, rm, run, schema, shell, show, status, supervise,
    tunnel, wait,
};
use crate::output::Output;
use crate::render::{Outcome, style};
use crate::report::Report;
use crate::surroundings::Surroundings;

/// Configure, launch, watch and record machine-learning experiments anywhere.
///
/// An experiment is a titled set of jobs with dependencies between them, written as a file or given as one command. It
/// survives whatever starts it: closing the terminal harms no job, and any `mizzen` picks up where another was killed.
#[derive(Debug, Parser)]
#[command(
    name = "mizzen",
    version,
    max_term_width = 100,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = AFTER_HELP,
    after_long_help = format!("{AFTER_HELP}\n{MORE_HELP}")
)]
pub(crate) struct Cli {
    /// What holds for every command.
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    /// The command.
    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER_HELP: &str = "\
Try it:
  mizzen run -- python3 train.py         run one command, recorded
  mizzen launch experiment.toml          run a file of jobs
  mizzen status                          how the newest experiment is doing
  mizzen logs -f                         its logs, as they are written";

const MORE_HELP: &str = "
An experiment is named by its id, the beginning of its id, its title (the newest of that title), or `latest`.

Exit status:
  0    all jobs succeeded, or the command did what it was asked for
  1    a job failed or was cancelled
  2    wrong usage or configuration
  3    the place where jobs run could not be reached
  4    the place refused the job
  124  `wait --timeout` ran out
  130  interrupted

Environment:
  MIZZEN_HOME   where everything is kept (default: ~/.mizzen)
  MIZZEN_SET    overrides, as `--set` takes them, between the experiment file and the command line
  MIZZEN_AGENT  the agent's executable, instead of the one inside mizzen
  NO_COLOR, CLICOLOR_FORCE  as usual

Standard output is data, standard error is talk; `--json` gives documents whose schemas `mizzen schema` prints.";

/// What holds for every command.
#[derive(Debug, Args)]
pub(crate) struct GlobalArgs {
    /// Where experiments are kept [default: $MIZZEN_HOME, else ~/.mizzen]
    #[arg(long, global = true, value_name = "FOLDER", help_heading = "Global options", value_hint = clap::ValueHint::DirPath)]
    pub(crate) home: Option<Utf8PathBuf>,
    /// When to use colours
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        help_heading = "Global options",
        hide_possible_values = true
    )]
    #[arg(
        help = "When to use colours: auto, always or never [default: auto]",
        hide_default_value = true
    )]
    pub(crate) color: ColorChoice,
    /// Talk about errors only
    #[arg(short, long, global = true, help_heading = "Global options")]
    pub(crate) quiet: bool,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum ColorChoice {
    /// On terminals that can show them.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl From<ColorChoice> for clap::ColorChoice {
    fn from(choice: ColorChoice) -> clap::ColorChoice {
        match choice {
            ColorChoice::Auto => clap::ColorChoice::Auto,
            ColorChoice::Always => clap::ColorChoice::Always,
            ColorChoice::Never => clap::ColorChoice::Never,
        }
    }
}

/// The commands, in the order in which the help lists them.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Run(run::RunArgs),
    Launch(launch::LaunchArgs),
    Plan(plan::PlanArgs),
    #[command(visible_alias = "list")]
    Ls(ls::LsArgs),
    Status(status::StatusArgs),
    Show(show::ShowArgs),
    Wait(wait::WaitArgs),
    Logs(logs::LogsArgs),
    Get(get::GetArgs),
    Cancel(cancel::CancelArgs),
    Retry(retry::RetryArgs),
    Diff(diff::DiffArgs),
    Repro(repro::ReproArgs),
    Rm(rm::RmArgs),
    Gc(gc::GcArgs),
    Shell(shell::ShellArgs),
    Devspace(devspace::DevspaceArgs),
    Executors(executors::ExecutorsArgs),
    Doctor(doctor::DoctorArgs),
    Tunnel(tunnel::TunnelArgs),
    Export(export::ExportArgs),
    Import(import::ImportArgs),
    ImportNemo(import_nemo::ImportNemoArgs),
    Schema(schema::SchemaArgs),
    Completions(completions::CompletionsArgs),
    #[command(hide = true)]
    Man(man::ManArgs),
    #[command(hide = true)]
    Supervise(supervise::SuperviseArgs),
}

impl Command {
    /// Runs it.
    ///
    /// # Errors
    /// What went wrong, for people.
    pub(crate) fn run(self, surroundings: &Surroundings) -> Result<Outcome, Report> {
        match self {
            Command::Run(args) => run::run(args, surroundings),
            Command::Launch(args) => launch::run(args, surroundings),
            Command::Plan(args) => plan::run(args, surroundings),
            Command::Ls(args) => ls::run(args, surroundings),
            Command::Status(args) => status::run(args, surroundings),
            Command::Show(args) => show::run(args, surroundings),
            Command::Wait(args) => wait::run(args, surroundings),
            Command::Logs(args) => logs::run(args, surroundings),
            Command::Get(args) => get::run(args, surroundings),
            Command::Cancel(args) => cancel::run(args, surroundings),
            Command::Retry(args) => retry::run(args, surroundings),
            Command::Diff(args) => diff::run(args, surroundings),
            Command::Repro(args) => repro::run(args, surroundings),
            Command::Rm(args) => rm::run(args, surroundings),
            Command::Gc(args) => gc::run(args, surroundings),
            Command::Shell(args) => shell::run(args, surroundings),
            Command::Devspace(args) => devspace::run(args, surroundings),
            Command::Executors(args) => executors::run(args, surroundings),
            Command::Doctor(args) => doctor::run(args, surroundings),
            Command::Tunnel(args) => tunnel::run(args, surroundings),
            Command::Export(args) => export::run(args, surroundings),
            Command::Import(args) => import::run(args, surroundings),
            Command::ImportNemo(args) => import_nemo::run(args, surroundings),
            Command::Schema(args) => schema::run(args, surroundings),
            Command::Completions(args) => completions::run(args, surroundings),
            Command::Man(args) => man::run(args, surroundings),
            Command::Supervise(args) => supervise::run(args, surroundings),
        }
    }
}

/// `--color` as it stands on the command line, before that is read as a whole: mistakes and help are coloured too.
pub(crate) fn color_of(words: &[OsString]) -> ColorChoice {
    let mut words = words
        .iter()
        .skip(1)
        .map(|word| word.to_string_lossy())
        .take_while(|word| word != "--");
    let mut choice = ColorChoice::Auto;
    while let Some(word) = words.next() {
        let value = if word == "--color" {
            words.next()
        } else {
            word.strip_prefix("--color=").map(|v| v.to_owned().into())
        };
        if let Some(value) = value {
            choice = ColorChoice::from_str(&value, false).unwrap_or_default();
        }
    }
    choice
}

/// A mistake on the command line as all errors are shown: `error: …`, hints on lines of their own, the usage.
pub(crate) fn mistake(error: &clap::Error, words: &[OsString], output: &Output) -> String {
    let rendered = error.render();
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return rendered.to_string().trim_end().to_owned();
    }
    let mut lines = Vec::new();
    let mut hints = Vec::new();
    for line in rendered.to_string().lines() {
        if let Some(message) = line.strip_prefix("error: ") {
            lines.push(format!(
                "{} {message}",
                output.talk.paint(style::ERROR, "error:")
            ));
        } else if let Some(tip) = line.strip_prefix("  tip: ") {
            hints.push(output.hint_line(tip));
        } else {
            let again = line.is_empty() && lines.last().is_some_and(String::is_empty);
            if !again && !line.starts_with("For more information") {
                lines.push(line.to_owned());
            }
        }
    }
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    if let Some(hint) = special_hint(error, words) {
        hints = vec![output.hint_line(&hint)];
    }
    lines.extend(hints);
    lines.join("\n")
}

/// Where we know better than the parser what was meant.
fn special_hint(error: &clap::Error, words: &[OsString]) -> Option<String> {
    let word = |index: usize| words.get(index).map(|word| word.to_string_lossy());
    let runs = matches!(word(1).as_deref(), Some("run"));
    match error.kind() {
        ErrorKind::UnknownArgument if runs && !words.iter().any(|word| word == "--") => Some(
            "write the job's command behind `--`: `mizzen run [OPTIONS] -- COMMAND [ARG]…`"
                .to_owned(),
        ),
        ErrorKind::InvalidSubcommand => match error.get(ContextKind::InvalidSubcommand) {
            Some(ContextValue::String(name))
                if name.ends_with(".toml")
                    || name.ends_with(".yaml")
                    || name.ends_with(".json") =>
            {
                Some(format!("`mizzen launch {name}` runs an experiment file"))
            }
            _ => None,
        },
        ErrorKind::InvalidUtf8 => Some(
            "mizzen takes text in UTF-8 only, so that every place gets the same bytes".to_owned(),
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_tree_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_and_argument_has_help() {
        for command in Cli::command().get_subcommands() {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            for argument in command.get_arguments() {
                assert!(
                    argument.get_help().is_some(),
                    "{} {}",
                    command.get_name(),
                    argument.get_id()
                );
            }
        }
    }

    #[test]
    fn colour_is_known_before_the_rest() {
        let of = |line: &str| color_of(&line.split(' ').map(OsString::from).collect::<Vec<_>>());
        assert_eq!(of("mizzen ls"), ColorChoice::Auto);
        assert_eq!(of("mizzen --color always ls"), ColorChoice::Always);
        assert_eq!(of("mizzen ls --color=never"), ColorChoice::Never);
        assert_eq!(of("mizzen run -- x --color never"), ColorChoice::Auto);
    }
}
