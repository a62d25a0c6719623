//! From the ends of a unit's members to what becomes of the unit: over, or another attempt.

use crate::executor::MemberEnd;
use crate::model::{FailureClass, JobState, Retry, Timestamp};
use crate::plan::Retries;

/// The further attempt that a unit gets after these ends, if it gets one. The first member that failed by itself decides;
/// `budgets` are that member's.
pub(super) fn retry(
    ends: &[MemberEnd],
    now: Timestamp,
    budgets: impl Fn(usize) -> Retries,
    spent: impl Fn(usize, FailureClass) -> u32,
) -> Option<Retry> {
    let (member, cause) = ends.iter().enumerate().find_map(|(member, end)| {
        (end.state == JobState::Failed).then_some((member, end.cause?))
    })?;
    let class = FailureClass::of(cause)?;
    let budgets = budgets(member);
    let budget = match class {
        FailureClass::Failure => budgets.failure,
        FailureClass::Preempted => budgets.preempted,
        FailureClass::Node => budgets.node,
        FailureClass::Timeout => budgets.timeout,
    };
    let spent = spent(member, class);
    if spent >= budget {
        return None;
    }
    let doubled = budgets.backoff * 2f64.powi(spent.min(30) as i32);
    Some(Retry {
        class,
        at: now.plus_seconds(doubled.min(budgets.max_backoff)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Cause;

    fn end(state: JobState, cause: Option<Cause>) -> MemberEnd {
        MemberEnd {
            state,
            cause,
            message: None,
            record: None,
        }
    }

    const BUDGETS: Retries = Retries {
        failure: 3,
        preempted: 1,
        node: 0,
        timeout: 0,
        backoff: 1.0,
        max_backoff: 3.0,
    };

    #[test]
    fn each_class_has_its_own_budget_and_waits_longer_each_time() {
        let now = Timestamp(0);
        let after = |cause, spent| {
            retry(
                &[end(JobState::Failed, Some(cause))],
                now,
                |_| BUDGETS,
                |_, _| spent,
            )
        };
        assert_eq!(
            after(Cause::AppFailure, 0),
            Some(Retry {
                class: FailureClass::Failure,
                at: Timestamp(1_000_000)
            })
        );
        assert_eq!(
            after(Cause::AppFailure, 1).unwrap().at,
            Timestamp(2_000_000)
        );
        assert_eq!(
            after(Cause::AppFailure, 2).unwrap().at,
            Timestamp(3_000_000),
            "not longer than the longest"
        );
        assert_eq!(after(Cause::AppFailure, 3), None);
        assert_eq!(
            after(Cause::Preempted, 0).unwrap().class,
            FailureClass::Preempted
        );
        assert_eq!(after(Cause::Preempted, 1), None);
        assert_eq!(after(Cause::Lost, 0), None);
        assert_eq!(
            after(Cause::LaunchFailure, 0),
            None,
            "what can't be started can't be started again"
        );
    }

    #[test]
    fn the_member_that_failed_by_itself_decides() {
        let ends = [
            end(JobState::Cancelled, Some(Cause::UpstreamFailed)),
            end(JobState::Failed, Some(Cause::AppFailure)),
            end(JobState::Succeeded, None),
        ];
        let decided = retry(
            &ends,
            Timestamp(0),
            |member| {
                assert_eq!(member, 1);
                BUDGETS
            },
            |_, _| 0,
        );
        assert!(decided.is_some());
        assert_eq!(retry(&ends[2..], Timestamp(0), |_| BUDGETS, |_, _| 0), None);
    }
}
