//! Damaged copies of the kernels: each must be found, or a test of a right kernel would prove nothing.

use std::sync::Mutex;
use std::thread;

use super::catalogue::kernel;
use super::program::Damage;

/// A fault that is built into a copy of a kernel.
struct Fault {
    of: &'static str,
    damage: Damage,
    /// A part of the message with which it is found.
    found: &'static str,
}

/// The kernel that is played; a file, a text that is in it once, and what is there instead; how it is found.
const fn fault(
    of: &'static str,
    file: &'static str,
    text: &'static str,
    instead: &'static str,
    found: &'static str,
) -> Fault {
    Fault { of, damage: Damage { file, text, instead }, found }
}

const FAULTS: &[Fault] = &[
    // A missing barrier, and a barrier that some threads never reach.
    fault("group_norm", "moments.cuh", "__syncthreads();", "", "in order 0"),
    fault("layer_norm", "moments.cuh", "__syncthreads();", "", "in order 0"),
    fault(
        "layer_norm",
        "moments.cuh",
        "__syncthreads();",
        "if (lane == 0) __syncthreads();",
        "does not come",
    ),
    fault(
        "layer_norm",
        "layer_norm.cu",
        "Moments own =",
        "if (first >= width) return;\n    Moments own =",
        "come",
    ),
    // A reduction that forgets some threads, or takes in some that are not there.
    fault("group_norm", "moments.cuh", "distance > 0;", "distance > 1;", "differs"),
    fault(
        "layer_norm",
        "moments.cuh",
        "lane < warps ? parts[lane] : Moments{0.0f, 0.0f, 0.0f}",
        "parts[lane]",
        "differs",
    ),
    fault("layer_norm", "moments.cuh", " + distance * distance * a.count * share", "", "differs"),
    fault(
        "group_norm",
        "moments.cuh",
        "i < values.count ? values.v[i] - mean : 0.0f",
        "values.v[i] - mean",
        "differs",
    ),
    // A wrong stride, a wrong row, a wrong channel.
    fault("group_norm", "group_norm.cu", "at += blockDim.x * PACK<T>", "at += blockDim.x", "differs"),
    fault("group_norm", "group_norm.cu", "parts[group * splits + lane]", "parts[group + lane]", "differs"),
    fault("group_norm", "group_norm.cu", "plane / (channels / groups)", "plane / groups", "out of bounds"),
    fault("group_norm", "group_norm.cu", "plane % channels", "plane", "out of bounds"),
    fault("layer_norm", "layer_norm.cu", "y += blockIdx.x * width;", "", "in order 0"),
    fault("layer_norm", "layer_norm.cu", "stride = blockDim.x * PACK<T>", "stride = 32 * PACK<T>", "differs"),
    fault("geglu", "geglu.cu", "x + row * 2 * width", "x + row * width", "differs"),
    fault("geglu", "geglu.cu", "row += gridDim.x", "row += gridDim.x + 1", "in order 0"),
    fault("bias_residual", "bias_residual.cu", "bias[row % channels]", "bias[row]", "out of bounds"),
    fault("bias_residual", "bias_residual.cu", "residual + row * width", "residual", "in order 0"),
    fault("pixels", "pixels.cu", "(picture * 3 + channel) * area", "(picture + channel) * area", "differs"),
    fault("pixels", "pixels.cu", "bytes[3 * i + channel]", "bytes[PIXELS * channel + i]", "differs"),
    // A tail that is not handled: read, counted or written; a pack that is not aligned.
    fault("geglu", "numbers.cuh", "aligned && at + PACK<T> <= width", "aligned", "in order 0"),
    fault(
        "geglu",
        "numbers.cuh",
        "left < PACK<T> ? static_cast<int>(left) : PACK<T>",
        "PACK<T>",
        "out of bounds",
    ),
    fault("bias_residual", "numbers.cuh", "if (i < values.count) narrow", "narrow", "wrote"),
    fault("layer_norm", "numbers.cuh", "aligned && at", "at", "misaligned"),
    fault(
        "group_norm",
        "group_norm.cu",
        "begin + split < size ? begin + split : size",
        "begin + split",
        "out of bounds",
    ),
    fault("guidance_step", "guidance_step.cu", "if (i < x.count)", "", "out of bounds"),
    fault("pixels", "pixels.cu", "left < PIXELS ? static_cast<int>(left) : PIXELS", "PIXELS", "wrote"),
    fault("finite", "finite.cu", "at < count", "at + PACK<T> <= count", "differs"),
    // Offsets and parameters of 32 bits.
    fault("geglu", "geglu.cu", "row * 2 * width", "int(row) * 2 * int(width)", "range"),
    fault(
        "layer_norm",
        "layer_norm.cu",
        "x += blockIdx.x * width;",
        "x += blockIdx.x * unsigned(width);",
        "not allowed",
    ),
    fault("finite", "numbers.cuh", "using Index = long long;", "using Index = int;", "is no index"),
    fault(
        "group_norm",
        "group_norm.cu",
        "float eps, int silu) {   \\",
        "float eps, Index silu) {   \\",
        "is no int",
    ),
    // Wrong arithmetic.
    fault("group_norm", "group_norm.cu", "__expf(-normal)", "__expf(normal)", "differs"),
    fault("geglu", "geglu.cu", "0.707106781f", "0.7f", "differs"),
    fault(
        "guidance_step",
        "guidance_step.cu",
        "(widen(positive[at + i]) - away)",
        "widen(positive[at + i])",
        "differs",
    ),
    fault("pixels", "pixels.cu", "__float2int_rn", "__float2int_rz", "differs"),
    fault("finite", "finite.cu", "!isfinite(values.v[i])", "isnan(values.v[i])", "differs"),
    fault("finite", "finite.cu", "__any_sync(0xffffffffu, found)", "found", "differs"),
];

/// Nothing if the fault is found as it should be, or what is wrong.
fn missed(fault: &Fault) -> Option<String> {
    let (kernel, Damage { file, text, instead }) = (kernel(fault.of), &fault.damage);
    let what = format!("{}: {instead:?} instead of {text:?} in {file}", fault.of);
    match (kernel.check)(&kernel.damaged(&fault.damage)) {
        Err(found) if found.contains(fault.found) => None,
        Err(found) => Some(format!("{what} is found otherwise: {found}")),
        Ok(()) => Some(format!("{what} is not found")),
    }
}

#[test]
fn every_planted_fault_is_found() {
    let left = Mutex::new(FAULTS.iter());
    let next = || left.lock().expect("nothing fails in here").next();
    // Threads of its own: those of rayon are for the CPU operations of all tests.
    let work = || std::iter::from_fn(next).filter_map(missed).collect::<Vec<_>>();
    let wrong: Vec<_> = thread::scope(|scope| {
        let workers = [(); 2].map(|()| scope.spawn(work));
        workers.into_iter().flat_map(|worker| worker.join().expect("no panic")).collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
