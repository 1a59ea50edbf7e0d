//! The environment variables that other programs of the hub obey.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use super::error::HubError;

const ENDPOINT: &str = "https://huggingface.co";

/// Where the hub is, where its files are kept, and who asks.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Address of the hub, without a `/` at its end: `HF_ENDPOINT`.
    pub endpoint: String,
    /// The cache that all programs of the hub share: `HF_HUB_CACHE`, else `hub` in `HF_HOME`, else
    /// `~/.cache/huggingface/hub`.
    pub cache: PathBuf,
    /// `HF_TOKEN`, else the content of the token file: `HF_TOKEN_PATH`, else `token` in `HF_HOME`.
    pub token: Option<Token>,
    /// Whether nothing is asked of the network: `HF_HUB_OFFLINE`.
    pub offline: bool,
}

/// A secret, which no message shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Settings {
    /// The settings that this process was started with.
    ///
    /// # Errors
    /// When `HF_ENDPOINT` is no address, a token has a form that none has, or no folder for the cache is known.
    pub fn from_environment() -> Result<Self, HubError> {
        Self::read(|name| std::env::var_os(name).filter(|value| !value.is_empty()))
    }

    fn read(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, HubError> {
        let text =
            |name: &str| variable(name).map(|value| value.to_string_lossy().trim().to_owned());
        let set = |name: &str| {
            text(name).is_some_and(|value| {
                ["1", "on", "yes", "true"].contains(&value.to_ascii_lowercase().as_str())
            })
        };
        let path = |name: &str| variable(name).map(PathBuf::from);
        let home = path("HF_HOME").or_else(|| {
            let base = path("XDG_CACHE_HOME").or_else(|| Some(path("HOME")?.join(".cache")))?;
            Some(base.join("huggingface"))
        });
        let cache = path("HF_HUB_CACHE")
            .or_else(|| path("HUGGINGFACE_HUB_CACHE"))
            .or_else(|| Some(home.as_ref()?.join("hub")))
            .ok_or(HubError::NoCache)?;
        let token_file = path("HF_TOKEN_PATH").or_else(|| Some(home.as_ref()?.join("token")));
        let token = match text("HF_TOKEN").or_else(|| text("HUGGING_FACE_HUB_TOKEN")) {
            Some(token) => Some(Token::new("HF_TOKEN", token)?),
            None if set("HF_HUB_DISABLE_IMPLICIT_TOKEN") => None,
            None => token_file.and_then(|file| read_token(&file)).transpose()?,
        };
        let endpoint = text("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned());
        if !["https://", "http://"]
            .iter()
            .any(|scheme| endpoint.starts_with(scheme))
        {
            return Err(HubError::Variable {
                name: "HF_ENDPOINT",
                found: endpoint,
                expected: "an address such as https://huggingface.co",
            });
        }
        Ok(Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            cache,
            token,
            offline: set("HF_HUB_OFFLINE") || set("TRANSFORMERS_OFFLINE"),
        })
    }
}

/// A token file that is not there, or empty, is no token.
fn read_token(file: &Path) -> Option<Result<Token, HubError>> {
    let text = fs::read_to_string(file).ok()?;
    let token = text.trim();
    (!token.is_empty()).then(|| Token::new("HF_TOKEN_PATH", token.to_owned()))
}

impl Token {
    fn new(variable: &'static str, text: String) -> Result<Self, HubError> {
        if text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Ok(Self(text));
        }
        Err(HubError::Variable {
            name: variable,
            found: "(not shown)".to_owned(),
            expected: "a token: letters, digits and signs without spaces",
        })
    }

    /// The value of the header `Authorization`.
    #[must_use]
    pub fn bearer(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Settings, HubError> {
        Settings::read(|name| {
            let found = variables.iter().find(|(known, _)| *known == name)?;
            Some(found.1.into())
        })
    }

    #[test]
    fn folders_follow_the_variables() {
        let plain = read(&[("HOME", "/a")]).unwrap();
        assert_eq!(plain.endpoint, ENDPOINT);
        assert_eq!(plain.cache, Path::new("/a/.cache/huggingface/hub"));
        assert!(!plain.offline && plain.token.is_none());
        let home = read(&[("HF_HOME", "/hf"), ("HOME", "/a")]).unwrap();
        assert_eq!(home.cache, Path::new("/hf/hub"));
        let all = [("HF_HUB_CACHE", "/c"), ("HF_HOME", "/hf")];
        assert_eq!(read(&all).unwrap().cache, Path::new("/c"));
        assert!(matches!(read(&[]), Err(HubError::NoCache)));
    }

    #[test]
    fn the_variable_goes_before_the_token_file() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().to_str().unwrap();
        fs::write(home.path().join("token"), "hf_file\n").unwrap();
        let token = |more: &[(&str, &str)]| {
            let variables = [&[("HF_HOME", folder)], more].concat();
            read(&variables).unwrap().token.map(|token| token.bearer())
        };
        assert_eq!(token(&[]).as_deref(), Some("Bearer hf_file"));
        let variable = token(&[("HF_TOKEN", "hf_variable")]);
        assert_eq!(variable.as_deref(), Some("Bearer hf_variable"));
        assert_eq!(token(&[("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]), None);
    }

    #[test]
    fn a_token_is_never_shown() {
        let token = Token::new("HF_TOKEN", "hf_secret".to_owned()).unwrap();
        assert!(!format!("{token:?}").contains("secret"));
        let broken = [("HOME", "/h"), ("HF_TOKEN", "hf secret\nX: 1")];
        assert!(!read(&broken).unwrap_err().to_string().contains("secret"));
    }

    #[test]
    fn an_endpoint_is_an_address() {
        let wrong = read(&[("HOME", "/h"), ("HF_ENDPOINT", "hub.example")]);
        assert!(wrong.unwrap_err().to_string().contains("HF_ENDPOINT"));
        let right = read(&[("HOME", "/h"), ("HF_ENDPOINT", "http://[::1]:80/hf/")]).unwrap();
        assert_eq!(right.endpoint, "http://[::1]:80/hf");
    }
}
