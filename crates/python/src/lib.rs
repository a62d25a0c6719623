//! `mizzen._core`: what the Python package asks the library for.
//!
//! ```text
//! mizzen (Python) ── JSON text ──▶ Core ──▶ mizzen-core: submit, store, watch, logs
//!                 ◀── JSON text ──      Watch, Logs: short waits without the interpreter's lock
//!                 ── text ──▶ parse_override, parse_value, read_document ──▶ Python values
//! ```
//!
//! One document crosses the border, as everywhere: what Python builds is the JSON that a file would hold. Errors are the
//! classes of `mizzen.errors`. Pitfalls: nothing here keeps a database open across a fork (each call opens it, a [`watch`]
//! reopens it in another process), and nothing prints.

mod core;
mod error;
mod logs;
mod preview;
mod status;
mod text;
mod watch;

use pyo3::prelude::*;

#[pymodule]
#[pyo3(name = "_core")]
fn extension(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<core::Core>()?;
    module.add_class::<preview::Preview>()?;
    module.add_class::<watch::Watch>()?;
    module.add_class::<logs::Logs>()?;
    module.add_function(wrap_pyfunction!(text::executor_kinds, module)?)?;
    module.add_function(wrap_pyfunction!(text::launcher_kinds, module)?)?;
    module.add_function(wrap_pyfunction!(text::parse_override, module)?)?;
    module.add_function(wrap_pyfunction!(text::parse_value, module)?)?;
    module.add_function(wrap_pyfunction!(text::read_document, module)?)?;
    module.add_function(wrap_pyfunction!(text::write_document, module)?)?;
    Ok(())
}
