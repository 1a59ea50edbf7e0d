//! What a user sees while files come.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar on a terminal while one file comes, and lines of the log at its begin and end.
pub struct Progress {
    bar: ProgressBar,
    name: String,
}

impl Progress {
    /// A file of `size` bytes, `have` of which are here from before.
    #[must_use]
    pub fn start(name: &str, size: u64, have: u64) -> Self {
        tracing::info!(
            "fetching {name}, {size} bytes{}",
            if have > 0 {
                format!(", from byte {have} on")
            } else {
                String::new()
            }
        );
        // Off a terminal indicatif draws nothing by itself; `--quiet` is known by the log's level.
        let bar = if tracing::enabled!(tracing::Level::WARN) {
            ProgressBar::new(size)
        } else {
            ProgressBar::hidden()
        };
        let style = ProgressStyle::with_template(
            "{msg:<44} {bar:24} {bytes}/{total_bytes}  {bytes_per_sec}, {eta} to go",
        );
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_message(name.to_owned());
        bar.set_position(have);
        bar.reset_eta();
        bar.enable_steady_tick(Duration::from_millis(500));
        Self {
            bar,
            name: name.to_owned(),
        }
    }

    /// So many bytes are here now.
    pub fn at(&self, have: u64) {
        self.bar.set_position(have);
    }

    /// The file is whole.
    pub fn done(self) {
        tracing::info!("{} is here", self.name);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
