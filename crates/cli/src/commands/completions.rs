//! `mizzen completions`: what a shell needs to complete mizzen's commands.

use clap::Args;
use clap_complete::env::Shells;

use crate::render::Outcome;
use crate::report::{Report, Status};
use crate::surroundings::Surroundings;

/// Prints the completions for a shell; experiments and jobs are completed too
///
/// Put this where your shell starts:
///
///   bash   echo 'source <(mizzen completions bash)' >> ~/.bashrc
///   zsh    echo 'source <(mizzen completions zsh)' >> ~/.zshrc
///   fish   echo 'mizzen completions fish | source' >> ~/.config/fish/config.fish
///   elvish echo 'eval (mizzen completions elvish | slurp)' >> ~/.config/elvish/rc.elv
///
/// The shell asks mizzen itself at every completion, so that nothing has to be renewed after an update.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_parser = ["bash", "zsh", "fish", "elvish", "powershell"])]
    shell: String,
}

/// Prints the registration.
///
/// # Errors
/// Nobody reads it.
pub(crate) fn run(args: CompletionsArgs, surroundings: &Surroundings) -> Result<Outcome, Report> {
    let shells = Shells::builtins();
    let shell = shells.completer(&args.shell).ok_or_else(|| {
        Report::usage(format!(
            "there are no completions for the shell `{}`",
            args.shell
        ))
    })?;
    let mut script = Vec::new();
    shell
        .write_registration("COMPLETE", "mizzen", "mizzen", "mizzen", &mut script)
        .map_err(Report::from_output)?;
    surroundings.output.write(&script)?;
    Ok(Outcome::done(Status::Succeeded))
}
