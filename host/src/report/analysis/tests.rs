use super::super::types::{NoInterval, Source, Verdict};
use super::*;
use crate::record::{DiagnosticsPoint, EvaluationPoint, Norms, Status};
use crate::report::summary::tests::{record, with_status};
use crate::report::{Bound, Edge};

fn of(records: &[RunRecord]) -> Analysis {
    analyse(&Sources {
        records,
        unfinished: &[],
        histories: &HashMap::new(),
    })
}

/// A parabola about 10^centre with a lowest loss of `floor`, at half decades from 1e-5 to 1e-2, each seed moved and shaken
/// a little.
fn sweep(cell: &str, rank: Option<usize>, centre: f64, floor: f64, seeds: u64) -> Vec<RunRecord> {
    let mut records = Vec::new();
    for seed in 1..=seeds {
        for step in 0..7_u32 {
            let x = -5.0 + f64::from(step) / 2.0;
            let shake = [0.0, 2e-3, -1e-3, 1e-3][(seed as usize + step as usize * 3) % 4];
            let loss = floor + 0.05 * (x - centre).powi(2) + 0.01 * seed as f64 + shake;
            records.push(record(cell, rank, 10_f64.powf(x), seed, loss));
        }
    }
    records
}

fn both(seeds: u64) -> Vec<RunRecord> {
    let mut records = sweep("lora-r4", Some(4), -3.0, 0.2, seeds);
    records.extend(sweep("full", None, -4.0, 0.1, seeds));
    records
}

#[test]
fn optimum_ratio_and_regret() {
    let analysis = of(&both(3));
    assert_eq!(analysis.counts.completed, 42);
    let [lora, full] = analysis.cells.as_slice() else {
        panic!("two cells");
    };
    let optimum = lora.optimum.lr.unwrap();
    assert!((optimum.log10() + 3.0).abs() < 0.05, "{optimum}");
    assert_eq!(lora.optimum.source, Source::Fit);
    let interval = lora.optimum.interval.unwrap();
    assert!(interval.low.unwrap() < 1e-3 && interval.high.unwrap() > 1e-3);

    let ratio = lora.ratio_to_full.as_ref().unwrap();
    assert!((ratio.value.unwrap().log10() - 1.0).abs() < 0.1);
    assert_eq!(ratio.bound, Bound::Inside);
    assert_eq!(ratio.verdict, Some(Verdict::Larger));
    assert_eq!(full.ratio_to_full, None);

    let regret = lora.regret.as_ref().unwrap();
    let loss = regret.loss.as_ref().unwrap();
    assert_eq!((loss.of.as_str(), loss.seeds), ("test loss", 3));
    assert!((loss.value - 0.1).abs() < 5e-3 && loss.p.unwrap() < 0.01);
    assert_eq!(loss.verdict, Verdict::Larger);
    assert_eq!(regret.metric.as_ref().unwrap().verdict, Verdict::Smaller);
    assert!(!regret.edge);
}

#[test]
fn one_seed_has_a_fit_and_no_interval() {
    let analysis = of(&both(1));
    let lora = &analysis.cells[0];
    assert_eq!(lora.optimum.source, Source::Fit);
    assert_eq!(lora.optimum.interval, None);
    assert_eq!(lora.optimum.no_interval, Some(NoInterval::OneSeed));
    assert_eq!(lora.points[0].interval, None);
    let ratio = lora.ratio_to_full.as_ref().unwrap();
    assert!(ratio.value.is_some());
    assert_eq!((ratio.interval, ratio.verdict), (None, None));
    let loss = lora.regret.as_ref().unwrap().loss.clone().unwrap();
    assert_eq!((loss.verdict, loss.p), (Verdict::Unresolved, None));
}

#[test]
fn one_learning_rate_has_no_optimum() {
    let analysis = of(&[record("full", None, 0.1, 1, 0.5)]);
    let optimum = &analysis.cells[0].optimum;
    assert_eq!((optimum.source, optimum.lr), (Source::None, None));
    assert_eq!(optimum.no_interval, Some(NoInterval::OneLearningRate));
}

#[test]
fn an_edge_is_a_bound_and_never_a_number() {
    let mut records = sweep("lora-r4", Some(4), -1.0, 0.2, 3);
    records.extend(sweep("full", None, -4.0, 0.1, 3));
    let analysis = of(&records);
    let lora = &analysis.cells[0];
    assert_eq!(lora.optimum.edge, Some(Edge::Largest));
    assert_eq!(lora.optimum.no_interval, Some(NoInterval::Edge));
    let ratio = lora.ratio_to_full.as_ref().unwrap();
    assert_eq!((ratio.bound, ratio.interval), (Bound::AtLeast, None));
    assert!(lora.regret.as_ref().unwrap().edge);

    let mut records = sweep("lora-r4", Some(4), -1.0, 0.2, 3);
    records.extend(sweep("full", None, -1.0, 0.1, 3));
    let analysis = of(&records);
    let ratio = analysis.cells[0].ratio_to_full.as_ref().unwrap();
    assert_eq!((ratio.bound, ratio.value), (Bound::Unresolved, None));
}

