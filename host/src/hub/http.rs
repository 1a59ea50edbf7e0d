//! Requests to the hub: whom the token is told, where redirects may lead, how much is read, when to try again.

use std::io::{self, ErrorKind, Read};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use ureq::http::header::{ACCEPT_ENCODING, AUTHORIZATION, LOCATION, RANGE};
use ureq::http::{HeaderMap, Method, Request, Response, Uri};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body};

use super::error::HubError;
use super::settings::{Settings, Token};

const REDIRECTS: usize = 5;
/// How often a request is sent that the server or the connection lets fall.
const ATTEMPTS: u32 = 3;
/// Before the second attempt; four times as long before the third.
const PAUSE: Duration = Duration::from_millis(250);
const CONNECT: Duration = Duration::from_secs(10);
/// The longest silence of a server that is still waited for.
const SILENCE: Duration = Duration::from_secs(30);
/// Of a body that comes by drops: the least that must come in [`MINUTE`].
const LEAST: u64 = 16 << 10;
const MINUTE: Duration = Duration::from_mins(1);

/// A client of one hub.
pub struct Http {
    agent: Agent,
    origin: Origin,
    token: Option<Token>,
    /// For messages.
    cache: PathBuf,
}

/// Where redirects are followed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follow {
    /// Within the hub: one that leaves it is the answer.
    Hub,
    /// To the servers that the hub names, without the token.
    Anywhere,
}

/// Which bytes of a body are asked for. A server that knows no ranges sends all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    From(u64),
    Of(Range<u64>),
}

impl Part {
    pub const WHOLE: Self = Self::From(0);

    /// The value of the header `Range`.
    fn header(&self) -> Option<String> {
        match self {
            Self::From(0) => None,
            Self::From(first) => Some(format!("bytes={first}-")),
            Self::Of(range) => Some(format!(
                "bytes={}-{}",
                range.start,
                range.end.saturating_sub(1)
            )),
        }
    }
}

/// What came, after redirects.
pub struct Answer {
    /// Its address, without the query, which may hold a signature.
    pub url: String,
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Body,
}

impl Http {
    /// # Errors
    /// When the endpoint is no address.
    pub fn new(settings: &Settings) -> Result<Self, HubError> {
        let endpoint = address(&settings.endpoint, &settings.endpoint)?;
        let roots = certificates(is_https(&endpoint));
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::Specific(Arc::new(roots)))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let agent = Agent::config_builder()
            .tls_config(tls)
            .user_agent(concat!("lorahost/", env!("CARGO_PKG_VERSION")))
            .http_status_as_error(false)
            // Followed here, so that the token stays with the hub.
            .max_redirects(0)
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            .build()
            .new_agent();
        Ok(Self {
            agent,
            origin: Origin::of(&endpoint),
            token: settings.token.clone(),
            cache: settings.cache.clone(),
        })
    }

    /// Whether requests to the hub carry a token.
    #[must_use]
    pub fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// # Errors
    /// As [`Http::get`].
    pub fn head(&self, url: &str) -> Result<Answer, HubError> {
        self.request(&Method::HEAD, url, &Part::WHOLE, Follow::Hub)
    }

    /// Asks for a body, or a part of it.
    ///
    /// # Errors
    /// When the server cannot be reached or keeps failing, or a redirect is refused. Any other status is an answer.
    pub fn get(&self, url: &str, part: &Part, follow: Follow) -> Result<Answer, HubError> {
        self.request(&Method::GET, url, part, follow)
    }

    fn request(
        &self,
        method: &Method,
        url: &str,
        part: &Part,
        follow: Follow,
    ) -> Result<Answer, HubError> {
        let mut at = address(url, url)?;
        for _ in 0..=REDIRECTS {
            let response = self.attempt(method, &at, part)?;
            let next = match response.headers().get(LOCATION) {
                Some(location) if response.status().is_redirection() => {
                    joined(&at, &String::from_utf8_lossy(location.as_bytes()))?
                }
                _ => return Ok(Answer::new(&at, response)),
            };
            if follow == Follow::Hub && Origin::of(&next) != self.origin {
                return Ok(Answer::new(&at, response));
            }
            if is_https(&at) && !is_https(&next) {
                return Err(refused(&at, &next, "it gives up https"));
            }
            at = next;
        }
        Err(HubError::Redirect {
            from: url.to_owned(),
            to: shown(&at),
            reason: "there were too many before it",
        })
    }

    /// One request, sent again where that may help.
    fn attempt(&self, method: &Method, at: &Uri, part: &Part) -> Result<Response<Body>, HubError> {
        let mut pause = PAUSE;
        for attempt in 1.. {
            let answer = self.send(method, at, part);
            let passing = match &answer {
                Ok(response) => {
                    let status = response.status();
                    status.is_server_error() || status.as_u16() == 429
                }
                Err(error) => may_pass(error),
            };
            if passing && attempt < ATTEMPTS {
                tracing::debug!("{} is asked again in {pause:?}", shown(at));
                sleep(pause);
                pause *= 4;
                continue;
            }
            let reason = match answer {
                Ok(response) if passing => format!("it answers {}", response.status().as_u16()),
                Ok(response) => return Ok(response),
                Err(error) => error.to_string(),
            };
            return Err(HubError::Unreachable {
                url: shown(at),
                reason,
                cache: self.cache.clone(),
            });
        }
        unreachable!("the last attempt returns")
    }

    fn send(&self, method: &Method, at: &Uri, part: &Part) -> Result<Response<Body>, ureq::Error> {
        // Lengths and hashes are those of the file itself.
        let mut request = Request::builder()
            .method(method.clone())
            .uri(at.clone())
            .header(ACCEPT_ENCODING, "identity");
        if let Some(token) = &self.token
            && Origin::of(at) == self.origin
        {
            request = request.header(AUTHORIZATION, token.bearer());
        }
        if let Some(range) = part.header() {
            request = request.header(RANGE, range);
        }
        self.agent.run(request.body(())?)
    }
}

