//! NeMo-Run's stored objects: base64 (URL-safe) of zlib of JSON, a graph of named objects. They become plain values, in the
//! form in which Mizzen writes Python values down. Nothing is imported and nothing is called.
//!
//! ```text
//! text ─ base64 ─ zlib ─▶ { root, objects: { key: { type, items, metadata } } } ─▶ { "_target_": "pkg.Class", field: … }
//! ```
//!
//! Pitfalls: an object may be referred to many times, so that a small file can stand for an enormous tree, and a zlib stream
//! may unpack to any size: both have limits here.

use std::io::Read;

use serde_json::{Map, Value, json};

/// The most that one stored object may unpack to.
const UNPACKED_LIMIT: u64 = 64 << 20;
/// The most values that one stored object may stand for.
const VALUE_LIMIT: usize = 200_000;
/// The deepest nesting.
const DEPTH_LIMIT: usize = 100;

/// A stored object can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ObjectError {
    /// It is no base64.
    #[error("it is not base64: character {0} can't be one of it")]
    Base64(usize),
    /// The compressed bytes are torn or damaged.
    #[error("it can't be unpacked: {0}")]
    Zlib(String),
    /// It is too large.
    #[error("it unpacks to more than {} MiB", UNPACKED_LIMIT >> 20)]
    TooLarge,
    /// It is no JSON, or not of the form that is known.
    #[error("it is not of NeMo-Run's form: {0}")]
    Form(String),
}

/// Reads one stored object.
///
/// # Errors
/// The text is torn, damaged, too large or of another form.
pub(super) fn read(text: &str) -> Result<Value, ObjectError> {
    let packed = base64(text.trim())?;
    let mut unpacked = Vec::new();
    flate2::read::ZlibDecoder::new(&*packed)
        .take(UNPACKED_LIMIT + 1)
        .read_to_end(&mut unpacked)
        .map_err(|error| ObjectError::Zlib(error.to_string()))?;
    if unpacked.len() as u64 > UNPACKED_LIMIT {
        return Err(ObjectError::TooLarge);
    }
    let document: Value =
        serde_json::from_slice(&unpacked).map_err(|error| ObjectError::Form(error.to_string()))?;
    from_document(&document)
}

/// The plain value of an unpacked document.
fn from_document(document: &Value) -> Result<Value, ObjectError> {
    let objects = document
        .get("objects")
        .and_then(Value::as_object)
        .ok_or_else(|| ObjectError::Form("it has no `objects`".to_owned()))?;
    let root = document
        .get("root")
        .ok_or_else(|| ObjectError::Form("it has no `root`".to_owned()))?;
    let mut reader = Reader {
        objects,
        left: VALUE_LIMIT,
    };
    reader.value(root, 0)
}

struct Reader<'a> {
    objects: &'a Map<String, Value>,
    left: usize,
}

impl Reader<'_> {
    fn value(&mut self, stored: &Value, depth: usize) -> Result<Value, ObjectError> {
        self.left = self
            .left
            .checked_sub(1)
            .filter(|_| depth <= DEPTH_LIMIT)
            .ok_or_else(|| ObjectError::Form("it stands for too many values".to_owned()))?;
        let Some(fields) = stored.as_object() else {
            // Fiddle writes plain texts and numbers as they are inside metadata.
            return Ok(stored.clone());
        };
        match fields.get("type") {
            Some(Value::String(kind)) => match kind.as_str() {
                "leaf" => Ok(fields.get("value").cloned().unwrap_or_default()),
                "pyref" => Ok(json!({ "_target_": target(stored), "_call_": false })),
                "ref" => {
                    let key = text(fields.get("key"));
                    let object = self.objects.get(key).ok_or_else(|| {
                        ObjectError::Form(format!("the object `{key}` is missing"))
                    })?;
                    self.object(object, depth + 1)
                }
                other => Ok(
                    json!({ "_type_": other, "value": fields.get("value").cloned().unwrap_or_default() }),
                ),
            },
            _ => self.object(stored, depth + 1),
        }
    }

    /// An object: a container, or something that is built from named arguments.
    fn object(&mut self, object: &Value, depth: usize) -> Result<Value, ObjectError> {
        let kind = object.get("type").map(target).unwrap_or_default();
        let mut items = Vec::new();
        for item in object
            .get("items")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let [step, stored] = item.as_array().map(Vec::as_slice).unwrap_or_default() else {
                return Err(ObjectError::Form("an item is not a pair".to_owned()));
            };
            items.push((step_name(text(Some(step))), self.value(stored, depth)?));
        }
        let values = |items: Vec<(String, Value)>| -> Vec<Value> {
            items.into_iter().map(|(_, value)| value).collect()
        };
        Ok(match kind.as_str() {
            "builtins.list" => Value::Array(values(items)),
            "builtins.tuple" | "builtins.set" | "builtins.frozenset" => {
                json!({ "_type_": kind.trim_start_matches("builtins."), "value": values(items) })
            }
            "builtins.dict" => Value::Object(items.into_iter().collect()),
            _ => {
                let mut built = Map::new();
                built.insert(
                    "_target_".to_owned(),
                    Value::String(self.callable(object).unwrap_or_else(|| kind.clone())),
                );
                if kind.ends_with(".Partial") {
                    built.insert("_partial_".to_owned(), Value::Bool(true));
                }
                built.extend(items);
                Value::Object(built)
            }
        })
    }

    /// What a config or a partial is of: it stands in the metadata.
    fn callable(&self, object: &Value) -> Option<String> {
        let metadata = object.get("metadata")?;
        let metadata = match metadata.get("key") {
            Some(key) => self.objects.get(text(Some(key)))?,
            None => metadata,
        };
        let items = metadata.get("items")?.as_array()?;
        let found = items.iter().find_map(|item| {
            let pair = item.as_array()?;
            (step_name(text(pair.first())) == "fn_or_cls").then(|| pair.get(1))?
        })?;
        Some(target(found))
    }
}

