//! `mizzen run FILE.py:FUNCTION key=value…`: the command line of a Python function, which the Python package reads.
//!
//! This process becomes the interpreter: what is printed, the exit status and a Ctrl-C are the package's.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use camino::Utf8PathBuf;

use crate::report::Report;
use crate::surroundings::Surroundings;

/// What the interpreter runs. `-m` alone would say only that there is no module of that name.
const PROGRAM: &str = "\
import sys
try:
    from mizzen.cli.__main__ import main
except ModuleNotFoundError as error:
    if error.name not in ('mizzen', 'mizzen.cli'):
        raise
    sys.exit(f'error: {sys.executable} has no package `mizzen`\\n'
             'hint: `pip install` it there, or name another interpreter by MIZZEN_PYTHON')
sys.exit(main())
";

/// Becomes the interpreter. `words` are the function, its arguments, and options of the package's own.
///
/// # Errors
/// The function is not written as one, or there is no interpreter.
pub(crate) fn run(
    words: &[String],
    options: Vec<String>,
    behind_dashes: &[OsString],
    surroundings: &Surroundings,
) -> Result<std::convert::Infallible, Report> {
    let function = words.first().map_or("", String::as_str);
    let is_function = function
        .rsplit_once(':')
        .is_some_and(|(place, name)| !place.is_empty() && !name.is_empty());
    if !is_function {
        return Err(Report::usage(format!("`{function}` is no function"))
            .hint("write FILE.py:FUNCTION or MODULE:FUNCTION for a Python function")
            .hint(format!(
                "for a command, write `mizzen run -- {}`",
                words.join(" ")
            )));
    }
    let interpreter = interpreter(surroundings);
    let error = Command::new(&interpreter)
        .args(["-c", PROGRAM])
        .args(words)
        .args(options)
        .args(behind_dashes)
        .env("MIZZEN_HOME", &surroundings.context.home)
        .exec();
    Err(Report::usage(format!(
        "can't start the interpreter {interpreter}: {error}"
    ))
    .hint("MIZZEN_PYTHON names another one"))
}

/// `MIZZEN_PYTHON`; else that of the active virtual environment; else the one beside this executable, which has the package
/// where a wheel brought both; else `python3`.
fn interpreter(surroundings: &Surroundings) -> Utf8PathBuf {
    let context = &surroundings.context;
    let set = |name: &str| context.variable(name).filter(|value| !value.is_empty());
    if let Some(named) = set("MIZZEN_PYTHON") {
        return Utf8PathBuf::from(named);
    }
    let active = set("VIRTUAL_ENV").map(|folder| Utf8PathBuf::from(folder).join("bin/python3"));
    let beside = context.program.with_file_name("python3");
    active
        .into_iter()
        .chain([beside])
        .find(|path| path.exists())
        .unwrap_or_else(|| Utf8PathBuf::from("python3"))
}