impl Answer {
    fn new(at: &Uri, response: Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        Self {
            url: shown(at),
            status: parts.status.as_u16(),
            headers: parts.headers,
            body,
        }
    }

    /// The text of a header; absent too where it is not plain text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as it comes; one that comes by drops breaks off.
    pub fn into_reader(self) -> impl Read {
        Steady::new(self.body.into_reader(), LEAST, MINUTE)
    }

    /// The whole body, if it has at most `limit` bytes; `what` it is, for messages.
    ///
    /// # Errors
    /// When it is longer, or breaks off.
    pub fn read(self, limit: u64, what: &'static str) -> Result<Vec<u8>, HubError> {
        let url = self.url.clone();
        let mut bytes = Vec::new();
        let read = self.into_reader().take(limit + 1).read_to_end(&mut bytes);
        if bytes.len() as u64 > limit {
            return Err(HubError::TooLarge { url, what, limit });
        }
        match read {
            Ok(_) => Ok(bytes),
            Err(error) => Err(HubError::Protocol {
                url,
                reason: format!("{what} broke off: {error}"),
            }),
        }
    }
}

/// A reader that fails where less than `least` bytes come in the time `window`: silence alone ends no body that sends a
/// byte now and then.
struct Steady<R> {
    inner: R,
    least: u64,
    window: Duration,
    /// Of the window that is open.
    began: Instant,
    came: u64,
}

impl<R> Steady<R> {
    fn new(inner: R, least: u64, window: Duration) -> Self {
        Self {
            inner,
            least,
            window,
            began: Instant::now(),
            came: 0,
        }
    }
}

impl<R: Read> Read for Steady<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.came += count as u64;
        // At the end of the body nothing more is waited for.
        if count == 0 || self.began.elapsed() < self.window {
            return Ok(count);
        }
        if self.came < self.least {
            let (came, seconds) = (self.came, self.window.as_secs());
            let reason = format!("only {came} bytes came in {seconds} seconds");
            return Err(io::Error::new(ErrorKind::TimedOut, reason));
        }
        (self.began, self.came) = (Instant::now(), 0);
        Ok(count)
    }
}

/// Scheme, host and port: a token belongs to one of these.
#[derive(Debug, PartialEq, Eq)]
struct Origin(String, String, u16);

impl Origin {
    fn of(uri: &Uri) -> Self {
        let scheme = uri.scheme_str().unwrap_or_default().to_owned();
        let host = uri.host().unwrap_or_default().to_ascii_lowercase();
        let usual = if is_https(uri) { 443 } else { 80 };
        Self(scheme, host, uri.port_u16().unwrap_or(usual))
    }
}

fn is_https(uri: &Uri) -> bool {
    uri.scheme_str() == Some("https")
}

