//! `group_norm.cu` and `layer_norm.cu`.

use candle_core::DType;
use glimpse_worker::sdxl::ops::kernels::{self, GroupNorm};
use glimpse_worker::sdxl::ops::{self, Activation};

use super::close::{Numbers, SINGLE, close, limit};
use super::far;
use super::launch::{Buffer, Finding, Launch, TYPES};
use super::program::Program;

const EPS: f64 = 1e-5;

/// Sizes: channels, groups, height and width, and the splits of a group; 0 for those of a GPU.
type Sizes = (usize, usize, (usize, usize), usize);

pub(crate) fn group_norm(program: &Program) -> Finding {
    let mut numbers = Numbers::new();
    let sizes: [Sizes; 9] = [
        // Whole packs; several splits; several chunks of a plane.
        (8, 2, (16, 16), 1),
        (4, 2, (24, 32), 3),
        (6, 1, (8, 12), 4),
        // Odd: planes that are not whole packs, more splits than packs, a single number.
        (6, 3, (5, 7), 2),
        (4, 2, (1, 3), 32),
        (2, 2, (1, 1), 1),
        (3, 1, (33, 67), 32),
        // As a GPU has them: one block for a group, and two.
        (2, 1, (32, 33), 0),
        (2, 1, (72, 72), 0),
    ];
    for (dtype, suffix) in TYPES {
        for (channels, groups, (height, width), splits) in sizes {
            for (mean, silu) in [(0.0, true), (100.0, false)] {
                // The variance of one number is 0: far from 0 both forms cancel to nothing.
                if mean != 0.0 && channels * height * width == groups {
                    continue;
                }
                let x = numbers.around(mean, dtype, &[2, channels, height, width]);
                let (weight, bias) = (numbers.draw(dtype, &[channels]), numbers.draw(dtype, &[channels]));
                let own = GroupNorm { batch: 2, channels, groups, area: height * width };
                let splits = if splits == 0 { own.splits() } else { splits };

                let room = Buffer::output(DType::F32, &[2 * groups, splits, 3]);
                let launch = own.statistics(splits, Buffer::input(&x), room).expect("a small grid");
                let parts = Launch::of(launch, suffix).play(program)?.remove(0);

                // The result in a tensor of its own, or in place.
                let (from, to) = match silu {
                    true => (Buffer::input(&x), Buffer::output(dtype, x.dims())),
                    false => (Buffer::changed(&x), Buffer::same(0)),
                };
                let [weights, biases, moments] = [&weight, &bias, &parts].map(Buffer::input);
                let launch = own.apply(splits, [from, weights, biases, moments, to], EPS, silu);
                let launch = Launch::of(launch.expect("a small grid"), suffix);
                let activation = silu.then_some(Activation::Silu);
                let expected =
                    ops::group_norm(&x, groups, &weight, &bias, EPS, activation).expect("sizes that fit");
                let what =
                    format!("{dtype:?} {channels}/{groups} {height}x{width}, {splits} splits, mean {mean}");
                // A mean of a hundred standard deviations costs two of f32's seven digits.
                let single = if mean == 0.0 { SINGLE } else { 1e-4 };
                close(&what, &launch.play(program)?[0], &expected, limit(dtype, single))?;
            }
        }
    }
    far::group_norm(program)
}

pub(crate) fn layer_norm(program: &Program) -> Finding {
    let mut numbers = Numbers::new();
    // Widths of SDXL's UNet and of its text encoders, and odd ones, with a GPU's block or another.
    let sizes = [
        (3, 640, None),
        (2, 1280, None),
        (2, 768, None),
        (2, 2048, None),
        (3, 37, None),
        (2, 1283, None),
        (5, 1, Some(64)),
        (2, 1283, Some(64)),
        (1, 8, Some(256)),
    ];
    for (dtype, suffix) in TYPES {
        for (rows, width, block) in sizes {
            for mean in [0.0, 100.0] {
                let x = numbers.around(mean, dtype, &[rows, width]);
                let (weight, bias) = (numbers.draw(dtype, &[width]), numbers.draw(dtype, &[width]));
                // The result in a tensor of its own, or in place.
                let (from, to) = match mean {
                    0.0 => (Buffer::input(&x), Buffer::output(dtype, x.dims())),
                    _ => (Buffer::changed(&x), Buffer::same(0)),
                };
                let buffers = [from, Buffer::input(&weight), Buffer::input(&bias), to];
                let launch = kernels::layer_norm(buffers, rows, width, EPS).expect("a small grid");
                let launch = Launch::of(launch, suffix);
                let launch = match block {
                    Some(block) => launch.on((rows, 1), block),
                    None => launch,
                };
                let expected = ops::layer_norm(&x, &weight, &bias, EPS).expect("sizes that fit");
                let what = format!("{dtype:?} {rows}x{width}, block {block:?}, mean {mean}");
                let single = if mean == 0.0 { SINGLE } else { 1e-4 };
                close(&what, &launch.play(program)?[0], &expected, limit(dtype, single))?;
            }
        }
    }
    far::layer_norm(program)
}
