//! Runs the requests of a `cases.json` on the CPU and writes every intermediate tensor to `OUT/NAME.safetensors`. Then
//! `tools/parity/compare.py CASES_FOLDER OUT` compares them with diffusers'.

use std::process::ExitCode;

use candle_core::Device;
use clap::Parser;
use glimpse_worker::dump::DumpArgs;

#[derive(Debug, Parser)]
struct Args {
    #[command(flatten)]
    dump: DumpArgs,
}

fn main() -> ExitCode {
    match Args::parse().dump.dump(&Device::Cpu) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
