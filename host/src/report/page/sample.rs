//! A small study for tests.

use std::collections::BTreeMap;

use crate::record::{Norms, Status};
use crate::report::analysis::{
    Analysis, CellAnalysis, Counts, CurvePoint, Curves, Difference, Fit, Interval, NoInterval,
    Optimum, Point, RatioAnalysis, Regret, RunPoint, Source, Verdict,
};
use crate::report::{Bound, Edge};
use crate::spec::Method;

/// A cell with no runs.
pub fn cell(name: &str, rank: Option<usize>, settings: &[(&str, &str)]) -> CellAnalysis {
    let settings = settings
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    CellAnalysis {
        cell: name.to_owned(),
        method: if rank.is_some() {
            Method::Lora
        } else {
            Method::Full
        },
        rank,
        settings: settings.collect::<BTreeMap<_, _>>(),
        seeds: vec!["1".to_owned(), "2".to_owned()],
        headline: Some("acc".to_owned()),
        counts: Counts::default(),
        points: Vec::new(),
        optimum: Optimum {
            no_interval: Some(NoInterval::NoResult),
            ..Optimum::default()
        },
        ratio_to_full: None,
        regret: None,
        curves: Curves::default(),
        norms: None,
    }
}

/// LoRA with a fitted optimum, a diverged and a failed run; full fine-tuning with its optimum on an edge, and an
/// unfinished run.
pub fn study() -> Analysis {
    let mut lora = cell(
        "lora-r4",
        Some(4),
        &[("init", "uniform"), ("train.batch_size", "32")],
    );
    lora.points = vec![
        point(1e-4, &[Some(0.6), Some(0.64)], Status::Completed),
        point(1e-3, &[Some(0.3), Some(0.32)], Status::Completed),
        point(1e-2, &[Some(0.5), Some(0.54)], Status::Completed),
        point(1e-1, &[None, None], Status::Diverged),
    ];
    lora.points[3].runs[1].status = Some(Status::Failed);
    lora.points[3].runs[1].error = Some("init of init wild in p.so: it panicked".to_owned());
    lora.points[3].counts = Counts {
        diverged: 1,
        failed: 1,
        ..Counts::default()
    };
    lora.optimum = Optimum {
        source: Source::Fit,
        lr: Some(1.2e-3),
        best_tried: Some(1e-3),
        val_loss: Some(0.31),
        edge: None,
        interval: Some(interval(8e-4, 1.9e-3)),
        no_interval: None,
        fit: Some(Fit {
            centre: 1e-3,
            coefficients: [0.31, -0.05, 0.26],
            lrs: vec![1e-4, 1e-3, 1e-2],
            cubic_lr: None,
            noise: Some(0.02),
            degrees: 3,
        }),
    };
    lora.ratio_to_full = Some(RatioAnalysis {
        full: "full".to_owned(),
        value: Some(12.0),
        interval: None,
        bound: Bound::AtLeast,
        verdict: None,
    });
    lora.regret = Some(Regret {
        full: "full".to_owned(),
        loss: Some(Difference {
            of: "test loss".to_owned(),
            cell: 0.31,
            full: 0.35,
            value: -0.04,
            interval: Some(interval(-0.1, 0.02)),
            t: Some(-1.5),
            p: Some(0.37),
            seeds: 2,
            verdict: Verdict::Unresolved,
        }),
        metric: None,
        edge: true,
    });
    let curve = |step: usize, val_loss: f64| CurvePoint {
        step,
        tokens: Some(step as f64 * 500.0),
        multiply_adds: Some(step as f64 * 1e9),
        val_loss,
        lr: 1e-3,
    };
    lora.curves = Curves {
        best: vec![curve(0, 1.4), curve(10, 0.6), curve(20, 0.31)],
        lowest: vec![curve(0, 1.4), curve(10, 0.5), curve(20, 0.31)],
    };
    for (point, change) in lora.points.iter_mut().zip([0.1, 0.7, 3.0]) {
        point.norms = Some(Norms {
            change: Some(change),
            spectral_ba: Some(change / 2.0),
            ..Norms::default()
        });
    }
    lora.norms = lora.points[1].norms;

    let mut full = cell("full", None, &[("train.batch_size", "32")]);
    full.points = vec![
        point(1e-4, &[Some(0.34), Some(0.36)], Status::Completed),
        point(1e-3, &[Some(0.7), None], Status::Completed),
    ];
    full.points[1].runs[1].status = None;
    full.points[1].counts = Counts {
        completed: 1,
        unfinished: 1,
        ..Counts::default()
    };
    full.optimum = Optimum {
        source: Source::Tried,
        lr: Some(1e-4),
        best_tried: Some(1e-4),
        val_loss: Some(0.35),
        edge: Some(Edge::Smallest),
        interval: None,
        no_interval: Some(NoInterval::Edge),
        fit: None,
    };
    let mut cells = vec![lora, full];
    for (number, cell) in cells.iter_mut().enumerate() {
        for run in cell.points.iter_mut().flat_map(|point| &mut point.runs) {
            run.id = format!("{number}{}", run.id);
        }
        cell.counts = cell.points.iter().map(|point| point.counts).sum();
    }
    Analysis {
        version: 1,
        level: 0.9,
        counts: cells.iter().map(|cell| cell.counts).sum(),
        cells,
    }
}

fn point(lr: f64, losses: &[Option<f64>], status: Status) -> Point {
    let run = |(seed, loss): (usize, &Option<f64>)| RunPoint {
        id: format!("{lr:e}-{seed}"),
        seed: (seed + 1).to_string(),
        status: Some(status),
        val_loss: *loss,
        test_loss: *loss,
        metric: loss.map(|loss| 1.0 - loss),
        seconds: Some(2.5),
        error: None,
    };
    let runs: Vec<RunPoint> = losses.iter().enumerate().map(run).collect();
    let known: Option<Vec<f64>> = losses.iter().copied().collect();
    let mean = known.map(|losses| losses.iter().sum::<f64>() / losses.len() as f64);
    Point {
        lr,
        val_loss: mean,
        interval: mean.map(|mean| interval(mean - 0.03, mean + 0.03)),
        metric: mean.map(|mean| 1.0 - mean),
        counts: Counts {
            completed: losses.iter().flatten().count(),
            ..Counts::default()
        },
        runs,
        norms: None,
    }
}

fn interval(low: f64, high: f64) -> Interval {
    Interval {
        low: Some(low),
        high: Some(high),
    }
}
