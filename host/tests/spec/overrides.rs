//! A value means the same wherever it is written.

use lorahost::spec::{Layer, Origin, Plan};
use proptest::prelude::*;

use crate::catalogue::plan_file_under;

fn plan(toml: &str, overrides: &[String]) -> Plan {
    let mut layer = Layer::default();
    for assignment in overrides {
        layer
            .set_text(assignment, &Origin::Set)
            .expect("an assignment");
    }
    plan_file_under(toml, layer).expect("a plan")
}

fn joined<T: std::fmt::Debug>(values: &[T]) -> String {
    let values: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
    values.join(", ")
}

proptest! {
    #[test]
    fn a_value_is_the_same_in_a_file_and_behind_set(
        lrs in prop::collection::vec(1e-300_f64..1e300, 1..4),
        ranks in prop::collection::vec(1_usize..4096, 1..4),
        dropout in 0.0_f64..0.9,
        schedule in prop::sample::select(&["constant", "linear", "cosine"][..]),
        targets in "[a-z]{1,4}[|.][a-z]{1,4}",
        std in 0.0_f64..1e300,
    ) {
        let (lrs, ranks) = (joined(&lrs), joined(&ranks));
        let file = plan(
            &format!(
                "train.lr = [{lrs}]\nlora.rank = [{ranks}]\nlora.dropout = {dropout:?}\ntrain.schedule = '{schedule}'\n\
                 lora.targets = '{targets}'\ninit = {{ name = 'gaussian', std_a = {std:?} }}"
            ),
            &[],
        );
        let words = [
            format!("train.lr={lrs}"),
            format!("lora.rank={ranks}"),
            format!("lora.dropout={dropout:?}"),
            format!("train.schedule={schedule}"),
            format!("lora.targets={targets}"),
            format!("init=gaussian:std_a={std:?}"),
        ];
        prop_assert_eq!(&plan("", &words).runs, &file.runs);
        let lists = [format!("train.lr=[{lrs}]"), format!("lora.rank=[{ranks}]")];
        prop_assert_eq!(&plan("", &[&lists[..], &words[2..]].concat()).runs, &file.runs);
        // What the command line says goes before the file.
        prop_assert_eq!(&plan("lora.rank = 3\ntrain.lr = 1\ninit = 'uniform'", &words).runs, &file.runs);
    }
}
