//! Operators by name and by number.

use super::{create, elementwise, fused, linear_algebra, reduce, shape};
use crate::abi::Lifted;
use crate::sdk::{Error, Result};
use crate::testing::array::Array;
use crate::testing::schema::Entry;
use crate::testing::store;

const TABLES: [&[Entry]; 6] = [
    create::OPERATORS,
    elementwise::OPERATORS,
    fused::OPERATORS,
    linear_algebra::OPERATORS,
    reduce::OPERATORS,
    shape::OPERATORS,
];

/// The number of `aten::name` with this overload: twice its place, and one more for its form in place.
///
/// # Errors
/// When the fake host does not know it.
pub fn resolve(name: &str, overload: &str) -> Result<u64> {
    let unknown = || {
        let dot = if overload.is_empty() { "" } else { "." };
        Error::new(format!(
            "the fake host has no operator {name}{dot}{overload}"
        ))
        .with_help("test it in the real one: `lorahost plugin check FILE`")
    };
    let base = name.strip_prefix("aten::").ok_or_else(unknown)?;
    let full = |base: &str| match overload {
        "" => base.to_owned(),
        overload => format!("{base}.{overload}"),
    };
    let place = |full: &str, in_place: bool| {
        let found = (0_u64..)
            .zip(TABLES.into_iter().flatten())
            .find(|(_, entry)| entry.name() == full && (!in_place || entry.has_in_place()));
        found.map(|(place, _)| 2 * place + u64::from(in_place))
    };
    let in_place = || {
        base.strip_suffix('_')
            .and_then(|base| place(&full(base), true))
    };
    place(&full(base), false)
        .or_else(in_place)
        .ok_or_else(unknown)
}

/// Whether the operator of this number is the form in place.
pub fn is_in_place(operator: u64) -> bool {
    operator % 2 == 1
}

/// The results of an operator; in place, the updated tensor.
///
/// # Errors
/// When there is no such operator, or it refuses its arguments.
pub fn call(
    operator: u64,
    arguments: &[Lifted<'_>],
    named: &[(&str, Lifted<'_>)],
) -> Result<Vec<Array>> {
    let place = usize::try_from(operator / 2).unwrap_or(usize::MAX);
    let entry = TABLES.into_iter().flatten().nth(place);
    let entry = entry.ok_or_else(|| Error::new(format!("no operator has the id {operator}")))?;
    let in_place = is_in_place(operator);
    let results = entry.run(arguments, named).and_then(|results| {
        match (in_place, arguments.first(), &results[..]) {
            (false, ..) => Ok(results),
            (true, Some(&Lifted::Tensor(handle)), [update]) => {
                let target = store::get(handle)?;
                target.assign(update)?;
                Ok(vec![target])
            }
            (true, ..) => Err(Error::new("an update in place needs its tensor first")),
        }
    });
    results.map_err(|error| {
        let underscore = if in_place { "_" } else { "" };
        let (base, overload) = entry.name().split_once('.').unwrap_or((entry.name(), ""));
        let dot = if overload.is_empty() { "" } else { "." };
        error.within(&format!("aten::{base}{underscore}{dot}{overload}"))
    })
}
