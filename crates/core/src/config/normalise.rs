//! From the checked tree to the one JSON document that crosses every boundary.
//!
//! ```text
//! env = { LR = 1e-3 }      → "LR": "1e-3"                 (texts become strings)
//! sweep = { lr = [1e-3] }  → "lr": [{ "number": "1e-3" }] (JSON would say 0.001)
//! ```
//!
//! JSON numbers forget how they were written, and names of jobs are made from it. So where a number is text (`run`, `args`, `env`)
//! the document has a string, and where a sweep's number would be shown otherwise it is written out.

use serde_json::{Map, Value as Json, json};

use super::document::{Node, Value};
use super::sweep;

/// The document of a checked tree.
pub(super) fn document(root: &Node) -> Json {
    object(root, |key, node| match key {
        "defaults" => object(node, task_key),
        "tasks" => list(node, |task| object(task, task_key)),
        _ => node.to_json(),
    })
}

fn task_key(key: &str, node: &Node) -> Json {
    match key {
        "run" | "args" | "interpreter" => list(node, text),
        "env" => object(node, |_, value| text(value)),
        "sweep" => sweep(node),
        _ => node.to_json(),
    }
}

fn object(node: &Node, convert: impl Fn(&str, &Node) -> Json) -> Json {
    let Some(table) = node.table() else {
        return node.to_json();
    };
    let present = table
        .iter()
        .filter(|entry| !matches!(entry.node.value, Value::Null));
    Json::Object(
        present
            .map(|entry| (entry.key.clone(), convert(&entry.key, &entry.node)))
            .collect::<Map<_, _>>(),
    )
}

fn list(node: &Node, convert: impl Fn(&Node) -> Json) -> Json {
    node.list().map_or_else(
        || node.to_json(),
        |list| Json::Array(list.iter().map(convert).collect()),
    )
}

fn text(node: &Node) -> Json {
    node.scalar_text()
        .map_or_else(|| node.to_json(), Json::String)
}

fn sweep(node: &Node) -> Json {
    let values = |node: &Node| list(node, number);
    match &node.value {
        Value::List(_) => list(node, |job| object(job, |_, value| number(value))),
        _ => object(node, |key, inner| {
            if matches!(key, "grid" | "zip") {
                object(inner, |_, node| values(node))
            } else {
                values(inner)
            }
        }),
    }
}

fn number(node: &Node) -> Json {
    match &node.value {
        Value::Number(number)
            if !number.is_canonical() && sweep::number_from_text(&number.text).is_some() =>
        {
            json!({ "number": number.text })
        }
        _ => node.to_json(),
    }
}
