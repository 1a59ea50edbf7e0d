//! Texts of others on a terminal.

/// A text whose control characters, which move the cursor or clear the screen, are written as in a program; line ends are
/// as they were.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_control() && letter != '\n' {
            shown.extend(letter.escape_default());
        } else {
            shown.push(letter);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn only_control_characters_are_escaped() {
        let text = "a \u{1b}[2J\u{7}\u{9b}\n\"\u{e4}\\";
        assert_eq!(printable(text), "a \\u{1b}[2J\\u{7}\\u{9b}\n\"\u{e4}\\");
    }
}
