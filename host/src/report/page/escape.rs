//! Text from data within HTML and SVG.

/// `write!` to a string, which cannot fail.
macro_rules! push {
    ($text:expr, $($argument:tt)*) => {{
        use std::fmt::Write as _;
        let _ = $text.write_fmt(format_args!($($argument)*));
    }};
}

/// `text` as text or as the value of an attribute in double quotes. Characters that neither XML nor HTML may hold become
/// U+FFFD.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' => escaped.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.push('\u{fffd}'),
            // These turn the direction of what follows, also beyond the name.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

/// At most `most` characters, the last of them an ellipsis where some were left out.
pub fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most.saturating_sub(1)).collect();
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_name_is_markup() {
        let name = "</script><img src=x onerror=\"alert('1')\">&\u{0}\u{202e}";
        let escaped = escape(name);
        assert!(!escaped.contains(['<', '>', '"', '\'']), "{escaped}");
        assert!(escaped.ends_with("&amp;\u{fffd}\u{fffd}"), "{escaped}");
    }

    #[test]
    fn long_names_are_cut() {
        assert_eq!(shortened("lora-r16", 8), "lora-r16");
        assert_eq!(shortened("lora-r16", 6), "lora-…");
    }
}
