//! `lorahost export`: what a run learnt, for other programs.

use super::args::{Dtype, ExportArgs, ServerName};
use super::exit::Exit;
use super::failure::Failure;
use super::output::{aligned, print};
use crate::export::{self, Form, Request, Server, Written};
use crate::model::Precision;

/// Writes the folder and prints what is in it.
pub fn run(args: &ExportArgs) -> Result<Exit, Failure> {
    let request = Request {
        run: &args.run,
        to: &args.folder,
        form: match (args.merged, args.full) {
            (true, _) => Form::Merged,
            (_, true) => Form::Full,
            _ => Form::Adapter,
        },
        precision: match args.dtype {
            Dtype::Fp32 => Precision::Fp32,
            Dtype::Bf16 => Precision::Bf16,
            Dtype::Fp16 => Precision::Fp16,
        },
        server: args.server.map(|ServerName::Vllm| Server::Vllm),
    };
    let Written { files, notices } = export::export(&request)?;
    for notice in notices {
        tracing::warn!("{notice}");
    }
    let rows: Vec<[String; 2]> = files
        .into_iter()
        .map(|(name, bytes)| {
            [
                args.folder.join(name).display().to_string(),
                format!("{bytes} bytes"),
            ]
        })
        .collect();
    print(&aligned(&rows))?;
    Ok(Exit::Ok)
}
