//! Everything that can be wrong with what a user asked for.

use std::io;
use std::path::PathBuf;

use super::value::Origin;
use crate::adapter::peft::PeftError;
use crate::nearest::nearest;

/// A fault in an experiment file, in flags, or between them and the plugins at hand.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    #[error("cannot read the experiment file {}: {source}", path.display())]
    ReadConfig { path: PathBuf, source: io::Error },

    #[error("{}:{line}:{column}: not valid TOML: {message}", path.display())]
    ParseConfig {
        path: PathBuf,
        line: usize,
        column: usize,
        message: String,
    },

    #[error("{origin}: {given}: expected key=value, such as train.lr=1e-3")]
    SetSyntax { origin: Origin, given: String },

    #[error(
        "{origin}: {key}={given}: not a TOML value: {message}; texts inside a list or table need quotes"
    )]
    SetValue {
        origin: Origin,
        key: String,
        given: String,
        message: String,
    },

    #[error("unknown key `{key}` ({origin}){}", or_list(nearest.as_deref()))]
    UnknownKey {
        key: String,
        origin: Origin,
        nearest: Option<String>,
    },

    #[error(
        "`{key}` ({first}) is paired again ({second}); what is in [[pairs]] has its values there and nowhere else"
    )]
    PairedTwice {
        key: String,
        first: Origin,
        second: Origin,
    },

    #[error("[[pairs]] need lists of one length, since they vary together: {first} and {second}")]
    UnequalPairs { first: String, second: String },

    #[error(
        "{at} stands alone in its [[pairs]]; what varies together belongs under one [[pairs]], and a list that varies \
         by itself outside of it"
    )]
    LonePair { at: String },

    #[error("{at}: expected tables, each under its own [[{key}]]")]
    NotTables { at: String, key: String },

    #[error("{at} names no key, and so would leave out every run")]
    NoCondition { at: String },

    #[error(
        "{at} says how runs are carried out, which is the same for all of them; it has no place in [[{section}]]"
    )]
    OutOfPlace { at: String, section: &'static str },

    #[error("the experiment has no runs: all {points} are left out by [[exclude]]")]
    AllExcluded { points: usize },

    #[error(
        "`{key}` is given twice, as {first} and as {second}; keep one, or make one list of both"
    )]
    GivenTwice {
        key: String,
        first: String,
        second: String,
    },

    #[error("{at}: {given}: {problem}")]
    Series {
        at: String,
        given: String,
        problem: String,
    },

    #[error("{at}: the list is empty; it needs at least one value")]
    EmptyList { at: String },

    #[error(
        "{at}: expected one value, found {count}; this key cannot be an axis of the experiment"
    )]
    NotAnAxis { at: String, count: usize },

    #[error("{at}: expected {expected}, found {found}{hint}")]
    Invalid {
        at: String,
        expected: String,
        found: String,
        hint: String,
    },

    #[error(
        "{named} is given and {missing} is not; add {flag} (or leave both out to run the built-in example)"
    )]
    HalfOfAPair {
        named: &'static str,
        missing: &'static str,
        flag: &'static str,
    },

    #[error(
        "`train.warmup` = {warmup} leaves no step at the full learning rate: a run has at most {steps} steps ({reason})"
    )]
    WarmupTooLong {
        warmup: usize,
        steps: usize,
        reason: String,
    },

    #[error("unknown {kind} `{name}` ({origin}){}", found_instead(name, known))]
    UnknownComponent {
        kind: &'static str,
        name: String,
        origin: Origin,
        known: Vec<String>,
    },

    #[error(
        "task head `{head}` learns from data of the kind `{kind}`, which this lorahost does not know; it knows {known}; \
         a newer lorahost may, or choose another head"
    )]
    UnknownDataKind {
        head: String,
        kind: String,
        known: String,
    },

    #[error(
        "{of} has no parameter `{parameter}` ({origin}){}",
        it_has(parameter, known)
    )]
    UnknownParameter {
        of: String,
        parameter: String,
        origin: Origin,
        known: Vec<String>,
    },

    #[error("`{key}` ({origin}) has no effect beside `model.adapter`: the adapter has its own")]
    OfTheAdapter { key: String, origin: Origin },
    #[error(transparent)]
    Adapter(#[from] PeftError),
    #[error(
        "the experiment has {count} runs, more than {limit}; add --yes if that is meant, or shorten {axes}"
    )]
    TooManyRuns {
        count: usize,
        limit: usize,
        axes: String,
    },
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}

fn or_list(nearest: Option<&str>) -> String {
    match nearest {
        Some(_) => did_you_mean(nearest),
        None => "; `lorahost keys` lists all".to_owned(),
    }
}

fn found_instead(name: &str, known: &[String]) -> String {
    let known = || known.iter().map(String::as_str);
    if known().next().is_none() {
        "; no plugin of that kind was found: name one with --plugin FILE, or its folder in \
         LORAHOST_PLUGIN_PATH"
            .to_owned()
    } else {
        format!(
            "; known: {}{}",
            quoted(known()),
            did_you_mean(nearest(name, known()))
        )
    }
}

fn it_has(parameter: &str, known: &[String]) -> String {
    let known = || known.iter().map(String::as_str);
    if known().next().is_none() {
        "; it has none".to_owned()
    } else {
        format!(
            "; it has {}{}",
            quoted(known()),
            did_you_mean(nearest(parameter, known()))
        )
    }
}

/// `` `a`, `b` `` for messages.
pub(crate) fn quoted<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}
