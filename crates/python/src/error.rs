//! The library's errors as exceptions of `mizzen.errors`.

use mizzen_core::executor::ImportError;
use mizzen_core::packager::PackError;
use mizzen_core::store::{ResolveError, StoreError};
use mizzen_core::submit::{PrepareError, SubmitError};
use mizzen_core::tunnel::TunnelError;
use mizzen_core::watch::WatchError;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

/// A failure on its way to Python: the class of `mizzen.errors`, the message.
#[derive(Debug)]
pub(crate) struct Failed {
    class: &'static str,
    message: String,
}

impl Failed {
    /// Of a class.
    pub(crate) fn new(class: &'static str, message: impl Into<String>) -> Failed {
        Failed {
            class,
            message: message.into(),
        }
    }

    fn hinted(class: &'static str, message: String, hint: Option<String>) -> Failed {
        let message = match hint {
            Some(hint) => format!("{message}\nhint: {hint}"),
            None => message,
        };
        Failed { class, message }
    }
}

impl From<Failed> for PyErr {
    fn from(failed: Failed) -> PyErr {
        Python::attach(|py| {
            let made = py.import("mizzen.errors").and_then(|errors| {
                errors
                    .getattr(failed.class)?
                    .call1((failed.message.clone(),))
            });
            match made {
                Ok(exception) => PyErr::from_value(exception),
                Err(_) => PyRuntimeError::new_err(failed.message),
            }
        })
    }
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Failed {
        let hint = error.hint();
        Failed::hinted("StoreError", error.to_string(), hint)
    }
}

impl From<ResolveError> for Failed {
    fn from(error: ResolveError) -> Failed {
        match error {
            ResolveError::Store(error) => error.into(),
            ResolveError::None { ref similar, .. } => {
                let hint = similar
                    .first()
                    .map(|similar| format!("did you mean `{similar}`?"));
                Failed::hinted("NotFoundError", error.to_string(), hint)
            }
            ResolveError::Ambiguous { .. } => Failed::hinted(
                "NotFoundError",
                error.to_string(),
                Some("give more of the id".to_owned()),
            ),
        }
    }
}

impl From<PrepareError> for Failed {
    fn from(error: PrepareError) -> Failed {
        match error {
            PrepareError::Config(failure) => Failed::new("ConfigError", failure.render(false)),
            other => Failed::new("ConfigError", other.to_string()),
        }
    }
}

impl From<SubmitError> for Failed {
    fn from(error: SubmitError) -> Failed {
        match error {
            SubmitError::Store(error) => error.into(),
            SubmitError::Tunnel(error) => {
                let hint = error.hint().map(|hint| hint.to_string());
                let kind = match error {
                    TunnelError::Configuration { .. } | TunnelError::Unsendable(_) => "ConfigError",
                    _ => "UnreachableError",
                };
                Failed::hinted(kind, error.to_string(), hint)
            }
            SubmitError::Running(ref id) => Failed::hinted(
                "ExperimentError",
                error.to_string(),
                Some(format!("`mizzen cancel {id}` ends it")),
            ),
            SubmitError::Imported { ref id, .. } => Failed::hinted(
                "ExperimentError",
                error.to_string(),
                Some(format!("`mizzen show {id}` says where it came from")),
            ),
            SubmitError::NothingToRetry(_) => {
                Failed::new("ExperimentError", format!("nothing to run again: {error}"))
            }
            SubmitError::Files(_) => Failed::new("StoreError", error.to_string()),
            SubmitError::Pack(error) => error.into(),
            SubmitError::NotRepeatable { .. }
            | SubmitError::Executor(_)
            | SubmitError::Render(_) => Failed::new("ConfigError", error.to_string()),
        }
    }
}

impl From<PackError> for Failed {
    fn from(error: PackError) -> Failed {
        let class = match error {
            PackError::Bundle(_) | PackError::Write { .. } => "StoreError",
            _ => "ConfigError",
        };
        Failed::new(class, error.to_string())
    }
}

impl From<WatchError> for Failed {
    fn from(error: WatchError) -> Failed {
        match error {
            WatchError::Store(error) => error.into(),
            other => Failed::new("ExperimentError", other.to_string()),
        }
    }
}

impl From<ImportError> for Failed {
    fn from(error: ImportError) -> Failed {
        match error {
            ImportError::Config(failure) => Failed::new("ConfigError", failure.render(false)),
            ImportError::Unknown { .. } | ImportError::Read { .. } => {
                Failed::new("NotFoundError", error.to_string())
            }
            ImportError::Executor(_) => Failed::new("ConfigError", error.to_string()),
        }
    }
}
