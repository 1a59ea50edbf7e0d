//! An author's error: what went wrong, and what to do about it.

use std::fmt;

use crate::abi::FailureCode;

/// A message for a person, with an optional line of help. The host adds plugin, component, phase and layer.
#[derive(Debug, Clone)]
pub struct Error {
    message: String,
    help: Option<String>,
    unsupported: bool,
}

/// The result of everything that may fail in a plugin.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error that says what was wrong: lower case, no full stop.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            help: None,
            unsupported: false,
        }
    }

    /// Adds what the user can do about it.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The error of a method that this component does not know.
    pub(crate) fn unsupported(method: &str) -> Self {
        Self {
            unsupported: true,
            ..Self::new(format!("no method `{method}`"))
        }
    }

    /// Says where it happened: in front of the message.
    #[cfg(feature = "testing")]
    pub(crate) fn within(mut self, place: &str) -> Self {
        self.message = format!("{place}: {}", self.message);
        self
    }

    pub(crate) fn code(&self) -> FailureCode {
        if self.unsupported {
            FailureCode::Unsupported
        } else {
            FailureCode::Error
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.help {
            Some(help) => write!(f, " ({help})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::new(format!(
            "message that does not fit this plugin API: {error}"
        ))
    }
}
