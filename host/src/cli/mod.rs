//! The command line: reads arguments, prints, maps errors to exit codes; decides nothing.

pub mod args;
pub mod exit;

mod check;
mod data;
mod eval;
mod experiment;
mod export;
mod failure;
mod generate;
mod import;
mod kit;
mod logging;
mod model;
mod output;
mod plan;
mod plugin;
mod report;
mod share;
mod status;
mod verify;
mod watch;

use std::io::{self, Write as _};

use args::{Cli, DataCommand, ModelCommand, PluginCommand, Subcommands};
use exit::Exit;
use failure::Failure;

use crate::printable::printable;
use crate::spec::schema;
use crate::sweep::worker_main;
use crate::train::Trainer;

/// Does what the arguments ask for; an error is printed here, on one line.
#[must_use]
pub fn run(cli: &Cli) -> Exit {
    logging::start(&cli.log, matches!(cli.command, Some(Subcommands::Worker)));
    dispatch(cli).unwrap_or_else(|failure| {
        let message = printable(&failure.to_string());
        // Nobody may listen any more, and there is nobody left to tell.
        let _ = writeln!(io::stderr(), "lorahost: {message}");
        failure.exit()
    })
}

fn dispatch(cli: &Cli) -> Result<Exit, Failure> {
    match &cli.command {
        None => experiment::run(&cli.study(), &cli.log),
        Some(Subcommands::Sweep(args)) => experiment::run(&args.study(), &cli.log),
        Some(Subcommands::Plan(args)) => plan::run(&args.study(), &cli.log),
        Some(Subcommands::Status { output, json }) => status::run(output, *json),
        Some(Subcommands::Plugin(PluginCommand::List { json })) => plugin::list(*json),
        Some(Subcommands::Plugin(PluginCommand::Inspect { file, json })) => {
            plugin::inspect(file, *json)
        }
        Some(Subcommands::Plugin(PluginCommand::New {
            kind,
            name,
            path,
            api,
        })) => kit::new(*kind, name, path, api.as_deref()),
        Some(Subcommands::Plugin(PluginCommand::Install { source, no_check })) => {
            kit::install(source, !no_check)
        }
        Some(Subcommands::Plugin(PluginCommand::Check(args))) => check::check(args),
        Some(Subcommands::Plugin(PluginCommand::CheckOne {
            file,
            component,
            tests,
        })) => check::check_one(file, component, tests),
        Some(Subcommands::Plugin(PluginCommand::Lock { plugin })) => kit::lock(plugin),
        Some(Subcommands::Model(ModelCommand::Inspect { model: path, json })) => {
            model::inspect(path, *json)
        }
        Some(Subcommands::Generate(args)) => generate::run(args),
        Some(Subcommands::Eval(args)) => eval::run(args),
        Some(Subcommands::Export(args)) => export::run(args),
        Some(Subcommands::Import(args)) => import::run(args),
        Some(Subcommands::Data(DataCommand::Inspect(args))) => data::inspect(args),
        Some(Subcommands::Verify(command)) => verify::run(command, &cli.log),
        Some(Subcommands::Report(args)) => report::run(args, &cli.log),
        Some(Subcommands::Keys) => {
            output::print(&schema::listing())?;
            Ok(Exit::Ok)
        }
        Some(Subcommands::Worker) => {
            worker_main(&mut Trainer::default())?;
            Ok(Exit::Ok)
        }
    }
}
