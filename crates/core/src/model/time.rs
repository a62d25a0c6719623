//! Points in time, as the store and the records hold them.

use serde::{Deserialize, Serialize};

/// A point in time in microseconds since the epoch. In JSON documents for people it is written as RFC 3339 text
/// ([`Timestamp::to_text`]); in the store and in records it is the number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// From the library that knows the calendar.
    #[must_use]
    pub fn from_jiff(time: jiff::Timestamp) -> Timestamp {
        Timestamp(time.as_microsecond())
    }

    /// RFC 3339 in UTC with milliseconds, such as `2026-11-22T14:03:00.125Z`.
    #[must_use]
    pub fn to_text(self) -> String {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(time) => format!("{time:.3}"),
            Err(_) => format!("{}us", self.0),
        }
    }

    /// Seconds from `earlier` to this point, negative if this is before it.
    #[must_use]
    pub fn seconds_since(self, earlier: Timestamp) -> f64 {
        (self.0 - earlier.0) as f64 / 1e6
    }

    /// This point moved by some seconds.
    #[must_use]
    pub fn plus_seconds(self, seconds: f64) -> Timestamp {
        Timestamp(self.0.saturating_add((seconds * 1e6) as i64))
    }
}
