//! The sentence about a failure.

use super::WhyKind;
use crate::record::FirstFailure;

/// The others are told to end at once, so that a shorter pause says nothing.
const WORTH_TELLING: f64 = 0.05;

impl FirstFailure {
    /// Who failed, when, and why, in one line: `rank 5 on n2 failed first, 0.8 s before the rest: CUDA out of memory`. `ranks`: how
    /// many there were. None where nothing is known but that the only one failed.
    #[must_use]
    pub fn words(&self, ranks: usize) -> Option<String> {
        let inner = self.reason.as_ref().and_then(|why| why.rank);
        let host = self
            .reason
            .as_ref()
            .and_then(|why| why.host.as_deref().filter(|_| ranks > 1 || inner.is_some()))
            .or(self.host.as_deref());
        let who = match (inner, ranks > 1) {
            (Some(rank), _) => Some(format!("rank {rank}")),
            (None, true) => Some(format!("rank {}", self.rank)),
            (None, false) => None,
        };
        let who = who.map(|who| {
            let host = host.map_or(String::new(), |host| format!(" on {host}"));
            let ahead = self.ahead.filter(|ahead| *ahead >= WORTH_TELLING);
            let ahead = ahead.map_or(String::new(), |ahead| {
                format!(", {} before the rest", pause(ahead))
            });
            (format!("{who}{host}"), ahead)
        });
        let text = self.reason.as_ref().map(|why| why.text.as_str());
        // Where all are silent none has failed first.
        if self
            .reason
            .as_ref()
            .is_some_and(|why| why.kind == WhyKind::Hung)
        {
            let who = who.map_or(String::new(), |(who, _)| {
                format!("; {who} was silent longest")
            });
            return text.map(|text| format!("{text}{who}"));
        }
        let who = who.map(|(who, ahead)| format!("{who} failed first{ahead}"));
        match (who, text) {
            (Some(who), Some(text)) => Some(format!("{who}: {text}")),
            (Some(who), None) => Some(who),
            (None, text) => text.map(str::to_owned),
        }
    }
}

/// `3 ms`, `0.8 s`, `12 s`, `3 min`.
fn pause(seconds: f64) -> String {
    if seconds < 0.0995 {
        format!("{} ms", (seconds * 1e3).round())
    } else if seconds < 9.95 {
        format!("{seconds:.1} s")
    } else if seconds < 119.5 {
        format!("{} s", seconds.round())
    } else {
        format!("{} min", (seconds / 60.0).round())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::why::Why;

    #[test]
    fn who_when_and_why() {
        let why = || Why::new(WhyKind::GpuOutOfMemory, "CUDA out of memory");
        let whole = FirstFailure {
            rank: 5,
            host: Some("n2".to_owned()),
            reason: Some(why()),
            ahead: Some(0.8),
            ..FirstFailure::default()
        };
        let said = |failure: &FirstFailure, ranks| failure.words(ranks).unwrap_or_default();
        assert_eq!(
            said(&whole, 8),
            "rank 5 on n2 failed first, 0.8 s before the rest: CUDA out of memory"
        );
        let alone = FirstFailure {
            host: None,
            ahead: None,
            ..whole.clone()
        };
        assert_eq!(said(&alone, 8), "rank 5 failed first: CUDA out of memory");
        assert_eq!(said(&alone, 1), "CUDA out of memory");
        let hung = FirstFailure {
            reason: Some(Why::new(WhyKind::Hung, "no rank wrote anything for 2 s")),
            ..alone.clone()
        };
        assert_eq!(
            said(&hung, 8),
            "no rank wrote anything for 2 s; rank 5 was silent longest"
        );
        assert_eq!(said(&hung, 1), "no rank wrote anything for 2 s");
        let together = FirstFailure {
            ahead: Some(0.0002),
            ..whole.clone()
        };
        assert_eq!(
            said(&together, 8),
            "rank 5 on n2 failed first: CUDA out of memory"
        );
        let silent = FirstFailure {
            reason: None,
            ..whole.clone()
        };
        assert_eq!(
            said(&silent, 8),
            "rank 5 on n2 failed first, 0.8 s before the rest"
        );
        assert_eq!(
            FirstFailure {
                reason: None,
                ..alone.clone()
            }
            .words(1),
            None
        );
        let worker = FirstFailure {
            reason: Some(Why {
                rank: Some(11),
                host: Some("n3".to_owned()),
                ..why()
            }),
            ..alone
        };
        assert_eq!(
            said(&worker, 1),
            "rank 11 on n3 failed first: CUDA out of memory"
        );
    }

    #[test]
    fn pauses() {
        let shown: Vec<String> = [0.0, 0.003, 0.0996, 0.8, 9.96, 100.0, 300.0]
            .into_iter()
            .map(pause)
            .collect();
        assert_eq!(
            shown,
            ["0 ms", "3 ms", "0.1 s", "0.8 s", "10 s", "100 s", "5 min"]
        );
    }
}
