//! The grammars: overrides, values, documents.

use mizzen_core::config::document::{parse_any, write};
use mizzen_core::config::literal::{self, Literal};
use mizzen_core::config::overrides::Step;
use mizzen_core::config::{Failure, Format, Origin, Override, SourceMap};
use mizzen_core::executor;
use mizzen_core::launcher;
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};
use serde_json::Value;

use crate::error::Failed;

/// Every executor kind with the JSON Schema of its settings, as JSON.
#[pyfunction]
pub(crate) fn executor_kinds() -> String {
    let kinds: serde_json::Map<String, Value> = executor::registry()
        .iter()
        .map(|entry| (entry.kind.to_owned(), (entry.schema)()))
        .collect();
    Value::Object(kinds).to_string()
}

/// Every launcher with the JSON Schema of its settings, as JSON.
#[pyfunction]
pub(crate) fn launcher_kinds() -> String {
    let kinds: serde_json::Map<String, Value> = launcher::LAUNCHERS
        .iter()
        .map(|entry| (entry.name.to_owned(), launcher::schema(entry)))
        .collect();
    Value::Object(kinds).to_string()
}

/// `PATH OP VALUE` taken apart: the path's steps, the operator, the value's text.
#[pyfunction]
pub(crate) fn parse_override(py: Python<'_>, text: &str) -> PyResult<Py<PyAny>> {
    let parsed = Override::parse(text, Origin::CommandLine).map_err(|failure| {
        let said = failure.diagnostics.first().map(|diagnostic| {
            let label = diagnostic.labels.first().map(|label| label.text.clone());
            match label.filter(|label| !label.is_empty()) {
                Some(label) => format!("{}: {label}", diagnostic.message),
                None => diagnostic.message.clone(),
            }
        });
        Failed::new("ArgumentError", said.unwrap_or_default())
    })?;
    let path = PyList::empty(py);
    for step in parsed.steps() {
        match step {
            Step::Name(name) => path.append(name)?,
            Step::Index(index) => path.append(index)?,
        }
    }
    (path, parsed.operator().as_str(), parsed.value()).into_py_any(py)
}

/// A value's text as a tree (see `mizzen/_core.pyi`).
#[pyfunction]
pub(crate) fn parse_value(py: Python<'_>, text: &str) -> PyResult<Py<PyAny>> {
    let literal = literal::parse(text).map_err(|error| {
        Failed::new("ArgumentError", format!("the value can't be read: {error}"))
    })?;
    Ok(tree(py, &literal)?.unbind())
}

fn tree<'py>(py: Python<'py>, literal: &Literal) -> PyResult<Bound<'py, PyAny>> {
    let all = |items: &[Literal]| -> PyResult<Bound<'py, PyList>> {
        let list = PyList::empty(py);
        for item in items {
            list.append(tree(py, item)?)?;
        }
        Ok(list)
    };
    match literal {
        Literal::Text { text, quoted } => ("text", text, *quoted).into_bound_py_any(py),
        Literal::Number(text) => ("number", text).into_bound_py_any(py),
        Literal::Name(text) => ("name", text).into_bound_py_any(py),
        Literal::List(items) => ("list", all(items)?).into_bound_py_any(py),
        Literal::Tuple(items) => ("tuple", all(items)?).into_bound_py_any(py),
        Literal::Set(items) => ("set", all(items)?).into_bound_py_any(py),
        Literal::Table(pairs) => {
            let list = PyList::empty(py);
            for (key, value) in pairs {
                list.append(PyTuple::new(py, [tree(py, key)?, tree(py, value)?])?)?;
            }
            ("dict", list).into_bound_py_any(py)
        }
        Literal::Call { name, arguments } => {
            let list = PyList::empty(py);
            for (key, value) in arguments {
                list.append((key, tree(py, value)?))?;
            }
            ("call", name, list).into_bound_py_any(py)
        }
    }
}

fn format_called(format: &str) -> Result<Format, Failed> {
    Format::from_path(&format!(".{format}")).ok_or_else(|| {
        Failed::new(
            "SerializationError",
            format!("`{format}` is no notation: `json`, `yaml` or `toml`"),
        )
    })
}

/// A document's text as Python values. `name` is what messages call it.
#[pyfunction]
pub(crate) fn read_document(
    py: Python<'_>,
    text: &str,
    format: &str,
    name: &str,
) -> PyResult<Py<PyAny>> {
    let format = format_called(format)?;
    let mut sources = SourceMap::default();
    let source = sources.add_file(Origin::File, name, text);
    let node = parse_any(format, text, source).map_err(|diagnostics| {
        let failure = Failure {
            diagnostics,
            sources,
        };
        Failed::new("SerializationError", failure.render(false))
    })?;
    Ok(python(py, &node.to_json_with_nulls())?.unbind())
}

fn python<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    match value {
        Value::Null => Ok(py.None().into_bound(py)),
        Value::Bool(value) => value.into_bound_py_any(py),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(integer), _) => integer.into_bound_py_any(py),
            (None, Some(integer)) => integer.into_bound_py_any(py),
            (None, None) => number.as_f64().into_bound_py_any(py),
        },
        Value::String(text) => text.into_bound_py_any(py),
        Value::Array(items) => {
            let list = PyList::empty(py);
            for item in items {
                list.append(python(py, item)?)?;
            }
            list.into_bound_py_any(py)
        }
        Value::Object(table) => {
            let dict = PyDict::new(py);
            for (key, value) in table {
                dict.set_item(key, python(py, value)?)?;
            }
            dict.into_bound_py_any(py)
        }
    }
}

/// A JSON text in another notation.
#[pyfunction]
pub(crate) fn write_document(json_text: &str, format: &str) -> PyResult<String> {
    let format = format_called(format)?;
    let value: Value = serde_json::from_str(json_text)
        .map_err(|error| Failed::new("SerializationError", error.to_string()))?;
    let text = write(format, &value)
        .map_err(|error| Failed::new("SerializationError", error.to_string()))?;
    Ok(text)
}
