//! The words that the rest of the program brings: kinds of executors, launchers, macros; and the schema of the whole document.
//!
//! ```text
//! spec.rs (schemars) ──┐
//! ExecutorKind.schema ─┼→ json_schema() ──→ editors, docs       (as written: `extends` allowed)
//! launchers ───────────┘└→ resolved_schema() ──→ the validator  (after `extends` has been resolved)
//! ```
//!
//! `config` knows no kind by itself: a new executor appears here through the registry.

use serde_json::{Map, Value as Json, json};

use super::spec::ExperimentSpec;

/// What names mean that the document may use.
#[derive(Debug, Clone, Default)]
pub struct Vocabulary {
    /// The kinds of executors. The first is where a task runs that names no executor: an executor of its name is built in.
    pub executor_kinds: Vec<ExecutorKind>,
    /// The launchers' names. When there are none, any name is accepted.
    pub launchers: Vec<String>,
    /// The names of the macros that executors replace, such as `head_node_ip_var`.
    pub macros: Vec<String>,
}

/// A kind of executor and its settings.
#[derive(Debug, Clone)]
pub struct ExecutorKind {
    /// What stands after `kind =`.
    pub name: String,
    /// One line on what it is.
    pub summary: String,
    /// The schema of its settings as schemars makes it, without `kind` and `extends`.
    pub schema: Json,
    /// The members of a group may have different executors of this kind.
    pub mixed_groups: bool,
}

/// The schema of the document as users write it: draft 2020-12, for editors and for the reference.
#[must_use]
pub fn json_schema(vocabulary: &Vocabulary) -> Json {
    document_schema(vocabulary, true)
}

/// The schema of the document after `extends` has been resolved.
pub(crate) fn resolved_schema(vocabulary: &Vocabulary) -> Json {
    document_schema(vocabulary, false)
}

fn document_schema(vocabulary: &Vocabulary, as_written: bool) -> Json {
    let mut root = schemars::schema_for!(ExperimentSpec).to_value();
    let mut definitions = match root.get_mut("$defs").map(Json::take) {
        Some(Json::Object(definitions)) => definitions,
        _ => Map::new(),
    };
    let mut variants: Vec<Json> = vocabulary
        .executor_kinds
        .iter()
        .map(|kind| kind_schema(kind, &mut definitions))
        .collect();
    if as_written {
        variants.push(json!({
            "type": "object",
            "description": "an executor built on another one: its settings are added to that one's, or replace them",
            "properties": {
                "extends": { "type": "string", "description": "the name of the executor to build on" },
                "kind": { "enum": vocabulary.executor_kinds.iter().map(|kind| kind.name.as_str()).collect::<Vec<_>>() },
            },
            "required": ["extends"],
        }));
    }
    let executor = json!({ "description": "where and how a job runs", "oneOf": variants });
    definitions.insert("Executor".to_owned(), executor);
    if !vocabulary.launchers.is_empty() {
        let launcher = json!({ "type": "string", "description": "a launcher's name", "x-mizzen-noun": "launcher", "enum": vocabulary.launchers });
        definitions.insert("LauncherName".to_owned(), launcher);
    }
    if let Some(object) = root.as_object_mut() {
        object.insert("title".to_owned(), "Mizzen experiment".into());
        object.insert("$defs".to_owned(), Json::Object(definitions));
    }
    root
}

/// One kind's schema with `kind` in it; its definitions move to the document's under the kind's name.
fn kind_schema(kind: &ExecutorKind, definitions: &mut Map<String, Json>) -> Json {
    let mut schema = kind.schema.clone();
    rename_references(&mut schema, &kind.name, 0);
    let Json::Object(mut object) = schema else {
        return json!({ "type": "object", "properties": { "kind": { "const": kind.name } }, "required": ["kind"] });
    };
    for keyword in ["$defs", "definitions"] {
        if let Some(Json::Object(own)) = object.shift_remove(keyword) {
            definitions.extend(
                own.into_iter()
                    .map(|(name, schema)| (format!("{}.{name}", kind.name), schema)),
            );
        }
    }
    object.shift_remove("$schema");
    object.insert("title".to_owned(), kind.name.clone().into());
    object.insert("description".to_owned(), kind.summary.clone().into());
    object.insert("type".to_owned(), "object".into());
    object
        .entry("additionalProperties")
        .or_insert(Json::Bool(false));
    let mut properties = Map::new();
    properties.insert(
        "kind".to_owned(),
        json!({ "const": kind.name, "description": "the kind of executor", "x-mizzen-noun": "executor kind" }),
    );
    if let Some(Json::Object(own)) = object.shift_remove("properties") {
        properties.extend(own);
    }
    object.insert("properties".to_owned(), Json::Object(properties));
    let mut required = vec![Json::from("kind")];
    if let Some(Json::Array(own)) = object.shift_remove("required") {
        required.extend(own);
    }
    object.insert("required".to_owned(), Json::Array(required));
    Json::Object(object)
}

/// Makes `#/$defs/X` into `#/$defs/KIND.X` everywhere.
fn rename_references(schema: &mut Json, kind: &str, depth: usize) {
    const DEEPEST: usize = 128;
    if depth > DEEPEST {
        return;
    }
    match schema {
        Json::Object(object) => {
            for (key, value) in object.iter_mut() {
                match value {
                    Json::String(target) if key == "$ref" => {
                        if let Some(name) = target
                            .strip_prefix("#/$defs/")
                            .or_else(|| target.strip_prefix("#/definitions/"))
                        {
                            *target = format!("#/$defs/{kind}.{name}");
                        }
                    }
                    _ => rename_references(value, kind, depth + 1),
                }
            }
        }
        Json::Array(list) => list
            .iter_mut()
            .for_each(|value| rename_references(value, kind, depth + 1)),
        _ => {}
    }
}
