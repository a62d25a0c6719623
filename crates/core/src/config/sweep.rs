//! Sweeps: one task, many jobs.
//!
//! ```text
//! Sweep { grid, zip, list } ── expand() ──→ one list of (variable, value) a job ── job_names() ──→ train-lr=0.01,bs=32
//! ```
//!
//! The order is the order of the document: of a grid the first variable changes slowest, the zip changes within the grid.
//! What can be wrong with a sweep is found by [`check`](super::check), with places; [`combinations`] says how many jobs there are
//! without making them.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::ser::{SerializeMap as _, SerializeSeq as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The most jobs that one task may become.
pub const JOB_LIMIT: usize = 100_000;
/// The longest name of a job, in characters.
pub const NAME_LIMIT: usize = 100;
/// Names that no variable may have: they mean something else in `${…}` or in the sweep itself.
pub const RESERVED: [&str; 6] = ["env", "dir", "grid", "zip", "job_dir", "experiment_dir"];

/// A value of a sweep variable.
#[derive(Debug, Clone, PartialEq)]
pub enum SweepValue {
    /// A text.
    String(String),
    /// A number with the text it was written with; `${lr}` gives that text.
    Number {
        /// As written.
        text: String,
        /// What it means.
        value: serde_json::Number,
    },
    /// True or false.
    Boolean(bool),
}

impl SweepValue {
    /// The same for equal values, whatever their notation: `0.1` and `0.10` are one value, `1` and `"1"` are two.
    fn identity(&self) -> String {
        match self {
            Self::String(text) => format!("s{text}"),
            Self::Number { value, .. } => format!("n{value}"),
            Self::Boolean(value) => format!("b{value}"),
        }
    }
}

impl fmt::Display for SweepValue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::String(text) | Self::Number { text, .. } => formatter.write_str(text),
            Self::Boolean(value) => write!(formatter, "{value}"),
        }
    }
}

/// A variable and the value it has in one job.
pub type Assignment = (String, SweepValue);

/// What varies over a task's jobs: the product of `grid` and `zip`, or the combinations of `list`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sweep {
    /// Variables that combine with everything.
    pub grid: Vec<(String, Vec<SweepValue>)>,
    /// Variables that change together; their lists are equally long.
    pub zip: Vec<(String, Vec<SweepValue>)>,
    /// Combinations written out, all of the same variables; then `grid` and `zip` are empty.
    pub list: Vec<Vec<Assignment>>,
}

impl Sweep {
    /// The variables' names in order.
    #[must_use]
    pub fn variables(&self) -> Vec<&str> {
        let listed = self
            .list
            .first()
            .into_iter()
            .flatten()
            .map(|(name, _)| name.as_str());
        self.grid
            .iter()
            .chain(&self.zip)
            .map(|(name, _)| name.as_str())
            .chain(listed)
            .collect()
    }
}

/// How many jobs a sweep gives; `None` when the number does not fit.
#[must_use]
pub fn combinations(sweep: &Sweep) -> Option<usize> {
    if !sweep.list.is_empty() {
        return Some(sweep.list.len());
    }
    if sweep.grid.is_empty() && sweep.zip.is_empty() {
        return Some(0);
    }
    let zipped = sweep
        .zip
        .iter()
        .map(|(_, values)| values.len())
        .min()
        .unwrap_or(1);
    sweep.grid.iter().try_fold(zipped, |product, (_, values)| {
        product.checked_mul(values.len())
    })
}

