//! Operators as their schemas name them, and the binding of arguments to a schema.

use super::array::Array;
use super::store;
use crate::abi::Lifted;
use crate::sdk::{Error, Kind, Result};

/// An operator of the fake host.
pub struct Entry {
    /// Without types: `add.Tensor(self, other, alpha=1)`.
    schema: &'static str,
    run: Run,
    /// Whether `name_` updates the first argument.
    in_place: bool,
}

#[derive(Clone, Copy)]
enum Run {
    One(fn(&Args<'_>) -> Result<Array>),
    Many(fn(&Args<'_>) -> Result<Vec<Array>>),
}

impl Entry {
    pub const fn one(schema: &'static str, run: fn(&Args<'_>) -> Result<Array>) -> Self {
        Self {
            schema,
            run: Run::One(run),
            in_place: false,
        }
    }

    pub const fn many(schema: &'static str, run: fn(&Args<'_>) -> Result<Vec<Array>>) -> Self {
        Self {
            schema,
            run: Run::Many(run),
            in_place: false,
        }
    }

    pub const fn or_in_place(self) -> Self {
        Self {
            in_place: true,
            ..self
        }
    }

    /// `add.Tensor`.
    pub fn name(&self) -> &'static str {
        self.schema.split('(').next().unwrap_or_default()
    }

    pub fn has_in_place(&self) -> bool {
        self.in_place
    }

    /// The results for these arguments.
    ///
    /// # Errors
    /// When the arguments do not fit the schema or each other.
    pub fn run(
        &self,
        positional: &[Lifted<'_>],
        named: &[(&str, Lifted<'_>)],
    ) -> Result<Vec<Array>> {
        let args = Args(self.bind(positional, named)?);
        match self.run {
            Run::One(run) => Ok(vec![run(&args)?]),
            Run::Many(run) => run(&args),
        }
    }

    fn bind<'a>(
        &self,
        positional: &[Lifted<'a>],
        named: &[(&str, Lifted<'a>)],
    ) -> Result<Vec<(&'static str, Lifted<'a>)>> {
        let parameters: Vec<_> = self.parameters().collect();
        if positional.len() > parameters.len() {
            return Err(Error::new(format!(
                "{} arguments for {}",
                positional.len(),
                self.schema
            )));
        }
        let names: Vec<_> = parameters.iter().map(|(name, _)| *name).collect();
        if let Some((unknown, _)) = named.iter().find(|(name, _)| !names.contains(name)) {
            let schema = self.schema;
            return Err(Error::new(format!("no argument `{unknown}` in {schema}")));
        }
        let bound = parameters
            .iter()
            .enumerate()
            .map(|(index, &(name, default))| {
                let by_name = named.iter().find(|(other, _)| *other == name);
                let value = match (positional.get(index), by_name) {
                    (Some(_), Some(_)) => {
                        return Err(Error::new(format!("`{name}` is given twice")));
                    }
                    (Some(value), None) | (None, Some((_, value))) => *value,
                    (None, None) => default
                        .map(literal)
                        .ok_or_else(|| Error::new(format!("the argument `{name}` is missing")))?,
                };
                Ok((name, value))
            });
        bound.collect()
    }

    /// Names with the text of their defaults.
    fn parameters(&self) -> impl Iterator<Item = (&'static str, Option<&'static str>)> {
        let list = self.schema.split_once('(').map_or("", |(_, list)| list);
        list.trim_end_matches(')')
            .split(',')
            .map(str::trim)
            .filter(|parameter| !parameter.is_empty())
            .map(|parameter| match parameter.split_once('=') {
                Some((name, default)) => (name, Some(default)),
                None => (parameter, None),
            })
    }
}

/// A default of a schema.
fn literal(text: &'static str) -> Lifted<'static> {
    match text {
        "None" => Lifted::None,
        "True" => Lifted::Bool(true),
        "False" => Lifted::Bool(false),
        _ => match (text.parse(), text.parse()) {
            (Ok(value), _) => Lifted::Int(value),
            (_, Ok(value)) => Lifted::Float(value),
            _ => Lifted::Str(text),
        },
    }
}

/// Arguments by the names of the schema.
pub struct Args<'a>(Vec<(&'static str, Lifted<'a>)>);

impl<'a> Args<'a> {
    fn get(&self, name: &str) -> Lifted<'a> {
        let found = self.0.iter().find(|(other, _)| *other == name);
        debug_assert!(found.is_some(), "the schema has no `{name}`");
        found.map_or(Lifted::None, |(_, value)| *value)
    }

    pub fn is_none(&self, name: &str) -> bool {
        self.get(name) == Lifted::None
    }

    pub fn tensor(&self, name: &str) -> Result<Array> {
        match self.get(name) {
            Lifted::Tensor(handle) => store::get(handle),
            other => Err(unfit(name, "a tensor", other)),
        }
    }

    pub fn tensors(&self, name: &str) -> Result<Vec<Array>> {
        match self.get(name) {
            Lifted::Tensors(handles) => handles.iter().copied().map(store::get).collect(),
            other => Err(unfit(name, "a list of tensors", other)),
        }
    }

    /// A tensor, or a number as a tensor without dimensions.
    pub fn operand(&self, name: &str) -> Result<Array> {
        match self.get(name) {
            Lifted::Int(_) => Array::full(self.float(name)?, &[], Kind::Int64),
            Lifted::Float(value) => Array::full(value, &[], Kind::Double),
            Lifted::Bool(value) => Array::full(f64::from(u8::from(value)), &[], Kind::Bool),
            _ => self.tensor(name),
        }
    }

    pub fn float(&self, name: &str) -> Result<f64> {
        match self.get(name) {
            Lifted::Float(value) => Ok(value),
            Lifted::Int(value) => Ok(value as f64),
            other => Err(unfit(name, "a number", other)),
        }
    }

    pub fn optional_float(&self, name: &str) -> Result<Option<f64>> {
        (!self.is_none(name)).then(|| self.float(name)).transpose()
    }

    pub fn int(&self, name: &str) -> Result<i64> {
        match self.get(name) {
            Lifted::Int(value) => Ok(value),
            other => Err(unfit(name, "an integer", other)),
        }
    }

    pub fn optional_int(&self, name: &str) -> Result<Option<i64>> {
        (!self.is_none(name)).then(|| self.int(name)).transpose()
    }

    pub fn bool(&self, name: &str) -> Result<bool> {
        match self.get(name) {
            Lifted::Bool(value) => Ok(value),
            other => Err(unfit(name, "true or false", other)),
        }
    }

    /// A list of integers, or one.
    pub fn ints(&self, name: &str) -> Result<Vec<i64>> {
        match self.get(name) {
            Lifted::Ints(values) => Ok(values.to_vec()),
            Lifted::Int(value) => Ok(vec![value]),
            other => Err(unfit(name, "a list of integers", other)),
        }
    }

    /// A list of sizes.
    pub fn sizes(&self, name: &str) -> Result<Vec<usize>> {
        let sizes = self.ints(name)?;
        let sizes = sizes.iter().map(|&size| {
            usize::try_from(size).map_err(|_| Error::new(format!("`{name}` holds {size}")))
        });
        sizes.collect()
    }

    pub fn str(&self, name: &str) -> Result<&'a str> {
        match self.get(name) {
            Lifted::Str(value) => Ok(value),
            other => Err(unfit(name, "a string", other)),
        }
    }

    /// The name of a random stream; without one an operator would draw from a global generator.
    pub fn stream(&self, name: &str) -> Result<&'a str> {
        match self.get(name) {
            Lifted::Stream(stream) => Ok(stream),
            other => Err(unfit(name, "a named stream (Arg::Stream)", other)),
        }
    }

    /// A dtype, or `default` where none is given.
    pub fn kind(&self, name: &str, default: Kind) -> Result<Kind> {
        match self.get(name) {
            Lifted::Dtype(code) => Ok(Kind::from_code(code)),
            Lifted::None => Ok(default),
            other => Err(unfit(name, "a dtype", other)),
        }
    }

    /// Refuses every device but the CPU.
    pub fn on_cpu(&self, name: &str) -> Result<()> {
        match self.get(name) {
            Lifted::None | Lifted::Device { kind: 0, .. } => Ok(()),
            other => Err(unfit(name, "the CPU, all that the fake host has", other)),
        }
    }
}

fn unfit(name: &str, wanted: &str, found: Lifted<'_>) -> Error {
    Error::new(format!(
        "the argument `{name}` must be {wanted}, not {found:?}"
    ))
}
