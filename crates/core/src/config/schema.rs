//! Checks a tree against a JSON Schema and finds everything that is wrong, each with its place.
//!
//! ```text
//! Node + schema ── validate() ──→ [Diagnostic]
//! schema + path ── Candidates ──→ which types a place accepts (for overrides)
//! ```
//!
//! It knows the part of draft 2020-12 that schemars writes: `$ref` into `$defs`, `type`, `properties`, `required`,
//! `additionalProperties`, `propertyNames`, `items`, `prefixItems`, `minItems`, `maxItems`, `enum`, `const`, `anyOf`, `oneOf`, `allOf`,
//! `minimum`, `maximum`, `exclusiveMinimum`, `exclusiveMaximum`, `minLength`, `maxLength`; and two words of our own:
//! `x-mizzen-format` (see [`names`]) and `x-mizzen-noun` (what an enumerated value is called). Other keywords, `pattern`
//! among them, are not looked at.
//!
//! Of several alternatives one is chosen before anything is reported: by the node's type, then by a key with a constant (`kind`),
//! then by which has the fewest errors. So an error never reads "matches none of 5 schemas".
//!
//! Pitfall: a key with null counts as not given.

mod candidates;
mod words;

use serde_json::{Map, Value as Json};

use super::diagnostic::{Diagnostic, Span, list_names, quote, suggestion};
use super::document::{Entry, Node, Table, Value};
use super::names;

pub(crate) use candidates::Candidates;
use words::describe;

/// How many references and alternatives are followed at one place.
const CHAIN_LIMIT: usize = 64;

/// Checks `node` against `schema`.
#[must_use]
pub(crate) fn validate(node: &Node, schema: &Json) -> Vec<Diagnostic> {
    let mut validator = Validator {
        root: schema,
        errors: Vec::new(),
    };
    validator.node(node, schema, node.span, 0);
    validator.errors
}

struct Validator<'a> {
    root: &'a Json,
    errors: Vec<Diagnostic>,
}

/// The schema that a `$ref` names.
fn target<'a>(root: &'a Json, reference: &str) -> Option<&'a Json> {
    if reference == "#" {
        Some(root)
    } else {
        root.pointer(reference.strip_prefix('#')?)
    }
}

/// JSON Schema's word for a node's type.
fn type_of(node: &Node) -> &'static str {
    match &node.value {
        Value::Null => "null",
        Value::Boolean(_) => "boolean",
        Value::Number(number) if number.is_integer() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::List(_) => "array",
        Value::Table(_) => "object",
    }
}

fn alternatives(object: &Map<String, Json>) -> Option<&Vec<Json>> {
    object
        .get("anyOf")
        .or_else(|| object.get("oneOf"))
        .and_then(Json::as_array)
}

fn word<'a>(object: &'a Map<String, Json>, key: &str) -> Option<&'a str> {
    object.get(key).and_then(Json::as_str)
}

/// Whether a schema takes values of a type at all.
fn accepts(root: &Json, schema: &Json, kind: &str, depth: usize) -> bool {
    let Json::Object(object) = schema else {
        return schema != &Json::Bool(false);
    };
    if depth > CHAIN_LIMIT {
        return true;
    }
    let fits = |name: &str| name == kind || (name == "number" && kind == "integer");
    let of_type = |value: &Json| match value {
        Json::Null => fits("null"),
        Json::Bool(_) => fits("boolean"),
        Json::Number(number) => fits(if number.is_f64() { "number" } else { "integer" }),
        Json::String(_) => fits("string"),
        Json::Array(_) => fits("array"),
        Json::Object(_) => fits("object"),
    };
    let type_fits = match object.get("type") {
        Some(Json::String(name)) => fits(name),
        Some(Json::Array(names)) => names.iter().filter_map(Json::as_str).any(fits),
        _ => true,
    };
    type_fits
        && object.get("const").is_none_or(of_type)
        && object
            .get("enum")
            .and_then(Json::as_array)
            .is_none_or(|values| values.iter().any(of_type))
        && word(object, "$ref")
            .and_then(|reference| target(root, reference))
            .is_none_or(|schema| accepts(root, schema, kind, depth + 1))
        && alternatives(object).is_none_or(|list| {
            list.iter()
                .any(|schema| accepts(root, schema, kind, depth + 1))
        })
        && object
            .get("allOf")
            .and_then(Json::as_array)
            .is_none_or(|list| {
                list.iter()
                    .all(|schema| accepts(root, schema, kind, depth + 1))
            })
}

