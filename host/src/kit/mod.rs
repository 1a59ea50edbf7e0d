//! What an author of plugins and a user of other people's need: a new crate, a built and installed file, a lock.

mod error;
mod install;
mod lock;
mod scaffold;

pub use error::KitError;
pub use install::{Installed, Source, install, sound};
pub use lock::{Lock, LockedFile};
pub use scaffold::{Kind, Scaffold, api_of_checkout};
