//! From an experiment's document to its jobs' log lines: the library under the `mizzen` command line and `import mizzen`.
//!
//! ```text
//! config → plan → launcher → packager → tunnel → executor → store → submit → watch → logs
//!    └──────────────────────── all stand on: model, context ────────────────────────┘
//! ```
//!
//! Modules are the stages, in that order; a stage uses only those before it (`tests/architecture.rs` checks it). The
//! library prints nothing and takes nothing by itself: the environment, the home, the clock and the ids are handed in
//! through [`context::Context`].

pub mod config;
pub mod context;
pub mod executor;
pub mod launcher;
pub mod logs;
pub mod model;
pub mod packager;
pub mod plan;
pub mod store;
pub mod submit;
pub mod tunnel;
pub mod watch;