#[test]
fn what_did_not_complete_is_counted_and_has_no_part() {
    let mut records = both(3);
    let clean = of(&records);
    // The largest learning rate of LoRA diverges for one seed, the smallest fails for another.
    records[6] = with_status(records[6].clone(), Status::Diverged);
    records[7] = with_status(records[7].clone(), Status::Failed);
    let waiting = record("lora-r4", Some(4), 1e-3, 4, 0.0).spec;
    let analysis = analyse(&Sources {
        records: &records,
        unfinished: &[waiting],
        histories: &HashMap::new(),
    });
    let lora = &analysis.cells[0];
    let counts = Counts {
        completed: 19,
        diverged: 1,
        failed: 1,
        unfinished: 1,
        not_begun: 0,
    };
    assert_eq!(lora.counts, counts);
    assert_eq!(lora.seeds, ["1", "2", "3", "4"]);
    let has_loss: Vec<bool> = lora.points.iter().map(|p| p.val_loss.is_some()).collect();
    assert_eq!(has_loss, [false, true, true, true, true, true, false]);
    assert_eq!(lora.optimum, clean.cells[0].optimum);
}

#[test]
fn a_seed_that_has_just_begun_is_in_no_figure() {
    let mut records = sweep("full", None, -3.5, 0.1, 2);
    let clean = of(&records).cells.remove(0);
    records.push(record("full", None, 10_f64.powf(-3.5), 3, 0.9));
    let norms = |record: &RunRecord| {
        let logged = DiagnosticsPoint {
            step: 5,
            tokens: 1,
            multiply_adds: 1,
            total: Norms {
                change: Some(record.result.best_val_loss),
                ..Norms::default()
            },
        };
        let history = History {
            evaluations: Vec::new(),
            diagnostics: vec![logged],
        };
        (record.spec.id.clone(), history)
    };
    let histories = records.iter().map(norms).collect();
    let analysis = analyse(&Sources {
        records: &records,
        unfinished: &[],
        histories: &histories,
    });
    let (found, clean) = (&analysis.cells[0].points[3], &clean.points[3]);
    assert_eq!((found.runs.len(), clean.runs.len()), (3, 2));
    assert_eq!(found.val_loss, clean.val_loss);
    assert_eq!(found.interval, clean.interval);
    assert_eq!(found.metric, clean.metric);
    assert_eq!(found.norms.unwrap().change, clean.val_loss);
}

#[test]
fn a_wall_beside_the_best_point_leaves_no_fit() {
    let mut records = sweep("full", None, -3.0, 0.1, 2);
    for seed in 0..2 {
        let wall = seed * 7 + 5;
        records[wall] = with_status(records[wall].clone(), Status::Diverged);
    }
    let optimum = &of(&records).cells[0].optimum;
    assert_eq!((optimum.source, optimum.edge), (Source::Tried, None));
    assert_eq!(optimum.no_interval, Some(NoInterval::TooFewPoints));
}

#[test]
fn curves_and_norms_come_from_histories() {
    let records = both(2);
    let history = |record: &RunRecord| {
        let loss = record.result.best_val_loss;
        let evaluations = vec![
            EvaluationPoint { step: 0, loss: 2.0 },
            EvaluationPoint { step: 5, loss },
        ];
        let history = History {
            evaluations,
            diagnostics: Vec::new(),
        };
        (record.spec.id.clone(), history)
    };
    let histories = records.iter().map(history).collect();
    let analysis = analyse(&Sources {
        records: &records,
        unfinished: &[],
        histories: &histories,
    });
    let lora = &analysis.cells[0];
    assert_eq!(lora.curves.best.len(), 2);
    assert_eq!(Some(lora.curves.best[1].val_loss), lora.optimum.val_loss);
    assert_eq!(lora.norms, None);
}

#[test]
fn settings_are_all_that_a_run_is() {
    let analysis = of(&both(1));
    let settings = &analysis.cells[0].settings;
    assert_eq!(settings["lora.rank"], "4");
    assert_eq!(settings["train.batch_size"], "32");
    assert_eq!(settings["optimizer"], "adamw");
    assert_eq!(settings["method"], "lora");
    assert!(
        !settings
            .keys()
            .any(|key| key.contains("lr") && key != "train.lr_a" && key != "train.lr_b")
    );
}

#[test]
fn an_analysis_survives_json() {
    let analysis = of(&both(3));
    let json = serde_json::to_string(&analysis).unwrap();
    assert_eq!(serde_json::from_str::<Analysis>(&json).unwrap(), analysis);
    assert_eq!(of(&[]).cells, []);
}
