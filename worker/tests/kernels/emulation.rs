//! The emulation itself: conversions to the bit, right kernels played right, and every kind of mistake found.

use std::path::Path;

use candle_core::{DType, Device, Tensor};

use super::close::Numbers;
use super::launch::{Buffer, Launch};
use super::program::Program;

fn probes(names: &[&str]) -> Program {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kernels/probes.cu");
    Program::build(&source, &names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
}

fn singles(tensor: &Tensor) -> Vec<f32> {
    tensor.to_dtype(DType::F32).and_then(|t| t.to_vec1()).expect("numbers")
}

/// Equal to the bit, or both NaN.
#[track_caller]
fn assert_same(what: &str, actual: &Tensor, expected: &Tensor) {
    for (a, e) in singles(actual).into_iter().zip(singles(expected)) {
        assert!(a.to_bits() == e.to_bits() || a.is_nan() && e.is_nan(), "{what}: {a:e}, expected {e:e}");
    }
}

#[test]
fn conversions_are_those_of_the_half_crate() {
    let program = probes(&["widen_f16", "widen_bf16", "narrow_f16", "narrow_bf16"]);
    for (dtype, suffix) in [(DType::F16, "f16"), (DType::BF16, "bf16")] {
        let every: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        let every = Tensor::from_raw_buffer(&every, dtype, &[1 << 16], &Device::Cpu).expect("numbers");
        let launch = Launch::new(format!("widen_{suffix}"), (256, 1), 256);
        let wide = launch
            .buffer(Buffer::input(&every))
            .buffer(Buffer::output(DType::F32, &[1 << 16]))
            .play(&program)
            .expect("a right kernel");
        assert_same("widened", &wide[0], &every);

        // Every number of the type, the ties between two of them, and the nearest numbers on both sides of both.
        let mut values = singles(&every);
        values.sort_by(f32::total_cmp);
        let ties: Vec<f32> = values.windows(2).map(|pair| pair[0] / 2.0 + pair[1] / 2.0).collect();
        values.extend(ties);
        // From here on f16 and bf16 have infinity.
        values.extend([65_520.0, f32::from_bits(0x7f7f_8000)]);
        let values: Vec<f32> = values.iter().flat_map(|v| [v.next_down(), *v, v.next_up()]).collect();
        let blocks = values.len().div_ceil(256);
        let mut values = values;
        values.resize(blocks * 256, 0.0);
        let x = Tensor::new(values, &Device::Cpu).expect("numbers");
        let launch = Launch::new(format!("narrow_{suffix}"), (blocks, 1), 256);
        let narrow = launch
            .buffer(Buffer::input(&x))
            .buffer(Buffer::output(dtype, x.dims()))
            .play(&program)
            .expect("a right kernel");
        assert_same("narrowed", &narrow[0], &x.to_dtype(dtype).expect("numbers"));
    }
}

/// Plays a probe with 64 threads; it must write all of its outputs.
fn play(program: &Program, name: &str, x: &[f32], outputs: usize) -> Result<Vec<f32>, String> {
    let x = Tensor::new(x, &Device::Cpu).expect("numbers");
    let launch = Launch::new(name, (1, 1), 64)
        .buffer(Buffer::input(&x))
        .buffer(Buffer::output(DType::F32, &[outputs]));
    Ok(singles(&launch.play(program)?[0]))
}

#[test]
fn right_kernels_are_played_right() {
    let program = probes(&["backwards", "warp_backwards", "shuffles", "half_a_warp"]);
    let x: Vec<f32> = (0..64).map(|i| i as f32).collect();
    let backwards = play(&program, "backwards", &x, 128).expect("no mistake");
    let twice = x.iter().rev().copied().chain(x.iter().rev().map(|v| v + 1.0));
    assert_eq!(backwards, twice.collect::<Vec<_>>());

    let each_warp = |i: usize| x[i ^ 31];
    let warp_backwards = play(&program, "warp_backwards", &x, 64).expect("no mistake");
    assert_eq!(warp_backwards, (0..64).map(each_warp).collect::<Vec<_>>());

    // 0 + .. + 31, 32 + .. + 63; the first warp alone has a 7.
    let shuffles = play(&program, "shuffles", &x, 128).expect("no mistake");
    let expected = [[496.0; 32], [1520.0; 32], [496.0; 32], [0.0; 32]].concat();
    assert_eq!(shuffles, expected);

    let half = play(&program, "half_a_warp", &x, 64).expect("no mistake");
    let expected = (0..64).map(|i: usize| if i % 32 < 16 { x[i ^ 16] } else { x[i ^ 16 ^ 1] });
    assert_eq!(half, expected.collect::<Vec<_>>());
}

#[test]
fn every_kind_of_mistake_is_found() {
    let mistakes = [
        ("backwards_read_too_early", 128, "in order 0"),
        ("backwards_written_too_early", 128, "in order 0"),
        ("warp_backwards_in_lockstep", 64, "in order 0"),
        ("lane_outside_the_mask", 64, "takes no part"),
        ("lane_that_leaves", 64, "does not come"),
        ("barrier_for_some", 64, "never come"),
        ("reads_behind", 64, "out of bounds"),
        ("reads_before", 64, "out of bounds"),
        ("writes_behind", 64, "out of bounds"),
        ("index_out_of_shared_memory", 64, "an index"),
        ("misaligned_pack", 64, "misaligned"),
    ];
    let program = probes(&mistakes.map(|(name, ..)| name));
    let x = singles(&Numbers::new().draw(DType::F32, &[64]));
    for (name, outputs, expected) in mistakes {
        let found = play(&program, name, &x, outputs).expect_err(name);
        assert!(found.contains(expected), "{name}: {found}");
    }
}

#[test]
fn a_race_is_found() {
    let program = probes(&["race"]);
    let x = Numbers::new().draw(DType::F32, &[64]);
    let comers = Tensor::zeros(1, DType::U32, &Device::Cpu).expect("a counter");
    let launch = Launch::new("race", (1, 1), 64)
        .buffer(Buffer::input(&x))
        .buffer(Buffer::output(DType::F32, &[1]))
        .buffer(Buffer::changed(&comers));
    let found = launch.play(&program).expect_err("a race");
    assert!(found.contains("in order 0"), "{found}");
}
