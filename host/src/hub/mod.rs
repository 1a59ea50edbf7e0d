//! Models and data sets from the Hugging Face hub, and the cache that its programs share.
//!
//! [`resolve_model`] and [`resolve_data`] come before everything else: all other code knows paths and built-ins alone.
//! What holds:
//!
//! - Files that other programs put into the cache are used, and theirs are found by them.
//! - Each file is checked against the hash that the hub announces, sha256 of large files and git's of small ones, before
//!   it has its name in the cache; a transfer that breaks off goes on where it ended.
//! - The token goes to the hub alone, and to no server that it redirects to.
//! - Nothing is written outside the cache, and no more than was announced.
//! - Weights are safetensors; formats that run code when they are read are not fetched.

mod answer;
mod cache;
mod card;
mod client;
mod data;
mod download;
mod error;
mod http;
mod id;
mod layout;
mod model;
mod outline;
mod progress;
mod resolve;
mod settings;
mod verify;
mod view;

#[doc(hidden)]
pub use answer::read_answer;
pub use data::DataFiles;
pub use error::HubError;
pub use id::{HubId, RepoKind};
pub use outline::{ModelOutline, outline_model};
pub use resolve::{ModelPlace, locate_model, resolve_data, resolve_model, resolve_recorded_model};
