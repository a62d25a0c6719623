//! What would be sent, job by job: an experiment may have ten thousand, and who asks for them looks at a few.

use mizzen_core::context::Context;
use mizzen_core::submit::{Prepared, Previewer};
use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;

use crate::error::Failed;

/// A plan whose jobs could all be sent.
#[pyclass(frozen, module = "mizzen._core")]
pub(crate) struct Preview {
    context: Context,
    prepared: Prepared,
}

impl Preview {
    /// Of a plan.
    ///
    /// # Errors
    /// One of its jobs can't be sent.
    pub(crate) fn new(context: Context, prepared: Prepared) -> Result<Preview, Failed> {
        Previewer::new(&context, &prepared.plan, &prepared.id).check()?;
        Ok(Preview { context, prepared })
    }
}

#[pymethods]
impl Preview {
    /// The experiment's title.
    #[getter]
    fn title(&self) -> &str {
        &self.prepared.plan.title
    }

    /// The plan's hash: equal plans, equal fingerprints.
    #[getter]
    fn fingerprint(&self) -> &str {
        &self.prepared.fingerprint
    }

    /// How many jobs there are.
    fn __len__(&self) -> usize {
        self.prepared.plan.jobs.len()
    }

    /// A job, as JSON.
    fn job(&self, index: usize) -> PyResult<String> {
        if index >= self.prepared.plan.jobs.len() {
            return Err(PyIndexError::new_err("there is no such job"));
        }
        let mut previewer = Previewer::new(&self.context, &self.prepared.plan, &self.prepared.id);
        let job = previewer.job(index as u32).map_err(Failed::from)?;
        let text = serde_json::to_string(&job)
            .map_err(|error| Failed::new("StoreError", error.to_string()))?;
        Ok(text)
    }
}