fn text(value: Option<&Value>) -> &str {
    value.and_then(Value::as_str).unwrap_or_default()
}

/// `{module, name}` as a path with dots.
fn target(stored: &Value) -> String {
    let (module, name) = (text(stored.get("module")), text(stored.get("name")));
    if module.is_empty() {
        name.to_owned()
    } else {
        format!("{module}.{name}")
    }
}

/// The name in `Attr(name='lr')`, `Key(key='a')`, `Index(index=0)`.
fn step_name(step: &str) -> String {
    let inner = step
        .split_once('=')
        .and_then(|(_, rest)| rest.strip_suffix(')'))
        .unwrap_or(step);
    let quote = inner.chars().next().filter(|c| matches!(c, '\'' | '"'));
    let Some(body) = quote.and_then(|quote| inner.strip_prefix(quote)?.strip_suffix(quote)) else {
        return inner.to_owned();
    };
    let mut name = String::with_capacity(body.len());
    let mut letters = body.chars();
    while let Some(letter) = letters.next() {
        match (letter, letters.clone().next()) {
            ('\\', Some('n')) => name.push('\n'),
            ('\\', Some('t')) => name.push('\t'),
            ('\\', Some(escaped @ ('\\' | '\'' | '"'))) => name.push(escaped),
            _ => {
                name.push(letter);
                continue;
            }
        }
        letters.next();
    }
    name
}

/// The bytes of base64 in its URL-safe letters (RFC 4648, section 5).
fn base64(text: &str) -> Result<Vec<u8>, ObjectError> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0);
    for (position, letter) in text.trim_end_matches('=').bytes().enumerate() {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'-' | b'+' => 62,
            b'_' | b'/' => 63,
            _ => return Err(ObjectError::Base64(position + 1)),
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_have_names() {
        for (step, name) in [
            ("Attr(name='lr')", "lr"),
            ("Index(index=3)", "3"),
            ("Key(key='a b=c')", "a b=c"),
            (r"Key(key='it\'s \\ \n')", "it's \\ \n"),
            ("Key(key=\"it's\")", "it's"),
            ("Key(key=3)", "3"),
            ("", ""),
        ] {
            assert_eq!(step_name(step), name, "{step}");
        }
    }

    #[test]
    fn base64_is_read() {
        assert_eq!(base64("aGk_").unwrap(), b"hi?");
        assert_eq!(base64("aGk=").unwrap(), b"hi");
        assert_eq!(base64("").unwrap(), b"");
        assert_eq!(base64("aG k"), Err(ObjectError::Base64(3)));
    }

    #[test]
    fn a_graph_that_stands_for_too_much_is_refused() {
        // Each object holds the next one twice: 2^60 values.
        let mut objects = Map::new();
        for level in 0..60 {
            let next = json!({ "type": "ref", "key": format!("list_{}", level + 1) });
            let kind = json!({ "type": "pyref", "module": "builtins", "name": "list" });
            objects.insert(
                format!("list_{level}"),
                json!({ "type": kind, "items": [["Index(index=0)", next], ["Index(index=1)", next]], "metadata": null }),
            );
        }
        objects.insert(
            "list_60".to_owned(),
            json!({ "type": {"type": "pyref", "module": "builtins", "name": "list"}, "items": [] }),
        );
        let root = json!({ "type": "ref", "key": "list_0" });
        let read = from_document(&json!({ "root": root, "objects": objects }));
        assert!(matches!(read, Err(ObjectError::Form(_))), "{read:?}");
        // An object that holds itself.
        let myself = json!({ "type": "ref", "key": "list_0" });
        let read = from_document(
            &json!({ "root": myself, "objects": { "list_0": { "type": {"module": "builtins", "name": "list"}, "items": [["Index(index=0)", myself]] } } }),
        );
        assert!(matches!(read, Err(ObjectError::Form(_))), "{read:?}");
    }

    #[test]
    fn what_is_torn_is_an_error() {
        for text in ["", "eJw", "!!", "aGVsbG8"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
