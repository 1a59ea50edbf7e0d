//! Every typed method of a tensor, on the fake host, against values by hand.

use std::collections::BTreeSet;

use crate::sdk::{Error, IN_PLACE, Kind, METHODS, Result, Tensor, cat, op, stack};
use crate::testing::{fresh_call, integers, live_handles, tensor};

/// Asserts shape and values.
fn holds(what: &str, found: &Tensor, shape: &[i64], values: &[f64]) {
    assert_eq!(found.shape().unwrap(), shape, "shape of {what}");
    let found = found.to_f64().unwrap();
    for (a, b) in found.iter().zip(values) {
        assert!((a - b).abs() < 1e-12, "{what}: {found:?}, not {values:?}");
    }
    assert_eq!(found.len(), values.len(), "{what}");
}

/// [[1, 2, 3], [4, 5, 6]]
fn x() -> Tensor {
    tensor(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[2, 3]).unwrap()
}

/// [[2, 1], [1, 3]]
fn symmetric() -> Tensor {
    tensor(&[2.0, 1.0, 1.0, 3.0], &[2, 2]).unwrap()
}

fn row(values: &[f64]) -> Tensor {
    tensor(values, &[i64::try_from(values.len()).unwrap()]).unwrap()
}

fn flags(values: &[f64]) -> Tensor {
    row(values).to_kind(Kind::Bool).unwrap()
}

/// Rows of method, arguments, and the shape and values that it must give.
macro_rules! gives {
    ($($x:expr, $name:ident($($arg:expr),*) => $shape:expr, $values:expr;)+) => {{
        $(holds(stringify!($name), &$x.$name($($arg),*).unwrap(), &$shape, &$values);)+
        BTreeSet::from([$(stringify!($name)),+])
    }};
}

/// The same for what changes the tensor itself.
macro_rules! becomes {
    ($($x:expr, $name:ident($($arg:expr),*) => $values:expr;)+) => {{
        $({
            let x = $x;
            x.$name($($arg),*).unwrap();
            holds(stringify!($name), &x, &x.shape().unwrap(), &$values);
        })+
        BTreeSet::from([$(stringify!($name)),+])
    }};
}

