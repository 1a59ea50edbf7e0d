#[derive(Clone, Copy)]
pub enum Piece {
    Text(&'static str),
    Strings(&'static [&'static str]),
    Many(&'static [Piece]),
    List(&'static [Piece]),
}

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

#[must_use]
pub const fn bytes<const N: usize>(piece: Piece) -> [u8; N] {
    let mut out = [0; N];
    let end = write(piece, &mut out, 0);
    assert!(end == N, "N is not the length of the piece");
    out
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
