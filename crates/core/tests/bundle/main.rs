//! Trees of code: packed, sent, taken in, given to jobs, damaged, healed, taken away.
#![expect(
    clippy::disallowed_methods,
    reason = "tests read their own surroundings"
)]
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod corpus;
mod disk;
mod gc;
mod healing;
mod hostile;
mod support;
mod there_and_back;
mod together;
