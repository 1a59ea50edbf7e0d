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

    /// Whether a body is what was asked for, by its `Content-Range`: `bytes 12-99/100`, where the size may be `*`.
    fn is(&self, content_range: &str) -> bool {
        let parts = content_range
            .strip_prefix("bytes ")
            .and_then(|range| range.split_once('/'))
            .and_then(|(range, size)| {
                let (first, last) = range.split_once('-')?;
                let end = last.parse::<u64>().ok()?.checked_add(1)?;
                Some((first.parse::<u64>().ok()?..end, size))
            });
        match (self, parts) {
            (Self::From(first), Some((found, size))) => {
                found.start == *first && (size == "*" || size.parse() == Ok(found.end))
            }
            (Self::Of(range), Some((found, _))) => found == *range,
            (_, None) => false,
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
    pub(super) fn new(at: &Uri, response: Response<Body>) -> Self {
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

    /// Refuses a partial answer (206) with other bytes than those that were asked for.
    ///
    /// # Errors
    /// When its `Content-Range` is absent or of another part.
    pub fn check_part(&self, asked: &Part) -> Result<(), HubError> {
        let range = self.header("content-range");
        if range.is_some_and(|range| asked.is(range)) {
            return Ok(());
        }
        let found = range.map_or_else(|| "nothing".to_owned(), |range| format!("{range:?}"));
        let asked = asked.header().unwrap_or_default();
        Err(HubError::Protocol {
            url: self.url.clone(),
            reason: format!("asked for {asked}, it sends a part and says of it {found}"),
        })
    }

    /// The body as it comes; one that comes by drops breaks off.
    pub fn into_reader(self) -> impl Read {
        Steady::new(self.body.into_reader(), LEAST, MINUTE, Instant::now)
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

/// A reader that fails where less than `least` bytes come while `window` is spent waiting for them: silence alone ends no
/// body that sends a byte now and then. What is done between two reads is no fault of the server, and not counted.
struct Steady<R, C> {
    inner: R,
    least: u64,
    window: Duration,
    clock: C,
    /// In the window that is open.
    waited: Duration,
    came: u64,
}

impl<R, C: Fn() -> Instant> Steady<R, C> {
    fn new(inner: R, least: u64, window: Duration, clock: C) -> Self {
        Self {
            inner,
            least,
            window,
            clock,
            waited: Duration::ZERO,
            came: 0,
        }
    }
}

impl<R: Read, C: Fn() -> Instant> Read for Steady<R, C> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let began = (self.clock)();
        let count = self.inner.read(buffer)?;
        self.waited += (self.clock)() - began;
        self.came += count as u64;
        // At the end of the body nothing more is waited for.
        if count == 0 || self.waited < self.window {
            return Ok(count);
        }
        if self.came < self.least {
            let (came, seconds) = (self.came, self.window.as_secs());
            let reason = format!("only {came} bytes came in {seconds} seconds");
            return Err(io::Error::new(ErrorKind::TimedOut, reason));
        }
        (self.waited, self.came) = (Duration::ZERO, 0);
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
pub(super) fn address(text: &str, from: &str) -> Result<Uri, HubError> {
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
pub(super) fn joined(at: &Uri, location: &str) -> Result<Uri, HubError> {
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
    use std::cell::Cell;

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
        /// A clock that a test turns.
        struct Clock(Instant, Cell<Duration>);
        impl Clock {
            fn pass(&self, time: Duration) {
                self.1.set(self.1.get() + time);
            }
        }
        /// A byte each second.
        struct Drops<'a>(&'a Clock);
        impl Read for Drops<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                self.0.pass(Duration::from_secs(1));
                buffer[0] = b'x';
                Ok(1)
            }
        }
        let clock = Clock(Instant::now(), Cell::default());
        let body = |least| Steady::new(Drops(&clock), least, MINUTE, || clock.0 + clock.1.get());
        let read = |least| body(least).take(600).read_to_end(&mut Vec::new());
        assert_eq!(read(60).unwrap(), 600);
        let error = read(61).unwrap_err().to_string();
        assert_eq!(error, "only 60 bytes came in 60 seconds");

        // Nor does a reader break off that has much to do in between.
        let mut body = body(60);
        for _ in 0..600 {
            assert_eq!(body.read(&mut [0; 8]).unwrap(), 1);
            clock.pass(MINUTE);
        }
    }

    #[test]
    fn a_range_has_its_last_byte() {
        assert_eq!(Part::WHOLE.header(), None);
        assert_eq!(Part::From(7).header().as_deref(), Some("bytes=7-"));
        assert_eq!(Part::Of(0..8).header().as_deref(), Some("bytes=0-7"));
    }

    #[test]
    fn a_part_is_known_by_its_range() {
        for (asked, range, is) in [
            (Part::From(12), "bytes 12-99/100", true),
            (Part::From(12), "bytes 12-99/*", true),
            (Part::From(12), "bytes 12-98/100", false),
            (Part::From(12), "bytes 12-99/many", false),
            (Part::From(11), "bytes 12-99/100", false),
            (Part::Of(0..8), "bytes 0-7/100", true),
            (Part::Of(0..8), "bytes 0-99/100", false),
            (Part::Of(0..8), "bytes 1-7/100", false),
            (Part::From(12), "bytes */100", false),
            (Part::From(12), "12-99/100", false),
            (Part::From(12), "bytes 12-99", false),
            (Part::Of(0..8), "bytes 0-18446744073709551615/*", false),
        ] {
            assert_eq!(asked.is(range), is, "{asked:?} {range}");
        }
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
