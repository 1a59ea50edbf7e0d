//! `lorahost plugin check`: runs the tests, prints what came out.

use std::env;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::args::CheckArgs;
use super::exit::Exit;
use super::failure::Failure;
use super::output::print;
use crate::check::{Checker, Report, Status, serve};
use crate::plugins::PluginFile;

/// Tests a file, or lists the tests.
pub fn check(args: &CheckArgs) -> Result<Exit, Failure> {
    let checker = checker(args.timeout, args.filter.clone())?;
    let Some(path) = args.file.as_deref().filter(|_| !args.list) else {
        return list(&checker, args.json);
    };
    let file = PluginFile::read(path)?;
    let report = checker.check(&file)?;
    print(&if args.json {
        format!("{:#}\n", as_json(&file, &report))
    } else {
        as_text(&file, &report)
    })?;
    Ok(match report.broken().next() {
        None => Exit::Ok,
        Some(_) => Exit::Failure,
    })
}

/// The child of [`check`].
pub fn check_one(file: &Path, component: &str, tests: &[String]) -> Result<Exit, Failure> {
    serve(file, component, tests)?;
    Ok(Exit::Ok)
}

/// A checker whose children are this program.
pub fn checker(timeout: f64, filter: Option<String>) -> Result<Checker, Failure> {
    Ok(Checker {
        program: env::current_exe().map_err(Failure::OwnFile)?,
        timeout: Duration::from_secs_f64(timeout),
        filter,
    })
}

fn list(checker: &Checker, as_json: bool) -> Result<Exit, Failure> {
    let selected = checker.selected()?;
    print(&if as_json {
        let tests = selected
            .iter()
            .map(|case| json!({"test": case.id, "doc": case.doc}));
        format!("{:#}\n", tests.collect::<serde_json::Value>())
    } else {
        let tests = selected
            .iter()
            .map(|case| format!("{}\n    {}\n", case.id, case.doc));
        tests.collect()
    })?;
    Ok(Exit::Ok)
}

/// Findings under their components, then the counts.
fn as_text(file: &PluginFile, report: &Report) -> String {
    let mut text = format!("{}\n", file.path.display());
    let mut component = "";
    for finding in &report.findings {
        if finding.component != component {
            component = &finding.component;
            let _ = writeln!(text, "\n{component}");
        }
        let _ = writeln!(text, "  {:<7}  {}", finding.status.name(), finding.test);
        for line in finding.message.iter().flat_map(|message| message.lines()) {
            let _ = writeln!(text, "           {line}");
        }
    }
    let _ = writeln!(text, "\n{}", counts(report));
    text
}

/// `31 passed, 1 failed, 0 crashed, 2 skipped`.
fn counts(report: &Report) -> String {
    let each = STATUSES.map(|status| format!("{} {}", report.count(status), status.name()));
    each.join(", ")
}

const STATUSES: [Status; 4] = [
    Status::Passed,
    Status::Failed,
    Status::Crashed,
    Status::Skipped,
];

fn as_json(file: &PluginFile, report: &Report) -> serde_json::Value {
    let mut value = json!({
        "file": file.path,
        "sha256": file.sha256,
        "findings": report.findings,
    });
    for status in STATUSES {
        value[status.name()] = json!(report.count(status));
    }
    value
}
