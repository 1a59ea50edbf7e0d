//! `lorahost plugin check`: does a plugin keep what it promises?
//!
//! The tests are a table ([`cases`]). Each runs in a child of this program, which a plugin may take down: a child works
//! through the tests of one component until one does not pass, and the next test gets a child of its own. What a test
//! sees of the plugin is what a run would see: the same opening, the same messages, libtorch itself.

mod alpha;
mod bench;
mod case;
mod child;
mod component;
mod file;
mod head;
mod head_bench;
mod init;
mod optimizer;
mod optimizer_bench;
mod report;
mod runner;
mod sample;
mod subject;

pub use case::{Case, cases};
pub use child::{ChildError, serve};
pub use report::{Finding, Report, Status};
pub use runner::{CheckError, Checker};
