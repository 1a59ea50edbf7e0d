//! `lorahost report`: what it leaves, in a browser too, and what it says to folders that are strange.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use lorahost::record::{Failure, RunRecord, RunWriter, Status};
use serde_json::Value;

use crate::browser::browser;
use crate::sandbox::{Sandbox, python};

const GRID: [f64; 5] = [1e-4, 3e-4, 1e-3, 3e-3, 1e-2];
/// A name that would do harm as HTML, as an attribute, and as a script.
const HOSTILE: &str =
    "<img src=http://a.invalid/x onerror=alert(1)>\"'</script><script>alert(2)</script>";

/// An output folder with one small run, which gives the others their form.
fn with_a_run(sandbox: &Sandbox) -> RunRecord {
    sandbox.train_one("--output form").record
}

/// An output folder of its own with a run for each cell, rank, learning rate and seed; its loss is a U about a hundredth of
/// the rank, or 3e-4 for full fine-tuning.
fn study(
    sandbox: &Sandbox,
    form: &RunRecord,
    cells: &[(&str, Option<usize>)],
    seeds: u64,
) -> PathBuf {
    let output = sandbox.path("out");
    for (cell, rank) in cells {
        for lr in GRID {
            for seed in 1..=seeds {
                let centre: f64 = if rank.is_some() { 1.2e-3 } else { 3.2e-4 };
                let distance = (lr / centre).log10();
                let noise = 0.01 * ((seed * 7 + (lr * 1e5) as u64 * 3) % 5) as f64;
                let loss = 0.3 + 0.2 * distance * distance + noise;
                write(&output, &made(form, cell, *rank, lr, seed, loss));
            }
        }
    }
    output
}

fn made(
    form: &RunRecord,
    cell: &str,
    rank: Option<usize>,
    lr: f64,
    seed: u64,
    loss: f64,
) -> RunRecord {
    let mut record = form.clone();
    let spec = &mut record.spec.spec;
    cell.clone_into(&mut record.spec.cell);
    spec.train.lr = lr;
    spec.seeds.init = seed;
    spec.seeds.data = seed;
    spec.seeds.dropout = seed;
    spec.seeds.head = seed;
    match (rank, &mut spec.lora) {
        (Some(rank), Some(lora)) => lora.rank = rank,
        (None, _) => {
            spec.method = lorahost::spec::Method::Full;
            (spec.lora, spec.init, spec.alpha) = (None, None, None);
        }
        (Some(_), None) => unreachable!("the form is LoRA"),
    }
    record.spec.id = format!("{:016x}", fxhash(&format!("{cell} {lr} {seed}")));
    record.result.best_val_loss = loss;
    record.result.measured.val_losses = vec![loss];
    record.result.measured.test.as_mut().unwrap().loss = loss + 0.02;
    record
}

/// Any number that differs from text to text.
fn fxhash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn write(output: &Path, record: &RunRecord) {
    begin(output, record)
        .complete(record.result.clone())
        .unwrap();
}

fn begin(output: &Path, record: &RunRecord) -> RunWriter {
    drop(lorahost::record::OutputFolder::open(output).unwrap());
    let folder = output.join("runs").join(&record.spec.id);
    RunWriter::begin(&folder, record.spec.clone()).unwrap()
}

