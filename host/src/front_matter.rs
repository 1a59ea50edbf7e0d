//! The head of a `README.md` on the hub: YAML between two lines `---`.

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value};

/// Deeper YAML is refused.
const DEPTH: usize = 32;

/// The head of a README as JSON, null where it has none. Scalars are strings, but for plain `true`, `false` and `null`.
/// Aliases, with which a few lines can mean gigabytes, are refused, and so are deep nests.
///
/// # Errors
/// What is wrong with the head.
pub fn front_matter(readme: &str) -> Result<Value, String> {
    let readme = readme.trim_start_matches('\u{feff}');
    let rest = readme
        .strip_prefix("---\n")
        .or_else(|| readme.strip_prefix("---\r\n"));
    match rest.and_then(|rest| rest.split_once("\n---")) {
        Some((head, _)) => yaml(head),
        None => Ok(Value::Null),
    }
}

fn yaml(text: &str) -> Result<Value, String> {
    let mut open: Vec<Node> = Vec::new();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| format!("not YAML: {error}"))?;
        let line = span.start.line();
        let whole = match event {
            Event::Alias(_) => return Err(format!("line {line}: aliases are not read")),
            Event::MappingStart(..) => {
                open.push(Node::Mapping(Map::new(), None));
                None
            }
            Event::SequenceStart(..) => {
                open.push(Node::Sequence(Vec::new()));
                None
            }
            Event::MappingEnd | Event::SequenceEnd => open.pop().map(Node::value),
            Event::Scalar(text, style, ..) => Some(scalar(&text, style)),
            _ => None,
        };
        if open.len() > DEPTH {
            return Err(format!("line {line}: nested deeper than {DEPTH}"));
        }
        let Some(value) = whole else { continue };
        match open.last_mut() {
            None => return Ok(value),
            Some(parent) => parent.add(value),
        }
    }
    Ok(Value::Null)
}

/// A collection whose end has not come yet.
enum Node {
    /// With the key whose value comes next.
    Mapping(Map<String, Value>, Option<String>),
    Sequence(Vec<Value>),
}

impl Node {
    fn add(&mut self, value: Value) {
        match self {
            Self::Sequence(values) => values.push(value),
            Self::Mapping(fields, key) => match key.take() {
                Some(key) => {
                    fields.insert(key, value);
                }
                // A key that is no text means nothing here.
                None => {
                    *key = Some(
                        value
                            .as_str()
                            .map_or_else(|| value.to_string(), str::to_owned),
                    );
                }
            },
        }
    }

    fn value(self) -> Value {
        match self {
            Self::Sequence(values) => Value::Array(values),
            Self::Mapping(fields, _) => Value::Object(fields),
        }
    }
}

fn scalar(text: &str, style: ScalarStyle) -> Value {
    match (style, text) {
        (ScalarStyle::Plain, "true" | "True") => Value::Bool(true),
        (ScalarStyle::Plain, "false" | "False") => Value::Bool(false),
        (ScalarStyle::Plain, "null" | "~" | "") => Value::Null,
        _ => Value::from(text),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_head_becomes_json() {
        let readme = "\u{feff}---\r\na: {'0': x, 1: \"2\"}\r\nb: [true, null, 'true', 3]\r\n---\r\n# Text\n---\n";
        let expected = json!({"a": {"0": "x", "1": "2"}, "b": [true, null, "true", "3"]});
        assert_eq!(front_matter(readme), Ok(expected));
        for none in ["", "# Title\n", "---\n---\n", "---\nno end", "--- a\n---\n"] {
            assert_eq!(front_matter(none), Ok(Value::Null), "{none:?}");
        }
    }

    #[test]
    fn hostile_yaml_is_refused() {
        let laughs = "---\na: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n---\n";
        assert!(front_matter(laughs).unwrap_err().contains("aliases"));
        let deep = |open: &str| format!("---\na: {}\n---\n", open.repeat(100_000));
        for open in ["[", "{a: ", "- "] {
            assert!(front_matter(&deep(open)).is_err(), "{open}");
        }
        let nested = format!("---\n{}\n---\n", "[".repeat(40) + &"]".repeat(40));
        assert!(front_matter(&nested).unwrap_err().contains("deeper"));
        assert!(front_matter("---\na: 'b\n---\n").is_err());
    }
}
