//! The short ways to write things, taken apart by hand.
//!
//! ```text
//! retries = 2                 →  { failure = 2 }
//! after = "prepare"           →  [{ task = "prepare", when = "ok" }]
//! run = "python3 'a b.py'"    →  ["python3", "a b.py"]
//! launcher = "torchrun"       →  { kind = "torchrun" }
//! env = { N = 3 }             →  { N = "3" }
//! ```
//!
//! Each type here has the three impls side by side: how it is read, how it is written, and what its schema says. The long form is
//! always accepted as well, and is what serialising gives.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::duration::Timespan;
use super::spec::{Dependency, ExecutorSpec, LauncherSpec, Retries, SecretReference, When};

/// A text that may be written as a string, a number or a boolean.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Text(pub String);

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(text) => Ok(Self(text)),
            serde_json::Value::Number(number) => Ok(Self(number.to_string())),
            serde_json::Value::Bool(value) => Ok(Self(value.to_string())),
            _ => Err(de::Error::custom(
                "expected a string, a number or a boolean",
            )),
        }
    }
}

impl JsonSchema for Text {
    fn schema_name() -> Cow<'static, str> {
        "Text".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "number", "boolean"] })
    }
}

/// A command: a list of arguments, or one text that is split as a shell would split it. Nothing in it is executed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Words(pub Vec<String>);

impl Deref for Words {
    type Target = Vec<String>;

    fn deref(&self) -> &Vec<String> {
        &self.0
    }
}

impl Serialize for Words {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Words;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a list of arguments, or a text")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Words, E> {
                shlex::split(text)
                    .map(Words)
                    .ok_or_else(|| E::custom("a quote is not closed"))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Words, A::Error> {
                let mut words = Vec::new();
                while let Some(Text(word)) = list.next_element()? {
                    words.push(word);
                }
                Ok(Words(words))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Words {
    fn schema_name() -> Cow<'static, str> {
        "Words".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "string", "x-mizzen-format": "words" },
                { "type": "array", "items": generator.subschema_for::<Text>(), "minItems": 1 },
            ],
        })
    }
}

/// What a task comes after.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct After(pub Vec<Dependency>);

impl After {
    /// Whether the task waits for nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Deref for After {
    type Target = Vec<Dependency>;

    fn deref(&self) -> &Vec<Dependency> {
        &self.0
    }
}

impl<'de> Deserialize<'de> for After {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::Array(list) => list
                .into_iter()
                .map(serde_json::from_value)
                .collect::<Result<_, _>>()
                .map(After),
            one => serde_json::from_value(one).map(|dependency| After(vec![dependency])),
        }
        .map_err(de::Error::custom)
    }
}

impl JsonSchema for After {
    fn schema_name() -> Cow<'static, str> {
        "After".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let dependency = DependencyTable::json_schema(generator);
        let name = json_schema!({ "type": "string", "description": "a task's name" });
        json_schema!({
            "anyOf": [
                name,
                dependency,
                { "type": "array", "items": { "anyOf": [name, dependency] } },
            ],
        })
    }
}

/// A dependency written out.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DependencyTable {
    /// The task that comes first.
    task: String,
    /// What must have become of it.
    #[serde(default)]
    when: When,
}

impl<'de> Deserialize<'de> for Dependency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(task) => Ok(Self {
                task,
                when: When::Ok,
            }),
            table => {
                let DependencyTable { task, when } =
                    serde_json::from_value(table).map_err(de::Error::custom)?;
                Ok(Self { task, when })
            }
        }
    }
}

/// Budgets written out.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RetriesTable {
    /// Retries after failures of the program.
    #[serde(default)]
    failure: Option<u32>,
    /// Retries after preemption.
    #[serde(default)]
    preempted: Option<u32>,
    /// Retries after the failure of a node.
    #[serde(default)]
    node: Option<u32>,
    /// Retries after the timeout.
    #[serde(default)]
    timeout: Option<u32>,
    /// The wait before the first retry; it doubles with each.
    #[serde(default)]
    backoff: Option<Timespan>,
    /// The longest wait.
    #[serde(default)]
    max_backoff: Option<Timespan>,
}

impl<'de> Deserialize<'de> for Retries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(deserializer)? {
            number @ serde_json::Value::Number(_) => {
                let failure = serde_json::from_value(number).map_err(de::Error::custom)?;
                Ok(Self {
                    failure: Some(failure),
                    ..Self::default()
                })
            }
            table => {
                let RetriesTable {
                    failure,
                    preempted,
                    node,
                    timeout,
                    backoff,
                    max_backoff,
                } = serde_json::from_value(table).map_err(de::Error::custom)?;
                Ok(Self {
                    failure,
                    preempted,
                    node,
                    timeout,
                    backoff,
                    max_backoff,
                })
            }
        }
    }
}