fn with_status(mut record: RunRecord, status: Status, error: Option<&str>) -> RunRecord {
    record.result.status = status;
    record.result.error = error.map(Failure::new);
    record
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn a_real_sweep_has_a_report() {
    let sandbox = Sandbox::new();
    sandbox.train("--rank 2 4 --lrs 1e-4 1e-3 --seed 1 2 --with-full-finetune --eval-every 3");
    let outcome = sandbox.lorahost("report out --tensorboard events");
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    assert!(
        outcome.out.contains("12 runs: 12 completed"),
        "{}",
        outcome.out
    );
    assert!(
        outcome.out.contains("12 event files in events"),
        "{}",
        outcome.out
    );

    let report = sandbox.path("out/report");
    let data = json(&report.join("report.json"));
    assert_eq!(data["analysis"]["counts"]["completed"], 12);
    let files = data["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file.as_str().unwrap());
    let files: BTreeSet<&str> = files.collect();
    for name in [
        "index.html",
        "report.md",
        "optima.csv",
        "runs.csv",
        "plugins.csv",
        "figures/loss-over-lr.svg",
        "figures/curves-over-steps.svg",
        "figures/norms-over-lr.svg",
    ] {
        assert!(files.contains(name), "{name} of {files:?}");
        assert!(fs::metadata(report.join(name)).unwrap().len() > 0, "{name}");
    }
    // PNG needs a font of the machine.
    let picture = files.contains("figures/loss-over-lr.png");
    assert_ne!(
        picture,
        outcome.err.contains("has no font"),
        "{}",
        outcome.err
    );
    let page = fs::read_to_string(report.join("index.html")).unwrap();
    let plugins = fs::read_to_string(report.join("plugins.csv")).unwrap();
    for run in sandbox.runs("out") {
        let id = &run.record.spec.id;
        assert!(page.contains(&format!("href=\"../runs/{id}/\"")), "{id}");
        for plugin in &run.record.result.provenance.plugins {
            assert!(plugins.contains(&plugin.sha256));
        }
    }
    // The sweep goes on in the same folder as before, and a second report takes the place of the first.
    assert_eq!(sandbox.lorahost("report out --quiet").out, "");
}

#[test]
fn runs_that_did_not_complete_are_counted_and_in_no_mean() {
    let sandbox = Sandbox::new();
    let form = with_a_run(&sandbox);
    let output = study(&sandbox, &form, &[("lora-r4", Some(4)), ("full", None)], 2);
    let run = |lr, seed| made(&form, "lora-r4", Some(4), lr, seed, 9.0);
    write(
        &output,
        &with_status(run(1e-3, 3), Status::Failed, Some("no memory")),
    );
    write(&output, &with_status(run(1e-2, 3), Status::Diverged, None));
    drop(begin(&output, &run(3e-4, 3)));
    let outcome = sandbox.lorahost("report out");
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    assert!(
        outcome
            .out
            .contains("23 runs: 20 completed, 1 diverged, 1 failed, 1 unfinished"),
        "{}",
        outcome.out
    );
    let analysis = &json(&output.join("report/report.json"))["analysis"];
    let points = analysis["cells"][0]["points"].as_array().unwrap();
    for point in points {
        let loss = point["val_loss"].as_f64();
        assert!(loss.is_none_or(|loss| loss < 1.0), "{point}");
    }
    assert!(points[4]["val_loss"].is_null(), "one of its runs diverged");
    let runs = fs::read_to_string(output.join("report/runs.csv")).unwrap();
    assert!(runs.contains("failed") && runs.contains("no memory") && runs.contains("unfinished"));
}

#[test]
fn little_is_said_where_little_is_known() {
    let sandbox = Sandbox::new();
    let form = with_a_run(&sandbox);
    // One learning rate: no optimum.
    write(
        &sandbox.path("one"),
        &made(&form, "full", None, 1e-3, 1, 0.5),
    );
    // The best one is the largest: a bound; one seed: no interval.
    for (lr, loss) in [(1e-3, 0.5), (1e-2, 0.25)] {
        write(
            &sandbox.path("edge"),
            &made(&form, "full", None, lr, 1, loss),
        );
        write(
            &sandbox.path("edge"),
            &made(&form, "lora-r4", Some(4), lr, 1, loss),
        );
    }
    let said = |folder: &str| {
        assert_eq!(sandbox.lorahost(&format!("report {folder}")).code, 0);
        fs::read_to_string(sandbox.path(format!("{folder}/report/report.md"))).unwrap()
    };
    let one = said("one");
    assert!(one.contains("one learning rate: no optimum"), "{one}");
    let edge = said("edge");
    assert!(edge.contains("One seed: there are no intervals"), "{edge}");
    assert!(
        edge.contains("In 2 of 2 cells the best learning rate lies on the edge"),
        "{edge}"
    );
    assert!(
        edge.contains("the largest tried: the optimum may lie higher"),
        "{edge}"
    );
    assert!(
        edge.contains("lora-r4: the ratio to full is unresolved"),
        "{edge}"
    );
}

#[test]
fn strange_folders_are_refused() {
    let sandbox = Sandbox::new();
    let refused = |words: &str| sandbox.lorahost(words).refused().to_owned();
    let message = refused("report nowhere");
    assert!(
        message.contains("nowhere is no output folder of lorahost"),
        "{message}"
    );
    let message = refused("report data");
    assert!(
        message.contains("data is no output folder of lorahost"),
        "{message}"
    );

    drop(lorahost::record::OutputFolder::open(&sandbox.path("empty")).unwrap());
    let message = refused("report empty");
    assert!(message.contains("empty holds no runs yet"), "{message}");

    let form = with_a_run(&sandbox);
    sandbox.write("paper/index.html", "mine");
    let message = refused("report form --out paper");
    assert!(
        message.contains("paper is not empty and holds no report of lorahost"),
        "{message}"
    );
    assert_eq!(
        fs::read_to_string(sandbox.path("paper/index.html")).unwrap(),
        "mine"
    );

    let done = sandbox.path(format!("form/runs/{}/done.json", form.spec.id));
    fs::write(done, "{\"version\": 9}\n").unwrap();
    let message = refused("report form");
    assert!(message.contains("record version 9 of"), "{message}");
    assert!(
        message.contains("is newer than this lorahost reads"),
        "{message}"
    );
}

#[test]
fn a_report_leaves_nothing_of_the_one_before() {
    let sandbox = Sandbox::new();
    let form = with_a_run(&sandbox);
    let output = study(
        &sandbox,
        &form,
        &[("lora-r4", Some(4)), ("lora-r8", Some(8)), ("full", None)],
        1,
    );
    assert_eq!(sandbox.lorahost("report out").code, 0);
    let figure = output.join("report/figures/optimum-by-rank.svg");
    assert!(figure.is_file());
    fs::write(output.join("report/notes.txt"), "mine").unwrap();
    for entry in fs::read_dir(output.join("runs")).unwrap() {
        let folder = entry.unwrap().path();
        if json(&folder.join("spec.json"))["cell"] != "full" {
            fs::remove_dir_all(folder).unwrap();
        }
    }
    assert_eq!(sandbox.lorahost("report out").code, 0);
    assert!(!figure.exists());
    assert!(output.join("report/notes.txt").is_file());
}

#[test]
fn a_page_that_is_watched_is_written_again() {
    let sandbox = Sandbox::new();
    let form = with_a_run(&sandbox);
    let output = sandbox.path("out");
    write(&output, &made(&form, "full", None, 1e-3, 1, 0.5));
    let child = sandbox.start("report out --watch --every 1", &[]);
    let page = output.join("report/index.html");
    let holds = |words: &str| {
        let deadline = Instant::now() + Duration::from_mins(1);
        while !fs::read_to_string(&page).is_ok_and(|page| page.contains(words)) {
            assert!(Instant::now() < deadline, "the page never says {words}");
            sleep(Duration::from_millis(50));
        }
    };
    holds("<body data-reload=\"1\">");
    holds("<b>1</b>completed");
    write(&output, &made(&form, "full", None, 1e-2, 1, 0.5));
    holds("<b>2</b>completed");
    Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    let outcome = sandbox.end(child);
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    holds("<body>");
}

#[test]
fn the_page_in_a_browser() {
    let Some(mut browser) = browser("the_page_in_a_browser") else {
        return;
    };
    let sandbox = Sandbox::new();
    let form = with_a_run(&sandbox);
    let cells = [
        ("lora-r4", Some(4)),
        ("lora-r16", Some(16)),
        (HOSTILE, Some(64)),
        ("full", None),
    ];
    let output = study(&sandbox, &form, &cells, 3);
    let failed = made(&form, HOSTILE, Some(64), 3e-2, 1, 9.0);
    write(&output, &with_status(failed, Status::Failed, Some(HOSTILE)));
    assert_eq!(sandbox.lorahost("report out").code, 0);
    let page = output.join("report/index.html");

    for (width, dark) in [(1280, false), (400, false), (1280, true)] {
        browser.window(width, 900, dark);
        browser.open(&page);
        let overflow = browser.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth",
        );
        assert_eq!(overflow, 0, "sideways at {width}");
        // The smallest text of a figure, as it is on the screen.
        let smallest = "Math.min(...[...document.querySelectorAll('svg.fig text')].map(t => \
                        parseFloat(getComputedStyle(t).fontSize) * Math.hypot(t.getScreenCTM().a, t.getScreenCTM().b)))";
        let smallest = browser.evaluate(smallest).as_f64().unwrap();
        assert!(smallest >= 8.5, "text of {smallest} px at {width}");
        browser.picture(&format!("page-{width}{}", if dark { "-dark" } else { "" }));
    }

    browser.window(1280, 900, false);
    browser.open(&page);
    // A switch hides its series in every figure, and shows it again.
    let hidden = "[...document.querySelectorAll('g[data-s=c0]')].map(g => getComputedStyle(g).display == 'none')";
    let all = |browser: &mut crate::browser::Browser, value: bool| {
        let found = browser.evaluate(hidden);
        let found = found.as_array().unwrap();
        assert!(
            !found.is_empty() && found.iter().all(|hidden| *hidden == value),
            "{found:?}"
        );
    };
    all(&mut browser, false);
    browser.point("button[data-s=c0]", true);
    all(&mut browser, true);
    browser.point("button[data-s=c0]", true);
    all(&mut browser, false);

    // The pointer over a run names it; a click leads to its row.
    let tip = "document.getElementById('tip')";
    assert_eq!(browser.evaluate(&format!("{tip}.hidden")), true);
    // Marks lie over each other where figures are close.
    let on_top = "(() => { for (const mark of document.querySelectorAll('.hit[data-r]')) { \
                  mark.scrollIntoView({block: 'center'}); const box = mark.getBoundingClientRect(); \
                  if (document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2) === mark) { \
                  mark.id = 'on-top'; return true } } return false })()";
    assert_eq!(browser.evaluate(on_top), true);
    browser.point("#on-top", false);
    let told = browser.evaluate(&format!("{tip}.hidden ? '' : {tip}.textContent"));
    let told = told.as_str().unwrap().to_owned();
    let id = browser.evaluate("document.getElementById('r' + document.getElementById('on-top').dataset.r).cells[0].textContent");
    assert!(
        told.contains(&format!("run: {}", id.as_str().unwrap())),
        "{told}"
    );
    browser.point("#on-top", true);
    let row = browser.evaluate("document.querySelector('tr:target').cells[0].textContent");
    assert_eq!(row, id);
    browser.point(".hit[data-t]", false);

    // Every link within the page leads somewhere, and names are text.
    let dead = "[...document.querySelectorAll('a[href^=\"#\"]')].filter(a => !document.getElementById(a.hash.slice(1))).length";
    assert_eq!(browser.evaluate(dead), 0);
    assert_eq!(browser.evaluate("document.scripts.length"), 1);
    assert_eq!(browser.evaluate("document.images.length"), 0);
    let text = browser.evaluate("document.body.innerText.includes('onerror=alert(1)')");
    assert_eq!(text, true, "the name is shown as it is");
    assert_eq!(browser.complaints(), [] as [&str; 0]);

    // What the policy forbids does not run.
    let inline = "(() => { const s = document.createElement('script'); s.textContent = 'window.ran = 1'; \
                  document.body.append(s); return window.ran === undefined })()";
    assert_eq!(browser.evaluate(inline), true);
    assert!(!browser.complaints().is_empty(), "and that is said");
}

#[test]
fn a_watched_page_loads_itself_and_keeps_what_was_chosen() {
    let Some(mut browser) = browser("a_watched_page_loads_itself_and_keeps_what_was_chosen") else {
        return;
    };
    let sandbox = Sandbox::new();
    let form = with_a_run(&sandbox);
    let output = study(&sandbox, &form, &[("lora-r4", Some(4)), ("full", None)], 1);
    let child = sandbox.start("report out --watch --every 1", &[]);
    let page = output.join("report/index.html");
    let deadline = Instant::now() + Duration::from_mins(1);
    while !page.is_file() {
        assert!(Instant::now() < deadline);
        sleep(Duration::from_millis(50));
    }
    browser.window(1280, 900, false);
    browser.open(&page);
    browser.evaluate(
        "document.querySelector('button[data-s=c0]').click(); scrollTo(0, 300); window.old = true",
    );
    let deadline = Instant::now() + Duration::from_mins(1);
    while browser.evaluate("window.old === true || document.readyState != 'complete'") == true {
        assert!(Instant::now() < deadline, "it never loads itself");
        sleep(Duration::from_millis(100));
    }
    let state = "[document.querySelector('button[data-s=c0]').ariaPressed, scrollY]";
    let state = browser.evaluate(state);
    assert_eq!(state[0], "false");
    assert!(state[1].as_f64().unwrap() > 200.0, "{state}");
    Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert_eq!(sandbox.end(child).code, 0);
}

#[test]
fn event_files_are_read_by_tensorboard() {
    let sandbox = Sandbox::new();
    sandbox.train("--lrs 1e-3 1e-2 --with-full-finetune --eval-every 3");
    assert_eq!(sandbox.lorahost("report out --tensorboard events").code, 0);
    let arguments = [sandbox.path("out"), sandbox.path("events")];
    python(
        "event_files_are_read_by_tensorboard",
        "tensorboard",
        "check_tensorboard.py",
        &arguments,
    );
}

#[test]
fn the_numbers_are_those_of_scipy() {
    let sandbox = Sandbox::new();
    let form = with_a_run(&sandbox);
    let output = study(
        &sandbox,
        &form,
        &[("lora-r4", Some(4)), ("lora-r16", Some(16)), ("full", None)],
        3,
    );
    let put = |rank, lr: f64, seed, loss| {
        let cell = format!("lora-r{rank}");
        write(&output, &made(&form, &cell, Some(rank), lr, seed, loss));
    };
    // A grid of 1, 2, 5, of which some points lie closer to the best one than the parabola reaches.
    for (place, lr) in [1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2]
        .into_iter()
        .enumerate()
    {
        for seed in 1..=4 {
            let noise = 0.01 * ((seed as usize * 7 + place * 3) % 5) as f64;
            put(
                64,
                lr,
                seed,
                0.3 + 0.2 * (lr / 8e-4).log10().powi(2) + noise,
            );
        }
    }
    // A seed that has begun at two learning rates has no part in their means.
    put(64, 1e-3, 5, 0.9);
    put(64, 2e-3, 5, 0.9);
    let diverged = made(&form, "lora-r16", Some(16), 1e-2, 4, 9.0);
    write(&output, &with_status(diverged, Status::Diverged, None));
    // Another plan's name of a cell, and its cell of a known name.
    write(&output, &made(&form, "first", Some(16), 3e-2, 1, 0.9));
    let mut other = made(&form, "lora-r4", Some(4), 3e-2, 1, 0.2);
    other.spec.spec.train.batch_size += 1;
    write(&output, &other);
    assert_eq!(sandbox.lorahost("report out").code, 0);
    python(
        "the_numbers_are_those_of_scipy",
        "numpy, scipy",
        "check_report.py",
        &[output],
    );
}
