//! The `mizzen` command line.
//!
//! ```text
//! words ─ cli ─▶ commands/<one file a command> ─▶ Outcome ─ render ─▶ stdout   data
//!                     │        ▲                  Report ── report ─▶ stderr   talk, errors, hints
//!                surroundings  └ mizzen-core: config, plan, submit, watch, logs, store
//! ```
//!
//! Nothing heavy happens at start: the version and the help need neither the home nor a connection, and no command opens
//! what it does not use. Adding a command: a file under `commands/` with its arguments (whose doc comments are the help)
//! and its `run`, and one line in [`cli::Command`].

mod attach;
mod cli;
mod commands;
mod complete;
mod function;
mod output;
mod prepare;
mod reach;
mod render;
mod report;
mod select;
mod signals;
mod surroundings;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};
use cli::{Cli, ColorChoice};
use output::Output;
use render::Outcome;
use report::{Report, Status};
use surroundings::Surroundings;

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    if let Some(shell) = surroundings::completion_shell() {
        return complete::answer(&shell, words);
    }
    let output = surroundings::output(cli::color_of(&words), false);
    if let [_, word] = &words[..]
        && (word == "--version" || word == "-V")
    {
        return finish(
            &output,
            output.print(concat!("mizzen ", env!("CARGO_PKG_VERSION"), "\n")),
        );
    }
    match parse(&words, &output) {
        Ok(cli) => {
            let output = Output {
                quiet: cli.global.quiet,
                ..output
            };
            finish(&output, run(cli, output.clone()))
        }
        Err(status) => status,
    }
}

/// Reads the command line; help and mistakes are shown here.
fn parse(words: &[OsString], output: &Output) -> Result<Cli, ExitCode> {
    let command = Cli::command().color(
        if output.data.color {
            ColorChoice::Always
        } else {
            ColorChoice::Never
        }
        .into(),
    );
    let parsed = command
        .try_get_matches_from(words)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    parsed.map_err(|error| {
        if error.use_stderr() {
            output.complain(&cli::mistake(&error, words, output));
            Status::Usage.into()
        } else {
            let text = error.render();
            let text = if output.data.color {
                text.ansi().to_string()
            } else {
                text.to_string()
            };
            finish(output, output.print(&text))
        }
    })
}

fn run(cli: Cli, output: Output) -> Result<Status, Report> {
    let surroundings = Surroundings::read(&cli.global, output)?;
    let Outcome {
        status,
        value,
        json,
    } = cli.command.run(&surroundings)?;
    if let Some(value) = value {
        if json {
            let layout = surroundings.output.layout();
            surroundings.output.print(&value.json(layout))?;
        } else {
            surroundings
                .output
                .print(&value.text(&surroundings.data_view()))?;
        }
        // The process ends: taking 10,000 jobs apart piece by piece would cost more than showing some of them.
        std::mem::forget(value);
    }
    Ok(status)
}

/// From a command's end to the process's.
fn finish<T: Into<Status>>(output: &Output, result: Result<T, Report>) -> ExitCode {
    match result {
        Ok(status) => status.into().into(),
        // `mizzen ls | head`: whoever has read enough has got what they wanted.
        Err(report) if report.nobody_reads() => Status::Succeeded.into(),
        Err(report) => {
            report.show(output);
            report.status.into()
        }
    }
}

impl From<()> for Status {
    fn from((): ()) -> Status {
        Status::Succeeded
    }
}
