//! From an experiment's document to its jobs' log lines: the library under the `mizzen` command line.

pub mod config;
