//! `import_executor`: an executor by its name from a file (the seed's function of that name).

use camino::Utf8Path;

use super::{Executor, ExecutorError, build, vocabulary};
use crate::config::{self, Format, Layer, Origin};
use crate::context::Context;
use crate::plan::ExecutorConfig;

/// An executor can't be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file can't be read.
    #[error("can't read {path}: {source}")]
    Read {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// What it says is wrong.
    #[error("{0}")]
    Config(Box<config::Failure>),
    /// It names no such executor.
    #[error("there is no executor `{name}` in {path}; there are: {known}")]
    Unknown {
        /// The name asked for.
        name: String,
        /// The file.
        path: String,
        /// The names in it.
        known: String,
    },
    /// The settings don't make an executor.
    #[error(transparent)]
    Executor(#[from] ExecutorError),
}

/// Reads the executor `name` from `file_path` (default: `$MIZZEN_HOME/executors.toml`), with `overrides` set over its
/// settings, in their order. One executor in the file may extend another.
///
/// # Errors
/// The file can't be read or is wrong, or holds no executor of that name; an override does not fit.
pub fn import_executor(
    context: &Context,
    name: &str,
    file_path: Option<&Utf8Path>,
    overrides: &[(String, String)],
) -> Result<Box<dyn Executor>, ImportError> {
    let config = import_executor_config(context, name, file_path, overrides)?;
    Ok(build(name, &config)?)
}

/// The kind and the settings of the executor that [`import_executor`] would make.
///
/// # Errors
/// As there.
pub fn import_executor_config(
    context: &Context,
    name: &str,
    file_path: Option<&Utf8Path>,
    overrides: &[(String, String)],
) -> Result<ExecutorConfig, ImportError> {
    let default = context.home.join("executors.toml");
    let path = file_path.unwrap_or(&default);
    let text = std::fs::read_to_string(path).map_err(|source| ImportError::Read {
        path: path.to_string(),
        source,
    })?;
    let layer = Layer {
        origin: Origin::User,
        name: path.to_string(),
        format: Format::from_path(path.as_str()).unwrap_or(Format::Toml),
        text,
    };
    let failed = |failure: config::Failure| ImportError::Config(Box::new(failure));
    let overrides = overrides
        .iter()
        .map(|(key, value)| {
            config::Override::parse(
                &format!("executors.{name}.{key}={value}"),
                Origin::CommandLine,
            )
        })
        .collect::<Result<Vec<_>, _>>()
        .map_err(failed)?;
    let environment = |name: &str| context.variable(name).map(str::to_owned);
    // Without overrides first: an unknown name is then not mistaken for a new one that an override makes.
    let load = |overrides: &[config::Override]| {
        config::load(
            std::slice::from_ref(&layer),
            overrides,
            &environment,
            &vocabulary(),
        )
        .map_err(failed)
    };
    let known = load(&[])?.spec.executors;
    if !known.contains_key(name) {
        return Err(ImportError::Unknown {
            name: name.to_owned(),
            path: path.to_string(),
            known: known.keys().cloned().collect::<Vec<_>>().join(", "),
        });
    }
    let executors = load(&overrides)?.spec.executors;
    let spec = &executors[name];
    Ok(ExecutorConfig {
        kind: spec.kind.clone(),
        settings: spec.settings.clone(),
    })
}
