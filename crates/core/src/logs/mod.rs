//! What jobs wrote: all ranks and attempts, read whole, followed, searched.
//!
//! ```text
//! <experiment>/<job>/attempts/<n>/rank-<r>.log ─ select ─▶ read (tail, grep) ─▶ sink
//!                                               └──────────▶ Follower: what is new, merged as it comes ─▶ sink
//!                                 lines of several ranks ─ fold ─▶ those that are alike once
//! <experiment>/<job>/attempts/<n>/samples-*.jsonl ─ usage ─▶ what runs has used so far
//! another place's ─ remote: fetch, Mirroring ─▶ the same files here
//! ```
//!
//! The files are what the ranks wrote, untouched: lines may hold any byte, and a line may have no end. A line is handed
//! on without its line end. Pitfall: a line longer than [`LINE_LIMIT`] is handed on in pieces, so that one endless line
//! costs no memory.

mod fold;
mod follow;
mod read;
mod redact;
mod remote;
mod select;
mod usage;

pub use fold::{FoldedLine, FoldedSink, Folder};
pub use follow::{Followed, Follower};
pub use read::{LogLine, read, read_folded};
pub use redact::Redactor;
pub use remote::{Mirroring, are_elsewhere, fetch, follow_places, may_be_incomplete};
pub use select::{Selection, attempt_dir, rank_log};
pub use usage::add_usage;

/// A line that is longer is handed on in pieces of this size.
pub const LINE_LIMIT: usize = 1 << 20;
