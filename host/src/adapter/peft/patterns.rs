//! PEFT's rules for which module a name or a pattern means.

use regex::{Regex, RegexBuilder};

/// Names that mean modules by their ends, or one expression over whole paths: `target_modules`, `exclude_modules`.
#[derive(Debug, Clone)]
pub(super) enum Modules {
    /// Each is a whole path or what stands after a dot at the end of one.
    Names(Vec<String>),
    Pattern(Regex),
}

impl Modules {
    pub fn contains(&self, module: &str) -> bool {
        match self {
            Self::Names(names) => names.iter().any(|name| ends_in(module, name)),
            Self::Pattern(pattern) => pattern.is_match(module),
        }
    }
}

/// Whether `module` is `name` or ends in it after a dot.
fn ends_in(module: &str, name: &str) -> bool {
    module
        .strip_suffix(name)
        .is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

/// Values by patterns over module paths: `rank_pattern`, `alpha_pattern`. The first that fits counts.
#[derive(Debug, Clone)]
pub(super) struct ByPattern<T>(Vec<(Regex, T)>);

impl<T: Copy> ByPattern<T> {
    pub fn new(patterns: Vec<(Regex, T)>) -> Self {
        Self(patterns)
    }

    pub fn get(&self, module: &str) -> Option<T> {
        let fits = |(pattern, _): &&(Regex, T)| pattern.is_match(module);
        self.0.iter().find(fits).map(|(_, value)| *value)
    }
}

/// An expression over a whole path, Python's `re.fullmatch`.
pub(super) fn whole(pattern: &str) -> Result<Regex, String> {
    compile(&format!("^(?:{pattern})$"))
}

/// An expression over a path's end, which begins it or follows a dot.
pub(super) fn end(pattern: &str) -> Result<Regex, String> {
    compile(&format!(r"^(?:.*\.)?(?:{pattern})$"))
}

/// An expression over what stands before the number of a layer, which is captured.
pub(super) fn before_number(pattern: &str) -> Result<Regex, String> {
    compile(&format!(r"^(?:.*?\.)?(?:{pattern})\.(\d+)\."))
}

fn compile(pattern: &str) -> Result<Regex, String> {
    // A hostile pattern must not take memory: 1 MiB holds any that names modules.
    let built = RegexBuilder::new(pattern).size_limit(1 << 20).build();
    built.map_err(|error| {
        let text = error.to_string();
        let line = text.lines().last().unwrap_or_default();
        line.trim_start_matches("error: ").to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_mean_modules_by_their_ends() {
        let names = Modules::Names(vec!["q_lin".to_owned(), "attention.out".to_owned()]);
        assert!(names.contains("q_lin"));
        assert!(names.contains("layer.0.q_lin"));
        assert!(names.contains("layer.0.attention.out"));
        assert!(!names.contains("layer.0.xq_lin"));
        assert!(!names.contains("layer.0.out"));
    }

    #[test]
    fn expressions_are_over_whole_paths_or_their_ends() {
        let pattern = Modules::Pattern(whole(r".*\.(q|v)_lin").unwrap());
        assert!(pattern.contains("layer.0.q_lin"));
        assert!(!pattern.contains("layer.0.q_lin.more"));
        let ranks = ByPattern::new(vec![
            (end(r"h\.1\..*").unwrap(), 4),
            (end("c_attn").unwrap(), 2),
        ]);
        assert_eq!(ranks.get("transformer.h.1.attn.c_attn"), Some(4));
        assert_eq!(ranks.get("transformer.h.11.attn.c_attn"), Some(2));
        assert_eq!(ranks.get("transformer.h.0.c_proj"), None);
        assert!(end("(").unwrap_err().contains("unclosed"));
        assert!(whole(&"(a{1000}){1000}".repeat(9)).is_err());
    }
}
