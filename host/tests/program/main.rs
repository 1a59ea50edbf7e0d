//! The built program with real plugin files, among them hostile ones: what it answers, prints and leaves behind.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of tests fail loudly, like tests"
)]

mod analysis;
mod bad_input;
mod browser;
mod campaign;
mod catalogue;
mod catalogue_init;
mod check;
mod cuda;
mod data;
mod eval;
mod faults;
mod flags;
mod frozen;
mod generate;
mod hostile;
mod hub;
mod hub_cache;
mod hub_faults;
mod hub_server;
mod hub_world;
mod inits;
mod kit;
mod main_job;
mod measured;
mod minilm;
mod model_inspect;
mod optimizers;
mod peft;
mod peft_bad;
mod plugin_files;
mod processes;
mod proof;
mod real_text;
mod references;
mod report;
mod sandbox;
mod sharing;
mod slurm;
mod soak;
mod streams;
mod studies;
mod study;
mod survival;
mod tasks;
