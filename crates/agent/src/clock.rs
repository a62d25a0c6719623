//! The agent's one look at the wall clock, and seconds as the protocol has them turned into durations.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Microseconds since the epoch; 0 for a clock set before it.
#[expect(
    clippy::disallowed_methods,
    reason = "the agent is a binary: this is its one look at the wall clock"
)]
pub(crate) fn now_micros() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// Seconds from the channel: below zero counts as none; what no clock can hold counts as a century.
pub(crate) fn seconds(value: f64) -> Duration {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
    if value <= 0.0 {
        return Duration::ZERO;
    }
    Duration::try_from_secs_f64(value)
        .unwrap_or(CENTURY)
        .min(CENTURY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_seconds_are_tamed() {
        assert_eq!(seconds(-1.0), Duration::ZERO);
        assert_eq!(seconds(0.5), Duration::from_millis(500));
        assert_eq!(seconds(f64::NAN), seconds(1e300));
        assert!(
            std::time::Instant::now()
                .checked_add(seconds(f64::INFINITY))
                .is_some()
        );
    }
}
