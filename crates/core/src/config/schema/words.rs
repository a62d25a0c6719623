//! What a schema wants, in words, for "expected …, found …".

use serde_json::Value as Json;

use super::super::diagnostic::quote;
use super::super::names;
use super::{constants, flatten, word};

/// What a schema wants, in words: `a list of strings`.
pub(super) fn describe(root: &Json, schema: &Json) -> String {
    let mut leaves = Vec::new();
    flatten(root, schema, 0, &mut leaves);
    let mut words: Vec<String> = Vec::new();
    for leaf in leaves {
        for phrase in describe_leaf(root, leaf, 0) {
            if !words.contains(&phrase) {
                words.push(phrase);
            }
        }
    }
    join(&words)
}

fn join(words: &[String]) -> String {
    match words {
        [] => "something else".to_owned(),
        [one] => one.clone(),
        [init @ .., last] => format!("{} or {last}", init.join(", ")),
    }
}

fn describe_leaf(root: &Json, schema: &Json, depth: usize) -> Vec<String> {
    let Some(object) = schema.as_object() else {
        return Vec::new();
    };
    if let Some(known) = constants(schema) {
        return known.into_iter().map(quote).collect();
    }
    if word(object, names::FORMAT_KEYWORD).is_some_and(|format| format.ends_with("timespan")) {
        return vec!["a length of time".to_owned()];
    }
    let types: Vec<&str> = match object.get("type") {
        Some(Json::String(name)) => vec![name],
        Some(Json::Array(names)) => names.iter().filter_map(Json::as_str).collect(),
        _ => Vec::new(),
    };
    types
        .into_iter()
        .filter(|name| *name != "null")
        .map(|name| match name {
            "boolean" => "a boolean".to_owned(),
            "integer" => "an integer".to_owned(),
            "number" => "a number".to_owned(),
            "string" => "a string".to_owned(),
            "array" => match object
                .get("items")
                .filter(|_| depth < 3)
                .map(|items| plural(root, items, depth + 1))
            {
                Some(items) if !items.is_empty() => format!("a list of {items}"),
                _ => "a list".to_owned(),
            },
            _ => "a table".to_owned(),
        })
        .collect()
}

/// What a list's elements are, in words: `strings or tables`.
fn plural(root: &Json, schema: &Json, depth: usize) -> String {
    let mut leaves = Vec::new();
    flatten(root, schema, 0, &mut leaves);
    let mut words: Vec<String> = Vec::new();
    for phrase in leaves
        .into_iter()
        .flat_map(|leaf| describe_leaf(root, leaf, depth))
    {
        let phrase = match phrase.as_str() {
            "a length of time" => "lengths of time".to_owned(),
            _ => match phrase
                .strip_prefix("a ")
                .or_else(|| phrase.strip_prefix("an "))
            {
                Some(rest) => match rest.split_once(' ') {
                    Some((first, more)) => format!("{first}s {more}"),
                    None => format!("{rest}s"),
                },
                None => phrase,
            },
        };
        if !words.contains(&phrase) {
            words.push(phrase);
        }
    }
    if words.is_empty() {
        String::new()
    } else {
        join(&words)
    }
}
