//! Whom to blame: of several ranks that ended badly the one that the others followed.

use super::WhyKind;

/// How long after the first rank that ended badly another one may end and still be the cause of both: writing a core file,
/// or winding up after an exception, takes its time, while the others see at once that it is gone.
pub const CLOSE_TOGETHER: f64 = 30.0;

/// A rank that ended badly, or several of one node.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Suspect {
    /// When it ended, in microseconds since the epoch.
    pub ended: i64,
    /// What is known of its reason.
    pub reason: Option<WhyKind>,
    /// It had not been told to end before it did.
    pub by_itself: bool,
}

impl Suspect {
    /// There is a reason for its end that lies in itself.
    fn has_own_reason(&self) -> bool {
        self.reason.map_or(self.by_itself, |kind| {
            !kind.is_follower() && !kind.is_told()
        })
    }
}

/// Which of these is the cause: the first by time, unless it says no more than that somebody else was gone, and another one that
/// ended close to it has a reason of its own.
#[must_use]
pub fn choose(suspects: &[Suspect]) -> Option<usize> {
    let by_time = |(index, suspect): &(usize, &Suspect)| (suspect.ended, *index);
    let (first, earliest) = suspects.iter().enumerate().min_by_key(by_time)?;
    if !earliest.reason.is_some_and(WhyKind::is_follower) {
        return Some(first);
    }
    let close = |suspect: &Suspect| (suspect.ended - earliest.ended) as f64 <= CLOSE_TOGETHER * 1e6;
    suspects
        .iter()
        .enumerate()
        .filter(|(_, suspect)| suspect.has_own_reason() && close(suspect))
        .min_by_key(by_time)
        .map(|(index, _)| index)
        .or(Some(first))
}

/// Seconds from an end to the next one after it; none if there is none.
#[must_use]
pub fn ahead(ended: i64, others: impl IntoIterator<Item = i64>) -> Option<f64> {
    let next = others.into_iter().min()?;
    (next >= ended).then(|| (next - ended) as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds, reason, by itself.
    type Row = (f64, Option<WhyKind>, bool);

    fn suspects(table: &[Row]) -> Vec<Suspect> {
        table
            .iter()
            .map(|(seconds, reason, by_itself)| Suspect {
                ended: (seconds * 1e6) as i64,
                reason: *reason,
                by_itself: *by_itself,
            })
            .collect()
    }

    #[test]
    fn the_first_counts_unless_it_is_a_follower() {
        use WhyKind::{
            CollectiveTimeout, DiskFull, Exception, GpuOutOfMemory, PeerLost, SegmentationFault,
            Terminated,
        };
        let table: [(&[Row], Option<usize>); 10] = [
            (&[], None),
            (&[(2.0, Some(Exception), true), (1.0, None, true)], Some(1)),
            (
                &[
                    (1.0, Some(PeerLost), true),
                    (1.4, Some(GpuOutOfMemory), true),
                ],
                Some(1),
            ),
            // A second follower and a rank that was ended by us explain nothing.
            (
                &[
                    (1.0, Some(PeerLost), true),
                    (1.1, Some(CollectiveTimeout), true),
                    (1.2, Some(Terminated), false),
                ],
                Some(0),
            ),
            // Of several reasons the earliest.
            (
                &[
                    (1.0, Some(CollectiveTimeout), true),
                    (3.0, Some(DiskFull), true),
                    (2.0, Some(SegmentationFault), true),
                ],
                Some(2),
            ),
            // Much later is something else.
            (
                &[(1.0, Some(PeerLost), true), (60.0, Some(Exception), true)],
                Some(0),
            ),
            // A reason that is not known is a reason, if it was not told to end.
            (&[(1.0, Some(PeerLost), true), (1.1, None, true)], Some(1)),
            (&[(1.0, Some(PeerLost), true), (1.1, None, false)], Some(0)),
            // Somebody has ended the first one: that is what happened.
            (
                &[(1.0, Some(Terminated), true), (1.1, Some(Exception), true)],
                Some(0),
            ),
            // At one time: the lower number.
            (&[(1.0, None, true), (1.0, None, true)], Some(0)),
        ];
        for (given, expected) in table {
            assert_eq!(choose(&suspects(given)), expected, "{given:?}");
        }
    }

    #[test]
    fn how_far_ahead() {
        assert_eq!(ahead(1_000_000, [3_000_000, 1_800_000]), Some(0.8));
        assert_eq!(ahead(1_000_000, []), None);
        assert_eq!(ahead(1_000_000, [900_000, 2_000_000]), None);
    }
}