/// A full address of http or https; `from` is where it was found.
fn address(text: &str, from: &str) -> Result<Uri, HubError> {
    let uri: Option<Uri> = text.parse().ok();
    uri.filter(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.host().is_some_and(|host| !host.is_empty())
    })
    .ok_or_else(|| HubError::Redirect {
        from: from.to_owned(),
        to: text.to_owned(),
        reason: "it is no address of http or https",
    })
}

/// Where a `Location` leads: a full address, or a path on the same server.
fn joined(at: &Uri, location: &str) -> Result<Uri, HubError> {
    let from = shown(at);
    let scheme = at.scheme_str().unwrap_or_default();
    if location.starts_with("//") {
        return address(&format!("{scheme}:{location}"), &from);
    }
    if !location.starts_with('/') {
        return address(location, &from);
    }
    let authority = at.authority().map(ToString::to_string).unwrap_or_default();
    address(&format!("{scheme}://{authority}{location}"), &from)
}

fn refused(from: &Uri, to: &Uri, reason: &'static str) -> HubError {
    HubError::Redirect {
        from: shown(from),
        to: shown(to),
        reason,
    }
}

/// An address without its query.
fn shown(uri: &Uri) -> String {
    let text = uri.to_string();
    text.split_once('?')
        .map_or_else(|| text.clone(), |(before, _)| before.to_owned())
}

/// Whether the same request may do better in a moment. A name that is unknown and a port that is closed stay so.
fn may_pass(error: &ureq::Error) -> bool {
    use std::io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable};
    match error {
        ureq::Error::Io(error) => !matches!(
            error.kind(),
            ConnectionRefused | HostUnreachable | NetworkUnreachable
        ),
        ureq::Error::Timeout(_) => true,
        _ => false,
    }
}

/// The roots of trust of this system, or those of `SSL_CERT_FILE` and `SSL_CERT_DIR`; where they are `needed`, it is told
/// that there are none.
fn certificates(needed: bool) -> Vec<Certificate<'static>> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::debug!("certificates: {error}");
    }
    if found.certs.is_empty() && needed {
        tracing::warn!(
            "no root certificates were found, so no https server can be trusted: install ca-certificates or set \
             SSL_CERT_FILE"
        );
    }
    let certificates = found.certs.iter();
    certificates
        .map(|der| Certificate::from_der(der).to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Uri {
        address(text, "here").unwrap()
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let hub = Origin::of(&uri("https://hub.example/a"));
        assert_eq!(hub, Origin::of(&uri("https://HUB.example:443/b?c")));
        for other in [
            "http://hub.example/a",
            "https://hub.example:444/a",
            "https://hub.example.org/a",
            "https://hub.example@cdn.example/a",
        ] {
            assert_ne!(hub, Origin::of(&uri(other)), "{other}");
        }
    }

    #[test]
    fn a_body_that_comes_by_drops_breaks_off() {
        /// A byte in each `pause`.
        struct Drops(Duration);
        impl Read for Drops {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                sleep(self.0);
                buffer[0] = b'x';
                Ok(1)
            }
        }
        let window = Duration::from_millis(40);
        let mut drops = Steady::new(Drops(Duration::from_millis(10)), 100, window);
        let error = drops.read_to_end(&mut Vec::new()).unwrap_err().to_string();
        assert!(error.starts_with("only "), "{error}");
        let mut steady = Steady::new(Drops(Duration::from_millis(1)), 2, window).take(200);
        assert_eq!(steady.read_to_end(&mut Vec::new()).unwrap(), 200);
    }

    #[test]
    fn a_range_has_its_last_byte() {
        assert_eq!(Part::WHOLE.header(), None);
        assert_eq!(Part::From(7).header().as_deref(), Some("bytes=7-"));
        assert_eq!(Part::Of(0..8).header().as_deref(), Some("bytes=0-7"));
    }

    #[test]
    fn a_location_is_full_or_on_the_same_server() {
        let at = uri("http://hub.example:81/a/b?signature=1");
        for (location, expected) in [
            ("/c/d?e", "http://hub.example:81/c/d?e"),
            ("https://cdn.example/x", "https://cdn.example/x"),
            ("//cdn.example/x", "http://cdn.example/x"),
        ] {
            assert_eq!(joined(&at, location).unwrap().to_string(), expected);
        }
        for refused in ["file:///etc/passwd", "ftp://a/b", "c", "http://"] {
            assert!(joined(&at, refused).is_err(), "{refused}");
        }
        assert_eq!(shown(&at), "http://hub.example:81/a/b");
    }
}
