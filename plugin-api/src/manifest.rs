//! The manifest at compile time: pieces of JSON joined by const functions, so that it can lie in a section of its own.

/// A piece of the manifest.
#[derive(Clone, Copy)]
pub enum Piece {
    /// Text as it is.
    Text(&'static str),
    /// A JSON list of strings that need no escapes.
    Strings(&'static [&'static str]),
    /// Pieces one after another.
    Many(&'static [Piece]),
    /// Pieces as a JSON list; the items of a list among them are items of this one.
    List(&'static [Piece]),
}

/// Number of bytes of `piece`.
#[must_use]
pub const fn length(piece: Piece) -> usize {
    match piece {
        Piece::Text(text) => text.len(),
        Piece::Strings(list) => {
            let mut total = 2;
            let mut index = 0;
            while index < list.len() {
                // Quotes, and a comma before all but the first.
                total += list[index].len() + 2 + (index > 0) as usize;
                index += 1;
            }
            total
        }
        Piece::Many(pieces) => {
            let mut total = 0;
            let mut index = 0;
            while index < pieces.len() {
                total += length(pieces[index]);
                index += 1;
            }
            total
        }
        Piece::List(pieces) => {
            let (count, total) = items(pieces);
            total + 2 + count.saturating_sub(1)
        }
    }
}

/// Number of items of a list, and of their bytes.
const fn items(pieces: &[Piece]) -> (usize, usize) {
    let (mut count, mut total) = (0, 0);
    let mut index = 0;
    while index < pieces.len() {
        let (more, bytes) = match pieces[index] {
            Piece::List(inner) => items(inner),
            item => (1, length(item)),
        };
        count += more;
        total += bytes;
        index += 1;
    }
    (count, total)
}

/// The bytes of `piece`; `N` must be its [`length`].
#[must_use]
pub const fn bytes<const N: usize>(piece: Piece) -> [u8; N] {
    let mut out = [0; N];
    let end = write(piece, &mut out, 0);
    assert!(end == N, "N is not the length of the piece");
    out
}

/// The text of `piece`.
#[must_use]
pub fn text(piece: Piece) -> String {
    let joined = |pieces: &[Piece], comma| {
        let pieces: Vec<_> = pieces.iter().map(|&piece| text(piece)).collect();
        pieces.join(comma)
    };
    match piece {
        Piece::Text(text) => text.to_owned(),
        Piece::Strings([]) => "[]".to_owned(),
        Piece::Strings(list) => format!("[\"{}\"]", list.join("\",\"")),
        Piece::Many(pieces) => joined(pieces, ""),
        Piece::List(pieces) => {
            let mut list = Vec::new();
            flatten(pieces, &mut list);
            format!("[{}]", joined(&list, ","))
        }
    }
}

fn flatten(pieces: &[Piece], into: &mut Vec<Piece>) {
    for &piece in pieces {
        match piece {
            Piece::List(inner) => flatten(inner, into),
            item => into.push(item),
        }
    }
}

const fn write(piece: Piece, out: &mut [u8], at: usize) -> usize {
    match piece {
        Piece::Text(text) => write_text(text, out, at),
        Piece::Strings(list) => {
            let mut at = write_text("[", out, at);
            let mut index = 0;
            while index < list.len() {
                at = write_text(if index > 0 { ",\"" } else { "\"" }, out, at);
                at = write_text(list[index], out, at);
                at = write_text("\"", out, at);
                index += 1;
            }
            write_text("]", out, at)
        }
        Piece::Many(pieces) => {
            let mut at = at;
            let mut index = 0;
            while index < pieces.len() {
                at = write(pieces[index], out, at);
                index += 1;
            }
            at
        }
        Piece::List(pieces) => {
            let start = write_text("[", out, at);
            let end = write_items(pieces, out, start, start);
            write_text("]", out, end)
        }
    }
}

/// Writes the items of a list whose first one lies at `start`.
const fn write_items(pieces: &[Piece], out: &mut [u8], start: usize, mut at: usize) -> usize {
    let mut index = 0;
    while index < pieces.len() {
        at = match pieces[index] {
            Piece::List(inner) => write_items(inner, out, start, at),
            item => {
                let at = write_text(if at > start { "," } else { "" }, out, at);
                write(item, out, at)
            }
        };
        index += 1;
    }
    at
}

const fn write_text(text: &str, out: &mut [u8], mut at: usize) -> usize {
    let bytes = text.as_bytes();
    let mut index = 0;
    while index < bytes.len() {
        out[at] = bytes[index];
        at += 1;
        index += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::{Piece, bytes, length, text};

    #[test]
    fn pieces_join_to_their_length() {
        const PIECE: Piece = Piece::Many(&[
            Piece::Text("{\"requires\":"),
            Piece::Strings(&["a/1", "b/1"]),
            Piece::Text(",\"none\":"),
            Piece::Strings(&[]),
            Piece::Text(",\"list\":"),
            Piece::List(&[
                Piece::List(&[]),
                Piece::Text("1"),
                Piece::List(&[Piece::Text("2"), Piece::List(&[Piece::Text("3")])]),
                Piece::Text("4"),
            ]),
            Piece::Text("}"),
        ]);
        const BYTES: [u8; length(PIECE)] = bytes(PIECE);
        assert_eq!(
            &BYTES,
            br#"{"requires":["a/1","b/1"],"none":[],"list":[1,2,3,4]}"#
        );
        assert_eq!(text(PIECE).as_bytes(), BYTES);
    }
}