/// All jobs of a sweep, each with its variables in the order of the document.
///
/// The same sweep gives the same list. More than [`JOB_LIMIT`] jobs are cut off there; a checked sweep never has more.
#[must_use]
pub fn expand(sweep: &Sweep) -> Vec<Vec<Assignment>> {
    if !sweep.list.is_empty() {
        return sweep.list.iter().take(JOB_LIMIT).cloned().collect();
    }
    let zipped = sweep.zip.iter().map(|(_, values)| values.len()).min();
    let count = combinations(sweep).unwrap_or(usize::MAX).min(JOB_LIMIT);
    let mut jobs = Vec::with_capacity(count);
    for number in 0..count {
        let mut rest = number;
        let mut job = Vec::with_capacity(sweep.grid.len() + sweep.zip.len());
        if let Some(length) = zipped {
            let at = rest % length;
            rest /= length;
            job.extend(
                sweep
                    .zip
                    .iter()
                    .rev()
                    .map(|(name, values)| (name.clone(), values[at].clone())),
            );
        }
        for (name, values) in sweep.grid.iter().rev() {
            job.push((name.clone(), values[rest % values.len()].clone()));
            rest /= values.len();
        }
        job.reverse();
        jobs.push(job);
    }
    jobs
}

/// The first two jobs (counted from 0) that have the same values.
#[must_use]
pub fn first_duplicate(jobs: &[Vec<Assignment>]) -> Option<(usize, usize)> {
    let mut seen: HashMap<Vec<(&str, String)>, usize> = HashMap::with_capacity(jobs.len());
    for (number, job) in jobs.iter().enumerate() {
        let mut identity: Vec<(&str, String)> = job
            .iter()
            .map(|(name, value)| (name.as_str(), value.identity()))
            .collect();
        identity.sort();
        if let Some(first) = seen.insert(identity, number) {
            return Some((first, number));
        }
    }
    None
}

/// The name of one job: `train-lr=0.01,bs=32`, at most [`NAME_LIMIT`] characters. Not unique by itself: see [`job_names`].
#[must_use]
pub fn job_name(task: &str, variables: &[Assignment]) -> String {
    let mut name = task.to_owned();
    for (number, (variable, value)) in variables.iter().enumerate() {
        name.push(if number == 0 { '-' } else { ',' });
        name.push_str(variable);
        name.push('=');
        let allowed = |character: char| {
            character.is_ascii_alphanumeric()
                || matches!(character, '.' | '_' | '=' | ',' | '+' | '-')
        };
        name.extend(
            value
                .to_string()
                .chars()
                .map(|character| if allowed(character) { character } else { '_' }),
        );
        if name.len() > NAME_LIMIT {
            break;
        }
    }
    truncate(&mut name, NAME_LIMIT);
    name
}

/// The names of all jobs of a task, in order, each once: a name that comes again gets `~2`, `~3`, ….
#[must_use]
pub fn job_names(task: &str, jobs: &[Vec<Assignment>]) -> Vec<String> {
    // Longest suffix: `~100000`. No base has a `~`, and suffixed names share the counter of their stem, so all differ.
    const STEM: usize = NAME_LIMIT - 7;
    let mut used: HashSet<String> = HashSet::with_capacity(jobs.len());
    let mut counters: HashMap<String, usize> = HashMap::new();
    jobs.iter()
        .map(|job| {
            let mut name = job_name(task, job);
            if !used.insert(name.clone()) {
                truncate(&mut name, STEM);
                let counter = counters.entry(name.clone()).or_insert(1);
                *counter += 1;
                name = format!("{name}~{counter}");
            }
            name
        })
        .collect()
}

fn truncate(name: &mut String, longest: usize) {
    name.truncate(name.floor_char_boundary(longest));
}

impl Serialize for SweepValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::String(text) => serializer.serialize_str(text),
            Self::Boolean(value) => serializer.serialize_bool(*value),
            Self::Number { text, value } if value.to_string() == *text => {
                value.serialize(serializer)
            }
            Self::Number { text, .. } => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("number", text)?;
                map.end()
            }
        }
    }
}

/// The meaning of a number's text: decimal, or `0x`, `0o`, `0b`.
pub(crate) fn number_from_text(text: &str) -> Option<serde_json::Number> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let radix = match digits.get(..2) {
        Some("0x") => 16,
        Some("0o") => 8,
        Some("0b") => 2,
        _ => 10,
    };
    let digits = if radix == 10 { digits } else { &digits[2..] };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let signed = format!("{sign}{digits}");
    i64::from_str_radix(&signed, radix)
        .map(serde_json::Number::from)
        .or_else(|_| u64::from_str_radix(&signed, radix).map(serde_json::Number::from))
        .ok()
        .or_else(|| {
            if radix == 10 {
                signed.parse().ok().and_then(serde_json::Number::from_f64)
            } else {
                None
            }
        })
}

