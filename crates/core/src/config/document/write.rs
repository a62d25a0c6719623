//! Documents as text: what [`parse`](super::parse) reads back.

use serde_json::Value;

use super::Format;

/// A value can't be written in a notation.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// TOML has tables only at the top, and no null.
    #[error("{0}")]
    Unsupported(String),
}

/// Writes a value. The end is a line feed.
///
/// # Errors
/// TOML can't hold it: it is no table, holds a null, or an integer over 64 bits.
pub fn write(format: Format, value: &Value) -> Result<String, WriteError> {
    match format {
        Format::Json => {
            let text = serde_json::to_string_pretty(value);
            Ok(text.unwrap_or_default() + "\n")
        }
        Format::Yaml => {
            let mut text = String::new();
            yaml(value, 0, &mut text);
            Ok(text)
        }
        Format::Toml => {
            if !value.is_object() {
                return Err(WriteError::Unsupported(
                    "a TOML document is a table; this is none".to_owned(),
                ));
            }
            toml::to_string_pretty(value)
                .map_err(|error| WriteError::Unsupported(error.to_string()))
        }
    }
}

/// A value in block style, behind which a line ends.
fn yaml(value: &Value, indent: usize, text: &mut String) {
    match value {
        Value::Object(table) if !table.is_empty() => {
            for (index, (key, value)) in table.iter().enumerate() {
                if index > 0 {
                    text.push_str(&" ".repeat(indent));
                }
                text.push_str(&yaml_text(key));
                text.push(':');
                nested(value, indent, text);
            }
        }
        Value::Array(list) if !list.is_empty() => {
            for (index, value) in list.iter().enumerate() {
                if index > 0 {
                    text.push_str(&" ".repeat(indent));
                }
                text.push_str("- ");
                yaml(value, indent + 2, text);
            }
        }
        scalar => {
            text.push_str(&yaml_scalar(scalar));
            text.push('\n');
        }
    }
}

/// What stands behind a key.
fn nested(value: &Value, indent: usize, text: &mut String) {
    let is_block = match value {
        Value::Object(table) => !table.is_empty(),
        Value::Array(list) => !list.is_empty(),
        _ => false,
    };
    if is_block {
        text.push('\n');
        text.push_str(&" ".repeat(indent + 2));
        yaml(value, indent + 2, text);
    } else {
        text.push(' ');
        yaml(value, indent, text);
    }
}

fn yaml_scalar(value: &Value) -> String {
    match value {
        Value::String(text) => yaml_text(text),
        Value::Object(_) => "{}".to_owned(),
        Value::Array(_) => "[]".to_owned(),
        other => other.to_string(),
    }
}

/// A text, in quotes wherever some reader of YAML (1.1 or 1.2) might take it for something else.
fn yaml_text(text: &str) -> String {
    let plain = |character: char| {
        character.is_ascii_alphanumeric() || matches!(character, '_' | '/' | '.' | '-' | '+')
    };
    let starts = text
        .chars()
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == '_' || first == '/');
    let lower = text.to_ascii_lowercase();
    let special =
        ["null", "true", "false", "yes", "no", "on", "off", "y", "n"].contains(&lower.as_str());
    let inner = text
        .split(' ')
        .all(|part| !part.is_empty() && part.chars().all(plain));
    if starts && inner && !special {
        text.to_owned()
    } else {
        // A JSON text is a double-quoted text of YAML 1.2.
        Value::String(text.to_owned()).to_string()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::super::diagnostic::SourceMap;
    use super::super::super::layers::Origin;
    use super::super::parse;
    use super::*;

    #[test]
    fn what_is_written_reads_as_the_same() {
        let value = json!({
            "plain": "train.py", "odd": "a: b # c", "yes": "yes", "no": false, "empty": "", "none_text": "null", "tilde": "~",
            "multi": "one\ntwo\t\u{1}", "number": "1.5", "int": -3, "float": 1e-9, "big": 9_007_199_254_740_993_i64,
            "list": [1, [2, []], {"a": {}, "b": [{"c": "d", "e": [1]}]}], "key with space": 1, "- x": "- y", "ünï": "…", "date": "2024-01-01",
        });
        for format in [Format::Json, Format::Yaml, Format::Toml] {
            let text = write(format, &value).expect("it can be written");
            let source = SourceMap::default().add_text(Origin::File, "t", &text);
            let read = parse(format, &text, source).expect(&text).to_json();
            assert_eq!(read, value, "{format:?}\n{text}");
        }
        let value = json!({ "null": null, "list": [null] });
        let text = write(Format::Yaml, &value).expect("it can be written");
        let source = SourceMap::default().add_text(Origin::File, "t", &text);
        assert_eq!(
            parse(Format::Yaml, &text, source)
                .expect(&text)
                .to_json_with_nulls(),
            value,
            "{text}"
        );
        assert!(write(Format::Toml, &value).is_err());
        assert!(write(Format::Toml, &json!([1])).is_err());
    }
}
