use std::fmt;

use crate::abi::FailureCode;

#[derive(Debug, Clone)]
pub struct Error {
    message: String,
    help: Option<String>,
    unsupported: bool,
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            help: None,
            unsupported: false,
        }
    }

    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(crate) fn unsupported(method: &str) -> Self {
        Self {
            unsupported: true,
            ..Self::new(format!("no method `{method}`"))
        }
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
