//! Optimizers that each do one thing wrong.

use lorahost_plugin_api::prelude::*;

/// Panics in its third step.
#[derive(Params)]
struct Panics;

impl Optimizer for Panics {
    fn step(&mut self, _group: &Group<'_>, step: u64, _lr: f64) -> Result<()> {
        assert!(step < 3, "three is a crowd");
        Ok(())
    }
}

/// Makes every parameter NaN in its second step.
#[derive(Params)]
struct Nan;

impl Optimizer for Nan {
    fn step(&mut self, group: &Group<'_>, step: u64, _lr: f64) -> Result<()> {
        if step == 2 {
            for parameter in &group.parameters {
                parameter.value.fill_(f64::NAN)?;
            }
        }
        Ok(())
    }
}

/// Refuses its parameters.
#[derive(Params)]
struct Refuses;

impl Optimizer for Refuses {
    fn prepare(&mut self, group: &Group<'_>) -> Result<()> {
        Err(Error::new(format!(
            "{} parameters are too many for me",
            group.parameters.len()
        )))
    }

    fn step(&mut self, _group: &Group<'_>, _step: u64, _lr: f64) -> Result<()> {
        Ok(())
    }
}

/// Turns the first parameter on its side.
#[derive(Params)]
struct Turns;

impl Optimizer for Turns {
    fn step(&mut self, group: &Group<'_>, _step: u64, _lr: f64) -> Result<()> {
        op("aten::t_").arg(group.parameters[0].value).run()
    }
}

/// Makes the first parameter another type.
#[derive(Params)]
struct Doubles;

impl Optimizer for Doubles {
    fn step(&mut self, group: &Group<'_>, _step: u64, _lr: f64) -> Result<()> {
        let parameter = group.parameters[0].value;
        let double = parameter.to_kind(Kind::Double)?;
        op("aten::set_data").arg(parameter).arg(&double).run()
    }
}

/// Panics when an evaluation begins.
#[derive(Params)]
struct Shy;

impl Optimizer for Shy {
    fn step(&mut self, _group: &Group<'_>, _step: u64, _lr: f64) -> Result<()> {
        Ok(())
    }

    fn evaluation(&mut self, _group: &Group<'_>, _phase: EvaluationPhase) -> Result<()> {
        panic!("do not look at me")
    }
}

/// Saves what it does not take back.
#[derive(Params)]
struct Forgetful;

impl Optimizer for Forgetful {
    fn step(&mut self, _group: &Group<'_>, _step: u64, _lr: f64) -> Result<()> {
        Ok(())
    }

    fn state(&self) -> Result<State> {
        let mut state = State::default();
        state.push_number("here", 1.0)?;
        Ok(state)
    }

    fn load(&mut self, mut state: State) -> Result<()> {
        state.take_number("elsewhere").map(drop)
    }
}

export_plugin! {
    optimizer "panics" => Panics,
    optimizer "nan" => Nan,
    optimizer "refuses" => Refuses,
    optimizer "turns" => Turns,
    optimizer "doubles" => Doubles,
    optimizer "shy" => Shy,
    optimizer "forgetful" => Forgetful,
}
