//! What a server may answer, read as the client reads it, without a network: for fuzzing and what it found.

use ureq::http::Response;
use ureq::http::header::LOCATION;
use ureq::{Body, http};

use super::card::Card;
use super::client::{announcement, listing};
use super::error::HubError;
use super::http::{Answer, Part, address, joined};
use super::id::{HubId, RepoKind};
use super::layout::{by_card, by_name, missing_shards};

const URL: &str = "https://hub.example/api/datasets/org/name";
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Reads an answer as each of those that the client asks for: a redirect, a part of a file, a file's hash and size, a
/// listing, a data set's card. What does not make a response is none.
///
/// # Errors
/// The first refusal of its body.
#[doc(hidden)]
pub fn read_answer(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Result<(), HubError> {
    let Ok(answer) = answer_of(status, headers, body) else {
        return Ok(());
    };
    let at = address(URL, URL)?;
    if let Some(location) = answer.headers.get(LOCATION) {
        let _ = joined(&at, &String::from_utf8_lossy(location.as_bytes()));
    }
    for part in [Part::From(12), Part::Of(8..20)] {
        let _ = answer.check_part(&part);
    }
    if let Ok((hash, size)) = announcement(&answer, COMMIT) {
        let _ = hash.hasher(size).finish();
    }
    let body = answer.read(1 << 20, "an answer")?;
    if body.starts_with(b"---") {
        let files = [
            "data/train-00000-of-00002.parquet",
            "en/test.csv",
            "README.md",
        ];
        let files = files.map(str::to_owned);
        let card =
            Card::parse(&String::from_utf8_lossy(&body)).map_err(|reason| HubError::Card {
                origin: URL.to_owned(),
                reason,
            })?;
        let _ = by_card(&card, &files);
        return Ok(());
    }
    let id = HubId {
        kind: RepoKind::Data,
        repo: "org/name".to_owned(),
        config: None,
        revision: None,
    };
    let (_, names) = listing(&body, URL, &id)?;
    let _ = by_name(&names);
    let _ = missing_shards(&names);
    Ok(())
}

fn answer_of(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Result<Answer, http::Error> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    let response = response.body(Body::builder().data(body.to_vec()))?;
    Ok(Answer::new(&URL.parse()?, response))
}