fn missing(methods: &[&'static str], tried: &BTreeSet<&str>) -> Vec<&'static str> {
    let missing = methods.iter().filter(|name| !tried.contains(**name));
    missing.copied().collect()
}

#[test]
fn every_method() {
    let e = 1.0_f64.exp();
    let tried = gives! {
        x(), matmul(&x().t().unwrap()) => [2, 2], [14.0, 32.0, 32.0, 77.0];
        x(), matmul(&row(&[1.0, 0.0, -1.0])) => [2], [-2.0, -2.0];
        x(), t() => [3, 2], [1.0, 4.0, 2.0, 5.0, 3.0, 6.0];
        x(), transpose(0, -1) => [3, 2], [1.0, 4.0, 2.0, 5.0, 3.0, 6.0];
        x(), permute(&[1, 0]) => [3, 2], [1.0, 4.0, 2.0, 5.0, 3.0, 6.0];
        x(), reshape(&[3, -1]) => [3, 2], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        row(&[1.0, 2.0]), expand(&[2, -1]) => [2, 2], [1.0, 2.0, 1.0, 2.0];
        row(&[1.0, 2.0]), unsqueeze(-1) => [2, 1], [1.0, 2.0];
        row(&[1.0, 2.0]).unsqueeze(0).unwrap(), squeeze(0) => [2], [1.0, 2.0];
        x().t().unwrap(), contiguous() => [3, 2], [1.0, 4.0, 2.0, 5.0, 3.0, 6.0];
        x(), narrow(1, 1, 2) => [2, 2], [2.0, 3.0, 5.0, 6.0];
        x(), slice(1, None, Some(-1)) => [2, 2], [1.0, 2.0, 4.0, 5.0];
        x(), slice(0, Some(1), None) => [1, 3], [4.0, 5.0, 6.0];
        x(), select(1, -1) => [2], [3.0, 6.0];
        x(), index_select(1, &integers(&[2, 0]).unwrap()) => [2, 2], [3.0, 1.0, 6.0, 4.0];
        x(), gather(1, &integers(&[2, 0]).unwrap().unsqueeze(1).unwrap()) => [2, 1], [3.0, 4.0];
        symmetric().gt_scalar(1.5).unwrap(), nonzero() => [2, 2], [0.0, 0.0, 1.0, 1.0];
        row(&[1.0, 2.0]), masked_fill(&flags(&[0.0, 1.0]), 9.0) => [2], [1.0, 9.0];
        row(&[4.0, 9.0]), sqrt() => [2], [2.0, 3.0];
        row(&[4.0]), rsqrt() => [1], [0.5];
        row(&[0.0, 1.0]), exp() => [2], [1.0, e];
        row(&[1.0, e]), log() => [2], [0.0, 1.0];
        row(&[0.0, e - 1.0]), log1p() => [2], [0.0, 1.0];
        row(&[-1.0, 2.0]), abs() => [2], [1.0, 2.0];
        row(&[-3.0, 0.0, 2.0]), sign() => [3], [-1.0, 0.0, 1.0];
        row(&[-3.0]), square() => [1], [9.0];
        row(&[4.0]), reciprocal() => [1], [0.25];
        row(&[1.0]), tanh() => [1], [(e * e - 1.0) / (e * e + 1.0)];
        row(&[0.0, 1.0]), sigmoid() => [2], [0.5, e / (e + 1.0)];
        row(&[-1.0, 2.0]), relu() => [2], [0.0, 2.0];
        row(&[0.0, 1.0]), silu() => [2], [0.0, e / (e + 1.0)];
        row(&[0.0]), log_sigmoid() => [1], [-2.0_f64.ln()];
        row(&[0.0, 1.0]), gelu() => [2], [0.0, 0.841_344_746_068_542_9];
        row(&[1.0, 5.0]), maximum(&row(&[3.0, 2.0])) => [2], [3.0, 5.0];
        row(&[1.0, 5.0]), minimum(&row(&[3.0, 2.0])) => [2], [1.0, 2.0];
        row(&[1.0, 5.0]), eq_tensor(&row(&[1.0, 2.0])) => [2], [1.0, 0.0];
        row(&[1.0, 5.0]), eq_scalar(5.0) => [2], [0.0, 1.0];
        row(&[1.0, 5.0]), ne_scalar(5.0) => [2], [1.0, 0.0];
        row(&[1.0, 5.0]), lt_scalar(5.0) => [2], [1.0, 0.0];
        row(&[1.0, 5.0]), le_scalar(1.0) => [2], [1.0, 0.0];
        row(&[1.0, 5.0]), ge_scalar(5.0) => [2], [0.0, 1.0];
        row(&[1.0, 5.0]), gt_scalar(1.0) => [2], [0.0, 1.0];
        flags(&[1.0, 1.0]), logical_and(&flags(&[0.0, 1.0])) => [2], [0.0, 1.0];
        flags(&[1.0, 0.0]), logical_not() => [2], [0.0, 1.0];
        row(&[f64::NAN, f64::INFINITY, 1.0]), isfinite() => [3], [0.0, 0.0, 1.0];
        row(&[f64::NAN, 1.0]), isnan() => [2], [1.0, 0.0];
        flags(&[1.0, 0.0]), all() => [], [0.0];
        flags(&[1.0, 0.0]), any() => [], [1.0];
        x(), sum() => [], [21.0];
        x(), sum_dim(&[0], false) => [3], [5.0, 7.0, 9.0];
        x(), mean() => [], [3.5];
        x(), mean_dim(&[-1], true) => [2, 1], [2.0, 5.0];
        x(), max() => [], [6.0];
        x(), min() => [], [1.0];
        x(), amax(&[0], false) => [3], [4.0, 5.0, 6.0];
        x(), amin(&[1], true) => [2, 1], [1.0, 4.0];
        x(), argmax(1) => [2], [2.0, 2.0];
        x(), argmin(0) => [3], [0.0, 0.0, 0.0];
        row(&[0.0, 0.0]), logsumexp(&[0], false) => [], [2.0_f64.ln()];
        row(&[3.0, 4.0]), norm() => [], [5.0];
        row(&[0.0, 0.0]), softmax(0) => [2], [0.5, 0.5];
        x(), log_softmax(0) => [2, 3], {
            let low = -(1.0 + 3.0_f64.exp()).ln();
            [low, low, low, low + 3.0, low + 3.0, low + 3.0]
        };
        x(), diagonal() => [2], [1.0, 5.0];
        row(&[1.0, 2.0]), diag() => [2, 2], [1.0, 0.0, 0.0, 2.0];
        x(), triu(1) => [2, 3], [0.0, 2.0, 3.0, 0.0, 0.0, 6.0];
        x(), tril(0) => [2, 3], [1.0, 0.0, 0.0, 4.0, 5.0, 0.0];
        symmetric(), inverse() => [2, 2], [0.6, -0.2, -0.2, 0.4];
        symmetric(), solve(&row(&[3.0, 4.0])) => [2], [1.0, 1.0];
        x(), zeros_like() => [2, 3], [0.0; 6];
        x(), ones_like() => [2, 3], [1.0; 6];
        row(&[1.0]), detach() => [1], [1.0];
        row(&[1.0]), copy() => [1], [1.0];
        row(&[1.0]), add_tensor(&x()) => [2, 3], [2.0, 3.0, 4.0, 5.0, 6.0, 7.0];
        row(&[1.0]), sub_tensor(&row(&[3.0])) => [1], [-2.0];
        row(&[2.0]), mul_tensor(&row(&[3.0])) => [1], [6.0];
        row(&[3.0]), div_tensor(&row(&[2.0])) => [1], [1.5];
        row(&[3.0, 0.5]), pow(2.0) => [2], [9.0, 0.25];
        row(&[-1.0, 0.5, 2.0]), clamp(0.0, 1.0) => [3], [0.0, 0.5, 1.0];
        // Beyond the list of plain methods.
        row(&[1.0, 2.0]), where_else(&flags(&[1.0, 0.0]), &row(&[8.0, 9.0])) => [2], [1.0, 9.0];
        integers(&[3, 4]).unwrap(), sub_int(1) => [2], [2.0, 3.0];
        row(&[1.7, -1.7]), to_kind(Kind::Int64) => [2], [1.0, -1.0];
        row(&[1.0]), to_device(Tensor::default_device().unwrap()) => [1], [1.0];
        row(&[1.0, 2.0]), mse_loss_sum(&row(&[3.0, 5.0])) => [], [13.0];
        row(&[0.0, 1.0]), binary_cross_entropy_with_logits_sum(&row(&[0.5, 1.0])) => [], [
            2.0_f64.ln() + (1.0 + (-1.0_f64).exp()).ln()
        ];
        x(), cross_entropy_sum(&integers(&[2, -100]).unwrap()) => [], [
            (1.0 + (-1.0_f64).exp() + (-2.0_f64).exp()).ln()
        ];
    };
    assert_eq!(
        missing(METHODS, &tried),
        [""; 0],
        "methods that no row tries"
    );
}

#[test]
fn every_update_in_place() {
    let one = || row(&[1.0, 2.0]);
    let tried = becomes! {
        one(), add_(&row(&[3.0])) => [4.0, 5.0];
        one(), sub_(&row(&[3.0])) => [-2.0, -1.0];
        one(), mul_(&row(&[3.0])) => [3.0, 6.0];
        one(), div_(&row(&[2.0])) => [0.5, 1.0];
        one(), mul_scalar_(3.0) => [3.0, 6.0];
        one(), lerp_(&row(&[5.0, 6.0]), 0.25) => [2.0, 3.0];
        one(), copy_(&row(&[7.0])) => [7.0, 7.0];
        one(), zero_() => [0.0, 0.0];
        one(), fill_(4.0) => [4.0, 4.0];
        one(), add_scaled_(&row(&[1.0]), -2.0) => [-1.0, 0.0];
        one(), addcmul_(&one(), &one(), 0.5) => [1.5, 4.0];
        one(), addcdiv_(&row(&[6.0]), &one(), 1.0) => [7.0, 5.0];
    };
    assert_eq!(
        missing(IN_PLACE, &tried),
        [""; 0],
        "methods that no row tries"
    );
}

#[test]
fn infix_operators_and_functions() {
    let (a, b) = (row(&[1.0, 2.0]), row(&[3.0, 5.0]));
    holds("+", &(&a + &b), &[2], &[4.0, 7.0]);
    holds("-", &(&a - &b), &[2], &[-2.0, -3.0]);
    holds("*", &(&a * &b), &[2], &[3.0, 10.0]);
    holds("/", &(&b / &a), &[2], &[3.0, 2.5]);
    holds("scalars", &((&a + 1.0) * 2.0 - 3.0), &[2], &[1.0, 3.0]);
    holds("/ and -", &-&(&a / 2.0), &[2], &[-0.5, -1.0]);
    holds(
        "cat",
        &cat(&[&a, &b], 0).unwrap(),
        &[4],
        &[1.0, 2.0, 3.0, 5.0],
    );
    let columns = stack(&[&a, &b], 1).unwrap();
    holds("stack", &columns, &[2, 2], &[1.0, 3.0, 2.0, 5.0]);
    let wide = cat(&[&columns, &columns], 1).unwrap();
    holds(
        "cat",
        &wide,
        &[2, 4],
        &[1.0, 3.0, 1.0, 3.0, 2.0, 5.0, 2.0, 5.0],
    );
    holds("zeros", &Tensor::zeros(&[2]).unwrap(), &[2], &[0.0, 0.0]);
    holds(
        "eye",
        &Tensor::eye(2).unwrap(),
        &[2, 2],
        &[1.0, 0.0, 0.0, 1.0],
    );
    let one = row(&[1.0]);
    let tanh = op("aten::gelu").arg(&one).named("approximate", "tanh");
    holds(
        "gelu",
        &tanh.tensor().unwrap(),
        &[1],
        &[0.841_191_990_608_276_6],
    );
}

#[test]
fn factorisations_give_their_matrix_back() {
    let tall = x().t().unwrap();
    let (q, r) = tall.qr().unwrap();
    assert_eq!(
        (q.shape().unwrap(), r.shape().unwrap()),
        (vec![3, 2], vec![2, 2])
    );
    holds(
        "Q R",
        &q.matmul(&r).unwrap(),
        &[3, 2],
        &tall.to_f64().unwrap(),
    );
    holds(
        "Q'Q",
        &q.t().unwrap().matmul(&q).unwrap(),
        &[2, 2],
        &[1.0, 0.0, 0.0, 1.0],
    );
    for matrix in [x(), tall] {
        let (u, s, vt) = matrix.svd().unwrap();
        let values = s.to_f64().unwrap();
        assert!(values[0] >= values[1], "singular values fall: {values:?}");
        let product = (u * &s).matmul(&vt).unwrap();
        holds(
            "U S V'",
            &product,
            &matrix.shape().unwrap(),
            &matrix.to_f64().unwrap(),
        );
    }
    let (values, vectors) = symmetric().eigh().unwrap();
    let found = values.to_f64().unwrap();
    assert!(found[0] < found[1], "eigenvalues rise: {found:?}");
    let product = (&vectors * &values).matmul(&vectors.t().unwrap()).unwrap();
    holds("Q L Q'", &product, &[2, 2], &[2.0, 1.0, 1.0, 3.0]);
}

#[test]
fn newton_and_schulz_find_what_the_decompositions_find() -> Result<()> {
    let close = |found: &Tensor, expected: &Tensor, what: &str| -> Result<()> {
        let off = (found - expected).abs()?.max()?.item()?;
        assert!(off < 1e-9, "{what}: off by {off}");
        Ok(())
    };
    for (rows, columns) in [(3, 5), (5, 3), (4, 4)] {
        let matrix = fresh_call(1, "matrix")?.randn("x", [rows, columns])?;
        let (u, _, vt) = matrix.svd()?;
        // The classical coefficients, which converge to singular values of 1.
        let found = matrix.orthogonalize(40, (1.5, -0.5, 0.0))?;
        close(&found, &u.matmul(&vt)?, "U V'")?;
    }
    let (root, inverse) = symmetric().matrix_roots(20)?;
    close(&root.matmul(&root)?, &symmetric(), "the root's square")?;
    let identity = root.matmul(&inverse)?;
    close(&identity, &Tensor::eye(2)?, "the root and its inverse")?;
    let zero = symmetric()
        .zeros_like()?
        .orthogonalize(5, (1.5, -0.5, 0.0))?;
    holds("of zero", &zero, &[2, 2], &[0.0; 4]);
    Ok(())
}

/// Of whatever rank: U S V' is the matrix, U and V have orthonormal columns, S falls.
#[test]
fn singular_values_of_matrices_that_lack_rank() -> Result<()> {
    for (rows, columns, rank) in [(9, 12, 5), (12, 9, 5), (6, 6, 1), (4, 3, 0), (5, 5, 5)] {
        let ctx = fresh_call(rank as u64, "matrix")?;
        let (left, right) = (
            ctx.randn("l", [rows, rank])?,
            ctx.randn("r", [rank, columns])?,
        );
        let matrix = left.matmul(&right)?;
        let (u, s, vt) = matrix.svd()?;
        let product = (&u * &s).matmul(&vt)?;
        let count = rows.min(columns) as i64;
        for off in [
            product - &matrix,
            u.t()?.matmul(&u)? - Tensor::eye(count)?,
            vt.matmul(&vt.t()?)? - Tensor::eye(count)?,
        ] {
            assert!(off.abs()?.max()?.item()? < 1e-12, "rank {rank}: {off:?}");
        }
        let values = s.to_f64()?;
        assert!(values.is_sorted_by(|a, b| a >= b), "{values:?}");
        assert!(
            values[rank..].iter().all(|value| value.abs() < 1e-12),
            "{values:?}"
        );
    }
    Ok(())
}

#[test]
fn each_factorisation_has_one_choice_of_signs() -> Result<()> {
    let matrix = fresh_call(1, "matrix")?.randn("x", [5, 4])?;
    let dominant = |columns: &Tensor| -> Result<f64> {
        let places = columns.abs()?.argmax(0)?.unsqueeze(0)?;
        columns.gather(0, &places)?.min()?.item()
    };
    let (u, _, _) = matrix.svd()?;
    let (_, r) = matrix.qr()?;
    let (_, vectors) = matrix.t()?.matmul(&matrix)?.eigh()?;
    assert!(dominant(&u)? > 0.0 && dominant(&vectors)? > 0.0);
    assert!(r.diagonal()?.min()?.item()? > 0.0);
    let (turned, _, _) = (-&matrix).svd()?;
    assert!(
        (turned - u).abs()?.max()?.item()? < 1e-12,
        "V alone turns about"
    );
    Ok(())
}

#[test]
fn handles_views_and_copies_share_memory_as_in_pytorch() {
    let x = x();
    let (clone, view, copy) = (
        x.try_clone().unwrap(),
        x.select(0, 1).unwrap(),
        x.copy().unwrap(),
    );
    view.zero_().unwrap();
    holds("x", &x, &[2, 3], &[1.0, 2.0, 3.0, 0.0, 0.0, 0.0]);
    holds("clone", &clone, &[2, 3], &[1.0, 2.0, 3.0, 0.0, 0.0, 0.0]);
    holds("copy", &copy, &[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
}

#[test]
fn streams_follow_seed_call_and_name() -> Result<()> {
    let draw = |seed, call: &str, name: &str| fresh_call(seed, call)?.randn(name, [4])?.to_f64();
    let first = draw(1, "layer 3", "A")?;
    assert_eq!(draw(1, "layer 3", "A")?, first);
    for other in [
        draw(2, "layer 3", "A")?,
        draw(1, "layer 4", "A")?,
        draw(1, "layer 3", "B")?,
    ] {
        assert_ne!(other, first);
    }
    // What else is drawn does not matter, and one name goes on within a call.
    let ctx = fresh_call(1, "layer 3")?;
    ctx.rand("B", [100])?;
    let halves = [
        ctx.randn("A", [2])?.to_f64()?,
        ctx.randn("A", [2])?.to_f64()?,
    ];
    assert_eq!(halves.concat(), first);

    let values = ctx.randint("words", 3, 6, [300])?;
    assert_eq!(values.kind()?, Kind::Int64);
    let values: BTreeSet<_> = values.to_i64()?.into_iter().collect();
    assert_eq!(values, BTreeSet::from([3, 4, 5]));
    Ok(())
}

#[test]
fn draws_have_their_moments() -> Result<()> {
    let ctx = fresh_call(3, "moments")?;
    for (values, mean, variance) in [
        (ctx.randn("normal", [20_000])?, 0.0, 1.0),
        (ctx.rand("uniform", [20_000])?, 0.5, 1.0 / 12.0),
    ] {
        assert!((values.mean()?.item()? - mean).abs() < 0.02);
        let found = (values - mean).square()?.mean()?.item()?;
        assert!((found / variance - 1.0).abs() < 0.05, "{found}");
    }
    Ok(())
}

#[test]
fn nothing_leaks() -> Result<()> {
    let before = live_handles();
    {
        let ctx = fresh_call(1, "leaks")?;
        let a = ctx.randn("A", [3, 2])?;
        let (_, s, _) = (a.matmul(&a.t()?)? + 1.0).svd()?;
        a.add_(&s.narrow(0, 0, 2)?)?;
        assert!(live_handles() > before);
    }
    assert_eq!(live_handles(), before);
    Ok(())
}

fn refuses(result: Result<impl std::fmt::Debug>) -> String {
    result.expect_err("must be refused").to_string()
}

#[test]
fn errors_name_operator_and_cause() {
    let x = x();
    assert_eq!(
        refuses(op("aten::fft_fft").arg(&x).tensor()),
        "the fake host has no operator aten::fft_fft \
         (test it in the real one: `lorahost plugin check FILE`)"
    );
    assert_eq!(
        refuses(op("aten::matmul_").arg(&x).arg(&x).run()),
        "the fake host has no operator aten::matmul_ \
         (test it in the real one: `lorahost plugin check FILE`)"
    );
    assert_eq!(
        refuses(x.matmul(&x)),
        "aten::matmul: a product of [2, 3] and [2, 3]"
    );
    assert_eq!(
        refuses(row(&[1.0]).add_(&x)),
        "aten::add_.Tensor: an update of shape [2, 3] in place of [1]"
    );
    assert_eq!(
        refuses(integers(&[1]).unwrap().mul_scalar_(0.5)),
        "aten::mul_.Scalar: an update of type Double in place of Int64"
    );
    assert_eq!(
        refuses(op("aten::clamp").arg(&x).named("maximum", 1.0).tensor()),
        "aten::clamp: no argument `maximum` in clamp(self, min=None, max=None)"
    );
    assert_eq!(
        refuses(op("aten::matmul").arg(&x).tensor()),
        "aten::matmul: the argument `other` is missing"
    );
    assert_eq!(
        refuses(
            op("aten::rand.generator")
                .arg(&[2])
                .named("generator", 1_i64)
                .tensor()
        ),
        "aten::rand.generator: the argument `generator` must be a named stream (Arg::Stream), not Int(1)"
    );
    assert_eq!(refuses(tensor(&[1.0], &[2])), "1 values for the shape [2]");
    assert_eq!(
        refuses(x.cross_entropy_sum(&integers(&[0, 3]).unwrap())),
        "aten::cross_entropy_loss: target 3 is out of bounds of 3"
    );
    assert!(refuses(x.select(0, 2)).contains("index 2 of 2"));
    assert!(refuses(x.index_select(0, &integers(&[7]).unwrap())).contains("out of range of 2"));
    assert!(refuses(symmetric().zeros_like().unwrap().inverse()).contains("singular"));
    assert!(refuses(x.to_kind(Kind::BFloat16)).contains("lorahost plugin check"));
}

#[test]
fn a_tensor_of_another_thread_is_unknown() {
    let foreign = std::thread::spawn(x).join().unwrap();
    assert!(refuses(foreign.shape()).starts_with("unknown handle"));
    let _: Error = foreign.sum().unwrap_err();
}
