//! What each architecture makes of its folder: settings that are not served, weights in several files, saved models.

mod absurd;
mod distilbert;
mod folder;
mod gpt2;
mod hub_configs;
#[path = "../support/options.rs"]
mod options;
mod roberta;
mod saving;
mod shards;
