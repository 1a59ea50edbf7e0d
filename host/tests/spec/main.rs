//! From flags and experiment files to runs: what is planned, what is refused and how it is said.

mod catalogue;
mod errors;
mod files;
mod help;
mod identity;
mod overrides;
mod plans;
mod studies;
