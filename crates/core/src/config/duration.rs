//! Lengths of time as users write them.
//!
//! ```text
//! 90   "90"   "90s"   "1h30m"   "2h"   "1d"   "500ms"   "01:30:00"   "1-12:00:00"   ──→ Timespan
//! ```
//!
//! A number is seconds. With colons it is Slurm's `[days-]hours:minutes:seconds`; two parts, `MM:SS` or `HH:MM`, mean different
//! things to different tools and are refused.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The longest length of time: ten thousand days.
const LONGEST: Duration = Duration::from_secs(10_000 * 86_400);

/// A length of time, to the millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timespan(Duration);

/// Why a text is no length of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimespanError {
    /// Nothing but blanks.
    #[error("it is empty")]
    Empty,
    /// A unit that is not `d`, `h`, `m`, `s` or `ms`.
    #[error("`{0}` is not a unit: use d, h, m, s or ms")]
    Unit(String),
    /// Digits were expected.
    #[error("write it as 90, \"90s\", \"1h30m\", \"2d\" or \"01:30:00\"")]
    Form,
    /// The same or a greater unit after a smaller one.
    #[error("the units must go from the greatest to the smallest, each once")]
    Order,
    /// `MM:SS` or `HH:MM`?
    #[error("two parts could be hours or minutes: write hours:minutes:seconds")]
    TwoParts,
    /// Minutes or seconds of 60 and more beside hours.
    #[error("minutes and seconds go up to 59")]
    Sixty,
    /// Over ten thousand days.
    #[error("it is longer than ten thousand days")]
    TooLong,
    /// Less than nothing, or not finite.
    #[error("it must be 0 or more")]
    Negative,
}

impl Timespan {
    /// From whole seconds.
    #[must_use]
    pub const fn from_seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// As the standard library's type.
    #[must_use]
    pub const fn duration(self) -> Duration {
        self.0
    }

    /// Whole seconds, rounded up.
    #[must_use]
    pub fn seconds(self) -> u64 {
        self.0.as_secs() + u64::from(self.0.subsec_nanos() > 0)
    }

    /// Whether it is nothing at all.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0.is_zero()
    }

    /// From seconds, whole or not.
    ///
    /// # Errors
    /// Negative, not finite, or too long.
    pub fn from_seconds_f64(seconds: f64) -> Result<Self, TimespanError> {
        if !seconds.is_finite() || seconds < 0.0 {
            return Err(TimespanError::Negative);
        }
        if seconds > LONGEST.as_secs_f64() {
            return Err(TimespanError::TooLong);
        }
        let milliseconds = (seconds * 1000.0).round();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked to lie between 0 and ten thousand days"
        )]
        Ok(Self(Duration::from_millis(milliseconds as u64)))
    }

    /// From a text.
    ///
    /// # Errors
    /// Why it is none, as a fragment that completes "`…` is not a length of time: …".
    pub fn parse(text: &str) -> Result<Self, TimespanError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(TimespanError::Empty);
        }
        let span = if text.contains(':') {
            parse_clock(text)?
        } else {
            parse_units(text)?
        };
        if span > LONGEST {
            Err(TimespanError::TooLong)
        } else {
            Ok(Self(span))
        }
    }
}

fn number(digits: &str) -> Result<u64, TimespanError> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(TimespanError::Form);
    }
    digits.parse().map_err(|_| TimespanError::TooLong)
}

fn parse_clock(text: &str) -> Result<Duration, TimespanError> {
    let (days, rest) = match text.split_once('-') {
        Some((days, rest)) => (number(days)?, rest),
        None => (0, text),
    };
    let parts: Vec<&str> = rest.split(':').collect();
    let [hours, minutes, seconds] = parts.as_slice() else {
        return Err(if parts.len() == 2 {
            TimespanError::TwoParts
        } else {
            TimespanError::Form
        });
    };
    let (hours, minutes, seconds) = (number(hours)?, number(minutes)?, number(seconds)?);
    if minutes > 59 || seconds > 59 {
        return Err(TimespanError::Sixty);
    }
    let total = days.checked_mul(86_400).and_then(|total| {
        total
            .checked_add(hours.checked_mul(3600)?)?
            .checked_add(minutes * 60 + seconds)
    });
    total.map(Duration::from_secs).ok_or(TimespanError::TooLong)
}

fn parse_units(text: &str) -> Result<Duration, TimespanError> {
    const UNITS: [(&str, u64); 5] = [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1000),
        ("ms", 1),
    ];
    let mut rest = text;
    let mut total: u64 = 0;
    let mut next_unit = 0;
    while !rest.is_empty() {
        let digits = rest.len()
            - rest
                .trim_start_matches(|character: char| character.is_ascii_digit())
                .len();
        let count = number(&rest[..digits])?;
        rest = rest[digits..].trim_start();
        let letters = rest.len()
            - rest
                .trim_start_matches(|character: char| {
                    !character.is_ascii_digit() && !character.is_whitespace()
                })
                .len();
        let word = &rest[..letters];
        rest = rest[letters..].trim_start();
        let unit = match word {
            "" if rest.is_empty() && next_unit == 0 => 3,
            "" => return Err(TimespanError::Form),
            _ => UNITS
                .iter()
                .position(|(name, _)| *name == word)
                .ok_or_else(|| TimespanError::Unit(word.chars().take(20).collect()))?,
        };
        if unit < next_unit {
            return Err(TimespanError::Order);
        }
        next_unit = unit + 1;
        total = count
            .checked_mul(UNITS[unit].1)
            .and_then(|part| total.checked_add(part))
            .ok_or(TimespanError::TooLong)?;
    }
    Ok(Duration::from_millis(total))
}

impl Serialize for Timespan {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.subsec_nanos() == 0 {
            serializer.serialize_u64(self.0.as_secs())
        } else {
            serializer.serialize_f64(self.0.as_secs_f64())
        }
    }
}

impl<'de> Deserialize<'de> for Timespan {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Timespan;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("seconds, or a text such as \"1h30m\"")
            }

            fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Timespan, E> {
                let span = Duration::from_secs(seconds);
                if span > LONGEST {
                    Err(E::custom(TimespanError::TooLong))
                } else {
                    Ok(Timespan(span))
                }
            }

            fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Timespan, E> {
                self.visit_u64(
                    u64::try_from(seconds).map_err(|_| E::custom(TimespanError::Negative))?,
                )
            }

            fn visit_f64<E: de::Error>(self, seconds: f64) -> Result<Timespan, E> {
                Timespan::from_seconds_f64(seconds).map_err(E::custom)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Timespan, E> {
                Timespan::parse(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Timespan {
    fn schema_name() -> Cow<'static, str> {
        "Timespan".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "a length of time: seconds, or a text such as \"90s\", \"1h30m\", \"2d\" or \"01:30:00\"",
            "type": ["number", "string"],
            "minimum": 0,
            "x-mizzen-format": "timespan",
        })
    }
}