/// The leaves of a schema's references and alternatives.
fn flatten<'a>(root: &'a Json, schema: &'a Json, depth: usize, out: &mut Vec<&'a Json>) {
    let Json::Object(object) = schema else {
        out.push(schema);
        return;
    };
    if depth > CHAIN_LIMIT {
        return;
    }
    if let Some(list) = alternatives(object) {
        list.iter()
            .for_each(|schema| flatten(root, schema, depth + 1, out));
    } else if let Some(schema) = word(object, "$ref").and_then(|reference| target(root, reference))
    {
        flatten(root, schema, depth + 1, out);
    } else {
        out.push(schema);
    }
}

/// The constant texts that a schema allows, if it allows nothing else.
fn constants(schema: &Json) -> Option<Vec<&str>> {
    let object = schema.as_object()?;
    match (object.get("const"), object.get("enum")) {
        (Some(Json::String(text)), _) => Some(vec![text]),
        (None, Some(Json::Array(values))) => values
            .iter()
            .filter(|value| !value.is_null())
            .map(Json::as_str)
            .collect(),
        _ => None,
    }
}

/// The key whose constant tells alternatives of tables apart, such as `kind`.
fn discriminator<'a>(candidates: &[&'a Json]) -> Option<&'a str> {
    let properties = candidates.first()?.get("properties")?.as_object()?;
    let tells = |key: &str| {
        candidates.iter().all(|candidate| {
            candidate
                .get("properties")
                .and_then(|all| all.get(key))
                .is_some_and(|schema| constants(schema).is_some())
        })
    };
    properties.keys().map(String::as_str).find(|key| tells(key))
}

fn discriminated<'a>(candidate: &'a Json, key: &str) -> Vec<&'a str> {
    candidate
        .get("properties")
        .and_then(|all| all.get(key))
        .and_then(constants)
        .unwrap_or_default()
}

fn requires(candidate: &Json, key: &str) -> bool {
    candidate
        .get("required")
        .and_then(Json::as_array)
        .is_some_and(|names| names.iter().any(|name| name == key))
}

impl<'a> Validator<'a> {
    /// `anchor` is where a missing key is reported: the key that holds the node, or the node itself.
    fn node(&mut self, node: &Node, schema: &'a Json, anchor: Span, depth: usize) {
        let object = match schema {
            Json::Object(object) => object,
            Json::Bool(false) => {
                self.errors
                    .push(Diagnostic::at(node.span, "nothing may stand here", ""));
                return;
            }
            _ => return,
        };
        if depth > CHAIN_LIMIT {
            return;
        }
        let before = self.errors.len();
        if let Some(schema) =
            word(object, "$ref").and_then(|reference| target(self.root, reference))
        {
            self.node(node, schema, anchor, depth + 1);
        } else if let Some(list) = alternatives(object) {
            self.alternatives(node, schema, list, anchor, depth);
        }
        if self.errors.len() > before {
            return;
        }
        if !accepts(self.root, schema, type_of(node), 0) {
            self.wrong_type(node, schema);
            return;
        }
        for schema in object
            .get("allOf")
            .and_then(Json::as_array)
            .into_iter()
            .flatten()
        {
            self.node(node, schema, anchor, depth + 1);
        }
        if object.contains_key("const") || object.contains_key("enum") {
            self.constant(node, schema, object);
        }
        match &node.value {
            Value::String(text) => self.length(node, text, object),
            Value::Number(number) => {
                self.range(node, number.value.as_f64().unwrap_or(f64::NAN), object)
            }
            Value::List(list) => self.list(node, list, object),
            Value::Table(table) => self.table(table, object, anchor),
            Value::Null | Value::Boolean(_) => {}
        }
        if let Some(format) = word(object, names::FORMAT_KEYWORD)
            && self.errors.len() == before
            && let Some(problem) = names::problem(format, node)
        {
            self.errors
                .push(Diagnostic::at(node.span, problem.message, problem.label));
        }
    }

    fn wrong_type(&mut self, node: &Node, schema: &Json) {
        let expected = describe(self.root, schema);
        let mut error = Diagnostic::at(
            node.span,
            format!("expected {expected}, found {}", node.described()),
            "",
        );
        if let Some(text @ ("yes" | "no" | "on" | "off")) =
            node.string().map(str::to_ascii_lowercase).as_deref()
            && accepts(self.root, schema, "boolean", 0)
        {
            error = error.with_hint(format!("write `{}`", matches!(text, "yes" | "on")));
        }
        self.errors.push(error);
    }

