//! Compiles the kernels of `kernels/` to one fatbin each, which `sdxl/ops/cuda` includes. Without the feature `cuda` it
//! does nothing and needs nothing.
//!
//! - `NVCC`: the compiler; else that of `CUDA_HOME` or `CUDA_PATH`, else the one on the `PATH`.
//! - `GLIMPSE_GENCODE`: nvcc's options for the GPUs, as `-gencode arch=compute_90,code=sm_90`; else those for
//!   `CUDA_COMPUTE_CAP`, which candle's build reads too (`90`, say); else those for the GPU of this machine.
// Cargo reads what a build script prints.
#![allow(clippy::print_stdout)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::{env, fs};

/// No fast math: the kernels are tested as they are written. nvcc compresses a fatbin by itself.
const FLAGS: [&str; 5] = ["-fatbin", "-O3", "-std=c++17", "--default-stream", "per-thread"];
const VARIABLES: [&str; 5] = ["NVCC", "CUDA_HOME", "CUDA_PATH", "GLIMPSE_GENCODE", "CUDA_COMPUTE_CAP"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return;
    }
    println!("cargo::rerun-if-changed=kernels");
    for variable in VARIABLES {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    if let Err(message) = compile() {
        println!("cargo::error={message}");
    }
}

fn compile() -> Result<(), String> {
    let nvcc = nvcc();
    let architectures = architectures()?;
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets no OUT_DIR")?);
    let jobs = env::var("NUM_JOBS").ok().and_then(|jobs| jobs.parse().ok()).unwrap_or(1);
    let sources = sources()?;
    for some in sources.chunks(jobs) {
        let begun = some.iter().map(|source| begin(&nvcc, &architectures, source, &out));
        for (source, child) in some.iter().zip(begun.collect::<Vec<_>>()) {
            let ended = child?.wait().map_err(|error| format!("{}: {error}", nvcc.display()))?;
            if !ended.success() {
                let (nvcc, source) = (nvcc.display(), source.display());
                return Err(format!("{nvcc} could not compile {source}: its messages are above"));
            }
        }
    }
    Ok(())
}

fn nvcc() -> PathBuf {
    let own = env::var_os("NVCC").map(PathBuf::from);
    let of = |variable| env::var_os(variable).map(|home| Path::new(&home).join("bin/nvcc"));
    own.or_else(|| of("CUDA_HOME")).or_else(|| of("CUDA_PATH")).unwrap_or_else(|| "nvcc".into())
}

fn architectures() -> Result<Vec<String>, String> {
    if let Ok(options) = env::var("GLIMPSE_GENCODE") {
        return Ok(options.split_whitespace().map(str::to_owned).collect());
    }
    let Ok(capability) = env::var("CUDA_COMPUTE_CAP") else { return Ok(vec!["-arch=native".into()]) };
    let digits = capability.trim_end_matches(['a', 'f']);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("CUDA_COMPUTE_CAP={capability}: write the capability without a dot, as in 90"));
    }
    let of = |code| format!("-gencode=arch=compute_{capability},code={code}_{capability}");
    Ok(vec![of("sm"), of("compute")])
}

fn sources() -> Result<Vec<PathBuf>, String> {
    let unreadable = |error| format!("worker/kernels cannot be read: {error}");
    let mut sources = Vec::new();
    for entry in fs::read_dir("kernels").map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "cu") {
            sources.push(path);
        }
    }
    Ok(sources)
}

fn begin(nvcc: &Path, architectures: &[String], source: &Path, out: &Path) -> Result<Child, String> {
    let name = source.file_stem().unwrap_or_default();
    let object = out.join(name).with_extension("fatbin");
    let mut command = Command::new(nvcc);
    command.args(FLAGS).args(architectures).arg("-o").arg(object).arg(source);
    command.spawn().map_err(|error| {
        format!(
            "the feature cuda needs NVIDIA's compiler, and {} cannot be run ({error}): set NVCC or CUDA_HOME, put nvcc on \
             the PATH, or use scripts/build-cuda, which brings one",
            nvcc.display()
        )
    })
}