impl<'de> Deserialize<'de> for SweepValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(text) => Ok(Self::String(text)),
            serde_json::Value::Bool(value) => Ok(Self::Boolean(value)),
            serde_json::Value::Number(value) => Ok(Self::Number {
                text: value.to_string(),
                value,
            }),
            serde_json::Value::Object(table) if table.len() == 1 => {
                let text = table.get("number").and_then(serde_json::Value::as_str);
                let number = text.and_then(|text| Some((text.to_owned(), number_from_text(text)?)));
                number
                    .map(|(text, value)| Self::Number { text, value })
                    .ok_or_else(|| de::Error::custom("expected { number = \"…\" }"))
            }
            _ => Err(de::Error::custom(
                "a sweep's value is a string, a number or a boolean",
            )),
        }
    }
}

impl JsonSchema for SweepValue {
    fn schema_name() -> Cow<'static, str> {
        "SweepValue".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "a value of a sweep variable",
            "anyOf": [
                { "type": ["string", "number", "boolean"] },
                {
                    "type": "object",
                    "description": "a number whose notation is kept, as in { number = \"1e-3\" }",
                    "properties": { "number": { "type": "string", "x-mizzen-format": "number" } },
                    "required": ["number"],
                    "additionalProperties": false,
                },
            ],
        })
    }
}

/// A JSON object's pairs in their order, which a map type would lose.
struct Pairs<T>(Vec<(String, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Pairs<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> de::Visitor<'de> for Visitor<T> {
            type Value = Pairs<T>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a table")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Pairs<T>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Visitor(std::marker::PhantomData))
    }
}

struct PairsRef<'a, T>(&'a [(String, T)]);

impl<T: Serialize> Serialize for PairsRef<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

impl Serialize for Sweep {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !self.list.is_empty() {
            let mut list = serializer.serialize_seq(Some(self.list.len()))?;
            for job in &self.list {
                list.serialize_element(&PairsRef(job))?;
            }
            return list.end();
        }
        let mut map = serializer.serialize_map(None)?;
        if !self.grid.is_empty() {
            map.serialize_entry("grid", &PairsRef(&self.grid))?;
        }
        if !self.zip.is_empty() {
            map.serialize_entry("zip", &PairsRef(&self.zip))?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Sweep {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Sweep;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a table of lists, or a list of tables")
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Sweep, A::Error> {
                let mut sweep = Sweep::default();
                while let Some(Pairs(job)) = list.next_element()? {
                    sweep.list.push(job);
                }
                Ok(sweep)
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Sweep, A::Error> {
                let mut sweep = Sweep::default();
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "grid" => sweep
                            .grid
                            .extend(map.next_value::<Pairs<Vec<SweepValue>>>()?.0),
                        "zip" => sweep
                            .zip
                            .extend(map.next_value::<Pairs<Vec<SweepValue>>>()?.0),
                        _ => sweep.grid.push((key, map.next_value()?)),
                    }
                }
                Ok(sweep)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Sweep {
    fn schema_name() -> Cow<'static, str> {
        "Sweep".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let value = generator.subschema_for::<SweepValue>();
        let values = json_schema!({ "type": "array", "items": value, "description": "the values that a variable takes" });
        let variables = json_schema!({ "type": "object", "additionalProperties": values });
        json_schema!({
            "description": "what varies over the task's jobs",
            "anyOf": [
                {
                    "type": "object",
                    "description": "lists of values by variable, all combined; or `grid` (combined) and `zip` (side by side)",
                    "properties": { "grid": variables, "zip": variables },
                    "additionalProperties": values,
                },
                {
                    "type": "array",
                    "description": "the combinations, written out",
                    "items": { "type": "object", "additionalProperties": value },
                },
            ],
        })
    }
}
