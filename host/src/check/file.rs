//! Tests of the file as a whole.

use std::time::{Duration, Instant};

use super::subject::{Subject, Verdict, ensure, failed};
use crate::plugins::{Library, PluginError};

/// The most that opening a file may take.
const SOON: Duration = Duration::from_secs(1);

/// What the names of libtorch's libraries begin with.
const LIBTORCH: [&str; 3] = ["libtorch", "libc10", "libaten"];

pub fn links(subject: &Subject) -> Verdict {
    let libraries = subject.file()?.libraries()?;
    let theirs = libraries
        .iter()
        .find(|name| LIBTORCH.iter().any(|start| name.starts_with(start)));
    match theirs {
        None => Ok(()),
        Some(name) => Err(failed(format!(
            "it needs {name}; a plugin has lorahost-plugin-api for libtorch"
        ))),
    }
}

pub fn opens(subject: &Subject) -> Verdict {
    let start = Instant::now();
    match Library::open(subject.file()?) {
        // That is what `manifest` is for.
        Ok(_) | Err(PluginError::Manifests { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let took = start.elapsed();
    ensure(took < SOON, || {
        format!(
            "it took {:.1} s: does it work at load time?",
            took.as_secs_f64()
        )
    })
}

pub fn manifest(subject: &Subject) -> Verdict {
    Library::open(subject.file()?)?;
    Ok(())
}
