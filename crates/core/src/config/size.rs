//! Numbers of bytes as people write them.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;

/// How a size may be written, for messages.
pub(super) const WRITTEN: &str = "write bytes, or such as \"500MiB\" or \"2GiB\"";

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl Size {
    /// Reads `1048576`, `"1MiB"`, `"1.5 GB"`; units are of 1000 (`MB`) or 1024 (`MiB`, `M`) bytes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Size> {
        let text = text.trim();
        let split = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let number: f64 = text[..split].parse().ok()?;
        let unit = text[split..].trim().to_ascii_lowercase();
        let (prefix, binary) = match unit.strip_suffix("ib") {
            Some(prefix) => (prefix, true),
            None => match unit.strip_suffix('b') {
                Some(prefix) => (prefix, false),
                None => (&*unit, true),
            },
        };
        let power = ["", "k", "m", "g", "t"]
            .iter()
            .position(|known| *known == prefix)?;
        let step: f64 = if binary { 1024.0 } else { 1000.0 };
        let bytes = number * step.powi(i32::try_from(power).ok()?);
        (bytes.is_finite() && bytes < 1e18).then_some(Size(bytes as u64))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut value = self.0 as f64;
        for unit in ["bytes", "KiB", "MiB", "GiB"] {
            if value < 1024.0 || unit == "GiB" {
                let digits = usize::from(unit != "bytes" && value < 10.0 && value.fract() >= 0.05);
                return write!(out, "{value:.digits$} {unit}");
            }
            value /= 1024.0;
        }
        Ok(())
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Size, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let size = match &value {
            Value::Number(number) => number.as_u64().map(Size),
            Value::String(text) => Size::parse(text),
            _ => None,
        };
        size.ok_or_else(|| de::Error::custom(format!("{value} is no size: {WRITTEN}")))
    }
}

impl JsonSchema for Size {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "integer", "minimum": 0 },
                { "type": "string", "x-mizzen-format": "size", "pattern": "^ *[0-9]+(\\.[0-9]+)? *([kKmMgGtT]?([iI]?[bB])?) *$" },
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_shown() {
        for (text, bytes) in [
            ("12", 12),
            ("1KiB", 1024),
            ("1 kb", 1000),
            ("1.5GiB", 3 << 29),
            ("100M", 100 << 20),
        ] {
            assert_eq!(Size::parse(text), Some(Size(bytes)), "{text}");
        }
        for text in ["", "GiB", "-1", "1 XiB", "1.2.3", "1e9"] {
            assert_eq!(Size::parse(text), None, "{text}");
        }
        for (bytes, text) in [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1536, "1.5 KiB"),
            (1 << 30, "1 GiB"),
            (130 << 20, "130 MiB"),
        ] {
            assert_eq!(Size(bytes).to_string(), text);
        }
    }
}
