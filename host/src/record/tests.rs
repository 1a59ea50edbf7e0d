//! What is written is read, whatever the numbers are.

use proptest::option;
use proptest::prelude::*;

use super::{
    Event, Failure, Measured, Platform, PluginCall, Provenance, RECORD_VERSION, RunResult,
    RunState, RunWriter, SpecRecord, Split, TestResult, read_metrics, state,
};
use crate::spec::test_support::run_spec;

/// NaN and infinity, which are read as NaN, among them.
fn figure() -> impl Strategy<Value = f64> {
    prop::num::f64::ANY
}

fn finite() -> impl Strategy<Value = f64> {
    prop::num::f64::POSITIVE | prop::num::f64::NEGATIVE | prop::num::f64::ZERO
}

fn event() -> impl Strategy<Value = Event> {
    let counts = any::<[usize; 2]>;
    let step = (counts(), option::of(figure()), finite());
    let step = step.prop_map(|([step, epoch], loss, lr)| Event::Step {
        step,
        epoch,
        loss,
        lr,
    });
    let metrics = prop::collection::btree_map(".{0,8}", figure(), 0..3);
    let evaluation = (counts(), figure(), metrics, any::<bool>());
    let evaluation =
        evaluation.prop_map(|([step, epoch], loss, metrics, test)| Event::Evaluation {
            split: if test { Split::Test } else { Split::Validation },
            step,
            epoch,
            loss,
            metrics,
        });
    prop_oneof![step, evaluation]
}

fn measured() -> impl Strategy<Value = Measured> {
    let losses = || prop::collection::vec(figure(), 0..4);
    let metrics = prop::collection::btree_map(".{0,8}", figure(), 0..3);
    let test = option::of((figure(), metrics));
    let rest = (
        option::of(finite()),
        option::of(".{0,8}"),
        any::<usize>(),
        any::<u64>(),
    );
    (losses(), losses(), test, rest).prop_map(|(train_losses, val_losses, test, rest)| Measured {
        train_losses,
        val_losses,
        untrained_val_loss: rest.0,
        test: test.map(|(loss, metrics)| TestResult { loss, metrics }),
        headline: rest.1,
        higher_is_better: None,
        steps: rest.2,
        trainable_parameters: rest.3,
        total_parameters: rest.3,
    })
}

fn failure() -> impl Strategy<Value = Failure> {
    let call = option::of((".{0,8}", ".{0,8}", ".{0,8}", option::of(".{0,8}")));
    (call, ".{0,20}", any::<bool>()).prop_map(|(call, message, transient)| Failure {
        call: call.map(|(plugin, component, phase, layer)| {
            Box::new(PluginCall {
                plugin,
                component,
                phase,
                layer,
            })
        }),
        message,
        transient,
    })
}

/// As it stands in a file: numbers that are not finite are equal there.
fn written(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn a_run_is_read_as_it_was_written(
        events in prop::collection::vec(event(), 0..6),
        outcome in prop::result::maybe_ok(measured(), failure()),
        seconds in 0.0_f64..1e300,
        cell in ".{0,20}",
    ) {
        let parent = tempfile::tempdir().unwrap();
        let spec = SpecRecord {
            version: RECORD_VERSION,
            id: "00000000000000aa".to_owned(),
            cell,
            spec: run_spec(Some(16), 1e-3, 42),
        };
        let platform = Platform { device: "cpu".to_owned(), libtorch: None };
        let provenance = Provenance::collect(&spec.spec, platform, 1);
        let folder = parent.path().join(&spec.id);
        let mut writer = RunWriter::begin(&folder, spec).unwrap();
        for event in &events {
            writer.append(event).unwrap();
        }
        let record = writer.complete(RunResult::new(outcome, seconds, None, provenance)).unwrap();

        let RunState::Done(read) = state(&folder).unwrap() else { panic!("not done") };
        prop_assert_eq!(&read.spec, &record.spec);
        prop_assert_eq!(written(&read.result), written(&record.result));
        let read = read_metrics(&folder).unwrap();
        prop_assert_eq!(written(&read), written(&events));
    }
}
