//! `_foreach_` operators: those of one tensor, once for each tensor of a list.

use super::table;
use crate::abi::Lifted;
use crate::sdk::{Error, Result};
use crate::testing::array::Array;

/// Marks the number of an operator that goes over lists.
const OVER_LISTS: u64 = 1 << 32;

/// A result of an operator.
pub enum Outcome {
    Tensor(Array),
    Tensors(Vec<Array>),
}

/// The number of `aten::name` with this overload.
///
/// # Errors
/// When the fake host does not know it.
pub fn resolve(name: &str, overload: &str) -> Result<u64> {
    let Some(inner) = name.strip_prefix("aten::_foreach_") else {
        return table::resolve(name, overload);
    };
    let inner = format!("aten::{inner}");
    // A list of tensors stands for a tensor; some operators have one overload where their form over lists has several.
    let of_one = if overload == "List" {
        "Tensor"
    } else {
        overload
    };
    table::resolve(&inner, of_one)
        .or_else(|_| table::resolve(&inner, ""))
        .map(|number| number | OVER_LISTS)
        // The error names what was asked for.
        .or_else(|_| table::resolve(name, overload))
}

/// The results of an operator; of one that changes a list in place, none.
///
/// # Errors
/// When there is no such operator, it refuses its arguments, or lists differ in length.
pub fn call(
    operator: u64,
    arguments: &[Lifted<'_>],
    named: &[(&str, Lifted<'_>)],
) -> Result<Vec<Outcome>> {
    if operator & OVER_LISTS == 0 {
        let results = table::call(operator, arguments, named)?;
        return Ok(results.into_iter().map(Outcome::Tensor).collect());
    }
    let operator = operator ^ OVER_LISTS;
    let length = match arguments.first() {
        Some(Lifted::Tensors(list)) => list.len(),
        other => return Err(Error::new(format!("{other:?} is no list of tensors"))),
    };
    let mut results = Vec::new();
    for place in 0..length {
        let arguments = arguments.iter().map(|argument| match *argument {
            Lifted::Tensors(list) if list.len() == length => Ok(Lifted::Tensor(list[place])),
            Lifted::Tensors(list) => Err(Error::new(format!(
                "lists of {length} and {} tensors",
                list.len()
            ))),
            other => Ok(other),
        });
        let arguments = arguments.collect::<Result<Vec<_>>>()?;
        results.extend(table::call(operator, &arguments, named)?);
    }
    Ok(if table::is_in_place(operator) {
        Vec::new()
    } else {
        vec![Outcome::Tensors(results)]
    })
}
