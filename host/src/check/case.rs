//! The table of tests.

use super::subject::{Subject, Verdict};
use super::{alpha, component, file, head, init, optimizer};

/// One test.
#[derive(Clone, Copy)]
pub struct Case {
    /// `init.shapes`: what it is for and its name. `file` is for the file as a whole, `component` for every component,
    /// the others for those of their kind.
    pub id: &'static str,
    /// What it asks for, in one sentence.
    pub doc: &'static str,
    /// Whether later tests build on it: where it does not pass they are skipped.
    pub(super) gate: bool,
    pub(super) test: fn(&Subject) -> Verdict,
}

/// Every test, in the order in which they run.
#[must_use]
pub fn cases() -> &'static [Case] {
    CASES
}

impl Case {
    /// The part of the id before the point.
    #[must_use]
    pub fn scope(&self) -> &'static str {
        self.id.split_once('.').map_or(self.id, |(scope, _)| scope)
    }

    /// The test of this id.
    pub(super) fn named(id: &str) -> Option<&'static Self> {
        cases().iter().find(|case| case.id == id)
    }

    /// Whether it is for components of this kind.
    pub(super) fn is_for(&self, kind: &str) -> bool {
        self.scope() == "component" || self.scope() == kind
    }
}

macro_rules! cases {
    ($($gate:ident $id:literal $test:path: $doc:literal)+) => {
        const CASES: &[Case] = &[$(Case {
            id: $id,
            doc: $doc,
            gate: cases!(@ $gate),
            test: $test,
        }),+];
    };
    (@ gate) => { true };
    (@ test) => { false };
}

cases! {
    test "file.links" file::links: "The file names no library of libtorch: what a plugin needs of it, the host lends."
    gate "file.opens" file::opens: "The file opens, in less than a second."
    gate "file.manifest" file::manifest: "The manifest in the file and the one that the code tells are the same."

    gate "component.creates" component::creates:
        "It is created with its defaults, and needs nothing that this host lacks."
    test "component.defaults" component::defaults: "Every default has its parameter's type and lies within its bounds."
    test "component.bounds" component::bounds:
        "Each bound and each choice is taken; what lies beyond is refused by the parameter's name."
    test "component.types" component::types: "A parameter of another type, or none, is an error that names it."
    test "component.nonsense" component::nonsense:
        "A method that it does not know, and a message that does not fit, are errors without a panic."

    gate "init.shapes" init::shapes: "A is [rank, fan_in] and B [fan_out, rank], finite, for tall, wide and square layers."
    test "init.any-rank" init::any_rank: "Odd ranks and ranks above both widths give such factors too, or a plain error."
    test "init.ranks" init::ranks: "A scheme that chooses ranks answers one a layer, and leaves some layer with factors."
    test "init.spread" init::spread:
        "The scale of A suits fan_in: rms(A) sqrt(fan_in) stays between 1e-3 and 30 from fan_in 32 to 512, within a \
         factor of 6."
    test "init.learns" init::learns:
        "Training can use the whole rank: no two of its directions start alike, and no frozen factor is zero."
    test "init.start" init::start:
        "Where B A is zero or compensated, the layer's function starts unchanged, within 1e-4."
    test "init.repeats" init::repeats: "The same seed gives the same factors, bit for bit."
    test "init.order" init::order: "A layer's factors do not depend on which layers came before."
    test "init.dtype" init::dtype: "A layer in float64 gets factors in float64."
    test "init.leaks" init::leaks: "No tensor is kept beyond the component's end."

    gate "alpha.scale" alpha::scale:
        "Scale and factors on the learning rates are finite and above 0, for every rank from 1 to 256."
    test "alpha.repeats" alpha::repeats: "The same layer gets the same scale, whatever was asked before."
    test "alpha.leaks" alpha::leaks: "No tensor is kept beyond the component's end."

    gate "optimizer.steps" optimizer::steps:
        "It takes pairs of factors and a head, and three steps move them and leave them finite, of their shape and type."
    test "optimizer.descends" optimizer::descends:
        "One of the learning rates 1, 0.3, 0.1, 0.03, 0.01 and 0.001 halves a quadratic loss of all parameters in 100 \
         steps."
    test "optimizer.repeats" optimizer::repeats: "The same gradients give the same steps, bit for bit."
    test "optimizer.resumes" optimizer::resumes:
        "Saved, and loaded by a new component, it goes on as it would have, bit for bit."
    test "optimizer.evaluation" optimizer::evaluation:
        "After an evaluation the parameters are what they were, and the steps go on as without it, bit for bit."
    test "optimizer.keeps-off" optimizer::keeps_off:
        "Gradients, and parameters without a gradient, stay as they are."
    test "optimizer.lone-factor" optimizer::lone_factor:
        "Pairs of which one factor is frozen, so only A or only B is in the group, are moved, or refused by an error."
    test "optimizer.full" optimizer::full: "A group without any factors, as in full fine-tuning, is moved."
    test "optimizer.own-rate" optimizer::own_rate:
        "A parameter whose factor on the learning rate is 0 does not move, or such factors are refused by an error."
    test "optimizer.zero-gradients" optimizer::zero_gradients: "Gradients of zero leave finite parameters."
    test "optimizer.non-finite" optimizer::non_finite:
        "Gradients that are NaN or infinite are no error: such a run has diverged, and not failed."
    test "optimizer.dtype" optimizer::dtype: "Parameters in float64 stay in float64."
    test "optimizer.leaks" optimizer::leaks: "No tensor is kept beyond the component's end."

    gate "head.plan" head::plan: "The head of the model that it wants is one that a model may have."
    gate "head.inputs" head::inputs: "The tokens that the model is to see are words of the vocabulary."
    gate "head.loss" head::loss: "The loss is a finite scalar over at least one row or token, and has a gradient."
    test "head.gradients" head::gradients:
        "In float64 the gradient agrees with finite differences, along random directions of hidden states and weights."
    test "head.packing" head::packing: "A batch has the loss and count of its rows by themselves."
    test "head.sees" head::sees: "One that says it looks at one hidden state a row has the same loss from these alone."
    test "head.order" head::order: "The order of a batch's rows does not matter."
    test "head.mask" head::mask: "Tokens with the label -100 do not count, and have no gradient."
    test "head.metrics" head::metrics:
        "The headline agrees with a count by hand: accuracy, Pearson's correlation, perplexity, the mean loss."
    test "head.batches" head::batches:
        "Metrics do not depend on how an evaluation is cut into batches, nor on the evaluation before."
    test "head.repeats" head::repeats: "The same seed and batch give the same inputs and loss, bit for bit."
    test "head.dtype" head::dtype: "Hidden states in float64 give a loss in float64."
    test "head.leaks" head::leaks: "No tensor is kept beyond the component's end."
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::cases;

    #[test]
    fn ids_are_unique_and_documented() {
        let ids: BTreeSet<&str> = cases().iter().map(|case| case.id).collect();
        assert_eq!(ids.len(), cases().len());
        for case in cases() {
            let known = ["file", "component", "init", "alpha", "optimizer", "head"];
            assert!(known.contains(&case.scope()), "{}", case.id);
            assert!(case.doc.ends_with('.'), "{}", case.id);
        }
    }
}
