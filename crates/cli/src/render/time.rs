//! Times and durations as people say them.

use mizzen_core::model::Timestamp;

/// A duration in at most two units: `31ms`, `0.4s`, `12s`, `3m 05s`, `2h 03m`, `4d 02h`.
pub(crate) fn duration(seconds: f64) -> String {
    let seconds = seconds.max(0.0);
    if seconds < 0.0995 {
        return format!("{:.0}ms", seconds * 1000.0);
    }
    if seconds < 9.95 {
        return format!("{seconds:.1}s");
    }
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{whole}s"),
        60..3600 => format!("{}m {:02}s", whole / 60, whole % 60),
        3600..86400 => format!("{}h {:02}m", whole / 3600, whole % 3600 / 60),
        _ => format!("{}d {:02}h", whole / 86400, whole % 86400 / 3600),
    }
}

/// A point in time seen from `now`: `just now`, `12s ago`, `3m ago`, `5h ago`, `6d ago`, then the date. A point ahead
/// of `now` (another machine's clock) is `just now`.
pub(crate) fn ago(time: Timestamp, now: Timestamp) -> String {
    let seconds = now.seconds_since(time);
    if seconds < 1.0 {
        return "just now".to_owned();
    }
    let whole = seconds as u64;
    match whole {
        0..60 => format!("{whole}s ago"),
        60..3600 => format!("{}m ago", whole / 60),
        3600..86400 => format!("{}h ago", whole / 3600),
        86400..2_592_000 => format!("{}d ago", whole / 86400),
        _ => local(time, "%Y-%m-%d"),
    }
}

/// The time of the day in this machine's time zone: `12:03:04`.
pub(crate) fn clock(time: Timestamp) -> String {
    local(time, "%H:%M:%S")
}

/// Date and time in this machine's time zone: `2026-11-22 14:03:00`.
pub(crate) fn date(time: Timestamp) -> String {
    local(time, "%Y-%m-%d %H:%M:%S")
}

fn local(time: Timestamp, format: &str) -> String {
    match jiff::Timestamp::from_microsecond(time.0) {
        Ok(instant) => instant
            .to_zoned(jiff::tz::TimeZone::system())
            .strftime(format)
            .to_string(),
        Err(_) => time.to_text(),
    }
}

/// Reads a duration such as `90`, `90s`, `1.5m`, `2h`, `1h30m`, `1d`; a number alone is seconds.
///
/// # Errors
/// A sentence that says what is accepted.
pub(crate) fn parse_duration(text: &str) -> Result<f64, String> {
    let wrong = || {
        format!(
            "`{text}` is no duration; write seconds or units, such as 90, 30s, 5m, 2h, 1h30m or 1d"
        )
    };
    if let Ok(seconds) = text.parse::<f64>() {
        return if seconds.is_finite() && seconds >= 0.0 {
            Ok(seconds)
        } else {
            Err(wrong())
        };
    }
    let mut total = 0.0;
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(wrong)?;
        let amount: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let letters = rest
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            "ms" => 0.001,
            "s" | "sec" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            "d" => 86400.0,
            _ => return Err(wrong()),
        };
        total += amount * unit;
        rest = rest[letters..].trim_start();
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_at_most_two_units() {
        let shown = [
            0.0312, 0.44, 9.94, 9.96, 59.4, 60.0, 185.0, 3599.0, 7380.0, 356_400.0,
        ]
        .map(duration);
        assert_eq!(
            shown,
            [
                "31ms", "0.4s", "9.9s", "10s", "59s", "1m 00s", "3m 05s", "59m 59s", "2h 03m",
                "4d 03h"
            ]
        );
    }

    #[test]
    fn ages_are_relative_and_never_negative() {
        let now = Timestamp(1_800_000_000_000_000);
        let shown = [-5.0, 0.2, 12.0, 200.0, 20_000.0, 500_000.0]
            .map(|age: f64| ago(now.plus_seconds(-age), now));
        assert_eq!(
            shown,
            [
                "just now", "just now", "12s ago", "3m ago", "5h ago", "5d ago"
            ]
        );
    }

    #[test]
    fn durations_are_read() {
        assert_eq!(parse_duration("90"), Ok(90.0));
        assert_eq!(parse_duration("1h30m"), Ok(5400.0));
        assert_eq!(parse_duration("1.5m"), Ok(90.0));
        assert_eq!(parse_duration("250ms"), Ok(0.25));
        for wrong in ["", "x", "5x", "-3", "1h 5", "nan", "inf", "."] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }
}