impl JsonSchema for Retries {
    fn schema_name() -> Cow<'static, str> {
        "Retries".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let table = RetriesTable::json_schema(generator);
        json_schema!({
            "anyOf": [
                { "type": "integer", "minimum": 0, "maximum": u32::MAX, "description": "retries after failures of the program" },
                table,
            ],
        })
    }
}

/// An executor by name, or written out in place.
#[derive(Debug, Clone, PartialEq)]
pub enum ExecutorReference {
    /// The name of one of `executors`.
    Name(String),
    /// Written out in place.
    Inline(ExecutorSpec),
}

impl Serialize for ExecutorReference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Name(name) => serializer.serialize_str(name),
            Self::Inline(executor) => executor.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for ExecutorReference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(name) => Ok(Self::Name(name)),
            table => serde_json::from_value(table)
                .map(Self::Inline)
                .map_err(de::Error::custom),
        }
    }
}

impl JsonSchema for ExecutorReference {
    fn schema_name() -> Cow<'static, str> {
        "ExecutorReference".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "string", "description": "an executor's name" },
                generator.subschema_for::<ExecutorSpec>(),
            ],
        })
    }
}

/// Writes `kind` first, then the settings.
fn serialize_kind<S: Serializer>(
    kind: &str,
    settings: &serde_json::Map<String, serde_json::Value>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(settings.len() + 1))?;
    map.serialize_entry("kind", kind)?;
    for (key, value) in settings {
        map.serialize_entry(key, value)?;
    }
    map.end()
}

/// Takes `kind` out of a table.
fn deserialize_kind<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<(String, serde_json::Map<String, serde_json::Value>), D::Error> {
    let mut settings = serde_json::Map::deserialize(deserializer)?;
    match settings.shift_remove("kind") {
        Some(serde_json::Value::String(kind)) => Ok((kind, settings)),
        _ => Err(de::Error::missing_field("kind")),
    }
}

impl Serialize for ExecutorSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_kind(&self.kind, &self.settings, serializer)
    }
}

impl<'de> Deserialize<'de> for ExecutorSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (kind, settings) = deserialize_kind(deserializer)?;
        Ok(Self { kind, settings })
    }
}

impl JsonSchema for ExecutorSpec {
    fn schema_name() -> Cow<'static, str> {
        "Executor".into()
    }

    /// The vocabulary replaces this with the schemas of its kinds.
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object" })
    }
}

impl Serialize for LauncherSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.settings.is_empty() {
            serializer.serialize_str(&self.kind)
        } else {
            serialize_kind(&self.kind, &self.settings, serializer)
        }
    }
}

impl<'de> Deserialize<'de> for LauncherSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(kind) => Ok(Self {
                kind,
                settings: serde_json::Map::new(),
            }),
            table => {
                let (kind, settings) = deserialize_kind(table).map_err(de::Error::custom)?;
                Ok(Self { kind, settings })
            }
        }
    }
}

/// Stands for the vocabulary's launchers in the schema.
struct LauncherName;

impl JsonSchema for LauncherName {
    fn schema_name() -> Cow<'static, str> {
        "LauncherName".into()
    }

    /// The vocabulary replaces this with the names of its launchers.
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

impl JsonSchema for LauncherSpec {
    fn schema_name() -> Cow<'static, str> {
        "Launcher".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let name = generator.subschema_for::<LauncherName>();
        json_schema!({
            "anyOf": [
                name,
                { "type": "object", "properties": { "kind": name }, "required": ["kind"], "additionalProperties": true },
            ],
        })
    }
}

impl SecretReference {
    /// Reads `env:NAME`, `file:PATH` or `cmd:COMMAND`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once(':')?;
        if rest.trim().is_empty() {
            return None;
        }
        match scheme {
            "env" => super::interpolate::is_identifier(rest).then(|| Self::Env(rest.to_owned())),
            "file" => Some(Self::File(rest.to_owned())),
            "cmd" => Some(Self::Command(rest.to_owned())),
            _ => None,
        }
    }
}

impl fmt::Display for SecretReference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(formatter, "env:{name}"),
            Self::File(path) => write!(formatter, "file:{path}"),
            Self::Command(command) => write!(formatter, "cmd:{command}"),
        }
    }
}

impl Serialize for SecretReference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SecretReference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| de::Error::custom("expected env:NAME, file:PATH or cmd:COMMAND"))
    }
}

impl JsonSchema for SecretReference {
    fn schema_name() -> Cow<'static, str> {
        "SecretReference".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "where the secret comes from: env:NAME, file:PATH or cmd:COMMAND", "x-mizzen-format": "secret" })
    }
}
