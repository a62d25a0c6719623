//! Trees of code by their content: what a place is sent, keeps, and gives to its jobs. Everything that reads.
//!
//! ```text
//! stdin ── format ──▶ receive ──▶ B/<tree hash>/tree/…, manifest, used        once a place
//!                                    │  have, list, remove
//!                                    └── link ──▶ <job>/code                  once a job
//! ```
//!
//! A *tree* is files (content and executable bit), symbolic links and empty folders. Its [`Manifest`] is the canonical list;
//! blake3 of that is its name. A *bundle* is the manifest and the objects (contents of files) that the place lacks, as one
//! stream. What writes bundles is in `mizzen-core`, `packager/bundle`.
//!
//! Files at a place are 0444 or 0555 and have one fixed time, [`FIXED_TIME`]: a file that was changed in place shows in its
//! time, and jobs get hard links where the file system can't share blocks.
//!
//! Pitfalls: the stream is not believed: nothing is written beyond what the manifest says, and no name leads out of the
//! tree. Several processes may receive one tree at once: each stages for itself, the first rename counts.

mod folders;
mod format;
mod hash;
mod link;
mod manifest;
mod place;
mod receive;
mod verify;

pub use format::{
    BLOCK, Block, BundleReader, LARGEST_BLOCK, MAGIC, MOST_BASES, StreamError, changes, decompress,
};
pub use hash::{NotAHash, ObjectHash, TreeHash};
pub use link::{LinkError, link};
pub use manifest::{Entry, Kind, LARGEST, Manifest, ManifestError, is_below, order, shown};
pub use place::{Kept, have, list, remove};
pub use receive::{ReceiveError, receive};
pub use verify::{Damage, verify};

/// The modification time of every unpacked file, in seconds since 1970: 2000-01-01T00:00:00Z.
pub const FIXED_TIME: i64 = 946_684_800;