    fn alternatives(
        &mut self,
        node: &Node,
        schema: &'a Json,
        list: &'a [Json],
        anchor: Span,
        depth: usize,
    ) {
        let mut all = Vec::new();
        list.iter()
            .for_each(|schema| flatten(self.root, schema, 0, &mut all));
        let kind = type_of(node);
        let candidates: Vec<&'a Json> = all
            .into_iter()
            .filter(|schema| accepts(self.root, schema, kind, 0))
            .collect();
        match (candidates.as_slice(), &node.value) {
            ([], _) => self.wrong_type(node, schema),
            ([only], _) if !matches!(node.value, Value::Table(_)) => {
                self.node(node, only, anchor, depth + 1)
            }
            (many, Value::Table(table)) => self.choose_table(node, table, many, anchor, depth),
            (many, Value::String(text))
                if many.iter().all(|schema| constants(schema).is_some()) =>
            {
                let known: Vec<&str> = many
                    .iter()
                    .filter_map(|schema| constants(schema))
                    .flatten()
                    .collect();
                self.one_of(node.span, text, &known, noun(schema));
            }
            (many, _) => self.choose_best(node, many, anchor, depth),
        }
    }

    /// Of tables the one is chosen whose constant key fits.
    fn choose_table(
        &mut self,
        node: &Node,
        table: &Table,
        many: &[&'a Json],
        anchor: Span,
        depth: usize,
    ) {
        let Some(key) = discriminator(many) else {
            return self.choose_best(node, many, anchor, depth);
        };
        let property = many
            .first()
            .and_then(|candidate| candidate.get("properties")?.get(key));
        let noun = property.map_or("value", noun);
        let known: Vec<&str> = many
            .iter()
            .flat_map(|candidate| discriminated(candidate, key))
            .collect();
        match table
            .get(key)
            .filter(|value| !matches!(value.value, Value::Null))
        {
            // Some may do without it.
            None if many.iter().any(|candidate| !requires(candidate, key)) => {
                let many: Vec<&'a Json> = many
                    .iter()
                    .filter(|candidate| !requires(candidate, key))
                    .copied()
                    .collect();
                self.choose_best(node, &many, anchor, depth);
            }
            None => {
                let label = format!("{key} is one of: {}", list_names(known, "and"));
                self.errors.push(Diagnostic::at(
                    anchor,
                    format!("the key {} is missing", quote(key)),
                    label,
                ));
            }
            Some(value) => match value.string() {
                None => self.errors.push(Diagnostic::at(
                    value.span,
                    format!("expected a string, found {}", value.described()),
                    "",
                )),
                Some(text) => match many
                    .iter()
                    .find(|candidate| discriminated(candidate, key).contains(&text))
                {
                    Some(chosen) => self.node(node, chosen, anchor, depth + 1),
                    None => self.one_of(value.span, text, &known, noun),
                },
            },
        }
    }

    /// Without a better criterion: the alternative with the fewest errors.
    fn choose_best(&mut self, node: &Node, many: &[&'a Json], anchor: Span, depth: usize) {
        let mut best: Option<Vec<Diagnostic>> = None;
        for candidate in many {
            let mut trial = Validator {
                root: self.root,
                errors: Vec::new(),
            };
            trial.node(node, candidate, anchor, depth + 1);
            if trial.errors.is_empty() {
                return;
            }
            if best
                .as_ref()
                .is_none_or(|best| trial.errors.len() < best.len())
            {
                best = Some(trial.errors);
            }
        }
        self.errors.extend(best.into_iter().flatten());
    }

    fn one_of(&mut self, span: Span, text: &str, known: &[&str], noun: &str) {
        if !known.contains(&text) {
            self.errors.push(Diagnostic::at(
                span,
                format!("unknown {noun} {}", quote(text)),
                suggestion(text, known, "known are"),
            ));
        }
    }

    fn constant(&mut self, node: &Node, schema: &Json, object: &Map<String, Json>) {
        if let (Some(text), Some(known)) = (node.string(), constants(schema)) {
            self.one_of(node.span, text, &known, noun(schema));
            return;
        }
        let json = node.to_json();
        let fits = object.get("const").is_none_or(|value| *value == json)
            && object
                .get("enum")
                .and_then(Json::as_array)
                .is_none_or(|values| values.contains(&json));
        if !fits {
            self.errors.push(Diagnostic::at(
                node.span,
                format!("expected {}", describe(self.root, schema)),
                "",
            ));
        }
    }

    fn length(&mut self, node: &Node, text: &str, object: &Map<String, Json>) {
        let length = text.chars().count() as u64;
        if let Some(least) = object.get("minLength").and_then(Json::as_u64)
            && length < least
        {
            let message = if least == 1 {
                "the text must not be empty".to_owned()
            } else {
                format!("the text must have at least {least} characters")
            };
            self.errors.push(Diagnostic::at(node.span, message, ""));
        }
        if let Some(most) = object.get("maxLength").and_then(Json::as_u64)
            && length > most
        {
            self.errors.push(Diagnostic::at(
                node.span,
                format!("the text has {length} characters, and {most} are allowed"),
                "",
            ));
        }
    }

    fn range(&mut self, node: &Node, value: f64, object: &Map<String, Json>) {
        let bound = |key: &str| {
            object
                .get(key)
                .and_then(|bound| Some((bound.as_f64()?, bound.to_string())))
        };
        let text = |text: String| text.strip_suffix(".0").map(str::to_owned).unwrap_or(text);
        let broken = [
            ("minimum", "at least"),
            ("exclusiveMinimum", "more than"),
            ("maximum", "at most"),
            ("exclusiveMaximum", "less than"),
        ]
        .into_iter()
        .filter_map(|(key, words)| bound(key).map(|(bound, shown)| (key, words, bound, shown)))
        .find(|(key, _, bound, _)| match *key {
            "minimum" => value < *bound,
            "exclusiveMinimum" => value <= *bound,
            "maximum" => value > *bound,
            _ => value >= *bound,
        });
        if let Some((_, words, _, shown)) = broken {
            self.errors.push(Diagnostic::at(
                node.span,
                format!("the number must be {words} {}", text(shown)),
                "",
            ));
        }
    }

    fn list(&mut self, node: &Node, list: &[Node], object: &'a Map<String, Json>) {
        let count = list.len() as u64;
        if let Some(least) = object.get("minItems").and_then(Json::as_u64)
            && count < least
        {
            let message = if least == 1 {
                "the list must not be empty".to_owned()
            } else {
                format!("the list must have at least {least} elements")
            };
            self.errors.push(Diagnostic::at(node.span, message, ""));
        }
        if let Some(most) = object.get("maxItems").and_then(Json::as_u64)
            && count > most
        {
            self.errors.push(Diagnostic::at(
                node.span,
                format!("the list has {count} elements, and {most} are allowed"),
                "",
            ));
        }
        let prefix = object
            .get("prefixItems")
            .and_then(Json::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default();
        for (number, element) in list.iter().enumerate() {
            if let Some(schema) = prefix.get(number).or_else(|| object.get("items")) {
                self.node(element, schema, element.span, 0);
            }
        }
    }

    fn table(&mut self, table: &Table, object: &'a Map<String, Json>, anchor: Span) {
        let properties = object.get("properties").and_then(Json::as_object);
        let known = |key: &str| properties.and_then(|properties| properties.get(key));
        for entry in table.iter() {
            let Entry {
                key,
                key_span,
                node,
            } = entry;
            let schema = known(key).or_else(|| object.get("additionalProperties"));
            if schema == Some(&Json::Bool(false))
                && known(key).is_none()
                && !object.contains_key("patternProperties")
            {
                let names: Vec<&str> = properties
                    .into_iter()
                    .flat_map(Map::keys)
                    .map(String::as_str)
                    .collect();
                self.errors.push(Diagnostic::at(
                    *key_span,
                    format!("unknown key {}", quote(key)),
                    suggestion(key, &names, "known keys"),
                ));
                continue;
            }
            if matches!(node.value, Value::Null) {
                continue;
            }
            if let Some(format) = object
                .get("propertyNames")
                .and_then(|names| names.get(names::FORMAT_KEYWORD))
                .and_then(Json::as_str)
                && let Some(problem) = names::text_problem(format, key)
            {
                self.errors
                    .push(Diagnostic::at(*key_span, problem.message, problem.label));
            }
            if let Some(schema) = schema {
                self.node(node, schema, *key_span, 0);
            }
        }
        for key in object
            .get("required")
            .and_then(Json::as_array)
            .into_iter()
            .flatten()
            .filter_map(Json::as_str)
        {
            if table
                .get(key)
                .is_none_or(|node| matches!(node.value, Value::Null))
            {
                self.errors.push(Diagnostic::at(
                    anchor,
                    format!("the key {} is missing", quote(key)),
                    "",
                ));
            }
        }
    }
}

/// What an enumerated value is called.
fn noun(schema: &Json) -> &str {
    schema
        .as_object()
        .and_then(|object| word(object, "x-mizzen-noun"))
        .unwrap_or("value")
}
